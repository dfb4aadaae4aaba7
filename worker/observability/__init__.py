"""What operators see of the worker: logs, metrics, traces and the health endpoints."""
