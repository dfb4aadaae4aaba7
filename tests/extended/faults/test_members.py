"""R4, R5, R6: members of the group that leave gracefully, freeze, or join and leave repeatedly."""

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor

from tests.extended.faults.report import Row, size
from tests.extended.faults.test_kills import total
from tests.support.faults.worker import SESSION_MS
from tests.support.faults.world import World, open_world
from tests.support.worker_process import WorkerProcess

pytestmark = pytest.mark.timeout(3000)
RATE = 10  # requests per second


async def under_load(world: World, work: Awaitable[None]) -> None:
    """Publish requests steadily until the work is done."""

    over = asyncio.Event()  # not a cancellation, which Kafka's client may swallow

    async def ask() -> None:
        while not over.is_set():
            number = len(world.asked)
            await world.ask(f"r-{number}", number)
            await asyncio.sleep(1 / RATE)

    asking = asyncio.create_task(ask())
    try:
        await work
    finally:
        over.set()
        await asyncio.gather(asking, return_exceptions=True)


async def test_rolling_restarts(kafka: str, tmp_path: Path) -> None:
    """R4: workers are replaced one after the other while POSTs run, and nothing is parked or sent twice."""
    row, restarts = Row("R4", "SIGTERM, one worker after the other, under load"), size(4, 50)
    drains, codes = [], []
    async with open_world(kafka, tmp_path) as world:
        world.playground.latency = 0.5
        workers = [await world.start() for _ in range(2)]

        async def restart() -> None:
            for _ in range(restarts):
                workers.append(await world.start())
                oldest = workers.pop(0)
                began = time.monotonic()
                oldest.signal(signal.SIGTERM)
                codes.append(await oldest.process.wait())
                drains.append(time.monotonic() - began)

        await under_load(world, restart())
        await world.until_ended(world.asked)
        verdict = world.judge()
    figures = verdict.figures() | {"restarts": restarts, "longest_drain_seconds": round(max(drains), 1)}
    kept = (
        verdict.deployed == verdict.requests
        and not (verdict.doubled_posts or verdict.illegal or verdict.ended_twice or verdict.overlaps)
        and set(codes) == {0}
    )
    row.report(figures, kept=kept)
    assert kept


async def test_zombies(kafka: str, tmp_path: Path) -> None:
    """R5: a worker that is frozen for 1.5 sessions, also in a transaction, publishes nothing after it resumes."""
    row, zombies = Row("R5", "SIGSTOP for 1.5 sessions, taken over, SIGCONT"), size(2, 13)
    random, worlds = row.random(), 4

    async def one(number: int, its: Random) -> tuple[dict[str, int], int]:
        async with open_world(kafka, tmp_path / str(number)) as world:
            world.playground.latency = 0.3
            rewound = await watched(world, lambda: under_load(world, stopped(world, zombies, its)))
            await world.until_ended(world.asked, seconds=180)
            await world.settle_parked()
            return total([world.judge()]), rewound

    ends = await asyncio.gather(*(one(number, Random(random.random())) for number in range(worlds)))
    figures = {name: sum(it[name] for it, _ in ends) for name in ends[0][0]}
    figures |= {"zombies": worlds * zombies, "accepted_commits": sum(rewound for _, rewound in ends)}
    kept = figures["deployed"] == figures["requests"] and not any(
        figures[it] for it in ("lost", "ended_twice", "illegal", "doubled_posts", "wrong_bundles", "accepted_commits")
    )
    row.report(figures, kept=kept)
    assert kept


async def stopped(world: World, zombies: int, random: Random) -> None:
    """Make one zombie after the other: at a random moment, before its POST, and in the middle of a transaction."""
    await asyncio.gather(*(world.start() for _ in range(2)))
    for number in range(zombies):
        point = ("", "after-intent", "mid-commit", "before-commit")[number % 4]
        target = f"r-{len(world.asked) + 15}"
        zombie = await world.start(kill=f"{point}:{target}" if point else "", stop=True)
        if not point or not await stands_still(zombie, 6):
            await asyncio.sleep(random.uniform(0, 2))
            zombie.signal(signal.SIGSTOP)
        await asyncio.sleep(1.5 * SESSION_MS / 1000)
        zombie.signal(signal.SIGCONT)
        await asyncio.sleep(random.uniform(2, 4))  # during which it may try to publish
        zombie.signal(signal.SIGTERM)
        await zombie.process.wait()


async def stands_still(worker: WorkerProcess, seconds: float) -> bool:
    """Return whether the worker stopped at its point: another worker may have got the request."""
    stat = Path(f"/proc/{worker.process.pid}/stat")
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        if stat.read_text().rpartition(")")[2].split()[0] == "T":
            return True
        await asyncio.sleep(0.05)  # the system sends no notification
    return False


async def watched(world: World, work: Callable[[], Awaitable[None]]) -> int:
    """Return how often a partition's committed offset was seen to go back during the work."""
    rewound, over = 0, asyncio.Event()

    async def watch() -> None:
        nonlocal rewound
        before: dict[int, int] = {}
        while not over.is_set():
            now = await world.committed()
            rewound += sum(now.get(partition, offset) < offset for partition, offset in before.items())
            before = before | now
            await asyncio.sleep(0.25)

    watching = asyncio.create_task(watch())
    try:
        await work()
    finally:
        over.set()
        await asyncio.gather(watching, return_exceptions=True)
    return rewound


async def test_storm(kafka: str, tmp_path: Path) -> None:
    """R6: members join and leave every half second, and no user has two POSTs at once."""
    row, seconds = Row("R6", "a member joins or leaves every 0.5 s"), size(15, 300)
    async with open_world(kafka, tmp_path) as world:
        world.playground.latency = 0.2
        await asyncio.gather(*(world.start() for _ in range(3)))
        joins = 0

        async def storm() -> None:
            nonlocal joins
            ends = time.monotonic() + seconds
            while time.monotonic() < ends:
                async with AIOKafkaConsumer(
                    world.kafka.requests_topic,
                    bootstrap_servers=kafka,
                    group_id=world.kafka.group_id,
                    enable_auto_commit=False,
                    partition_assignment_strategy=(StickyPartitionAssignor,),
                ):
                    joins += 1
                    await asyncio.sleep(0.5)
                await asyncio.sleep(0.5)

        await under_load(world, storm())
        await world.until_ended(world.asked, seconds=180)
        parked = await world.settle_parked()
        verdict = world.judge()
    kept = verdict.deployed == verdict.requests and not (
        verdict.overlaps or verdict.lost or verdict.ended_twice or verdict.illegal or verdict.doubled_posts
    )
    row.report(verdict.figures() | {"joins": joins, "parked": parked}, kept=kept)
    assert kept
