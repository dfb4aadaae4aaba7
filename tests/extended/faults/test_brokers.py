"""R7, R8: brokers that fail and come back, and a faulty network."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import psutil
import pytest

from schemas import FINAL_STATES
from tests.extended.faults.kafka_nodes import RunningNode, behind_a_proxy, three_nodes, until_usable, use_as_whole
from tests.extended.faults.report import Row, size
from tests.extended.faults.test_members import under_load
from tests.support.faults.verdict import Verdict
from tests.support.faults.world import World, open_world

pytestmark = pytest.mark.timeout(3000)
# Seconds after Kafka's own recovery. In the short form, which runs on busy machines, Kafka may hold a transactional id
# for another 30 s when the broker that coordinated it was killed.
RECOVERS = size(45, 10)
MEGABYTE = 1024 * 1024


async def ask(world: World) -> str:
    """Publish a new request, whatever state the brokers are in, and return its id."""
    number = len(world.asked)
    name = f"probe-{number}"
    while True:  # if the tests' own producer sends it twice, it is the same request
        try:
            async with asyncio.timeout(5):
                await world.ask(name, number)
                return name
        except Exception:  # noqa: BLE001 - whatever it is, it is over soon
            await asyncio.sleep(0.2)


async def recovered(world: World) -> float:
    """Return the seconds from now until a new request is deployed."""
    began = time.monotonic()
    name = await ask(world)
    await world.until([name], lambda status: status.state in FINAL_STATES)
    return time.monotonic() - began


def megabytes(world: World) -> float:
    """Return the resident memory of the largest worker in MB."""
    return max(float(psutil.Process(it.process.pid).memory_info().rss) / MEGABYTE for it in world.workers if it.runs)


def judged(row: Row, verdict: Verdict, slowest: float, grown: float, **more: int) -> None:
    """Assert that everything is deployed in the end, soon after the fault, and without more memory."""
    kept = (
        verdict.deployed == verdict.requests
        and not (verdict.lost or verdict.ended_twice or verdict.illegal or verdict.wrong_bundles or verdict.overlaps)
        and verdict.doubled_posts == 0
        and slowest <= RECOVERS
        and grown <= 50
    )
    figures = verdict.figures() | more
    row.report(figures | {"slowest_recovery_seconds": round(slowest, 1), "memory_growth_mb": round(grown)}, kept=kept)
    assert kept


async def faulty(world: World, faults: Sequence[Callable[[], Awaitable[None]]], load: bool) -> tuple[float, float]:
    """Apply each fault while a request is published. Return the slowest recovery and the workers' memory growth."""
    world.playground.latency = 0.1
    await asyncio.gather(*(world.start() for _ in range(2)))
    await recovered(world)
    before, slowest = megabytes(world), 0.0

    async def run() -> None:
        nonlocal slowest
        for fault in faults:
            on_its_way = asyncio.create_task(ask(world))
            await fault()
            await on_its_way
            slowest = max(slowest, await recovered(world))

    if load:
        await under_load(world, run())
    else:
        await run()
    await world.until_ended(world.asked, seconds=180)
    await world.settle_parked()
    return slowest, megabytes(world) - before


async def test_brokers_go_and_come_back(tmp_path: Path) -> None:
    """R7: requests are deployed after each broker is killed, coordinator and leader included, and after all are."""
    row, rounds = Row("R7", "SIGKILL of one broker of three, then of all of them"), size(1, 3)
    random = row.random()
    async with three_nodes(tmp_path / "kafka") as (servers, nodes):

        def one(node: RunningNode, seconds: float) -> Callable[[], Awaitable[None]]:
            async def fault() -> None:
                await node.kill()
                await asyncio.sleep(seconds)
                node.start()
                await until_usable(servers, use_as_whole)  # the worker is timed after Kafka's own recovery

            return fault

        async def all_of_them() -> None:
            await asyncio.gather(*(node.kill() for node in nodes))
            for node in nodes:
                node.start()
            await until_usable(servers, use_as_whole)

        faults = [one(node, random.choice((1, 5))) for _ in range(rounds) for node in nodes]
        async with open_world(servers, tmp_path / "world", replicas=3) as world:
            slowest, grown = await faulty(world, [*faults, *[all_of_them] * size(1, 2)], load=False)
            verdict = world.judge()
    judged(row, verdict, slowest, grown, faults=len(faults) + size(1, 2))


async def test_networks(tmp_path: Path) -> None:
    """R8: requests are deployed despite latency, resets, lost answers, and a network that delivers nothing."""
    row, rounds = Row("R8", "latency of 0.5 s, resets, half-open, black hole, on the way to Kafka"), size(1, 1)
    async with behind_a_proxy(tmp_path / "kafka") as (direct, proxied, proxy):

        async def latency() -> None:
            proxy.latency = 0.5
            await asyncio.sleep(5)
            proxy.latency = 0

        async def resets() -> None:
            for _ in range(5):
                proxy.reset()
                await asyncio.sleep(0.5)

        async def half_open() -> None:
            proxy.answers.clear()
            await asyncio.sleep(size(8, 20))
            proxy.answers.set()
            proxy.reset()

        async def black_hole() -> None:
            proxy.open.clear()
            await asyncio.sleep(size(8, 90))
            proxy.open.set()
            proxy.reset()

        async with open_world(direct, tmp_path / "world", workers_see=proxied) as world:
            faults = [latency, resets, half_open, black_hole] * rounds
            slowest, grown = await faulty(world, faults, load=True)
            verdict = world.judge()
    judged(row, verdict, slowest, grown, faults=len(faults))
