"""Deployment requests in, deployed bundles and their status events out.

A request travels one way: receive → authenticate → authorise → fetch → plan → render → bundle →
submit → report. Start at `deploy.py`, which shows it on one screen. `domain/` holds the pure steps,
`adapters/` those that talk to dependencies, `stream/` reads Kafka, and `app.py` wires them together.
"""

__version__ = "0.1.0"
