"""The guarantees of Kafka that partition processors rely on: fencing, verified ownership, atomic transactions."""

import asyncio
import time
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import NewTopic
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from schemas import DeploymentStatus, Message, ReplayPermitted, SourceInfo, State
from tests.support.topics import Topics, create_topics
from worker import settings
from worker.adapters.kafka import clients
from worker.adapters.kafka.partition_store import KafkaPartitionStore, PartitionWriter
from worker.adapters.kafka.topics import SAFE_CONFIGS
from worker.delivery.consumer import partition_of
from worker.domain.partition_state import Checkpoint, RequestTable
from worker.errors import PartitionLost


class Partition:
    """Partition 0 of a group's topics, and what a read_committed reader sees of it."""

    def __init__(
        self, kafka: settings.KafkaSettings, member: AIOKafkaConsumer, open_producer: type = AIOKafkaProducer
    ) -> None:
        self.kafka = kafka
        self.store = KafkaPartitionStore(kafka, member, "cluster", open_producer)
        self.requests = TopicPartition(kafka.requests_topic, 0)

    def message(self, text: str) -> Message:
        return Message(self.kafka.status_topic, 0, b"r-1", text.encode(), ())

    async def seen(self) -> list[str]:
        """Return the values of all committed records."""
        place = TopicPartition(self.kafka.status_topic, 0)
        async with AIOKafkaConsumer(
            bootstrap_servers=self.kafka.bootstrap_servers,
            isolation_level="read_committed",
            auto_offset_reset="earliest",
        ) as reader:
            reader.assign([place])
            end = (await reader.end_offsets([place]))[place]
            texts: list[str] = []
            while await reader.position(place) < end:
                for records in (await reader.getmany(timeout_ms=100)).values():
                    texts += [record.value.decode() for record in records]
            return texts


@pytest.fixture
async def options(kafka: str, topics: Topics) -> settings.KafkaSettings:
    """Settings with topics that only this test uses."""
    names = {f"{it}_topic": await topics.create(it) for it in ("requests", "status", "settlements", "dead_letter")}
    return settings.KafkaSettings(bootstrap_servers=kafka, group_id=topics.name("group"), **names)


def member(options: settings.KafkaSettings, group: str | None = None) -> AIOKafkaConsumer:
    """Return a consumer that joins the group when it starts."""
    return AIOKafkaConsumer(
        options.requests_topic,
        bootstrap_servers=options.bootstrap_servers,
        group_id=group or options.group_id,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )


async def test_whoever_was_fenced_commits_nothing(options: settings.KafkaSettings) -> None:
    """A fenced writer commits neither its status nor its offset, even in a transaction it had begun."""
    async with member(options) as consumer:
        partition = Partition(options, consumer)
        async with AsyncExitStack() as stack:
            old = await partition.store.fence(0)
            stack.push_async_callback(old.close)
            await old.commit([partition.message("old")], None)
            new = await partition.store.fence(0)
            stack.push_async_callback(new.close)
            with pytest.raises(KafkaError):
                await old.commit([partition.message("stale")], Checkpoint(5))
            await new.commit([partition.message("new")], Checkpoint(1))
        assert ["old", "new"] == await partition.seen()
        assert 1 == await consumer.committed(partition.requests)


async def test_ownership_is_verified_for_the_member_alone(options: settings.KafkaSettings) -> None:
    """Ownership is verified for the partition's owner alone, not for a worker outside the group or one that lost it."""
    async with member(options) as consumer:
        await consumer.getmany(timeout_ms=100)
        assert (Checkpoint(0), 0) == await Partition(options, consumer).store.verify_ownership(0)
        async with member(options, "another-group") as stranger:
            stranger.unsubscribe()
            stranger.assign([])
            with pytest.raises((PartitionLost, KafkaError)):
                await Partition(options, stranger).store.verify_ownership(0)


class BreaksBeforeCommit(AIOKafkaProducer):  # type: ignore[misc]  # aiokafka has no types
    """A producer that sends every record and commits no transaction."""

    async def commit_transaction(self) -> None:
        """Fail like a worker that dies before the commit."""
        raise KafkaError("before the commit")


async def test_statuses_and_offset_are_one_transaction(options: settings.KafkaSettings) -> None:
    """If the commit fails, the statuses sent before it stay invisible and the offset does not move."""
    async with member(options) as consumer:
        broken = Partition(options, consumer, BreaksBeforeCommit)
        writer: PartitionWriter = await broken.store.fence(0)
        with pytest.raises(KafkaError):
            await writer.commit([broken.message("half")], Checkpoint(7))
        await writer.close()
        await (await Partition(options, consumer).store.fence(0)).close()
        assert [] == await broken.seen()
        assert await consumer.committed(broken.requests) is None


