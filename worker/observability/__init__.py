"""Observability for operators: logs, metrics, traces and the health endpoints."""
