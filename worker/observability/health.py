"""`/live` and `/ready` for Kubernetes' probes: 200, or 503 with the reason. `/metrics` for Prometheus.

The port has no access control. Therefore a connection carries one short request and lasts a few seconds, and when there
are too many connections, the oldest is cut off. Probes are answered even while other clients hold connections open.
"""

import asyncio
import logging
import os
import socket
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Protocol, Self

import structlog
from aiohttp import web
from prometheus_client.aiohttp import make_aiohttp_handler

from worker.errors import ConfigurationError
from worker.observability.metrics import HEALTH_CONNECTIONS_CUT_OFF, REGISTRY

# The longest take-over: the sum of FENCE_SECONDS, VERIFY_SECONDS and READ_SECONDS of the partition store.
UNPROCESSED_SECONDS = 90
STUCK_SECONDS = 60  # the poll loop runs at least five times a second

MAX_CONNECTIONS = 64  # a probe, a scrape and a few people need ten
CONNECTION_SECONDS = 5.0  # from the accept to the last byte of the answer; a scrape takes milliseconds
# Connections accepted in one turn of the loop. An answer takes fewer than eight turns. So a client that sends its
# request immediately has its answer before its connection is the oldest of MAX_CONNECTIONS.
ACCEPTED_AT_ONCE = 8
WAITING = 128  # connections in the system's accept queue
# Prometheus sends the longest request, about 1 kB. These limits allow 128 KiB for each connection.
MAX_LINE, MAX_HEADERS = 4096, 32  # characters of the first line and of a header; number of headers

log = structlog.get_logger()

_SILENT = logging.getLogger(f"{__name__}.requests")  # for aiohttp: an invalid request is not an error of the worker
_SILENT.disabled = True

Check = Callable[[], str | None]
"""Returns None when the check passes, otherwise the reason in one sentence, without secrets."""


class Polling(Protocol):
    """The part of the poll loop that the probes read."""

    polled_at: float  # monotonic seconds
    assigned: asyncio.Event  # set while the group has assigned partitions to it

    def unprocessed(self) -> Mapping[int, float]:
        """Return partition → seconds without processing, for each assigned partition; 0: it is being processed."""
        ...


class Probes:
    """The checks behind /live and /ready. An unreachable broker does not make Kubernetes restart the worker."""

    def __init__(self, stop: asyncio.Event) -> None:
        self._stop = stop
        self.requests: Polling | None = None  # until the worker has reached Kafka
        self._topics: str | None = None

    def note_topics(self, problem: str | None) -> None:
        """Set the problem with the topics; None: there is no problem."""
        self._topics = problem

    def live(self) -> str | None:
        """Return the reason to restart the process, or None. A rebalance is no reason, because it waits for POSTs."""
        if self.requests is None or self._stop.is_set() or not self.requests.assigned.is_set():
            return None
        silent = time.monotonic() - self.requests.polled_at
        return f"the poll loop has not run for {silent:.0f} s" if silent > STUCK_SECONDS else None

    def ready(self) -> str | None:
        """Return the reason why the worker takes no requests now, or None."""
        if self._stop.is_set():
            return "stopping"
        if self.requests is None:
            return "Kafka has not been reached yet"
        if self._topics:
            return self._topics
        if not self.requests.assigned.is_set():
            return "waiting for partitions"
        late = [
            f"partition {partition} for {seconds:.0f} s"
            for partition, seconds in self.requests.unprocessed().items()
            if seconds > UNPROCESSED_SECONDS
        ]
        return f"not processed: {', '.join(late)}" if late else None


class HealthServer:
    """The HTTP server for the probes and Prometheus, open during the block.

        async with HealthServer(settings.runtime.http_port, live=…, ready=…) as health:
            print(health.port)

    Port 0 selects any free port. Opening raises ConfigurationError when the port is in use.
    """

    def __init__(self, port: int, live: Check, ready: Check, seconds: float = CONNECTION_SECONDS) -> None:
        """Create a closed server. `seconds` is the maximum duration of a connection."""
        self._pages = {"/live": _answer(live), "/ready": _answer(ready), "/metrics": make_aiohttp_handler(REGISTRY)}
        self._seconds = seconds
        self._configured_port = port
        self.port = port

    async def __aenter__(self) -> Self:
        with naming_port("DEPLOYER_RUNTIME__HTTP_PORT", self._configured_port):
            listener = listen(self._configured_port)
        self.port = listener.getsockname()[1]
        self._runner = web.ServerRunner(_Connections(self._respond, self._seconds), shutdown_timeout=1)
        await self._runner.setup()
        await web.SockSite(self._runner, listener, backlog=ACCEPTED_AT_ONCE).start()
        listener.listen(WAITING)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()

    async def _respond(self, request: web.BaseRequest) -> web.StreamResponse:
        page = self._pages.get(request.path) if request.method in ("GET", "HEAD") else None
        try:
            response = await page(request) if page else web.Response(status=404)
        except Exception:
            log.exception("a defect kept the health port from answering", path=request.path)
            response = web.Response(status=500)
        response.force_close()
        return response


class _Connections(web.Server):
    """An HTTP server that cuts off slow connections, and the oldest connections when there are too many."""

    def __init__(self, respond: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]], seconds: float) -> None:
        super().__init__(
            respond,
            access_log=None,  # a line per probe would drown all other lines
            logger=_SILENT,
            lingering_time=0,  # do not wait for a body
            max_line_size=MAX_LINE,
            max_field_size=MAX_LINE,
            max_headers=MAX_HEADERS,
            read_bufsize=MAX_LINE,
        )
        self._seconds = seconds
        self._open: dict[web.RequestHandler, tuple[asyncio.Transport, asyncio.TimerHandle]] = {}

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        """Start the connection's time limit, and cut off the oldest connection when there are too many."""
        super().connection_made(handler, transport)
        end = asyncio.get_running_loop().call_later(self._seconds, self._cut_off, handler, "slow")
        self._open[handler] = transport, end
        if len(self._open) > MAX_CONNECTIONS:
            self._cut_off(next(iter(self._open)), "many")

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        """Remove the connection and cancel its time limit."""
        super().connection_lost(handler, exc)
        if handler in self._open:
            self._open.pop(handler)[1].cancel()

    def _cut_off(self, handler: web.RequestHandler, reason: str) -> None:
        transport, end = self._open.pop(handler)
        end.cancel()
        transport.abort()  # close() would wait until everything is sent
        HEALTH_CONNECTIONS_CUT_OFF.labels(reason).inc()


@contextmanager
def naming_port(setting: str, port: int) -> Iterator[None]:
    """Translate an OSError in the block, which opens the port, into a ConfigurationError that names the setting."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else "the port cannot be used"
        raise ConfigurationError(
            f"{setting}: port {port}: {reason}. Choose another port, or stop the process that uses it."
        ) from None


def listen(port: int) -> socket.socket:
    """Listen on all addresses, with IPv6 where available, because the kubelet uses the pod's IPv4 or IPv6 address."""
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", port))


def _answer(check: Check) -> Callable[[Any], Awaitable[web.StreamResponse]]:
    async def answer(_request: web.BaseRequest) -> web.Response:
        reason = check()
        if reason is None:
            return web.json_response({"status": "ok"})
        return web.json_response({"status": "failing", "reason": reason}, status=503)

    return answer
