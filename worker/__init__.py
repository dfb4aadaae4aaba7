"""Deployment requests in, deployed bundles and their status events out.

A request takes one path: receive → authenticate → authorise → fetch → plan → render → bundle →
submit → report. Start at `deploy.py`, which shows the path on one screen. `domain/` holds the pure steps,
`adapters/` the calls to dependencies, `delivery/` the consumer and the partition processors, and `app.py`
wires them together.
"""

__version__ = "0.1.0"
