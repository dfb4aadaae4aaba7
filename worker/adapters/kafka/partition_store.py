"""Kafka as a partition processor needs it: fence, verify ownership, load statuses, fetch records, commit.

Every call has a time limit, because aiokafka itself waits for absent brokers indefinitely.
"""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import (
    IllegalGenerationError,
    KafkaError,
    NoError,
    RebalanceInProgressError,
    UnknownMemberIdError,
    for_code,
)
from aiokafka.producer import sender
from aiokafka.protocol.commit import OffsetCommitRequest
from pydantic import ValidationError

from schemas import DeploymentSettled, DeploymentStatus, Message, ReplayPermitted
from worker.adapters.kafka.acls import transactional_id_prefix
from worker.adapters.kafka.clients import (
    STOP_SECONDS,
    client_options,
    event_of,
    open_reader,
    read_all,
    read_some,
    read_up_to,
    running_client,
    stop_client,
)
from worker.domain.partition_state import Checkpoint, RequestTable, RequestTableReader
from worker.domain.request import LOG_APPEND_TIME, Record
from worker.errors import PartitionLost
from worker.observability.metrics import CLOCK_SKEW, REQUESTS_LOST
from worker.ports import Clocks
from worker.settings import KafkaSettings

# After this time, the producer is abandoned: a later answer might belong to one of its earlier transactions.
TRANSACTION_SECONDS = 10
BROKER_TRANSACTION_MS = 15_000
FENCE_SECONDS = 20
VERIFY_SECONDS = 5
READ_SECONDS = 60
PERMITS_SECONDS = 1.0
# Concurrent transactions of one worker: more would only cost CPU, and waiting partitions batch more statuses.
TRANSACTIONS_AT_ONCE = 4
# Concurrent consumers that read single records: thousands of parked requests may be settled at once.
READERS_AT_ONCE = 4
# Longer than a transaction takes. Tokens are verified by our clock, with a leeway of some seconds.
MAX_SKEW_SECONDS = 30
ANSWER_SECONDS = 5  # a slower answer is not used: the errors of two workers and of the brokers must fit SERVER_MARGIN
SKEW_SECONDS = 60  # a take-over measures the clock skew unless it was measured, by anything, within this time

# Kafka rejects a producer's next transaction until the markers of the last transaction are written, some milliseconds
# after its end. aiokafka retries after 20 ms and has no option for that, which delayed one request in three of an idle
# worker by 20 ms.
NEXT_TRANSACTION_SECONDS = 0.003
sender.BACKOFF_OVERRIDE = NEXT_TRANSACTION_SECONDS

log = structlog.get_logger()


def note_broker_time(broker: float, sent: float, answered: float) -> None:
    """Record how far our clock is ahead of a broker's. Log a warning when the difference exceeds MAX_SKEW_SECONDS.

    `broker`: the broker's timestamp of a record, in whole milliseconds, taken between `sent` and `answered` of our
    clock. All three are unix seconds.
    The previous value stays if the answer is compatible with it: a slow answer is less precise than an earlier quick
    answer.
    """
    if answered - sent > ANSWER_SECONDS:
        return
    skew = min(max(_Skew.last, sent - broker - 0.001), answered - broker)
    _Skew.measured_at = time.monotonic()
    if abs(skew) > MAX_SKEW_SECONDS >= abs(_Skew.last):
        log.warning("the clocks of worker and broker differ", seconds=round(skew))
    _Skew.last = skew
    CLOCK_SKEW.set(skew)


class _Skew:
    last = 0.0
    measured_at = -math.inf  # monotonic seconds


def by_brokers(clocks: Clocks) -> Clocks:
    """Return clocks whose time of day is that of the brokers.

    One worker may write a deadline that another worker waits for, so both must use the same time.
    """
    return replace(clocks, now=lambda: clocks.now() - timedelta(seconds=_Skew.last))


def settlement_of(record: ConsumerRecord) -> DeploymentSettled | None:
    """Return the settlement in a record, or None if the record holds no settlement."""
    try:
        return DeploymentSettled.model_validate_json(record.value or b"", extra="ignore")
    except ValidationError:
        return None


