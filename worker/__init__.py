"""Deployment requests in, deployed bundles and their status events out.

A request takes one path: receive → authenticate → authorise → fetch → plan → render → bundle → submit → report. Start
at `deploy.py`, which shows the path on one screen, from authenticate on. `delivery/` holds the consumer and the
partition processors, which receive the records, `domain/` the pure steps, `adapters/` the calls to dependencies, and
`app.py` wires them together.
"""

__version__ = "0.1.0"
