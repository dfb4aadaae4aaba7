"""The pure steps of a request: no I/O, no clock, no asyncio (`make check` enforces this).

The domain reads requests and tokens, decides each next step, and turns a blueprint into the bytes of solution.zip. Of
the kubernetes package, it uses only `kubernetes.client.models`.
"""
