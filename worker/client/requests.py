"""Publishing requests and reading statuses: what `DeployerClient`, the commands and the gateway are made of."""

import base64
import json
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from uuid import UUID

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.partitioner import DefaultPartitioner

from schemas import DeploymentRequested, DeploymentStatus, ReplayPermitted, cloud_event_headers
from worker.adapters.kafka.acls import Operation, topic_acls, verify_acls
from worker.adapters.kafka.clients import METADATA_MS, client_options, event_of, read_all, running_client, send
from worker.adapters.kafka.diagnosis import connected
from worker.errors import CommandError, ConfigurationError
from worker.settings import KafkaSettings

SOURCE = "/playground-deployer/submit"
START_SECONDS = 20


@dataclass(frozen=True, slots=True)
class OutgoingRequest:
    """A deployment request as a user sends it. The token is never shown."""

    request_id: str
    solution_id: UUID
    revision_id: UUID
    token: str = field(repr=False)
    replay_of: str | None = None
    traceparent: str | None = None  # the W3C trace context that the worker continues

    @property
    def user_id(self) -> str:
        """The record key. The token is not verified here: the worker does that, and rejects a wrong key."""
        try:
            payload = self.token.split(".")[1]
            claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
            user_id = claims["mlpuser"]["userId"]
        except (IndexError, KeyError, TypeError, ValueError, RecursionError):
            user_id = None
        if not isinstance(user_id, str) or not user_id:
            raise CommandError("The token names no user (mlpuser.userId). Give it as Graphene issued it.")
        return user_id


@dataclass(frozen=True, slots=True)
class Published:
    """Where a request's record is, and when the broker took it."""

    partition: int
    offset: int
    timestamp_ms: int  # unix milliseconds


@dataclass(frozen=True, slots=True)
class StatusEvent:
    """A status, and its JSON as it was published."""

    status: DeploymentStatus
    json: bytes


class RequestPublisher:
    """Publishes requests as CloudEvents in binary mode."""

    def __init__(self, producer: AIOKafkaProducer, kafka: KafkaSettings) -> None:
        """Take a producer that is started and has heard of the requests topic."""
        self._producer = producer
        self._topic = kafka.requests_topic
        self._settlements_topic = kafka.settlements_topic

    @property
    def partitions(self) -> int:
        """How many the requests topic has, as the producer heard at most METADATA_MS ago."""
        return len(self._producer.client.cluster.partitions_for_topic(self._topic) or (0,))

    def partition(self, key: bytes) -> int:
        """Return the partition that Kafka's default partitioner chooses for this key."""
        every = list(range(self.partitions))
        return int(DefaultPartitioner()(key, every, every))

    async def permit(self, permit: ReplayPermitted, key: bytes) -> None:
        """Publish that a request with this key will be a replay. Raises KafkaError."""
        message = permit.to_message(self._settlements_topic, SOURCE, self.partition(key))
        await send(self._producer, message)

    async def publish(self, request: OutgoingRequest, *, key: bytes | None = None) -> int:
        """Publish a request as `send` does; return its offset."""
        return (await self.send(request, key=key)).offset

    async def send(self, request: OutgoingRequest, *, key: bytes | None = None) -> Published:
        """Publish a request; return its place once all in-sync replicas have it. Raises KafkaError.

        A replay gives the original's `key`; otherwise it is the user's.
        """
        key = request.user_id.encode() if key is None else key
        data = {
            "requestId": request.request_id,
            "solutionId": str(request.solution_id),
            "revisionId": str(request.revision_id),
        }
        if request.replay_of is not None:
            data["replayOf"] = request.replay_of
        attributes = {"id": request.request_id}
        headers = cloud_event_headers(DeploymentRequested.TYPE, SOURCE, attributes, request.traceparent)
        written = await self._producer.send_and_wait(
            self._topic,
            json.dumps(data).encode(),
            key=key,
            partition=self.partition(key),
            headers=[*headers, ("authorization", f"Bearer {request.token}".encode())],
        )
        return Published(written.partition, written.offset, written.timestamp)


@asynccontextmanager
async def open_publisher(kafka: KafkaSettings) -> AsyncIterator[RequestPublisher]:
    """Open a publisher. Raises KafkaError, or ConfigurationError when the topic does not exist."""
    await partition_count(kafka, "DEPLOYER_KAFKA__REQUESTS_TOPIC", kafka.requests_topic, Operation.WRITE)
    async with open_producer(kafka) as producer:
        await producer.partitions_for(kafka.requests_topic)
        yield RequestPublisher(producer, kafka)


