"""The gauges that Prometheus reads from the worker's state."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError

from schemas import DeploymentStatus, SourceInfo, State
from tests.support.counted import counted
from tests.support.fakes import FakeTime, source
from worker.delivery.admission import FAILURES, RESERVED_BYTES, Admission, Breakers, Budget, Limiter
from worker.delivery.collector import ENDS_SECONDS, LAG_SECONDS, WorkerCollector
from worker.domain.lifecycle import RequestState
from worker.domain.partition_state import PartitionState, RequestTable
from worker.errors import CODES, Unavailable
from worker.ports import Clocks

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def processor(
    partition: int,
    *jobs: tuple[State | None, float],
    committed: int = 0,
    read: int = 0,
    size: int = 0,
    parked: int = 0,
    ready: bool = True,
) -> Any:
    """A processor; `jobs` are states with their ages in seconds, `size` is that of each record read."""
    state = PartitionState(RequestTable(), committed)
    for offset in range(committed, committed + read):
        state.offsets.start(offset, size)
    for number in range(parked):
        resting = RequestState(f"p-{number}", number, NOW)
        source = SourceInfo(topic="requests", partition=partition, offset=number)
        values = {"state": State.PARKED, "attempt": 1, "message": "Unknown.", "source": source}
        resting.apply(DeploymentStatus(request_id=resting.request_id, sequence=3, time=NOW, **values))
        state.requests.leave(resting)
    states = [SimpleNamespace(state=it, since=NOW - timedelta(seconds=age)) for it, age in jobs]
    open_jobs = [SimpleNamespace(state=it, waits_for_turn=False, turn_at=None) for it in states]
    shared = SimpleNamespace(key_queue=SimpleNamespace(waiting=5))
    return SimpleNamespace(partition=partition, ready=ready, state=state, jobs=open_jobs, context=shared)


class World:
    """Processors whose state never changes."""

    def __init__(self, *processors: Any, draining_since: float | None = None) -> None:
        self.time = FakeTime()
        self.admission = Admission(Limiter(2), Breakers(self.time.seconds, self.time.sleep), Budget(RESERVED_BYTES))
        by_partition = {it.partition: it for it in processors}
        requests: Any = SimpleNamespace(
            processors=by_partition,
            draining_since=draining_since,
            unprocessed=lambda: {it.partition: 0.0 if it.ready else 7.0 for it in processors},
        )
        limits = {"request": 3600.0, "post": 330.0}
        clocks = Clocks(lambda: NOW, lambda: 100.0, self.time.sleep, lambda: 0.5)
        self.collector = WorkerCollector(requests, self.admission, limits, clocks)

    def read(self) -> dict[str, dict[tuple[str, ...], float]]:
        """Return metric name without prefix → label values → value."""
        return {
            family.name.removeprefix("playground_deployer_"): {
                tuple(sample.labels.values()): sample.value for sample in family.samples
            }
            for family in self.collector.collect()
        }


class Ends:
    """A consumer that knows the end offsets of partitions, or fails."""

    def __init__(
        self, *answers: Mapping[int, int] | Exception, position: int = 0, highwater: int | None = None
    ) -> None:
        self.answers = list(answers)
        self.at = position
        self.high = highwater
        self.asked: list[Sequence[TopicPartition]] = []

    async def end_offsets(self, places: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        self.asked.append(places)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return {place: answer[place.partition] for place in places}

    def assignment(self) -> set[TopicPartition]:
        return {place for places in self.asked for place in places}

    async def position(self, place: TopicPartition) -> int:
        return self.at

    def partitions_for_topic(self, _: str) -> set[int] | None:
        return {0, 1, 2}

    async def committed(self, place: TopicPartition) -> int | None:
        return None if place.partition == 2 else 4

    async def beginning_offsets(self, places: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(places, 3)

    def highwater(self, place: TopicPartition) -> int | None:
        return self.high

    def last_stable_offset(self, place: TopicPartition) -> int | None:
        return None if self.high is None else self.at


class Enough(Exception):
    """The test has seen all it needs."""


async def follow(world: World, ends: Ends) -> None:
    """Follow the end offsets until every answer was given, ENDS_SECONDS apart."""

    async def sleep(seconds: float) -> None:
        assert seconds == LAG_SECONDS
        if not ends.answers:
            raise Enough

    try:
        await world.collector.follow(ends, "requests", sleep)
    except Enough:
        return


def test_an_idle_worker_reads_zero_everywhere() -> None:
    """Every gauge is present from the start, so no alert waits for its first value."""
    read = World().read()
    assert {(): 0} == read["requests_in_flight"] == read["buffered_records"]
    assert {(): 0} == read["buffered_bytes"] == read["oldest_incomplete_age_seconds"] == read["parked_requests"]
    assert {(): 0} == read["drain_seconds"]
    assert {("catalog",): 0, ("artifacts",): 0, ("playground",): 0} == read["breaker_state"]
    assert {} == read["partition_committable_offset"] == read["consumer_lag_records"]


def test_the_settings_that_alerts_compare_with_are_shown() -> None:
    """The limits that alerts compare with are exported, so changing a setting needs no change to the rules."""
    assert {("request",): 3600, ("post",): 330} == World().read()["limit_seconds"]


def test_the_partitions_are_read_one_by_one() -> None:
    """Offsets are exported per partition, up to the first unfinished record, and sums cover all partitions."""
    world = World(processor(0, committed=5, read=3, size=10), processor(7, committed=9, read=1, size=4))
    read = world.read()
    assert {("0",): 5, ("7",): 9} == read["partition_committable_offset"]
    assert {("0",): 3, ("7",): 1} == read["partition_incomplete_records"]
    assert ({(): 4}, {(): 34}) == (read["buffered_records"], read["buffered_bytes"])


def test_parked_requests_are_counted_and_not_old() -> None:
    """Parked requests are counted but have no age: they may wait for days, and the age reveals a stuck worker."""
    settled = State.PARKED, 9000
    world = World(processor(0, settled, (State.BUILDING, 20), parked=1), processor(1, (None, 3), parked=1))
    read = world.read()
    assert ({(): 2}, {(): 20}) == (read["parked_requests"], read["oldest_incomplete_age_seconds"])


def test_a_user_s_own_queue_is_not_old() -> None:
    """Of a user's 50 requests of 132 s each, the last is as old as its key lock, and those that wait do not count."""
    it = processor(0, (State.ACCEPTED, 6600), (State.BUILDING, 6500), (State.BUILDING, 30))
    waiting, had_waited, _ = it.jobs
    waiting.waits_for_turn, had_waited.turn_at = True, NOW - timedelta(seconds=100)
    assert {(): 100} == World(it).read()["oldest_incomplete_age_seconds"]


