"""R1, R2: load without a fault, and with SIGKILLs."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest

from schemas import State
from tests.extended.faults.report import FULL, Row, size
from tests.support.faults.verdict import Verdict
from tests.support.faults.world import World, open_world

pytestmark = pytest.mark.timeout(1800)


def total(verdicts: Sequence[Verdict]) -> dict[str, int]:
    """Return the sums of the figures of all worlds."""
    return {name: sum(it.figures()[name] for it in verdicts) for name in verdicts[0].figures()}


async def test_load(kafka: str, tmp_path: Path) -> None:
    """R1: without a fault nothing is lost, doubled or out of order."""
    row, count = Row("R1", "no fault, 3 workers"), size(300, 10_000)
    async with open_world(kafka, tmp_path) as world:
        world.playground.latency = 0.01
        await asyncio.gather(*(world.start() for _ in range(3)))
        for number in range(count):
            await world.ask(f"r-{number}", number)
        await world.until_ended(world.asked, seconds=900)
        verdict = world.judge()
    kept = verdict == Verdict(count, count, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    row.report(verdict.figures(), kept=kept)
    assert kept


async def test_kills(kafka: str, tmp_path: Path) -> None:
    """R2: after random kills each request ends once; `park` never POSTs twice, `retry` only POSTs that were running."""
    modes = [("park", "retry")] if not FULL else [("park",), ("retry",)]  # the full run takes one mode after the other
    for at_once in modes:
        assert all(await asyncio.gather(*(killed_worlds(kafka, tmp_path, mode) for mode in at_once)))


async def killed_worlds(kafka: str, folder: Path, mode: str) -> bool:
    """Return whether the guarantees were kept in all worlds of a mode."""
    row = Row(f"R2-{mode}", f"SIGKILL of a worker at random, {mode}")
    worlds, kills, requests = size(2, 4), size(5, 25), size(125, 1250)
    random = row.random()

    async def one(number: int, its: Random) -> tuple[Verdict, dict[str, int]]:
        async with open_world(kafka, folder / f"{mode}-{number}", PLAYGROUND__ON_UNKNOWN_OUTCOME=mode) as world:
            moments = await killed(world, kills, requests, its)
            await world.until_ended(world.asked, seconds=300)
            parked = await world.settle_parked()
            running = sum(in_flight(world, moment) for moment in moments)
            return world.judge(), {
                "parked": parked,
                "posts_at_kills": running,
                "worker_died": ended_workers(world, moments),
            }

    ends = await asyncio.gather(*(one(number, Random(random.random())) for number in range(worlds)))
    figures = total([verdict for verdict, _ in ends]) | {"kills": worlds * kills}
    figures |= {name: sum(of[name] for _, of in ends) for name in ends[0][1]}
    kept = (
        figures["deployed"] + figures["worker_died"] == figures["requests"]
        and figures["failed"] == figures["worker_died"]
        and figures["doubled_posts"] <= (0 if mode == "park" else figures["posts_at_kills"])
        and not any(figures[it] for it in ("lost", "ended_twice", "illegal", "wrong_bundles"))
    )
    row.report(figures, kept=kept)
    return kept


def ended_workers(world: World, moments: Sequence[datetime]) -> int:
    """Count the requests that failed because three kills hit workers that built them (docs/guarantees.md); rare."""
    return sum(
        of[-1].error is not None
        and of[-1].error.code == "worker-died"
        and 3 <= sum(of[0].time <= moment < of[-1].time for moment in moments)
        for of in world.statuses.values()
    )


def in_flight(world: World, moment: datetime) -> int:
    """Count the requests with a durable intent and no outcome at that moment, of all workers, dead or alive."""
    return sum(
        before.state is State.SUBMITTING and before.time <= moment < after.time
        for of in world.statuses.values()
        for before, after in pairwise(of)
    )


async def killed(world: World, kills: int, requests: int, random: Random) -> list[datetime]:
    """Publish requests steadily and kill workers; return the times of the kills."""
    world.playground.latency = 0.2
    workers = list(await asyncio.gather(*(world.start() for _ in range(3))))
    moments = []

    async def ask() -> None:
        for number in range(requests):
            await world.ask(f"r-{number}", number)
            await asyncio.sleep(kills * 6 / requests)

    asking = asyncio.create_task(ask())
    for _ in range(kills):
        await asyncio.sleep(random.uniform(4, 8))
        index = random.randrange(len(workers))
        moments.append(datetime.now(UTC))
        workers[index].process.kill()
        await workers[index].process.wait()
        workers[index] = await world.start(ready=False)
    await asking
    return moments
