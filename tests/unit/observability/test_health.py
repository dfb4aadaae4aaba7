"""The answers of the probes."""

import asyncio
import socket
import time
from types import SimpleNamespace

import aiohttp
import pytest

from worker.observability.health import STUCK_SECONDS, HealthServer, Probes


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
    """A worker that becomes ready is ready at the next probe."""
    reasons: list[str | None] = [None, "Stopping.", None]
    async with HealthServer(0, lambda: None, reasons.pop) as server:
        assert [200, 503, 200] == [(await get(server, "/ready"))[0] for _ in range(3)]


async def test_port_is_free_again_after_closing() -> None:
    """A worker that restarts at once gets its port back, and a closed server no longer answers."""
    async with HealthServer(0, lambda: None, lambda: None) as server:
        port = server.port
    with pytest.raises(aiohttp.ClientConnectionError):
        await get(server, "/live")
    async with HealthServer(port, lambda: None, lambda: None) as server:
        assert (port, 200) == (server.port, (await get(server, "/live"))[0])


async def test_taken_port_is_an_error() -> None:
    """The worker does not start without its probes."""
    with socket.create_server(("", 0)) as taken, pytest.raises(OSError, match="in use"):
        async with HealthServer(taken.getsockname()[1], lambda: None, lambda: None):
            pass


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="needs IPv6")
async def test_answers_on_both_address_families() -> None:
    """The kubelet may connect over IPv4 or IPv6."""
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
    """A rebalance and a shutdown wait for running deployments, which a restart would cut off."""
    stop, partitions = asyncio.Event(), asyncio.Event()
    if stopping:
        stop.set()
    if assigned:
        partitions.set()
    probes = Probes(stop)
    probes.requests = SimpleNamespace(assigned=partitions, polled_at=time.monotonic() - silent)
    assert alive == (probes.live() is None)