@asynccontextmanager
async def open_statuses(
    kafka: KafkaSettings, partitions: Sequence[int] | None = None, *, from_beginning: bool = False
) -> AsyncIterator[AsyncIterator[StatusEvent]]:
    """Read statuses from now on, or from the topic's beginning, from all partitions unless some are named.

    Nothing that is published after this has opened is missed. Raises KafkaError, ConfigurationError.
    """
    existing = range(await status_partitions(kafka))
    wanted = existing if partitions is None else partitions
    require_partitions(kafka, len(existing), max(wanted, default=-1) + 1)
    async with read_statuses(kafka, wanted, since_ms=0 if from_beginning else None) as events:
        yield events


async def published_statuses(
    kafka: KafkaSettings, request_ids: Collection[str] | None = None, partition: int | None = None
) -> AsyncIterator[StatusEvent]:
    """Yield the statuses that are in the topic now: of these requests or of all, from one partition or from all.

    Raises KafkaError, ConfigurationError.
    """
    numbers = range(await status_partitions(kafka)) if partition is None else (partition,)
    keys = None if request_ids is None else {request_id.encode() for request_id in request_ids}
    async for record in read_all(client_options(kafka), [TopicPartition(kafka.status_topic, it) for it in numbers]):
        if keys is None or record.key in keys:
            status = event_of(record, DeploymentStatus)
            if status is not None:
                yield StatusEvent(status, record.value)


async def status_partitions(kafka: KafkaSettings) -> int:
    """Return how many partitions the status topic has, if it may be read. Raises KafkaError, ConfigurationError."""
    return await partition_count(kafka, "DEPLOYER_KAFKA__STATUS_TOPIC", kafka.status_topic, Operation.READ)


def require_partitions(kafka: KafkaSettings, existing: int, wanted: int) -> None:
    """Verify that the status topic has a partition for each of the requests: aiokafka would wait for one for ever.

    Raises ConfigurationError.
    """
    if existing < wanted:
        raise ConfigurationError(
            f"DEPLOYER_KAFKA__STATUS_TOPIC: '{kafka.status_topic}' has fewer partitions than "
            f"'{kafka.requests_topic}'. Add partitions."
        )


@asynccontextmanager
async def read_statuses(
    kafka: KafkaSettings, partitions: Sequence[int], *, since_ms: int | None = None
) -> AsyncIterator[AsyncIterator[StatusEvent]]:
    """Read the statuses of partitions that exist, as `open_statuses` does.

    `since_ms`: from the first one that the brokers took at this time or later, in unix milliseconds; 0 is the
    beginning, and None is now. Raises KafkaError.
    """
    consumer = AIOKafkaConsumer(
        **client_options(kafka),
        group_id=None,
        enable_auto_commit=False,
        isolation_level="read_committed",
        auto_offset_reset="latest" if since_ms is None else "earliest",
    )
    async with running_client(consumer, start_seconds=START_SECONDS):
        tps = [TopicPartition(kafka.status_topic, number) for number in partitions]
        consumer.assign(tps)
        if since_ms:
            await _seek(consumer, tps, since_ms)
        for tp in tps:  # looks up the end now, not at the first read
            await consumer.position(tp)
        yield _status_events(consumer)


async def _seek(consumer: AIOKafkaConsumer, tps: Sequence[TopicPartition], since_ms: int) -> None:
    ends = await consumer.end_offsets(tps)  # before the look-up, so that what comes meanwhile is read
    found = await consumer.offsets_for_times(dict.fromkeys(tps, since_ms))
    for tp in tps:
        first = found.get(tp)
        consumer.seek(tp, first.offset if first else ends[tp])


async def _status_events(consumer: AIOKafkaConsumer) -> AsyncIterator[StatusEvent]:
    async for record in consumer:
        status = event_of(record, DeploymentStatus)
        if status is not None:
            yield StatusEvent(status, record.value)


async def partition_count(kafka: KafkaSettings, setting: str, topic: str, *operations: Operation) -> int:
    """Return how many partitions a topic has, and verify that these operations are allowed on it.

    Raises KafkaError, or ConfigurationError when the topic does not exist or an ACL is missing.
    """
    async with connected(kafka) as connection:
        count = (await verify_acls(connection, kafka, topic_acls(topic, *operations))).get(topic)
    if count is None:
        raise ConfigurationError(
            f"{setting}: the topic '{topic}' does not exist. "
            "Create it, or start the worker with DEPLOYER_KAFKA__CREATE_TOPICS=true."
        )
    return count


def open_producer(kafka: KafkaSettings) -> AbstractAsyncContextManager[AIOKafkaProducer]:
    """Open a producer. It is idempotent, so that an internal retry does not become a second deployment."""
    producer = AIOKafkaProducer(**client_options(kafka), enable_idempotence=True, metadata_max_age_ms=METADATA_MS)
    return running_client(producer, start_seconds=START_SECONDS)


def open_admin(kafka: KafkaSettings) -> AbstractAsyncContextManager[AIOKafkaAdminClient]:
    """Open an admin client. Raises KafkaError, KafkaConnectionError in particular."""
    return running_client(AIOKafkaAdminClient(**client_options(kafka)), start_seconds=START_SECONDS)
