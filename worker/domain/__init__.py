"""The pure steps: no I/O, no clock, no asyncio (`make check` enforces it).

Blueprint in, bytes of solution.zip out. Of the kubernetes package only `kubernetes.client.models` is used.
"""
