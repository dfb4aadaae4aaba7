"""Which requests wait for the issuer's keys, and which are evicted."""

import asyncio

import pytest

from tests.support.builders import record
from tests.support.fakes import FakeJob, FakeProcessor, FakeTime
from worker.delivery.awaiting_keys import AwaitingKeys
from worker.delivery.partition import Job
from worker.domain.request import Record, read_request


class Waiting:
    """Room for a limited number of jobs, and the jobs that wait, in order."""

    def __init__(self, limit: int) -> None:
        self.awaiting = AwaitingKeys(limit)
        self.jobs: list[FakeJob] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.over = asyncio.Event()

    async def add(self, *keys: str) -> None:
        """Add one job for each of these keys, in order."""
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
    def evicted(self) -> list[int]:
        return [number for number, job in enumerate(self.jobs) if job.evicted]


@pytest.mark.parametrize(
    ("keys", "evicted"),
    [
        ("abc", []),
        ("abcd", [0]),  # each has one job: the oldest is evicted
        ("abcdef", [0, 1, 2]),
        ("abbc", [1]),  # the oldest job of the key with the most jobs
        ("aaaabc", [0, 1, 2]),
        ("cbaaaa", [2, 3, 4]),
    ],
)
async def test_the_key_with_most_requests_is_evicted_from(keys: str, evicted: list[int]) -> None:
    """The oldest job of the sender with the most waiting jobs is evicted, so early arrivals keep no sender out."""
    waiting = Waiting(3)
    await waiting.add(*keys)
    assert (evicted, min(3, len(keys))) == (waiting.evicted, len(waiting.awaiting))
    await waiting.end()
    assert (evicted, 0) == (waiting.evicted, len(waiting.awaiting))


async def test_a_thousand_of_others_do_not_displace_one() -> None:
    """A thousand jobs of other keys displace none, as long as there are fewer keys than slots."""
    waiting = Waiting(100)
    await waiting.add("good", *[f"stranger-{number % 50}" for number in range(1000)])
    assert (False, 901, 100) == (waiting.jobs[0].evicted, len(waiting.evicted), len(waiting.awaiting))
    await waiting.end()


def started(processor: FakeProcessor, given: Record) -> Job:
    """A job for a record that the partition has read."""
    request = read_request(given)
    state = processor.state.receive(given, request, FakeTime().wall.now)
    assert state
    job = Job(processor, given, request, state)
    processor.jobs.add(job)
    return job


async def test_who_waits_holds_up_neither_its_partition_nor_the_user_of_its_key() -> None:
    """While a job waits for keys, it is not counted, keeps its offset, and leaves the key lock to the next job."""
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
    """A job that is cancelled, by a lost partition or a stop, leaves the waiting list without an eviction."""
    waiting = Waiting(3)
    await waiting.add("a")
    waiting.tasks[0].cancel()
    await asyncio.gather(*waiting.tasks, return_exceptions=True)
    assert (0, []) == (len(waiting.awaiting), waiting.evicted)
