"""The pauses between two take-overs, and the broker's clock."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError
from structlog.testing import capture_logs

from tests.support.fakes import FakeTime
from worker.adapters.kafka.partition_store import MAX_SKEW_SECONDS, by_brokers, note_broker_time
from worker.delivery.admission import KeyQueue
from worker.delivery.partition import MAX_RESTART_SECONDS, PartitionProcessor, WorkerContext
from worker.ports import Clocks


class AbsentKafka:
    """A Kafka that fails this number of take-overs and then never returns."""

    def __init__(self, times: int) -> None:
        self.left = times
        self.enough = asyncio.Event()

    async def fence(self, partition: int) -> Any:
        if not self.left:
            self.enough.set()
            await asyncio.Event().wait()
        self.left -= 1
        raise KafkaConnectionError(f"partition {partition}")


async def test_pauses_between_take_overs_grow_up_to_a_bound() -> None:
    """Pauses between take-overs grow to a bound, so a lasting cause costs Kafka little and recovery takes seconds."""
    time, store = FakeTime(), AbsentKafka(6)
    unused: Any = None
    kafka: Any = store
    shared = WorkerContext(kafka, unused, unused, KeyQueue(), time.clocks(), unused, 3)
    processor = PartitionProcessor(3, shared, lambda *_: None)
    began = processor.unprocessed_since
    with capture_logs():
        running = asyncio.create_task(processor.run())
        await store.enough.wait()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert [0.5, 1.0, 2.0, MAX_RESTART_SECONDS, MAX_RESTART_SECONDS, MAX_RESTART_SECONDS] == time.slept
    assert began == processor.unprocessed_since  # since the assignment, not since the last attempt


async def test_an_assignment_ends_the_pause() -> None:
    """An assignment ends the pause: the group has a coordinator again, so the brokers are back."""
    store, failed = AbsentKafka(1), asyncio.Event()

    async def for_ever(_: float) -> None:
        failed.set()
        await asyncio.Event().wait()

    clocks = Clocks(lambda: datetime.now(UTC), lambda: 0.0, for_ever, lambda: 0.5)
    unused: Any = None
    kafka: Any = store
    processor = PartitionProcessor(
        3, WorkerContext(kafka, unused, unused, KeyQueue(), clocks, unused, 3), lambda *_: None
    )
    with capture_logs():
        running = asyncio.create_task(processor.run())
        await failed.wait()
        assert not store.enough.is_set()
        processor.on_assigned()
        async with asyncio.timeout(5):
            await store.enough.wait()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@pytest.mark.parametrize("skew", [-4000.0, 4000.0])
def test_time_is_the_brokers(skew: float) -> None:
    """The clock follows the broker's with the precision of a quick answer, despite slow ones, and a jump at once."""
    ours = datetime(2026, 11, 29, 12, tzinfo=UTC)
    now = by_brokers(Clocks(lambda: ours, lambda: 0.0, asyncio.sleep, lambda: 0.5)).now
    broker = ours.timestamp() - skew
    try:
        for slow in (0.0, 4.0, 0.0, 4.8):
            note_broker_time(broker, ours.timestamp() - slow / 2, ours.timestamp() + slow / 2)
            assert abs(now().timestamp() - broker) < 0.01
        note_broker_time(broker + 100, ours.timestamp() - 6, ours.timestamp())  # too slow to be precise
        assert abs(now().timestamp() - broker) < 0.01
        note_broker_time(ours.timestamp(), ours.timestamp() - 0.01, ours.timestamp() + 0.01)
        assert abs((now() - ours).total_seconds()) < 0.02
    finally:
        note_broker_time(1000.0, 1000.0, 1000.0)


@pytest.mark.parametrize("skew", [-4000.0, 4000.0])
def test_clocks_that_differ_are_told_once(skew: float) -> None:
    """A clock that differs is logged once, in either direction, and again after it was right in between."""
    note_broker_time(1000.0, 1000.0, 1000.0)
    with capture_logs() as logs:
        for ours in (1000.0 + skew, 1000.0 + skew, 1000.0 + MAX_SKEW_SECONDS, 1000.0 + skew):
            note_broker_time(1000.0, ours, ours)
    note_broker_time(1000.0, 1000.0, 1000.0)
    assert [round(skew)] * 2 == [it["seconds"] for it in logs]
