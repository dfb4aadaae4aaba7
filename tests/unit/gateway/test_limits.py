"""Limits on what unauthenticated clients can use: lines, bodies, connections, time."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from types import SimpleNamespace
from typing import Any

import pytest

from tests.unit.gateway.door import PREFIX, door_of, open_door, token
from worker.gateway import connection as connection_module
from worker.gateway import http
from worker.gateway.connection import MAX_BODY, MAX_HEAD, MAX_HEADERS, MAX_LINE
from worker.gateway.headers import SECURITY_HEADERS
from worker.gateway.http import IDLE_SECONDS, MAX_CONNECTIONS, Connections, serving
from worker.gateway.metrics import ANSWERS, BAD_REQUESTS, CONNECTIONS_CUT_OFF


class FakeTransport:
    """A transport that records whether it was aborted or closed."""

    is_aborted = False
    is_closed = False

    def abort(self) -> None:
        self.is_aborted = True

    def close(self) -> None:
        self.is_closed = True


class FakeConnection:
    """A connection as aiohttp's server lists it."""

    def __init__(self, *, is_resting: bool = False) -> None:
        self.transport = FakeTransport()
        self.is_resting = is_resting

    def cut_off(self, _: str) -> None:
        self.transport.abort()


def connection(*, is_resting: bool = False) -> Any:
    return FakeConnection(is_resting=is_resting)


def counted(counter: Any, *labels: str) -> float:
    """Return the value of a gateway counter."""
    return float((counter.labels(*labels) if labels else counter)._value.get())


def test_a_silent_connection_is_cut_off() -> None:
    """A connection is cut off after IDLE_SECONDS of silence from its start; a busy connection may take longer."""
    now = 0.0
    connections = Connections(lambda: now)
    silent, busy = connection(), connection()
    server: Any = SimpleNamespace(connections=[silent, busy])
    connections._busy[busy.transport] = 1
    for now in (0.0, IDLE_SECONDS, IDLE_SECONDS + 0.1):  # noqa: B007 - the clock reads it
        connections.sweep(server)
    assert (True, False) == (silent.transport.is_aborted, busy.transport.is_aborted)
    del connections._busy[busy.transport]
    connections.sweep(server)
    now += IDLE_SECONDS + 1
    connections.sweep(server)
    assert busy.transport.is_aborted


def test_a_connection_between_two_requests_is_closed_and_no_slow_one() -> None:
    """A connection between two requests is closed, not aborted.

    A browser that has read its answer is no attack and no reason for an alert.
    """
    now = 0.0
    connections, resting = Connections(lambda: now), connection(is_resting=True)
    for now in (0.0, IDLE_SECONDS + 0.1):  # noqa: B007 - the clock reads it
        connections.sweep(SimpleNamespace(connections=[resting]))  # type: ignore[arg-type]
    assert (True, False) == (resting.transport.is_closed, resting.transport.is_aborted)


def test_of_too_many_the_oldest_idle_ones_go() -> None:
    """Above MAX_CONNECTIONS, the oldest idle connections are cut off, and only as many as exceed it."""
    connections = Connections(lambda: 0.0)
    opened = [connection() for _ in range(MAX_CONNECTIONS + 3)]
    for it in opened:
        connections._idle_since[it] = -float(len(connections._idle_since)) / 1e6
    connections.sweep(SimpleNamespace(connections=opened))  # type: ignore[arg-type]
    assert opened[-3:] == [it for it in opened if it.transport.is_aborted]


@asynccontextmanager
async def opened(app: Any) -> AsyncIterator[Callable[[], Any]]:
    """Serve the app for connections that stay open, and close them at the end."""
    writers: list[asyncio.StreamWriter] = []
    async with serving(app, Connections(), "127.0.0.1", 0) as port:

        async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writers.append(writer)
            return reader, writer

        yield connect
        for it in writers:
            it.close()
            with suppress(ConnectionError):
                await it.wait_closed()


@asynccontextmanager
async def raw(app: Any) -> AsyncIterator[Callable[[bytes], Any]]:
    """Serve the app, and yield a function that sends raw bytes and returns the answer."""
    async with serving(app, Connections(), "127.0.0.1", 0) as port:

        async def say(data: bytes) -> bytes:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(data)
                return await asyncio.wait_for(_answer(reader), 5)
            finally:
                writer.close()
                with suppress(ConnectionError):
                    await writer.wait_closed()

        yield say