def status(request_id: str, state: State, offset: int, sequence: int = 0) -> DeploymentStatus:
    """Return a status as a worker writes it."""
    source = SourceInfo(topic="requests", partition=0, offset=offset)
    values = {"request_id": request_id, "state": state, "sequence": sequence, "source": source, "fingerprint": "0" * 64}
    return DeploymentStatus(**values, time=datetime(2026, 1, 1, tzinfo=UTC), attempt=1, message="So far.")


async def test_a_take_over_reads_what_the_checkpoint_names(options: settings.KafkaSettings) -> None:
    """A take-over loads the statuses that the checkpoint names, and no other earlier status.

    The checkpoint is committed with the offset. It names the parked status that precedes the others.
    """
    past = [
        status("gone", State.DEPLOYED, 0),
        status("parked", State.PARKED, 1),
        status("gone-too", State.DEPLOYED, 2),
        status("remembered", State.DEPLOYED, 3),
        status("open", State.BUILDING, 4),
    ]
    async with member(options) as consumer:
        partition = Partition(options, consumer)
        writer = await partition.store.fence(0)
        places = await writer.commit([it.to_message(options.status_topic, "/tests") for it in past], None)
        written = Checkpoint(0, places[3], (places[1],))
        await writer.commit([], written)
        await writer.close()
        await consumer.getmany(timeout_ms=100)
        for _ in range(2):  # verifying commits the same checkpoint again
            checkpoint, _ = await partition.store.verify_ownership(0)
            assert written == checkpoint
        table = RequestTable()
        await partition.store.load(0, checkpoint, table)
    assert ["parked", "remembered", "open"] == [it.request_id for it in past if table.find(it.request_id)]
    assert written == table.checkpoint(0)


class CountedReader(AIOKafkaConsumer):  # type: ignore[misc]  # aiokafka has no types
    """A reader that counts its instances and their seeks."""

    opened = sought = 0

    def __init__(self, *topics: str, **settings: Any) -> None:
        CountedReader.opened += 1
        super().__init__(*topics, **settings)

    def seek(self, partition: TopicPartition, offset: int) -> None:
        CountedReader.sought += 1
        super().seek(partition, offset)


