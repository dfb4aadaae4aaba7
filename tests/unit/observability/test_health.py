"""The health probes."""

import asyncio
import resource
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import SimpleNamespace

import aiohttp
import pytest
from structlog.testing import capture_logs

from worker.concurrency import new_event_loop
from worker.errors import ConfigurationError
from worker.observability.health import MAX_CONNECTIONS, STUCK_SECONDS, UNPROCESSED_SECONDS, HealthServer, Probes
from worker.observability.metrics import HEALTH_CONNECTIONS_CUT_OFF


async def get(server: HealthServer, path: str) -> tuple[int, object]:
    """Return the status and the JSON body of an answer."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{server.port}{path}") as answer,
    ):
        return answer.status, await answer.json()


@pytest.mark.parametrize(
    ("live", "ready", "path", "expected"),
    [
        (None, None, "/live", (200, {"status": "ok"})),
        (None, None, "/ready", (200, {"status": "ok"})),
        (None, "No partition yet.", "/live", (200, {"status": "ok"})),
        (None, "No partition yet.", "/ready", (503, {"status": "failing", "reason": "No partition yet."})),
        ("The loop hangs.", None, "/live", (503, {"status": "failing", "reason": "The loop hangs."})),
        ("The loop hangs.", None, "/ready", (200, {"status": "ok"})),
    ],
)
async def test_answers(live: str | None, ready: str | None, path: str, expected: tuple[int, object]) -> None:
    """Each probe has its own check: 200 if it passes, 503 with the reason otherwise."""
    async with HealthServer(0, lambda: live, lambda: ready) as server:
        assert expected == await get(server, path)


async def test_asks_anew_each_time() -> None:
    """Every probe runs its check again, so a worker that becomes ready is ready at the next probe."""
    reasons: list[str | None] = [None, "Stopping.", None]
    async with HealthServer(0, lambda: None, reasons.pop) as server:
        assert [200, 503, 200] == [(await get(server, "/ready"))[0] for _ in range(3)]


async def test_port_is_free_again_after_closing() -> None:
    """A closed server no longer answers, and its port is free at once for a restarted worker."""
    async with HealthServer(0, lambda: None, lambda: None) as server:
        port = server.port
    with pytest.raises(aiohttp.ClientConnectionError):
        await get(server, "/live")
    async with HealthServer(port, lambda: None, lambda: None) as server:
        assert (port, 200) == (server.port, (await get(server, "/live"))[0])


async def test_taken_port_is_an_error() -> None:
    """The worker does not start without its probes, and names the setting that chose the port."""
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"DEPLOYER_RUNTIME__HTTP_PORT: port {port}: Address"):
            async with HealthServer(port, lambda: None, lambda: None):
                pass


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="needs IPv6")
async def test_answers_on_both_address_families() -> None:
    """The probes answer over IPv4 and IPv6, because the kubelet may use either."""
    async with HealthServer(0, lambda: None, lambda: None) as server:
        for host in ("127.0.0.1", "::1"):
            with socket.create_connection((host, server.port), timeout=5):
                pass


@pytest.mark.parametrize(
    ("assigned", "stopping", "silent", "alive"),
    [
        (True, False, 0, True),
        (True, False, STUCK_SECONDS + 1, False),
        (False, False, STUCK_SECONDS + 1, True),
        (True, True, STUCK_SECONDS + 1, True),
    ],
)
def test_only_a_stuck_loop_is_a_reason_to_restart(assigned: bool, stopping: bool, silent: float, alive: bool) -> None:
    """Only a stuck poll loop fails liveness.

    A rebalance and a shutdown wait for running deployments, which a restart would cut off.
    """
    stop, partitions = asyncio.Event(), asyncio.Event()
    if stopping:
        stop.set()
    if assigned:
        partitions.set()
    probes = Probes(stop)
    polled_at = time.monotonic() - silent
    probes.requests = SimpleNamespace(assigned=partitions, polled_at=polled_at, unprocessed=dict)
    assert alive == (probes.live() is None)


def test_a_partition_that_is_not_processed_is_not_ready() -> None:
    """An unprocessed partition or a wrong topic fails readiness, is named, and recovers without a restart."""
    assigned, seconds = asyncio.Event(), {0: 0.0, 3: UNPROCESSED_SECONDS + 1.0}
    assigned.set()
    probes = Probes(asyncio.Event())
    probes.requests = SimpleNamespace(assigned=assigned, polled_at=0.0, unprocessed=lambda: seconds)
    assert f"not processed: partition 3 for {UNPROCESSED_SECONDS + 1} s" == probes.ready()
    seconds[3] = 0.0
    assert probes.ready() is None
    probes.note_topics("the topic 'status' does not exist")
    assert "the topic 'status' does not exist" == probes.ready()
    probes.note_topics(None)
    assert probes.ready() is None


# Unknown clients

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]
HEAD = b"GET /live HTTP/1.1\r\nHost: worker\r\n"


@asynccontextmanager
async def connected(server: HealthServer, *begun: bytes) -> AsyncIterator[list[Connection]]:
    """Open one connection for each text, and send nothing after it."""
    async with AsyncExitStack() as stack:
        connections = []
        for sent in begun:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            stack.callback(writer.transport.abort)
            writer.write(sent)
            connections.append((reader, writer))
        yield connections


async def rest(reader: asyncio.StreamReader) -> bytes:
    """Return the bytes until the connection closes, cleanly or not."""
    received = b""
    async with asyncio.timeout(10):
        try:
            while piece := await reader.read(65536):
                received += piece
        except ConnectionResetError:
            pass
    return received


async def ask(server: HealthServer, request: bytes = HEAD + b"\r\n") -> bytes:
    """Return the whole answer to a request on its own connection, as the kubelet would get it."""
    async with connected(server, request) as [(reader, _)]:
        return await rest(reader)


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    """Raise the limit of file descriptors, because the test holds the client ends of a thousand connections."""
    before, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (before, most))


async def test_unfinished_requests_keep_no_probe_waiting(many_descriptors: None) -> None:
    """Among and after 1,100 unfinished requests, each probe is answered within a second.

    Few file descriptors are in use.
    """
    before, cut_off = descriptors(), HEALTH_CONNECTIONS_CUT_OFF.labels("many")._value.get()
    async with HealthServer(0, lambda: None, lambda: None) as server, AsyncExitStack() as stack:
        for _ in range(11):
            await stack.enter_async_context(connected(server, *[HEAD] * 100))
            async with asyncio.timeout(1):
                assert (await ask(server)).startswith(b"HTTP/1.1 200 OK")
        assert descriptors() - before - 1100 <= MAX_CONNECTIONS + 2
        assert 1100 - MAX_CONNECTIONS <= HEALTH_CONNECTIONS_CUT_OFF.labels("many")._value.get() - cut_off


@pytest.mark.parametrize("loop_factory", [new_event_loop, asyncio.new_event_loop], ids=["the worker's", "asyncio's"])
def test_a_crowd_at_the_same_moment_is_answered(
    many_descriptors: None, loop_factory: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """All 20 probes are answered when they arrive at once with 600 unfinished requests."""
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        answers = runner.run(answers_in_a_crowd())
    assert {b"HTTP/1.1 200 OK"} == {answer.partition(b"\r\n")[0] for answer in answers}


async def answers_in_a_crowd() -> list[bytes]:
    """Return the answers to the 20 probes."""
    async with HealthServer(0, lambda: None, lambda: None) as server, asyncio.TaskGroup() as crowd:
        probes, others = [], []
        for _ in range(20):
            probes.append(crowd.create_task(ask(server)))
            others += [crowd.create_task(ask(server, HEAD)) for _ in range(30)]
        async with asyncio.timeout(10):
            answers = await asyncio.gather(*probes)
        for task in others:
            task.cancel()
    return answers


@pytest.mark.parametrize(
    "begun",
    [
        b"",
        b"G",
        HEAD,
        HEAD + b"a: " + b"b" * 2000,
        b"POST /live HTTP/1.1\r\nHost: worker\r\nContent-Length: 1000000\r\nExpect: 100-continue\r\n",
    ],
    ids=["nothing", "a byte", "a head", "a long header", "a head of a body"],
)
async def test_who_is_slow_is_cut_off(begun: bytes) -> None:
    """A slow client is cut off, whatever it has sent.

    The time counts from the start, so sending a byte now and then does not help.
    """
    slow = HEALTH_CONNECTIONS_CUT_OFF.labels("slow")._value.get()
    async with (
        HealthServer(0, lambda: None, lambda: None, seconds=0.05) as server,
        connected(server, begun) as [(reader, _)],
    ):
        assert b"" == await rest(reader)
    assert slow + 1 == HEALTH_CONNECTIONS_CUT_OFF.labels("slow")._value.get()


async def test_who_does_not_read_is_cut_off() -> None:
    """A client that does not read its answer is cut off."""
    slow = HEALTH_CONNECTIONS_CUT_OFF.labels("slow")
    before = slow._value.get()
    async with (
        HealthServer(0, lambda: "x" * 10_000_000, lambda: None, seconds=0.05) as server,
        connected(server, HEAD + b"\r\n") as [(reader, _)],
    ):
        while slow._value.get() == before:  # noqa: ASYNC110 - there is no event to await
            await asyncio.sleep(0)
        assert len(await rest(reader)) < 10_000_000


async def test_a_connection_has_one_request() -> None:
    """A connection is closed after one answer, even with more requests sent or with a body that never arrives."""
    body = b"POST /live HTTP/1.1\r\nHost: worker\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 50_000
    async with (
        HealthServer(0, lambda: None, lambda: None, seconds=60) as server,
        connected(server, (HEAD + b"\r\n") * 3, body) as connections,
    ):
        answers = [await rest(reader) for reader, _ in connections]
    assert [1, 1] == [answer.count(b"HTTP/1.1 ") for answer in answers]
    assert all(b"Connection: close" in answer for answer in answers)


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\nHost: worker\r\n\r\n",
        HEAD + b"a: " + b"b" * 5000 + b"\r\n\r\n",
        HEAD + b"".join(b"a%d: b\r\n" % number for number in range(40)) + b"\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
    ],
    ids=["a long line", "a long header", "many headers", "TLS"],
)
async def test_what_is_no_short_request_is_refused_in_silence(head: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """An invalid or long request gets 400 and no log line, so that unknown clients cannot fill the log."""
    async with (
        HealthServer(0, lambda: None, lambda: None, seconds=60) as server,
        connected(server, head) as [(reader, _)],
    ):
        assert (await rest(reader)).startswith(b"HTTP/1.0 400 Bad Request")
    assert [] == caplog.records


async def test_a_defect_is_logged_and_the_port_goes_on() -> None:
    """A check that raises is answered with 500 and logged, and the port continues to answer."""

    def broken() -> None:
        raise ZeroDivisionError

    with capture_logs() as logs:
        async with HealthServer(0, broken, lambda: None) as server:
            assert (await ask(server)).startswith(b"HTTP/1.1 500")
            assert 200 == (await get(server, "/ready"))[0]
    assert ["a defect kept the health port from answering"] == [line["event"] for line in logs]