def test_a_stop_shows_how_long_it_takes() -> None:
    """A drain is timed from its start by the monotonic clock."""
    assert {(): 40} == World(draining_since=60.0).read()["drain_seconds"]


async def test_slots_in_use_are_in_flight() -> None:
    """The slots in use are the requests that call a dependency."""
    world = World()
    async with world.admission.limiter.build():
        assert {(): 1} == world.read()["requests_in_flight"]
    assert {(): 0} == world.read()["requests_in_flight"]


async def test_a_breaker_is_closed_open_or_tried() -> None:
    """Each dependency's breaker is exported as closed, open or half-open."""
    world = World()
    for number in range(FAILURES):
        try:
            async with world.admission.breakers.guard(source(number, number)):
                raise Unavailable("catalog-timeout", CODES["catalog-timeout"])
        except Unavailable:
            pass
    assert {("catalog",): 1, ("artifacts",): 0, ("playground",): 0} == world.read()["breaker_state"]
    async with world.admission.breakers.guard(source()):
        assert 2 == world.read()["breaker_state"]["catalog",]
    assert 0 == world.read()["breaker_state"]["catalog",]


async def test_lag_is_what_is_not_finished() -> None:
    """Lag is end offset minus committable offset, and never negative even if the end offset is older."""
    world = World(processor(0, committed=5, read=3), processor(1, committed=9))
    ends = Ends({0: 12, 1: 8})
    await follow(world, ends)
    assert {("0",): 7, ("1",): 0} == world.read()["consumer_lag_records"]
    assert [[TopicPartition("requests", 0), TopicPartition("requests", 1)]] == ends.asked


