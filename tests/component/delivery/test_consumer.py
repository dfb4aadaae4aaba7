"""The request consumer on Apache Kafka, with handlers that finish when the test says so."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import NewTopic, RecordsToDelete
from aiokafka.errors import CorruptRecordException

from schemas import DeploymentInfo, DeploymentStatus, SourceInfo, State
from tests.support.hostile import BAD, careless_producer
from tests.support.topics import admin_client, committed_offsets, create_topics
from worker import settings
from worker.adapters.kafka.partition_store import KafkaPartitionStore
from worker.app import CLOCKS, open_request_consumer
from worker.delivery.consumer import RequestConsumer
from worker.delivery.partition import Job

ENDED = DeploymentStatus(
    request_id="r",
    sequence=3,
    state=State.DEPLOYED,
    time=datetime(2026, 1, 1, tzinfo=UTC),
    attempt=1,
    message="Deployed.",
    source=SourceInfo(topic="t", partition=0, offset=0),
)


class Handler:
    """A handler that records each job and finishes it when released; `free` finishes all. Its work counts as a POST."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, int]] = []
        self.changed = asyncio.Condition()
        self.released: set[tuple[int, int]] = set()
        self.free = False
        self.failure: Exception | None = None

    async def handle(self, job: Job) -> None:
        place = (job.record.partition, job.record.offset)
        await job.acquire_key_lock()
        async with self.changed:
            self.seen.append(place)
            self.changed.notify_all()
        if self.failure:
            raise self.failure
        await job.post(self.until_released(place))
        job.on_committed(ENDED)
        job.finish()

    async def until_released(self, place: tuple[int, int]) -> DeploymentInfo:
        async with self.changed:
            await self.changed.wait_for(lambda: self.free or place in self.released)
        return DeploymentInfo(id="d", url="http://playground.example/d")

    async def until_seen(self, count: int) -> None:
        async with self.changed:
            await self.changed.wait_for(lambda: len(self.seen) >= count)

    async def release(self, *places: tuple[int, int]) -> None:
        async with self.changed:
            self.released |= set(places)
            self.free = self.free or not places
            self.changed.notify_all()


class Client(AIOKafkaConsumer):  # type: ignore[misc]  # aiokafka has no types
    """A Kafka client whose polls fail while `failure` is set."""

    failure: Exception | None = None

    async def getmany(self, *partitions: TopicPartition, **options: int) -> dict[TopicPartition, list[ConsumerRecord]]:
        """One poll."""
        if self.failure:
            raise self.failure
        return await super().getmany(*partitions, **options)  # type: ignore[no-any-return]


class Member:
    """A running consumer of the group."""

    def __init__(
        self,
        client: Client,
        consumer: RequestConsumer,
        handler: Handler,
        task: asyncio.Task[None],
        stop: asyncio.Event,
    ) -> None:
        self.client = client
        self.consumer = consumer
        self.handler = handler
        self.task = task
        self.stop = stop

    @property
    def ready(self) -> list[bool]:
        """For each assigned partition, whether it has been taken over."""
        return [processor.ready for processor in self.consumer.processors.values()]

    async def stopped(self) -> None:
        self.stop.set()
        await self.task


class Group:
    """A topic and the consumer group that reads it."""

    def __init__(self, kafka: settings.KafkaSettings, producer: AIOKafkaProducer) -> None:
        self.kafka = kafka
        self.bootstrap = kafka.bootstrap_servers
        self.topic = kafka.requests_topic
        self.producer = producer
        self.numbers = count()

    async def publish(self, records: int, partition: int = 0) -> None:
        """Publish records, each under its own key, so that no record waits for another."""
        for _ in range(records):
            key = b"key-%d" % next(self.numbers)
            await self.producer.send_and_wait(self.topic, b"{}", key=key, partition=partition)

    async def committed(self, partition: int = 0) -> int:
        return (await committed_offsets(self.bootstrap, self.topic)).get(partition, 0)

    async def delete_before(self, offset: int) -> None:
        async with admin_client(self.bootstrap) as admin:
            await admin.delete_records({TopicPartition(self.topic, 0): RecordsToDelete(before_offset=offset)})

    async def until_committed(self, expected: int) -> None:
        while await self.committed() != expected:  # noqa: ASYNC110 - the broker does not notify, so poll
            await asyncio.sleep(0.02)

    @asynccontextmanager
    async def member(self, *, assigned: bool = True, **runtime: float) -> AsyncIterator[Member]:
        options = settings.RuntimeSettings(**{"drain_seconds": 30, **runtime})
        both: Any = SimpleNamespace(kafka=self.kafka, runtime=options, playground=SimpleNamespace(park_max_seconds=3))
        client = Client(
            bootstrap_servers=self.bootstrap,
            group_id=self.topic,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            rebalance_timeout_ms=40_000,
            heartbeat_interval_ms=200,
        )
        await client.start()
        handler, stop = Handler(), asyncio.Event()
        deployer: Any = handler
        store = KafkaPartitionStore(self.kafka, client, "cluster")
        async with open_request_consumer(both, client, store, deployer, CLOCKS, "cluster") as consumer:
            task = asyncio.create_task(consumer.run(stop))
            try:
                if assigned:
                    await consumer.assigned.wait()
                yield Member(client, consumer, handler, task, stop)
            finally:
                stop.set()
                await handler.release()
                await asyncio.gather(task, return_exceptions=True)
                await client.stop()


