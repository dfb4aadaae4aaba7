"""Rules for every answer: headers, errors, and time limits for connections."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any, cast

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from worker.concurrency import running
from worker.gateway.connection import MAX_HEADERS, MAX_LINE, Connection, Runner
from worker.gateway.headers import add_headers
from worker.gateway.metrics import ANSWERS, BACKGROUND_FAILURES, BAD_REQUESTS
from worker.observability.health import listen, naming_port
from worker.observability.telemetry import answering

MAX_CONNECTIONS = 2000
BODY_SECONDS = 10.0  # for a request's body
IDLE_SECONDS = 15.0  # for a request's head, from the start of the connection or from its last answer
SWEEP_SECONDS = 1.0  # between two checks of all connections

log = structlog.get_logger()

Refuse = Callable[[web.Request, int, str, str], web.StreamResponse]
"""Creates the answer to an error from the HTTP request, a status, a code, and a sentence for people."""


def answers(refuse: Refuse) -> Middleware:
    """Return the outermost middleware. It adds headers to every answer and turns every error into an answer."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            if request.body_exists:
                async with asyncio.timeout(BODY_SECONDS):
                    await request.read()
            with answering(f"{request.method} {route_of(request)}", request.headers.get("traceparent")):
                response = await handler(request)
        except web.HTTPException as error:
            code = "too-large" if error.status == 413 else f"http-{error.status}"
            response = refuse(request, error.status, code, error.text or error.reason)
            if "Allow" in error.headers:
                response.headers["Allow"] = error.headers["Allow"]
        except web.RequestPayloadError:
            BAD_REQUESTS.labels("malformed").inc()
            response = refuse(request, 400, "http-400", "The request's body does not match its headers. Correct it.")
        except TimeoutError:
            response = refuse(request, 408, "too-slow", "The request took too long to arrive. Send it again.")
        except ConnectionError:  # the sender has disconnected
            raise
        except Exception:
            number = secrets.token_hex(4)
            log.exception("a defect kept the gateway from answering", route=route_of(request), number=number)
            response = refuse(
                request,
                500,
                "internal",
                f"A bug in the gateway; its log has the details under {number}. Report this number to the operator.",
            )
        ANSWERS.labels(route_of(request), f"{response.status // 100}xx").inc()
        if not response.prepared:
            add_headers(request, response)
        return response

    return middleware


def route_of(request: web.Request) -> str:
    """Return the route's pattern, which contains no ids."""
    resource = request.match_info.route.resource
    return resource.canonical if resource else "none"


class Connections:
    """Cuts off silent and slow connections, and the oldest idle connections when there are too many."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._idle_since: dict[Connection, float] = {}
        self._busy: dict[object, int] = {}  # transport → number of requests being answered

    @property
    def middleware(self) -> Middleware:
        """A middleware that records which connections have a request being answered."""

        @web.middleware
        async def busy(request: web.Request, handler: Handler) -> web.StreamResponse:
            transport = request.transport
            if isinstance(request.protocol, Connection):
                request.protocol.taken()
            self._busy[transport] = self._busy.get(transport, 0) + 1
            try:
                return await handler(request)
            finally:
                self._busy[transport] -= 1
                if not self._busy[transport]:
                    del self._busy[transport]

        return busy

    def sweep(self, server: web.Server) -> None:
        """Check all connections once."""
        now = self._clock()
        opened = cast("set[Connection]", set(server.connections))
        known = {it: since for it, since in self._idle_since.items() if it in opened}
        self._idle_since = known
        for handler in opened:
            if handler.transport in self._busy:
                known.pop(handler, None)
            else:
                known.setdefault(handler, now)
        oldest = sorted(known, key=lambda it: known[it])
        many = set(oldest[: max(0, len(opened) - MAX_CONNECTIONS)])
        for handler in oldest:
            if handler in many:
                handler.cut_off("many")
            elif now - known[handler] > IDLE_SECONDS:
                if not handler.is_resting:
                    handler.cut_off("slow")
                elif handler.transport:
                    handler.transport.close()

    async def run(self, server: web.Server) -> None:
        """Run until it is cancelled."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            self.sweep(server)


def background(task: str, work: Callable[[], Coroutine[Any, Any, None]]) -> AbstractAsyncContextManager[None]:
    """Run `work` during the block. A failure is logged and counted."""
    return running(work, task, BACKGROUND_FAILURES.labels(task).inc)


@asynccontextmanager
async def serving(app: web.Application, connections: Connections, host: str | None, port: int) -> AsyncIterator[int]:
    """Serve during the block; yield the port. Raises ConfigurationError when the port is in use."""
    runner = Runner(
        app,
        access_log=None,  # it would contain tokens
        shutdown_timeout=2,
        max_line_size=MAX_LINE,
        max_field_size=MAX_LINE,
        max_headers=MAX_HEADERS,
        keepalive_timeout=2 * IDLE_SECONDS,  # `Connections` closes connections earlier, and counts slow connections
    )
    await runner.setup()
    try:
        # Without a host, one socket listens on all addresses. With port 0, two sockets would have different ports.
        with naming_port("DEPLOYER_GATEWAY__HTTP_PORT", port):
            await (web.TCPSite(runner, host, port) if host else web.SockSite(runner, listen(port))).start()
        server = runner.server
        assert isinstance(server, web.Server)  # noqa: S101 - `setup` created it
        async with background("connections", partial(connections.run, server)):
            yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()