async def test_what_nobody_processes_is_lag_too() -> None:
    """A partition that cannot be taken over has lag from its committed offset, or from its beginning."""
    world = World(processor(0, committed=5), processor(1, ready=False), processor(2, ready=False))
    await follow(world, Ends({0: 5, 1: 12, 2: 12}, position=5))
    read = world.read()
    assert {("0",): 0, ("1",): 8, ("2",): 9} == read["consumer_lag_records"]
    assert {(): 3} == read["topic_partitions"]


async def test_the_markers_of_transactions_are_no_lag() -> None:
    """Transaction markers are no lag if all records are finished and the position is at the end; else they count."""
    world = World(processor(0, committed=5), processor(1, committed=5, read=2))
    await follow(world, Ends({0: 8, 1: 8}, position=8))
    assert {("0",): 0, ("1",): 3} == world.read()["consumer_lag_records"]


async def test_what_is_excluded_from_back_pressure_is_lag() -> None:
    """A request that waits for keys or for its user is unfinished: its record counts as lag, excluded or not."""
    it = processor(0, committed=5, read=2)
    for offset in (5, 6):
        it.state.offsets.exclude_from_backpressure(offset)
    world = World(it)
    await follow(world, Ends({0: 8}, position=8))
    read = world.read()
    assert ({("0",): 3}, {("0",): 0}) == (read["consumer_lag_records"], read["partition_incomplete_records"])


async def test_what_an_open_transaction_holds_up_is_shown() -> None:
    """Records that an open transaction holds back are exported, although no consumer receives them."""
    world = World(processor(0, committed=5))
    await follow(world, Ends({0: 5}, position=5, highwater=9))
    read = world.read()
    assert ({("0",): 4}, {("0",): 0}) == (read["partition_held_up_records"], read["consumer_lag_records"])


def test_a_partition_that_nobody_processes_is_shown() -> None:
    """An assigned partition that is not processed is exported, as no other worker has it."""
    read = World(processor(0), processor(1, ready=False)).read()
    assert {("0",): 0, ("1",): 7} == read["partition_unprocessed_seconds"]


@pytest.mark.parametrize("trouble", [KafkaConnectionError(), TimeoutError()])
async def test_brokers_that_are_away_leave_no_lag(trouble: Exception) -> None:
    """While brokers are unreachable no lag is exported, as an old value would look healthy; 15 s later it returns."""
    world = World(processor(0, committed=5))
    await follow(world, Ends({0: 12}, trouble))
    assert {} == world.read()["consumer_lag_records"]
    await follow(world, Ends({0: 13}))
    assert {("0",): 8} == world.read()["consumer_lag_records"]


async def test_a_partition_that_is_not_taken_over_yet_says_no_offset() -> None:
    """A partition before its take-over exports no offset, and its lag comes from Kafka's committed offset."""
    world = World(processor(0, ready=False))
    await follow(world, Ends({0: 1_000_000}))
    read = world.read()
    assert {} == read["partition_committable_offset"] == read["partition_incomplete_records"]
    assert {("0",): 999_996} == read["consumer_lag_records"]


async def test_the_loop_is_looked_at_four_times_a_second() -> None:
    """The event loop is sampled four times a second, between two queries of the end offsets."""
    name = "loop_lag_seconds_count"
    before = counted(name)
    await follow(World(), Ends())
    assert before == counted(name)
    await follow(World(processor(0)), Ends({0: 0}, {0: 0}))
    assert before + 4 * ENDS_SECONDS == counted(name)


async def test_what_large_solutions_take_is_read_off_the_budget() -> None:
    """The bytes that large solutions reserve are exported with their limit and the number of waiters."""
    world = World()
    async with world.admission.budget.reserve(large=True) as room:
        waiting = asyncio.create_task(world.admission.budget.reserve(large=True).__aenter__())
        await asyncio.sleep(0)
        room.shrink(1000)
        read = world.read()
        names = ("bytes_in_flight", "bytes_in_flight_limit", "reservations_waiting")
        assert [1000.0, float(RESERVED_BYTES), 1.0] == [read[name][()] for name in names]
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