async def _answer(reader: asyncio.StreamReader) -> bytes:
    """Return an answer's head and a part of its body."""
    head = await reader.readuntil(b"\r\n\r\n")
    return head + await reader.read(500)


@pytest.mark.parametrize(
    ("length", "status"), [(MAX_LINE - 200, b"401"), (MAX_LINE + 100, b"400"), (10 * MAX_LINE, b"400")]
)
async def test_a_line_is_as_long_as_a_path_with_a_token(length: int, status: bytes) -> None:
    """A request line of up to 16 KiB is read, which is enough for a token of 8 KiB; a longer line is rejected."""
    async with raw(door_of()[0]) as say:
        path = f"{PREFIX}/deploy/{'0' * 8}-0000-0000-0000-{'0' * 12}/{'0' * 8}-0000-0000-0000-{'0' * 12}?jwtToken="
        answer = await say(
            f"GET {path}{'x' * (length - len(path))} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode()
        )
        assert status == answer[9:12], answer


HEAD = b"GET /live HTTP/1.1\r\nHost: a\r\n"


def fields(count: int, length: int, end: bytes = b"\r\n") -> bytes:
    """Return a request with `count` more headers of `length` bytes each."""
    return HEAD + b"".join(b"X-%04d: %s\r\n" % (number, b"x" * (length - 10)) for number in range(count)) + end


