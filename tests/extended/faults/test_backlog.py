"""R13, R14: a backlog with one slow user in it; replays, and the request table read from the beginning."""

import asyncio
import time
from pathlib import Path
from statistics import quantiles

import psutil
import pytest
from aiokafka import AIOKafkaProducer

from schemas import State
from tests.extended.faults.report import FULL, Row, size
from tests.support.faults.world import USERS, World, open_world
from tests.support.past import STATES, write_past
from worker.adapters.kafka.partition_store import KafkaPartitionStore
from worker.domain.dead_letter import Replay
from worker.domain.partition_state import REMEMBERED, Checkpoint, RequestTable

pytestmark = pytest.mark.timeout(3000)
MEGABYTE = 1024 * 1024


async def drained(kafka: str, folder: Path, records: int, slow: int) -> tuple[float, float]:
    """Return the p99 of the others' ends in seconds, and the worker's memory in MB; 1 in `slow` records is slow."""
    async with open_world(kafka, folder) as world:
        world.playground.latency = 0.02

        async def answer(key: str) -> None:
            if key.startswith("slow"):
                await asyncio.sleep(1)

        world.playground.answer = answer
        others = []
        for number in range(records):
            if slow and number % slow == 0:
                await world.ask(f"slow-{number}", number, USERS[0])
            else:
                others.append(f"r-{number}")
                await world.ask(others[-1], number, USERS[1 + number % 299])
        worker = await world.start()
        began = time.time()
        await world.until_ended(others, seconds=1200)
        ends = [world.statuses[it][-1].time.timestamp() - began for it in others]
        memory = psutil.Process(worker.process.pid).memory_info().rss / MEGABYTE
        assert all(world.statuses[it][-1].state is State.DEPLOYED for it in others)
        return quantiles(ends, n=100)[98], memory


async def test_a_slow_user(kafka: str, tmp_path: Path) -> None:
    """R13: a user with 1 % of the records, each taking a second, does not delay other users."""
    row, records = Row("R13", "a backlog with 1 % of it one user's, who takes 1 s each"), size(1000, 10_000)
    without, _ = await drained(kafka, tmp_path / "without", records, 0)
    with_it, memory = await drained(kafka, tmp_path / "with", records, 100)
    tolerance = 1.15 if FULL else 1.5  # a short run on a busy machine varies more
    kept = with_it <= tolerance * without + 1 and memory <= 200
    row.report(
        {
            "records": records,
            "p99_without_seconds": round(without, 2),
            "p99_with_seconds": round(with_it, 2),
            "memory_mb": round(memory),
        },
        kept=kept,
    )
    assert kept


async def test_replays_and_the_request_table(kafka: str, tmp_path: Path) -> None:
    """R14: replays that are sent twice are deployed once, and a week's statuses are read in seconds."""
    row, replays, requests = Row("R14", "replays twice, the request table from 0"), size(20, 500), size(10_000, 25_000)
    async with open_world(kafka, tmp_path) as world:
        await world.start()
        for number in range(replays):
            await world.ask(f"r-{number}", number)
        await world.until_ended(world.asked)
        for _ in range(2):
            for number in range(replays):
                await world.ask(Replay(f"r-{number}", 1, f"nonce of {number}").request_id, number)
        await world.until_ended(world.asked)
        async with asyncio.timeout(60):
            while sum((await world.committed()).values()) < 3 * replays:  # noqa: ASYNC110 - the broker tells nobody
                await asyncio.sleep(0.1)
        verdict = world.judge()
        rate, found = await restored(world, requests)
    known = found == REMEMBERED < requests
    kept = verdict.deployed == 2 * replays and verdict.doubled_posts + verdict.illegal == 0 and known
    row.report(
        {"replays": replays, "doubled_posts": verdict.doubled_posts, "status_records_per_second": rate}, kept=kept
    )
    assert kept
    assert rate > 20_000


async def restored(world: World, requests: int) -> tuple[int, int]:
    """Return the records per second at which a processor reads its request table, and the requests that it found."""
    async with AIOKafkaProducer(bootstrap_servers=world.kafka.bootstrap_servers, linger_ms=20) as producer:
        for number in range(requests):
            await write_past(producer, world.kafka, 0, number)
    began = time.monotonic()
    table = RequestTable()
    await KafkaPartitionStore(world.kafka, None, "").load(0, Checkpoint(0), table)
    return round(len(STATES) * requests / (time.monotonic() - began)), len(table)
