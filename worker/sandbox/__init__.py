"""What the demo and the tests run on this machine: Apache Kafka, a Graphene, a playground server."""
