"""The adapters for Kafka, apart from the poll loop."""