async def test_records_are_read_by_their_offsets(
    options: settings.KafkaSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One reader fetches all offsets, seeks only across gaps, and skips offsets without a record or after the end."""
    async with AIOKafkaProducer(bootstrap_servers=options.bootstrap_servers, transactional_id="sender") as producer:
        for _ in range(3):  # the marker of each is at 200, 401, 602
            async with producer.transaction():
                sent = [await producer.send(options.requests_topic, b"%d" % it, partition=0) for it in range(200)]
                await asyncio.gather(*sent)
    wanted = [0, 1, 5, 90, 200, 201, 500, 501, 601, 602, 603, 9_000]
    async with member(options) as consumer:
        store = KafkaPartitionStore(options, consumer, "cluster")
        monkeypatch.setattr(clients, "AIOKafkaConsumer", CountedReader)
        monkeypatch.setattr(CountedReader, "opened", 0)
        monkeypatch.setattr(CountedReader, "sought", 0)
        assert [] == [it async for it in store.fetch(0, [])]
        assert 0 == CountedReader.opened
        found = {it.offset: it.value async for it in store.fetch(0, wanted[::-1])}
    assert {0: b"0", 1: b"1", 5: b"5", 90: b"90", 201: b"0", 500: b"98", 501: b"99", 601: b"199"} == found
    assert (1, True) == (CountedReader.opened, CountedReader.sought <= 3)


async def test_what_is_as_large_as_a_record_may_be_is_taken(kafka: str, topics: Topics) -> None:
    """A record of the maximum size is accepted, because we measure no less than the broker does."""
    topic = topics.name("letters")
    await create_topics(kafka, NewTopic(topic, 1, 1, topic_configs=dict(SAFE_CONFIGS)))
    headers = tuple((f"dlt-{number}", b"x" * number) for number in range(100))
    small = Message(topic, 0, b"k", b"", headers)
    largest = Message(topic, 0, b"k", b"v" * (Message.MAX_BYTES - small.size), headers)
    async with AIOKafkaProducer(bootstrap_servers=kafka, transactional_id=topics.name("writer")) as producer:
        async with producer.transaction():
            await producer.send_and_wait(topic, largest.value, key=largest.key, headers=[*largest.headers])
        with pytest.raises(MessageSizeTooLargeError):
            async with producer.transaction():
                await producer.send_and_wait(topic, largest.value + b"v" * 2000, key=b"k", headers=[*headers])


class CountingStore(KafkaPartitionStore):
    """A store that counts how often it reads permits."""

    reads = 0

    async def _read_permits(self, partition: int, first: float, last: float) -> dict[str, tuple[str, float]]:
        self.reads += 1
        return await super()._read_permits(partition, first, last)


@pytest.mark.parametrize("ago", [0, 11 * 60, 2 * 24 * 60 * 60, -50 * 60])
async def test_a_permitted_replay_may_be_read_much_later(ago: int, options: settings.KafkaSettings) -> None:
    """A permit read late is still valid: only the time between the permit and the request counts.

    No worker may have run for minutes or days, or our clock may be wrong. Many other requests of all these days, which
    claim to be replays and wait at the same time, are answered by a few reads.
    """
    topic, mine, now = options.settlements_topic, "a" * 64, time.time()
    async with AIOKafkaProducer(bootstrap_servers=options.bootstrap_servers) as producer:
        for number in range(3):  # before, with and after the request
            permit = ReplayPermitted(request_id=f"replay-{number}", replay_of="r-0", fingerprint=mine)
            it, at = permit.to_message(topic, "/tests", 0), now - ago + (number - 1) * 2 * ReplayPermitted.SECONDS
            await producer.send_and_wait(
                topic, it.value, key=it.key, partition=0, headers=[*it.headers], timestamp_ms=int(at * 1000)
            )
    async with member(options) as consumer:
        store = CountingStore(options, consumer, "cluster")
        assert mine == await store.permitted(0, "replay-1", now - ago + 1)
        others = [store.permitted(0, "replay-0", now - 3600 * hours) for hours in range(60)]
        waiting = asyncio.gather(*others, *(store.permitted(0, f"replay-{it}", now - ago) for it in range(3)))
        answers = await asyncio.wait_for(waiting, 20)
        assert ([None, mine, None], True) == (answers[-3:], store.reads <= 3)
        assert ["replay-1"] == [*await store._read_permits(0, now - ago, now - ago)]


async def test_only_what_an_operator_permits_is_a_replay(options: settings.KafkaSettings) -> None:
    """A replay is permitted only under its id, and within a minute by the broker's time.

    However many requests claim to be replays, the permits are read at most twice.
    """
    topic, mine = options.settlements_topic, "a" * 64
    permits = [
        ReplayPermitted(request_id=it, replay_of="r-0", fingerprint=mine).to_message(topic, "/tests", 0)
        for it in ("replay-1", "replay-2")
    ]
    forged = ReplayPermitted(request_id="forged", replay_of="r-0", fingerprint=mine).to_message(topic, "/tests", 0)
    async with AIOKafkaProducer(bootstrap_servers=options.bootstrap_servers) as producer:
        await producer.send_and_wait(topic, forged.value, key=forged.key, partition=0)  # of no known type
        await producer.send_and_wait(topic, b"{}", key=b"k", partition=0, headers=[*permits[0].headers])
        for it in permits:
            at = (
                await producer.send_and_wait(topic, it.value, key=it.key, partition=0, headers=[*it.headers])
            ).timestamp / 1000
    async with member(options) as consumer:
        store = CountingStore(options, consumer, "cluster")
        asked = {
            ("replay-1", 0): mine,
            ("replay-2", ReplayPermitted.SECONDS - 2): mine,
            ("replay-2", ReplayPermitted.SECONDS + 2): None,
            ("replay-3", 0): None,
            ("forged", 0): None,
        }
        answers = await asyncio.gather(*(store.permitted(0, name, at + late) for name, late in [*asked] * 40))
    assert ([*asked.values()] * 40, True) == (answers, store.reads <= 2)


async def test_a_key_leads_where_other_clients_put_it(options: settings.KafkaSettings) -> None:
    """Keys map to partitions as in other clients, whatever the topic's current number of partitions.

    The hashes are known results of Kafka's own murmur2.
    """
    hashes = {b"21": -973932308, b"foobar": -790332482, b"a-little-bit-long-string": -985981536}
    async with member(options) as consumer:
        where = partial(partition_of, consumer, options.requests_topic)
        assert {0} == {where(key) for key in hashes}
        consumer.partitions_for_topic = lambda _: set(range(12))
        assert [(it & 0x7FFFFFFF) % 12 for it in hashes.values()] == [*map(where, hashes)]
