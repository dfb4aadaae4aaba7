"""Who waits for the issuer's keys, and who gives way."""

import asyncio

import pytest

from tests.support.builders import record
from tests.support.fakes import FakeJob, FakeProcessor, FakeTime
from worker.delivery.awaiting_keys import AwaitingKeys
from worker.delivery.partition import Job
from worker.domain.request import Record, read_request


class Waiting:
    """Room for so many, and the jobs that were sent to wait, in their order."""

    def __init__(self, limit: int) -> None:
        self.awaiting = AwaitingKeys(limit)
        self.jobs: list[FakeJob] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.over = asyncio.Event()

    async def add(self, *keys: str) -> None:
        """One of each of these keys, one after the other."""
        for key in keys:
            job = FakeJob(record(key=key.encode(), offset=len(self.jobs)))
            self.jobs.append(job)
            self.tasks.append(asyncio.create_task(self.awaiting.wait(job, self.sleep())))
            await asyncio.sleep(0)

    async def sleep(self) -> None:
        await self.over.wait()

    async def end(self) -> None:
        self.over.set()
        await asyncio.gather(*self.tasks)

    @property
    def gave_way(self) -> list[int]:
        return [number for number, job in enumerate(self.jobs) if job.gave_way]


@pytest.mark.parametrize(
    ("keys", "gave_way"),
    [
        ("abc", []),
        ("abcd", [0]),  # all have one: the oldest
        ("abcdef", [0, 1, 2]),
        ("abbc", [1]),  # of the key with most of them, its oldest
        ("aaaabc", [0, 1, 2]),
        ("cbaaaa", [2, 3, 4]),
    ],
)
async def test_who_has_most_gives_way(keys: str, gave_way: list[int]) -> None:
    """A sender of many makes room for one of few; who was there first keeps nobody out."""
    waiting = Waiting(3)
    await waiting.add(*keys)
    assert (gave_way, min(3, len(keys))) == (waiting.gave_way, len(waiting.awaiting))
    await waiting.end()
    assert (gave_way, 0) == (waiting.gave_way, len(waiting.awaiting))


async def test_a_thousand_of_others_do_not_displace_one() -> None:
    """As long as they come from fewer keys than there is room."""
    waiting = Waiting(100)
    await waiting.add("good", *[f"stranger-{number % 50}" for number in range(1000)])
    assert (False, 901, 100) == (waiting.jobs[0].gave_way, len(waiting.gave_way), len(waiting.awaiting))
    await waiting.end()


def started(processor: FakeProcessor, given: Record) -> Job:
    """A job of a record that the partition has read."""
    request = read_request(given)
    state = processor.state.receive(given, request, FakeTime().wall.now)
    assert state
    job = Job(processor, given, request, state)
    processor.jobs.add(job)
    return job


async def test_who_waits_holds_up_neither_its_partition_nor_the_user_of_its_key() -> None:
    """It is not counted, its offset does not pass, and the next of its key goes; afterwards it is as before."""
    processor = FakeProcessor(FakeTime().clocks())
    stranger, good = (started(processor, record({}, key=b"ada", offset=offset)) for offset in (0, 1))
    awaiting, over = AwaitingKeys(), asyncio.Event()
    offsets = processor.state.offsets
    sizes = stranger.record.size, good.record.size
    assert (2, sum(sizes)) == (offsets.buffered, offsets.buffered_bytes)

    async def sleep() -> None:
        await over.wait()

    task = asyncio.create_task(awaiting.wait(stranger, sleep()))
    async with asyncio.timeout(5):
        await good.acquire_key_lock()
    assert (1, sizes[1], 0) == (offsets.buffered, offsets.buffered_bytes, offsets.committable_offset)
    over.set()
    await task
    assert (2, sum(sizes)) == (offsets.buffered, offsets.buffered_bytes)
    turn = asyncio.create_task(stranger.acquire_key_lock())
    await asyncio.sleep(0)
    assert not turn.done()
    good.end()
    await turn


async def test_who_is_cancelled_leaves() -> None:
    """Its partition was lost, or the worker stops."""
    waiting = Waiting(3)
    await waiting.add("a")
    waiting.tasks[0].cancel()
    await asyncio.gather(*waiting.tasks, return_exceptions=True)
    assert (0, []) == (len(waiting.awaiting), waiting.gave_way)