@pytest.mark.parametrize(
    ("request_head", "status"),
    [
        (fields(MAX_HEADERS - 1, 100), b"404"),
        (fields(MAX_HEADERS + 1, 100), b"400"),
        (fields(3, MAX_LINE), b"404"),
        (fields(5, MAX_LINE), b"431"),
        (fields(60, MAX_HEAD // 50), b"431"),
        (fields(5, MAX_LINE, end=b""), b"431"),  # the head never ends
        (b"GET /" + b"x" * MAX_LINE * 2 + b" HTTP/1.1\r\n\r\n", b"400"),
    ],
    ids=["many", "too many", "large", "too large", "too large in all", "without an end", "a long line"],
)
async def test_a_head_is_bounded(request_head: bytes, status: bytes) -> None:
    """A head is bounded by the number of its headers and by their total size, whether or not it is complete."""
    before = counted(BAD_REQUESTS, "too-large"), counted(ANSWERS, "none", "4xx")
    async with raw(door_of()[0]) as say:
        assert status == (await say(request_head))[9:12]
    refused = 0 if status == b"404" else 1
    assert before[0] + refused == counted(BAD_REQUESTS, "too-large")
    assert before[1] + 1 == counted(ANSWERS, "none", "4xx")


async def test_heads_are_bounded_one_by_one() -> None:
    """Each head is bounded separately: bodies and later requests of the same connection do not count.

    A connection may therefore have any number of requests.
    """
    body = b"POST /deploy HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n" + b"x" * 60_000
    async with opened(door_of()[0]) as connect:
        reader, writer = await connect()
        for _ in range(3):
            writer.write(fields(2, MAX_LINE) * 4 + body)
            for status in (b"404",) * 4 + (b"404",):
                head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
                assert status == head[9:12]
                length = next(it for it in head.split(b"\r\n") if it.lower().startswith(b"content-length"))
                await reader.readexactly(int(length.split()[1]))


async def test_what_is_unread_is_bounded_over_all_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unread bytes are bounded over all connections.

    The oldest unfinished requests are cut off, and other requests are answered in the meantime.
    """
    monkeypatch.setattr(connection_module, "MAX_UNREAD", 200_000)
    before = counted(CONNECTIONS_CUT_OFF, "large")
    async with opened(door_of()[0]) as connect:
        held = []
        for _ in range(8):
            reader, writer = await connect()
            writer.write(fields(3, MAX_LINE, end=b""))
            await writer.drain()
            held.append(reader)
            assert b"404" == (await one_answer(connect))[9:12]
        assert b"" == await asyncio.wait_for(held[0].read(), 5)
        assert before + 4 == counted(CONNECTIONS_CUT_OFF, "large")
        assert not held[-1].at_eof()


async def one_answer(connect: Any) -> bytes:
    reader, writer = await connect()
    writer.write(HEAD + b"\r\n")
    return await asyncio.wait_for(_answer(reader), 5)


async def test_a_connection_without_a_complete_request_counts_as_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slow connections over a real socket are cut off and counted.

    The gateway's clock fires before aiohttp's own, which counts nothing.
    """
    monkeypatch.setattr(http, "IDLE_SECONDS", 0.1)
    monkeypatch.setattr(http, "SWEEP_SECONDS", 0.02)
    before = counted(CONNECTIONS_CUT_OFF, "slow")
    async with opened(door_of()[0]) as connect:
        silent, halfway, resting = [await connect() for _ in range(3)]
        halfway[1].write(HEAD)
        resting[1].write(HEAD + b"\r\n")
        for reader, _ in (silent, halfway, resting):
            with suppress(ConnectionError):
                await asyncio.wait_for(reader.read(), 5)
    assert before + 2 == counted(CONNECTIONS_CUT_OFF, "slow")


MALFORMED = {
    "a line that is too long": b"GET /" + b"secret" * 5000 + b" HTTP/1.1\r\n\r\n",
    "a method that is none": b"SE CRET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "a header that is none": HEAD + b"secret secret\r\n\r\n",
    "another protocol": b"\x16\x03\x01\x00secret",
    "an expectation": b"POST /deploy HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: secret\r\n\r\nab",
    "two lengths": HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nsecret",
    "a body of another encoding": b"POST /deploy HTTP/1.1\r\nHost: a\r\nContent-Encoding: gzip\r\n"
    b"Content-Length: 12\r\n\r\nsecret secret",
    "a body whose chunks are none": b"POST /deploy HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nsecret\r\n",
}


@pytest.mark.parametrize("sent", MALFORMED.values(), ids=MALFORMED)
async def test_what_is_no_http_has_an_answer_of_the_gateways(sent: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """Malformed HTTP is counted and gets the gateway's headers; no answer or log line repeats what was sent."""
    before = counted(BAD_REQUESTS, "malformed") + counted(BAD_REQUESTS, "too-large")
    async with raw(door_of()[0]) as say:
        answer = await say(sent)
    head = answer.split(b"\r\n\r\n")[0].decode().splitlines()
    assert "HTTP/1.1 4" == head[0][:10].replace("1.0", "1.1")
    given = dict(it.split(": ", 1) for it in head[1:])
    assert SECURITY_HEADERS == {name: given.get(name) for name in SECURITY_HEADERS}
    assert b"secret" not in answer.lower()
    assert b"aiohttp" not in answer.lower()
    assert "secret" not in caplog.text
    assert before + 1 == counted(BAD_REQUESTS, "malformed") + counted(BAD_REQUESTS, "too-large")


async def test_a_body_that_does_not_come_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that never arrives is answered with 408, so that no client holds a slot by promising bytes."""
    monkeypatch.setattr(http, "BODY_SECONDS", 0.05)
    async with raw(door_of()[0]) as say:
        head = f"POST {PREFIX}/v1/deployments HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n1234"
        assert b"408" == (await say(head.encode()))[9:12]


async def test_a_large_body_is_refused() -> None:
    """A large body is rejected by its size alone, before its token is verified."""
    async with open_door() as door:
        response = await door.post("/v1/deployments", data=b" " * (MAX_BODY + 1), headers={"Authorization": token()})
        assert 413 == response.status
        response = await door.post("/deploy", data=b" " * (2 * MAX_BODY))
        assert 413 == response.status
    assert 64 * 1024 == MAX_BODY


async def test_a_body_is_no_head() -> None:
    """After a body of the largest size, the next request of the connection has the full limit for its head."""
    async with opened(door_of()[0]) as connect:
        reader, writer = await connect()
        writer.write(b"POST /live HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n" % MAX_BODY)
        assert b"HTTP/1.1 100 Continue\r\n\r\n" == await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
        writer.write(b"x" * MAX_BODY + HEAD + b"\r\n")
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
        await reader.readuntil(b"\n")  # the answer's body
        assert [b"404"] * 2 == [head[9:12], (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5))[9:12]]
