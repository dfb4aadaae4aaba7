"""The adapters, which talk to the dependencies and to Kafka, and turn foreign errors into `worker.errors`."""
