"""What a partition processor needs of Kafka: a fenced producer, the ownership verified, the statuses, one record.

Every call has a time limit: aiokafka itself waits for absent brokers for ever.
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

# An answer that is later than this may belong to an earlier transaction of the producer, which is given up then.
TRANSACTION_SECONDS = 10
BROKER_TRANSACTION_MS = 15_000
FENCE_SECONDS = 20
VERIFY_SECONDS = 5
READ_SECONDS = 60
PERMITS_SECONDS = 1.0
# Transactions of one worker at once: more would only cost CPU, and the other partitions batch meanwhile.
TRANSACTIONS_AT_ONCE = 4
# Consumers that read single records: thousands of parked requests may be settled within a moment.
READERS_AT_ONCE = 4
# More than a transaction takes; tokens are judged by our clock, with a leeway of some seconds.
MAX_SKEW_SECONDS = 30
ANSWER_SECONDS = 5  # a slower answer tells no time: two workers' errors and the brokers' have room in SERVER_MARGIN
SKEW_SECONDS = 60  # a take-over measures the clocks unless that was done so recently, by it or by a transaction

# Kafka refuses a producer's next transaction until the last one's markers are written, some milliseconds after its end.
# aiokafka asks again after 20 ms, for which it has no option: one request in three of an idle worker took that longer.
NEXT_TRANSACTION_SECONDS = 0.003
sender.BACKOFF_OVERRIDE = NEXT_TRANSACTION_SECONDS

log = structlog.get_logger()


def note_broker_time(broker: float, sent: float, answered: float) -> None:
    """Show how far our clock is ahead of a broker's, and warn about it once.

    `broker`: the time, in whole milliseconds, that the broker gave a record between `sent` and `answered` of our clock.
    What was known stays if it agrees: a slow answer says less than a quick one before it.
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
    """Return clocks whose time of day is the brokers'.

    Deadlines are written by one worker and waited for by another: both have to mean the same time.
    """
    return replace(clocks, now=lambda: clocks.now() - timedelta(seconds=_Skew.last))


def settlement_of(record: ConsumerRecord) -> DeploymentSettled | None:
    """Return the settlement in a record; None when it holds something else."""
    try:
        return DeploymentSettled.model_validate_json(record.value or b"", extra="ignore")
    except ValidationError:
        return None


@dataclass(slots=True)
class _Permits:
    """The permits of one partition: request id → fingerprint and the broker's time, as they were at `read_at`.

    Times are the broker's, in unix seconds: neither a worker that was away nor a wrong clock changes what is read.
    """

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    read_at: float = -math.inf  # monotonic seconds, when reading began
    wanted: set[float] = field(default_factory=set)  # when the requests that wait for the next reading were appended
    covers: frozenset[float] = frozenset()  # those of the last reading
    found: Mapping[str, tuple[str, float]] = field(default_factory=dict)


class PartitionWriter:
    """One producer, one transaction at a time. After a failure only `close` may be called."""

    def __init__(self, producer: AIOKafkaProducer, requests: TopicPartition, group_id: str) -> None:
        self._producer = producer
        self._requests = requests
        self._group_id = group_id
        self._running: asyncio.Task[Sequence[int]] | None = None

    def commit(self, messages: Sequence[Message], checkpoint: Checkpoint | None) -> Awaitable[Sequence[int]]:
        """Write all records and the checkpoint in one transaction, or nothing; return the records' offsets.

        It continues when it is cancelled, because aiokafka cannot take a commit back.

        Raises:
            KafkaError, TimeoutError: nothing was written, or perhaps it was.
        """
        self._running = asyncio.create_task(self._commit(messages, checkpoint))
        return asyncio.shield(self._running)

    async def _commit(self, messages: Sequence[Message], checkpoint: Checkpoint | None) -> Sequence[int]:
        async with asyncio.timeout(TRANSACTION_SECONDS):
            await self._producer.begin_transaction()
            # Each is awaited: a commit succeeds although a record before it was refused.
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
            if any(place < 0 for place in places):  # what the broker says of a batch that it knows, and not where
                raise KafkaError("a record was written, and the broker does not say where")
            if answers and answers[0].timestamp_type == LOG_APPEND_TIME:
                note_broker_time(answers[0].timestamp / 1000, sent, time.time())
            await self._producer.commit_transaction()
            return places

    async def close(self) -> None:
        """Close within seconds, whatever state it is in."""
        if self._running:
            await asyncio.wait([self._running])
            if not self._running.cancelled():
                self._running.exception()  # retrieved: the processor knows it, or is gone
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
        """`consumer`: this worker's member of the group."""
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
        """Start a producer under the partition's transactional id; earlier ones are fenced from here on."""
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
        """Find out what time it is for the brokers, unless that is known, before any deadline is compared with it.

        Kafka tells its time only of what is written: a record in a transaction that is aborted, which nobody reads.
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
        """Commit the group's checkpoint once more, and return it and the partition's end.

        Only there does the broker check member and generation.

        Raises:
            PartitionLost: the group has assigned the partition to another worker, or is about to.
            KafkaError, TimeoutError: it cannot be told.
        """
        requests = TopicPartition(self._kafka.requests_topic, partition)
        async with asyncio.timeout(VERIFY_SECONDS):
            first = (await self._consumer.beginning_offsets([requests]))[requests]
            end = (await self._consumer.end_offsets([requests]))[requests]
            # Not the consumer: it does not tell the metadata.
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
            # Behind the end: the topic was made anew under its old name, and begins from 0 again.
            gone = committed > end
            checkpoint = Checkpoint(first) if gone else Checkpoint.of(max(first, committed), metadata or "")
            await self._commit_as_member(requests, checkpoint)
        return checkpoint, int(end)

    async def _commit_as_member(self, requests: TopicPartition, checkpoint: Checkpoint) -> None:
        """Commit as the consumer would, in the name of its membership.

        But the consumer would leave the group and join it anew when that is an old one, as it is while the group
        rebalances; all others then wait for the member that is no more until its session ends.
        """
        coordinator = self._consumer._coordinator  # noqa: SLF001 - nothing else tells member and generation
        await coordinator.ensure_coordinator_known()
        generation, member = coordinator.generation, coordinator.member_id
        # Without a generation Kafka would take it for a commit of no member at all.
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
        """Read the statuses that are needed into the table, and the settlements of what is open, up to now.

        Raises KafkaError, TimeoutError: nothing came for READ_SECONDS.
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
            # Statuses that the checkpoint does not know belong to a topic that was made anew.
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
        """Return the fingerprint of what an operator repeats with a request that was appended then; None: nobody does.

        The permit was written before the request, at most ReplayPermitted.SECONDS. Permits are read at most once in
        PERMITS_SECONDS for each partition, whoever calls a request a replay, and however often; only around the times
        of the requests that wait.
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
        """Read the permits of requests that were appended from `first` to `last`."""
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
        """Yield the records of the requests topic at these offsets, in their order, without those that are gone.

        Raises KafkaError; TimeoutError when one could not be read for READ_SECONDS.
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
