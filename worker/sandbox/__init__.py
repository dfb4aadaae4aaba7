"""Sandbox servers for the demo and the tests on this machine: Apache Kafka, a Graphene, a playground server."""