@pytest.fixture
async def group(kafka: str, unique: str) -> AsyncIterator[Group]:
    names = {name: f"{unique}.{name}" for name in ("status_topic", "settlements_topic", "dead_letter_topic")}
    options = settings.KafkaSettings(bootstrap_servers=kafka, requests_topic=unique, group_id=unique, **names)
    await create_topics(kafka, *(NewTopic(name, 2, 1) for name in (unique, *names.values())))
    async with AIOKafkaProducer(bootstrap_servers=kafka) as producer:
        yield Group(options, producer)


async def test_only_what_is_finished_without_a_gap_is_committed(group: Group) -> None:
    """Records that finish after an unfinished record are not committed: that would lose the unfinished record."""
    async with group.member() as member:
        await group.publish(3)
        await member.handler.until_seen(3)
        await member.handler.release((0, 1), (0, 2))
        assert 0 == await group.committed()
        await member.handler.release((0, 0))
        await group.until_committed(3)


async def test_the_poll_loop_does_not_wait_for_a_handler(group: Group) -> None:
    """The poll loop continues while a handler runs: a consumer that waited for a deployment would leave its group."""
    async with group.member() as member:
        await group.publish(1)
        await member.handler.until_seen(1)
        before = member.consumer.polled_at
        await group.publish(1)
        await member.handler.until_seen(2)
        assert before < member.consumer.polled_at


async def test_a_header_that_aiokafka_cannot_read_stops_nobody(group: Group) -> None:
    """A record with an unreadable header is delivered, and so are the records around it.

    That holds for compressed and uncompressed batches, in the record's own batch and in others.
    """
    await group.publish(3, partition=0)
    await group.publish(3, partition=1)
    for compression in (None, "gzip"):
        async with careless_producer(group.bootstrap, compression_type=compression, linger_ms=100) as producer:
            sent = [await producer.send(group.topic, b"{}", partition=0, headers=it) for it in (BAD, BAD, [], BAD, [])]
            await asyncio.gather(*sent)
    await group.publish(2, partition=0)
    await group.publish(2, partition=1)
    async with group.member() as member:
        await member.handler.release()
        await member.handler.until_seen(20)
        await group.until_committed(15)
        assert [*((0, number) for number in range(15)), *((1, number) for number in range(5))] == sorted(
            member.handler.seen
        )


async def test_headers_that_cannot_be_read_slow_nobody_down(group: Group) -> None:
    """With 20 unreadable headers among 2,000 records, all records are read within seconds, each once."""
    async with careless_producer(group.bootstrap) as producer:
        for number in range(2000):
            headers = BAD if number % 100 == 50 else []
            await producer.send(group.topic, b"{}", key=b"k-%d" % number, partition=0, headers=headers)
    async with group.member(max_buffered_records=5000) as member:
        await member.handler.release()
        async with asyncio.timeout(5):
            await member.handler.until_seen(2000)
        assert [(0, number) for number in range(2000)] == sorted(member.handler.seen)


async def test_reading_stops_when_too_much_is_unfinished(group: Group) -> None:
    """Reading pauses at the limit of buffered records and resumes later, without skipping or repeating a record."""
    async with group.member(max_buffered_records=4) as member:
        await group.publish(20)
        await member.handler.until_seen(4)
        await member.handler.release((0, 0))
        await group.until_committed(1)
        assert 5 >= len(member.handler.seen)
        await member.handler.release()
        await group.until_committed(20)
        assert [(0, number) for number in range(20)] == sorted(member.handler.seen)


