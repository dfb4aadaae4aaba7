"""Everything that talks to Kafka, apart from the poll loop."""
