"""Slow and silent readers over real sockets."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.support.builders import REVISION_ID, SOLUTION_ID
from tests.unit.gateway.door import PREFIX, Door, FakeBuilder, door_of, open_door, token
from tests.unit.gateway.test_limits import counted
from worker.gateway import downloads, http, routes
from worker.gateway.downloads import MAX_DOWNLOADS_PER_USER
from worker.gateway.http import Connections, serving
from worker.gateway.metrics import CONNECTIONS_CUT_OFF, DOWNLOADS_CUT_OFF, STREAMS, STREAMS_CUT_OFF
from worker.sandbox.users import STRANGER

ZIP = f"/getSolutionZip/{SOLUTION_ID}/{REVISION_ID}"


class LargeBuilder:
    """A builder whose bundle has 8 MiB."""

    async def build(self, *_: Any) -> Any:
        class Bundle:
            data = bytes(8 * 1024 * 1024)

        return None, Bundle


@asynccontextmanager
async def reader_of(
    path: str, monkeypatch: pytest.MonkeyPatch, more: str = ""
) -> AsyncIterator[tuple[Door, socket.socket]]:
    """Send a request from a socket with a small receive buffer to a gateway with short time-outs."""
    monkeypatch.setattr(http, "SWEEP_SECONDS", 0.02)
    monkeypatch.setattr(http, "IDLE_SECONDS", 0.1)
    monkeypatch.setattr(FakeBuilder, "build", LargeBuilder.build)
    connections = Connections()
    app, own, opened = door_of(connections=connections)
    loop = asyncio.get_running_loop()
    async with serving(app, connections, "127.0.0.1", 0) as port:
        with socket.socket() as it:
            it.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
            it.setblocking(False)
            await loop.sock_connect(it, ("127.0.0.1", port))
            door = opened(None)
            door.say(0)
            head = f"GET {PREFIX}{path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token()}\r\n{more}\r\n"
            await loop.sock_sendall(it, head.encode())
            yield door, it
            own.stopping.set()


async def received(it: socket.socket, pause: float) -> int:
    """Read with a pause before each piece; return the number of bytes."""
    loop, total = asyncio.get_running_loop(), 0
    try:
        while piece := await asyncio.wait_for(loop.sock_recv(it, 256 * 1024), 5):
            total += len(piece)
            if b"\r\n\r\n" in piece[:2000]:
                total -= piece.index(b"\r\n\r\n") + 4
            if total >= 8 * 1024 * 1024:
                break
            await asyncio.sleep(pause)
    except ConnectionError:
        pass
    return total


async def test_a_slow_download_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow download completes: a handler sends it, so the connection is not idle.

    It takes many times as long as an idle connection may.
    """
    async with reader_of(ZIP, monkeypatch) as (_, it):
        assert 8 * 1024 * 1024 == await received(it, 0.004)


async def test_a_download_that_nobody_reads_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """A download that is not read is cut off after CHUNK_SECONDS, and counted."""
    monkeypatch.setattr(downloads, "CHUNK_SECONDS", 0.2)
    before = counted(DOWNLOADS_CUT_OFF)
    async with reader_of(ZIP, monkeypatch) as (_, it):
        async with asyncio.timeout(5):
            while counted(DOWNLOADS_CUT_OFF) == before:  # noqa: ASYNC110 - there is no event to await
                await asyncio.sleep(0.02)
        assert await received(it, 0) < 8 * 1024 * 1024


@pytest.mark.parametrize("path", ["/v1/deployments/r-1/events"])
async def test_a_stream_that_nobody_reads_is_cut_off(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream that is not read is cut off and counted once, whether the gateway or the kernel notices first."""
    monkeypatch.setattr(routes, "SEND_SECONDS", 0.3)
    before = counted(STREAMS_CUT_OFF)
    async with reader_of(path, monkeypatch) as (door, _), asyncio.timeout(20):
        sequence = 0
        while counted(STREAMS_CUT_OFF) == before:
            sequence += 1
            door.say(sequence, "building", message="x" * 999, warnings=[])
            await asyncio.sleep(0.001)
    assert before + 1 == counted(STREAMS_CUT_OFF)


async def test_a_reader_who_leaves_is_not_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader who leaves is not counted as cut off: a closed tab is no reason for an alert."""
    monkeypatch.setattr(routes, "LOOK_SECONDS", 0.02)
    before = counted(STREAMS_CUT_OFF), counted(CONNECTIONS_CUT_OFF, "slow")
    async with reader_of("/v1/deployments/r-1/events", monkeypatch) as (door, it):
        await asyncio.get_running_loop().sock_recv(it, 100)
        it.close()
        async with asyncio.timeout(5):
            while door.view._watched:  # noqa: ASYNC110 - there is no event to await
                await asyncio.sleep(0.02)
    assert before == (counted(STREAMS_CUT_OFF), counted(CONNECTIONS_CUT_OFF, "slow"))


async def test_a_long_poll_ends_when_its_sender_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    """A long poll whose sender leaves frees its slot at once, not after 300 s."""
    monkeypatch.setattr(routes, "LOOK_SECONDS", 0.02)
    before = counted(STREAMS)
    async with reader_of("/v1/deployments/r-1", monkeypatch, "Prefer: wait=300\r\n") as (_, it), asyncio.timeout(5):
        for expected in (before + 1, before):
            while counted(STREAMS) != expected:  # noqa: ASYNC110 - there is no event to await
                await asyncio.sleep(0.01)
            it.close()


async def test_downloads_of_a_user_and_of_all_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Downloads are limited per user and in total: the next gets 429 at once; a finished download frees a slot."""
    go_on = asyncio.Event()
    build = FakeBuilder.build

    async def slow(*args: Any) -> Any:
        await go_on.wait()
        return await build(*args)

    monkeypatch.setattr(FakeBuilder, "build", slow)
    monkeypatch.setattr(downloads, "MAX_DOWNLOADS", MAX_DOWNLOADS_PER_USER + 1)
    async with open_door() as door:
        own, theirs = ({"jwtToken": it} for it in (token(), token(STRANGER)))
        waiting = [asyncio.create_task(door.get(ZIP, headers=own)) for _ in range(MAX_DOWNLOADS_PER_USER)]
        await asyncio.sleep(0.1)
        assert 429 == (await door.get(ZIP, headers=own)).status
        waiting.append(asyncio.create_task(door.get(ZIP, headers=theirs)))
        await asyncio.sleep(0.1)
        assert 429 == (await door.get(ZIP, headers=theirs)).status
        go_on.set()
        assert [200] * 3 == [(await it).status for it in waiting]
        assert 200 == (await door.get(ZIP, headers=own)).status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Sec-Fetch-Site": "cross-site"}, 200),
        ({"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image", "Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}, 403),
        ({"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}, 403),
        ({"Sec-Purpose": "prefetch"}, 403),
    ],
)
async def test_the_portals_cookie_is_enough_where_somebody_opens_the_address(
    headers: dict[str, str], status: int
) -> None:
    """With the portal's cookie, a browser gets the zip only by a navigation, so no other site can start a build.

    A token in the request is always enough.
    """
    async with open_door() as door:
        assert status == (await door.get(ZIP, headers=headers | {"Cookie": f"authToken=Bearer {token()}"})).status
        assert 200 == (await door.get(ZIP, headers=headers | {"jwtToken": token()})).status
