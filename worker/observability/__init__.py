"""What an operator sees of the worker: logs, metrics, traces and the health endpoints."""
