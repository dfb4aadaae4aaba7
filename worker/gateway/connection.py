"""aiohttp's connection with the gateway's bounds on requests, and with its answer to what is not HTTP.

aiohttp bounds each header and the number of headers, but not their sum. It keeps all of them until the head is
complete, and an unauthenticated sender decides whether that ever happens.
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
MAX_LINE = 16 * 1024  # aiohttp's own 8,190 are less than a path with a token of 8 KiB
MAX_HEADERS = 64  # browsers behind two proxies send 30
MAX_HEAD = 64 * 1024  # the request line and all headers
MAX_UNREAD = 16 * 1024 * 1024  # of all connections: what has arrived of requests that no handler has read yet
MAX_QUEUED = 2  # complete requests behind the one that is being answered; then the connection is not read
_SLICE = 16 * 1024  # parsed at once, so that the head's size is known in time

log = structlog.get_logger()


class Unread:
    """The bytes of requests that have arrived and that no handler has read, of all connections together."""

    def __init__(self) -> None:
        self.total = 0
        self._of: dict[Connection, int] = {}  # the connection whose request began first is the first

    def add(self, connection: "Connection", count: int) -> None:
        """Count bytes. Cut off the oldest connections when there are too many bytes."""
        before = self._of.get(connection, 0)
        # A body that is too large is read and dropped, so that its sender sees the answer.
        self._of[connection] = after = min(before + count, MAX_HEAD + MAX_BODY)
        self.total += after - before
        while self.total > MAX_UNREAD:
            oldest = next(iter(self._of))
            self.forget(oldest)
            oldest.cut_off("large")

    def of(self, connection: "Connection") -> int:
        """Return how many bytes there are of this connection."""
        return self._of.get(connection, 0)

    def forget(self, connection: "Connection") -> None:
        """Count the connection's bytes no longer."""
        self.total -= self._of.pop(connection, 0)


class Connection(web.RequestHandler):
    """One connection."""

    if not TYPE_CHECKING:  # aiohttp's class has slots, which mypy takes for all attributes
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
        """Whether it is kept alive between two requests."""
        return self.answered > 0 and not self.is_sending and not self._unread.of(self)

    def data_received(self, data: bytes) -> None:
        """Parse what has arrived, and no more of a head than it may have."""
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
        """Answer, after the requests before this one, that the head is too large; parse nothing any more."""
        self._is_refused = True
        self._messages.append((_ErrInfo(431, LineTooLong(b"", MAX_HEAD), ""), EMPTY_PAYLOAD))
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def taken(self) -> None:
        """Note that a handler has read the request; those that wait behind it still count."""
        if not self._messages:
            self._unread.forget(self)

    def cut_off(self, reason: str) -> None:
        """Close the connection at once, whatever has not been sent yet."""
        if self.transport is not None:
            self.transport.abort()
            CONNECTIONS_CUT_OFF.labels(reason).inc()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Forget what has arrived. The kernel reports a reader that acknowledges nothing as timed out."""
        self.is_unreachable = isinstance(exc, TimeoutError)
        self._unread.forget(self)
        super().connection_lost(exc)

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send the answer. One that aiohttp raised outside of the middlewares repeats what was sent: replace it."""
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
        message: str | None = None,  # noqa: ARG002 - it repeats what was sent
    ) -> web.StreamResponse:
        """Answer what is not HTTP, is too large, or breaks outside of the middlewares.

        aiohttp's own answer and its line in the log repeat what was sent, which may be a token.
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
    """Makes connections with the gateway's bounds."""

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
    """Serves an application with the gateway's bounds."""

    async def _make_server(self) -> web.Server:
        return Server.of(await super()._make_server())
