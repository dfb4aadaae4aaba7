"""aiohttp's connection with the gateway's limits on requests, and with the gateway's answer to invalid HTTP.

aiohttp limits the size of each header and the number of headers, but not their total size. It keeps all headers until
the head is complete, and an unauthenticated sender decides whether the head is ever completed.
"""

from typing import TYPE_CHECKING, Any

import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_protocol import _ErrInfo

from worker.gateway.headers import add_headers
from worker.gateway.metrics import ANSWERS, BAD_REQUESTS, CONNECTIONS_CUT_OFF

MAX_BODY = 64 * 1024
MAX_LINE = 16 * 1024  # aiohttp's default of 8,190 is less than a path with a token of 8 KiB
MAX_HEADERS = 64  # browsers behind two proxies send 30
MAX_HEAD = 64 * 1024  # the request line and all headers
MAX_UNREAD = 16 * 1024 * 1024  # of all connections: bytes that have arrived and that no handler has read
MAX_QUEUED = 2  # complete requests that wait while another is answered; with more, reading from the connection pauses
_SLICE = 16 * 1024  # bytes parsed in one step, so that a head that is too large is detected in time

log = structlog.get_logger()


class Unread:
    """The number of bytes of all connections that have arrived and that no handler has read."""

    def __init__(self) -> None:
        self.total = 0
        self._of: dict[Connection, int] = {}  # ordered by the start of the unread request, oldest first

    def add(self, connection: "Connection", count: int) -> None:
        """Add bytes to the connection's count. Cut off the oldest connections while the total is too large."""
        before = self._of.get(connection, 0)
        # A body that is too large is read and discarded, so that its sender receives the answer.
        self._of[connection] = after = min(before + count, MAX_HEAD + MAX_BODY)
        self.total += after - before
        while self.total > MAX_UNREAD:
            oldest = next(iter(self._of))
            self.forget(oldest)
            oldest.cut_off("large")

    def of(self, connection: "Connection") -> int:
        """Return the connection's unread bytes."""
        return self._of.get(connection, 0)

    def forget(self, connection: "Connection") -> None:
        """Remove the connection's bytes from the total."""
        self.total -= self._of.pop(connection, 0)


class Connection(web.RequestHandler):
    """A connection with the gateway's limits."""

    if not TYPE_CHECKING:  # mypy takes the slots of aiohttp's class for its only attributes
        __slots__ = ("_body", "_head", "_is_refused", "_unread", "answered", "is_sending", "is_unreachable")

    def __init__(self, manager: web.Server, unread: Unread, **options: Any) -> None:
        super().__init__(manager, **options)
        self._max_msg_queue_size, self._msg_queue_resume_size = MAX_QUEUED, MAX_QUEUED // 2
        self._unread = unread
        self._head = 0  # bytes of the head that is arriving
        self._body: StreamReader = EMPTY_PAYLOAD
        self._is_refused = False
        self.answered = 0  # requests
        self.is_sending = False  # whether an answer is being sent
        self.is_unreachable = False  # whether it was lost because its reader acknowledged nothing

    @property
    def is_resting(self) -> bool:
        """Whether the connection is idle between two requests."""
        return self.answered > 0 and not self.is_sending and not self._unread.of(self)

    def data_received(self, data: bytes) -> None:
        """Parse the received bytes, up to the limit for a head."""
        start = 0
        while True:
            piece = data[start : start + min(_SLICE, MAX_HEAD - self._head)]
            self._parse(piece)
            start += len(piece)
            if start >= len(data) or self._is_refused:
                return

    def _parse(self, piece: bytes) -> None:
        if self._is_refused or self._force_close:
            return
        count, is_body = self._request_count, not self._body.is_eof()
        super().data_received(piece)
        if self._request_count > count:
            self._head = 0
            self._body = self._messages[-1][1]
        elif not is_body and not self._buffer_paused and not self._upgraded:
            self._head += len(piece)
        if piece:
            self._unread.add(self, len(piece))
        if self._head >= MAX_HEAD:
            self._refuse_head()

    def _refuse_head(self) -> None:
        """Queue the answer 431 behind the earlier requests of the connection, and stop parsing."""
        self._is_refused = True
        self._messages.append((_ErrInfo(431, LineTooLong(b"", MAX_HEAD), ""), EMPTY_PAYLOAD))
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def taken(self) -> None:
        """Record that a handler has read the request. The bytes of requests that wait behind it still count."""
        if not self._messages:
            self._unread.forget(self)

    def cut_off(self, reason: str) -> None:
        """Close the connection immediately, without sending the remaining bytes."""
        if self.transport is not None:
            self.transport.abort()
            CONNECTIONS_CUT_OFF.labels(reason).inc()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Discard the unread bytes. The kernel reports a reader that acknowledges nothing as a timeout."""
        self.is_unreachable = isinstance(exc, TimeoutError)
        self._unread.forget(self)
        super().connection_lost(exc)

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send the answer. Replace an answer that aiohttp raised outside the middlewares: it repeats the input."""
        if isinstance(resp, web.HTTPException):
            resp = self._refusal(request, resp.status, "malformed")
        self.is_sending = True
        try:
            return await super().finish_response(request, resp, start_time)
        finally:
            self.is_sending = False
            self.answered += 1

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - it repeats the input
    ) -> web.StreamResponse:
        """Answer a request that is invalid HTTP or too large, or that fails outside the middlewares.

        aiohttp's own answer and log line repeat the input, which may contain a token.
        """
        if isinstance(exc, ConnectionError):
            raise exc
        if request.writer.output_size > 0:
            raise ConnectionError("A part of another answer has been sent already")
        if status >= 500:
            log.error("a defect kept the gateway from answering", error=type(exc).__name__)
        is_large = isinstance(exc, LineTooLong) or (
            isinstance(exc, HttpProcessingError) and "Too many headers" in exc.message
        )
        return self._refusal(request, status, "too-large" if is_large else "malformed")

    def _refusal(self, request: web.BaseRequest, status: int, reason: str) -> web.Response:
        if status < 500:
            BAD_REQUESTS.labels(reason).inc()
        ANSWERS.labels("none", f"{status // 100}xx").inc()
        what = "too large: a header or its line, or all of them" if reason == "too-large" else "not valid HTTP"
        text = (
            f"The request's head is {what}. Correct it." if status < 500 else "A bug in the gateway. Try again later."
        )
        response = web.Response(status=status, text=f"{text} [http-{status}]\n")
        add_headers(request, response)
        response.force_close()
        return response


class Server(web.Server):
    """A server whose connections have the gateway's limits."""

    unread: Unread

    @classmethod
    def of(cls, server: web.Server) -> "Server":
        """Return a server for the same application."""
        own = cls(server.request_handler, request_factory=server.request_factory, **server._kwargs)  # noqa: SLF001 - as `Server` itself does
        own.unread = Unread()
        return own

    def __call__(self) -> web.RequestHandler:
        """Return the protocol of a new connection."""
        return Connection(self, self.unread, loop=self._loop, **self._kwargs)


class Runner(web.AppRunner):
    """A runner that serves an application with the gateway's limits."""

    async def _make_server(self) -> web.Server:
        return Server.of(await super()._make_server())