@dataclass(slots=True)
class _Permits:
    """The permits of one partition: request id → fingerprint and broker's time, as of `read_at`.

    Except for `read_at`, times are the broker's, in unix seconds, so that neither a worker's absence nor a wrong clock
    changes which permits are read.
    """

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    read_at: float = -math.inf  # monotonic seconds at the start of the last reading
    wanted: set[float] = field(default_factory=set)  # append times of the requests that wait for the next reading
    covers: frozenset[float] = frozenset()  # append times that the last reading covered
    found: Mapping[str, tuple[str, float]] = field(default_factory=dict)


class PartitionWriter:
    """One producer with one transaction at a time. After a failure, only `close` may be called."""

    def __init__(self, producer: AIOKafkaProducer, requests: TopicPartition, group_id: str) -> None:
        self._producer = producer
        self._requests = requests
        self._group_id = group_id
        self._running: asyncio.Task[Sequence[int]] | None = None

    def commit(self, messages: Sequence[Message], checkpoint: Checkpoint | None) -> Awaitable[Sequence[int]]:
        """Write all records and the checkpoint in one transaction, or nothing. Return the records' offsets.

        The transaction continues if the caller is cancelled, because aiokafka cannot undo a commit.

        Raises:
            KafkaError, TimeoutError: it is unknown whether the transaction was committed.
        """
        self._running = asyncio.create_task(self._commit(messages, checkpoint))
        return asyncio.shield(self._running)

    async def _commit(self, messages: Sequence[Message], checkpoint: Checkpoint | None) -> Sequence[int]:
        async with asyncio.timeout(TRANSACTION_SECONDS):
            await self._producer.begin_transaction()
            # Every result is awaited, because a commit succeeds even if an earlier record was rejected.
            sent = time.time()
            written = [
                await self._producer.send(
                    it.topic, it.value, key=it.key, partition=it.partition, headers=list(it.headers)
                )
                for it in messages
            ]
            if checkpoint is not None:
                offsets = {self._requests: (checkpoint.offset, checkpoint.metadata)}
                written.append(
                    asyncio.ensure_future(self._producer.send_offsets_to_transaction(offsets, self._group_id))
                )
            answers = (await asyncio.gather(*written))[: len(messages)]
            places = [it.offset for it in answers]
            if any(place < 0 for place in places):  # the broker knows the batch already, but not its offset
                raise KafkaError("a record was written, and the broker does not say where")
            if answers and answers[0].timestamp_type == LOG_APPEND_TIME:
                note_broker_time(answers[0].timestamp / 1000, sent, time.time())
            await self._producer.commit_transaction()
            return places

    async def close(self) -> None:
        """Wait for a running transaction, then stop the producer within STOP_SECONDS, whatever its state."""
        if self._running:
            await asyncio.wait([self._running])
            if not self._running.cancelled():
                self._running.exception()  # marked as retrieved: the processor has the error, or is gone
        await stop_client(self._producer.stop, STOP_SECONDS)