async def test_headers_count_as_unfinished_bytes(group: Group) -> None:
    """Headers count towards the limit of buffered bytes: a thousand large tokens in headers could fill the memory."""
    async with group.member(max_buffered_bytes=1000) as member:
        headers = [("authorization", b"x" * 1000)]
        for key in (b"first", b"second"):
            await group.producer.send_and_wait(group.topic, b"{}", key=key, partition=0, headers=headers)
            await member.handler.until_seen(1)
        await asyncio.wait([member.task], timeout=0.5)
        assert [(0, 0)] == member.handler.seen
        await member.handler.release()
        await group.until_committed(2)


async def test_a_stop_finishes_what_was_read(group: Group) -> None:
    """A graceful shutdown lets a running POST finish and commits its offset before the worker leaves the group."""
    async with group.member() as member:
        await group.publish(2)
        await member.handler.until_seen(2)
        member.stop.set()
        await asyncio.wait([member.task], timeout=0.5)
        assert not member.task.done()
        await member.handler.release()
        await member.task
        assert 2 == await group.committed()


async def test_what_does_not_finish_in_time_is_read_again(group: Group) -> None:
    """A record cut off when the drain time ends stays uncommitted, and the next worker reads it again."""
    async with group.member(drain_seconds=0.1) as member:
        await group.publish(1)
        await member.handler.until_seen(1)
        await member.stopped()
    assert 0 == await group.committed()
    async with group.member() as member:
        await member.handler.until_seen(1)
        assert [(0, 0)] == member.handler.seen


async def test_a_rebalance_waits_for_nobody(group: Group) -> None:
    """A rebalance leaves a kept partition undisturbed; the next owner gets a revoked partition's unfinished records."""
    async with group.member() as first:
        await group.publish(3, partition=0)
        await group.publish(3, partition=1)
        await first.handler.until_seen(6)
        async with group.member() as second:
            await second.handler.until_seen(3)  # while the first still works on all six
            await second.handler.release()
            await first.handler.release()
            await group.publish(2, partition=0)
            await group.publish(2, partition=1)
            for partition in (0, 1):
                while await group.committed(partition) != 5:  # noqa: ASYNC110 - the broker does not notify
                    await asyncio.sleep(0.02)
            taken, stayed = {partition for partition, _ in second.handler.seen}, first.handler.seen[6:]
            assert 1 == len(taken)
            assert [(partition, 3 + it) for partition in {0, 1} - taken for it in range(2)] == stayed


async def test_a_partition_that_comes_late_is_read_beside_a_backlog(group: Group) -> None:
    """With more than half of the limit in use, a partition assigned later is still read at once."""
    async with group.member(max_buffered_records=10) as first:
        async with group.member() as second:
            while [[True]] * 2 != [it.ready for it in (first, second)]:  # noqa: ASYNC110 - the group does not notify
                await asyncio.sleep(0.02)
            (own,), (late,) = first.consumer.processors, second.consumer.processors
            await group.publish(6, partition=own)
            await first.handler.until_seen(6)
        await group.publish(1, partition=late)
        await first.handler.until_seen(7)
        assert (late, 0) == first.handler.seen[6]


async def test_a_poll_that_fails_finishes_what_runs(group: Group) -> None:
    """A failed poll stops the worker with the error, but running POSTs finish first."""
    async with group.member() as member:
        await group.publish(1)
        await member.handler.until_seen(1)
        member.client.failure = CorruptRecordException()
        done, _ = await asyncio.wait([member.task], timeout=0.5)
        assert not done
        await member.handler.release()
        with pytest.raises(CorruptRecordException):
            await member.task
        assert 1 == await group.committed()


async def test_what_retention_took_away_is_logged(group: Group) -> None:
    """Records that retention deleted cannot be recovered, but their loss is logged as an error."""
    async with group.member() as member:
        await group.publish(1)
        await member.handler.release()
        await group.until_committed(1)
    await group.publish(4)
    await group.delete_before(3)
    with structlog.testing.capture_logs() as logs:
        async with group.member() as member:
            await member.handler.until_seen(2)
            assert [(0, 3), (0, 4)] == member.handler.seen
    lost = [it for it in logs if it["log_level"] == "error"]
    assert [("requests were lost to retention", 0, 1, 2)] == [
        (it["event"], it["partition"], it["first_offset"], it["requests"]) for it in lost
    ]


async def test_a_defect_is_tried_again_and_commits_nothing(group: Group) -> None:
    """A handler that fails without a status commits no offset: a new take-over reads the record again."""
    async with group.member() as member:
        member.handler.failure = ZeroDivisionError("a defect")
        await group.publish(1)
        await member.handler.until_seen(1)
        member.handler.failure = None
        await member.handler.until_seen(2)
        assert [(0, 0), (0, 0)] == member.handler.seen
        assert 0 == await group.committed()
        await member.handler.release()
        await group.until_committed(1)
