"""What strangers can take: lines, bodies, connections, time."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from tests.unit.gateway.door import PREFIX, door_of, open_door, token
from worker.gateway import http
from worker.gateway.http import IDLE_SECONDS, MAX_BODY, MAX_CONNECTIONS, MAX_LINE, Connections, serving


class FakeTransport:
    """Notes that it was cut off."""

    is_aborted = False

    def abort(self) -> None:
        self.is_aborted = True


class FakeConnection:
    """A connection as aiohttp's server lists it."""

    def __init__(self) -> None:
        self.transport = FakeTransport()


def connection() -> Any:
    return FakeConnection()


def test_a_silent_connection_is_cut_off() -> None:
    """After its seconds, from its beginning on; one that is answered may take longer."""
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


def test_of_too_many_the_oldest_idle_ones_go() -> None:
    """And as many as are too many."""
    connections = Connections(lambda: 0.0)
    opened = [connection() for _ in range(MAX_CONNECTIONS + 3)]
    for it in opened:
        connections._idle_since[it] = -float(len(connections._idle_since)) / 1e6
    connections.sweep(SimpleNamespace(connections=opened))  # type: ignore[arg-type]
    assert opened[-3:] == [it for it in opened if it.transport.is_aborted]


@asynccontextmanager
async def raw(app: Any) -> AsyncIterator[Callable[[bytes], Any]]:
    """Talk to it byte by byte."""
    async with serving(app, Connections(), "127.0.0.1", 0) as port:

        async def say(data: bytes) -> bytes:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(data)
                return await asyncio.wait_for(reader.read(300), 5)
            finally:
                writer.close()

        yield say


@pytest.mark.parametrize(
    ("length", "status"), [(MAX_LINE - 200, b"401"), (MAX_LINE + 100, b"400"), (10 * MAX_LINE, b"400")]
)
async def test_a_line_is_as_long_as_a_path_with_a_token(length: int, status: bytes) -> None:
    """A token of 8 KiB in the address is read, and 16 KiB are the end."""
    async with raw(door_of()[0]) as say:
        path = f"{PREFIX}/deploy/{'0' * 8}-0000-0000-0000-{'0' * 12}/{'0' * 8}-0000-0000-0000-{'0' * 12}?jwtToken="
        answer = await say(
            f"GET {path}{'x' * (length - len(path))} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode()
        )
        assert status == answer[9:12], answer


async def test_a_body_that_does_not_come_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """408, so that nobody holds a place by promising bytes."""
    monkeypatch.setattr(http, "BODY_SECONDS", 0.05)
    async with raw(door_of()[0]) as say:
        head = f"POST {PREFIX}/v1/deployments HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n1234"
        assert b"408" == (await say(head.encode()))[9:12]


async def test_a_large_body_is_refused() -> None:
    """By its size alone, before a token is looked at."""
    async with open_door() as door:
        response = await door.post("/v1/deployments", data=b" " * (MAX_BODY + 1), headers={"Authorization": token()})
        assert 413 == response.status
        response = await door.post("/deploy", data=b" " * (2 * MAX_BODY))
        assert 413 == response.status
    assert 64 * 1024 == MAX_BODY