class KafkaPartitionStore:
    """Statuses, settlements and offsets of all partitions of one worker."""

    def __init__(
        self,
        kafka: KafkaSettings,
        consumer: AIOKafkaConsumer,
        cluster_id: str,
        open_producer: Callable[..., AIOKafkaProducer] = AIOKafkaProducer,
    ) -> None:
        """`consumer` is this worker's member of the group."""
        self.transaction_slots = asyncio.Semaphore(TRANSACTIONS_AT_ONCE)
        self._open_producer = open_producer
        self._kafka = kafka
        self._options = client_options(kafka)
        self._consumer = consumer
        self._cluster_id = cluster_id
        self._permits: dict[int, _Permits] = {}
        self._measuring = asyncio.Lock()
        self._reader_slots = asyncio.Semaphore(READERS_AT_ONCE)

    async def fence(self, partition: int) -> PartitionWriter:
        """Start a producer under the partition's transactional id. From then on, earlier producers are fenced."""
        requests = TopicPartition(self._kafka.requests_topic, partition)
        producer = self._open_producer(
            **self._options,
            transactional_id=f"{transactional_id_prefix(self._kafka)}{partition}",
            transaction_timeout_ms=BROKER_TRANSACTION_MS,
            request_timeout_ms=TRANSACTION_SECONDS * 1000,
        )
        try:
            async with asyncio.timeout(FENCE_SECONDS):
                await producer.start()
                await self._measure_skew(producer, partition)
        except BaseException:
            await stop_client(producer.stop, STOP_SECONDS)
            raise
        return PartitionWriter(producer, requests, self._kafka.group_id)

    async def _measure_skew(self, producer: AIOKafkaProducer, partition: int) -> None:
        """Measure the clock skew to the brokers, unless it is known, before any deadline is compared with their time.

        Kafka reveals its time only for written records. The record for that is in an aborted transaction, so that no
        consumer reads it.
        """
        async with self._measuring:
            if time.monotonic() - _Skew.measured_at < SKEW_SECONDS:
                return
            await producer.begin_transaction()
            topic, sent = self._kafka.settlements_topic, time.time()
            async with asyncio.timeout(ANSWER_SECONDS):
                answer = await (await producer.send(topic, b"", key=b"clock", partition=partition))
            if answer.timestamp_type == LOG_APPEND_TIME:
                note_broker_time(answer.timestamp / 1000, sent, time.time())
            await producer.abort_transaction()

    async def verify_ownership(self, partition: int) -> tuple[Checkpoint, int]:
        """Commit the group's checkpoint again, and return the checkpoint and the partition's end offset.

        A commit is the only call for which the broker checks member and generation.
        If requests were lost to retention, or the topic was recreated, the checkpoint moves to the first offset.

        Raises:
            PartitionLost: the group has assigned the partition to another worker, or is about to.
            KafkaError, TimeoutError: the ownership could not be verified.
        """
        requests = TopicPartition(self._kafka.requests_topic, partition)
        async with asyncio.timeout(VERIFY_SECONDS):
            first = (await self._consumer.beginning_offsets([requests]))[requests]
            end = (await self._consumer.end_offsets([requests]))[requests]
            # Not the consumer, which does not return the metadata.
            async with running_client(AIOKafkaAdminClient(**self._options)) as admin:
                stored = await admin.list_consumer_group_offsets(self._kafka.group_id, partitions=[requests])
            committed, metadata = stored.get(requests, (-1, ""))
            if 0 <= committed < first:
                REQUESTS_LOST.inc(first - committed)
                log.error(
                    "requests were lost to retention",
                    partition=partition,
                    first_offset=committed,
                    requests=first - committed,
                )
            # Beyond the end: the topic was recreated under its old name, and its offsets start from 0 again.
            gone = committed > end
            checkpoint = Checkpoint(first) if gone else Checkpoint.of(max(first, committed), metadata or "")
            await self._commit_as_member(requests, checkpoint)
        return checkpoint, int(end)

    async def _commit_as_member(self, requests: TopicPartition, checkpoint: Checkpoint) -> None:
        """Commit with the consumer's membership, but not through the consumer.

        If its membership is outdated, as during a rebalance, the consumer would leave the group and join again. All
        other members would then wait for the former member until its session expires.
        """
        coordinator = self._consumer._coordinator  # noqa: SLF001 - only here are member and generation available
        await coordinator.ensure_coordinator_known()
        generation, member = coordinator.generation, coordinator.member_id
        # Without a generation, Kafka would treat the commit as one from outside the group.
        if generation == OffsetCommitRequest.DEFAULT_GENERATION_ID or requests not in self._consumer.assignment():
            raise PartitionLost(f"partition {requests.partition} is not assigned to us now")
        topics = [(requests.topic, [(requests.partition, checkpoint.offset, checkpoint.metadata)])]
        retention = OffsetCommitRequest.DEFAULT_RETENTION_TIME
        request = OffsetCommitRequest(self._kafka.group_id, generation, member, retention, topics)
        [(_, [(_, code)])] = (await coordinator._send_req(request)).topics  # noqa: SLF001
        error = for_code(code)
        if issubclass(error, _LOST):
            raise PartitionLost(f"the ownership of partition {requests.partition} was refused") from error()
        if error is not NoError:
            raise error

    async def load(self, partition: int, checkpoint: Checkpoint, table: RequestTable) -> list[DeploymentSettled]:
        """Read the required statuses into the table, and return the settlements of open requests, both up to now.

        Raises KafkaError. Raises TimeoutError if nothing could be read for READ_SECONDS.
        """
        try:
            return await self._load(partition, checkpoint, table)
        except TimeoutError:
            topics = [self._kafka.status_topic, self._kafka.settlements_topic]
            log.warning("a partition of these topics cannot be read", partition=partition, topics=topics)
            raise

    async def _load(self, partition: int, checkpoint: Checkpoint, table: RequestTable) -> list[DeploymentSettled]:
        status = TopicPartition(self._kafka.status_topic, partition)
        statuses = RequestTableReader(table)
        async with open_reader(self._options, [status]) as reader:
            end = (await reader.end_offsets([status]))[status]
            first = (await reader.beginning_offsets([status]))[status]
            async for record in read_some(reader, status, checkpoint.parked, READ_SECONDS):
                _add(record, statuses)
            # If the checkpoint's offset is out of range, everything is read: the topic may have been recreated.
            table.read_from = checkpoint.statuses_from if first <= checkpoint.statuses_from <= end else first
            reader.seek(status, table.read_from)
            async for record in read_up_to(reader, {status: end}, READ_SECONDS):
                _add(record, statuses)
        statuses.finish(end)
        if not any(table.open()):
            return []
        settled = TopicPartition(self._kafka.settlements_topic, partition)
        return [
            said
            async for record in read_all(self._options, [settled], READ_SECONDS)
            if (said := settlement_of(record)) and (state := table.find(said.request_id)) and not state.final
        ]

    async def permitted(self, partition: int, request_id: str, appended_at: float) -> str | None:
        """Return the fingerprint in the operator's permit for a request, or None if there is no permit.

        The broker's times of the permit and of the request, which is `appended_at`, differ by at most
        ReplayPermitted.SECONDS.
        Permits are read at most once per PERMITS_SECONDS for each partition, however many requests claim to be replays.
        Only the permits around the append times of the waiting requests are read.
        """
        asked, permits = time.monotonic(), self._permits.setdefault(partition, _Permits())
        permits.wanted.add(appended_at)
        async with permits.lock:
            while permits.read_at < asked or appended_at not in permits.covers:
                await asyncio.sleep(permits.read_at + PERMITS_SECONDS - time.monotonic())
                began, wanted = time.monotonic(), frozenset(permits.wanted | {appended_at})
                permits.wanted.clear()
                try:
                    permits.found = await self._read_permits(partition, min(wanted), max(wanted))
                except (KafkaError, TimeoutError) as error:
                    log.warning("permits cannot be read", partition=partition, error=type(error).__name__)
                    began = -math.inf
                    permits.wanted |= wanted
                    await asyncio.sleep(PERMITS_SECONDS)
                permits.read_at, permits.covers = began, wanted
        fingerprint, written_at = permits.found.get(request_id, (None, 0.0))
        return fingerprint if abs(appended_at - written_at) <= ReplayPermitted.SECONDS else None

    async def _read_permits(self, partition: int, first: float, last: float) -> dict[str, tuple[str, float]]:
        """Return the permits for requests that were appended from `first` to `last`."""
        settled = TopicPartition(self._kafka.settlements_topic, partition)
        since, until = (int(at * 1000) for at in (first - ReplayPermitted.SECONDS, last + ReplayPermitted.SECONDS))
        async with asyncio.timeout(READ_SECONDS), open_reader(self._options, [settled]) as reader:
            end = (await reader.end_offsets([settled]))[settled]
            start = (await reader.offsets_for_times({settled: since}))[settled]
            behind = (await reader.offsets_for_times({settled: until + 1}))[settled]
            end = min(end, behind.offset) if behind else end
            reader.seek(settled, start.offset if start else end)
            return {
                permit.request_id: (permit.fingerprint, record.timestamp / 1000)
                async for record in read_up_to(reader, {settled: end}, READ_SECONDS)
                if (permit := event_of(record, ReplayPermitted))
            }

    async def fetch(self, partition: int, offsets: Sequence[int]) -> AsyncIterator[Record]:
        """Yield the records of the requests topic at these offsets, in ascending order, except those that are gone.

        Raises KafkaError. Raises TimeoutError if nothing could be read for READ_SECONDS.
        """
        if not offsets:
            return
        requests = TopicPartition(self._kafka.requests_topic, partition)
        async with self._reader_slots, open_reader(self._options, [requests]) as reader:
            async for found in read_some(reader, requests, sorted(offsets), READ_SECONDS):
                yield Record.of(self._cluster_id, found)


_LOST = (IllegalGenerationError, UnknownMemberIdError, RebalanceInProgressError)
_STATUS_TYPE = DeploymentStatus.TYPE.encode()


def _add(record: ConsumerRecord, statuses: RequestTableReader) -> None:
    if ("ce_type", _STATUS_TYPE) in record.headers:
        statuses.add(record.key, record.value, record.offset, record.timestamp, _traceparent(record))


def _traceparent(record: ConsumerRecord) -> str | None:
    value = dict(record.headers).get("traceparent")
    return value.decode(errors="replace") if value else None
