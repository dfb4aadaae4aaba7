"""`/live` and `/ready` for the probes of Kubernetes: 200, or 503 with the reason. `/metrics` for Prometheus."""

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Protocol, Self

from aiohttp import web
from prometheus_client.aiohttp import make_aiohttp_handler

from worker.observability.metrics import REGISTRY

STUCK_SECONDS = 60  # the poll loop runs at least five times a second

Check = Callable[[], str | None]
"""Returns None when the check passes, otherwise the reason in one sentence, without secrets."""


class Polling(Protocol):
    """The part of the poll loop that the probes read."""

    polled_at: float  # monotonic seconds
    assigned: asyncio.Event  # set while the group has assigned partitions to it


class Probes:
    """The checks behind /live and /ready. An unreachable broker does not make Kubernetes restart the worker."""

    def __init__(self, stop: asyncio.Event) -> None:
        self._stop = stop
        self.requests: Polling | None = None  # until the worker has reached Kafka

    def live(self) -> str | None:
        """Return why the process should be restarted, or None. A rebalance is no reason: it waits for deployments."""
        if self.requests is None or self._stop.is_set() or not self.requests.assigned.is_set():
            return None
        silent = time.monotonic() - self.requests.polled_at
        return f"the poll loop has not run for {silent:.0f} s" if silent > STUCK_SECONDS else None

    def ready(self) -> str | None:
        """Return why the worker takes no requests now, or None."""
        if self._stop.is_set():
            return "stopping"
        if self.requests is None:
            return "Kafka has not been reached yet"
        return None if self.requests.assigned.is_set() else "waiting for partitions"


class HealthServer:
    """The HTTP server for the probes and Prometheus, for as long as it is open.

        async with HealthServer(settings.runtime.http_port, live=…, ready=…) as health:
            print(health.port)

    Port 0 takes any free port. Opening raises OSError when the port is in use.
    """

    def __init__(self, port: int, live: Check, ready: Check) -> None:
        app = web.Application()
        app.add_routes(
            [
                web.get("/live", _answer(live)),
                web.get("/ready", _answer(ready)),
                web.get("/metrics", make_aiohttp_handler(REGISTRY)),
            ]
        )
        # No access log: a line per probe would drown all others.
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        self._wanted_port = port
        self.port = port

    async def __aenter__(self) -> Self:
        listener = _listen(self._wanted_port)
        self.port = listener.getsockname()[1]
        await self._runner.setup()
        await web.SockSite(self._runner, listener).start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()


def _listen(port: int) -> socket.socket:
    """Listen on every address, IPv6 included where available: the kubelet uses the pod's own, of either family."""
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", port))


def _answer(check: Check) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_request: web.Request) -> web.Response:
        reason = check()
        if reason is None:
            return web.json_response({"status": "ok"})
        return web.json_response({"status": "failing", "reason": reason}, status=503)

    return answer
