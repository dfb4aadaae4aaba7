"""Publishing requests and reading statuses, for `DeployerClient`, the commands and the gateway."""

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
    """A deployment request as a user sends it. The token is not part of the repr."""

    request_id: str
    solution_id: UUID
    revision_id: UUID
    token: str = field(repr=False)
    replay_of: str | None = None
    traceparent: str | None = None  # the W3C trace context that the worker continues

    @property
    def user_id(self) -> str:
        """The user id in the token, which is the record key. Raises CommandError.

        The token is not verified here; the worker verifies it, and rejects a wrong key.
        """
        try:
            payload = self.token.split(".")[1]
            claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
            user_id = claims["mlpuser"]["userId"]
        except (IndexError, KeyError, TypeError, ValueError, RecursionError):
            user_id = None
        if not isinstance(user_id, str) or not user_id:
            raise CommandError("The token names no user (mlpuser.userId). Give the token as Graphene issued it.")
        return user_id


@dataclass(frozen=True, slots=True)
class Published:
    """The position of a request's record, and the time at which the broker appended the record."""

    partition: int
    offset: int
    timestamp_ms: int  # unix milliseconds


@dataclass(frozen=True, slots=True)
class StatusEvent:
    """A status, and its JSON as published."""

    status: DeploymentStatus
    json: bytes


class RequestPublisher:
    """Publishes requests as CloudEvents in binary mode."""

    def __init__(self, producer: AIOKafkaProducer, kafka: KafkaSettings) -> None:
        """Create a publisher. `producer` must be started and have the metadata of the requests topic."""
        self._producer = producer
        self._topic = kafka.requests_topic
        self._settlements_topic = kafka.settlements_topic

    @property
    def partitions(self) -> int:
        """The number of partitions of the requests topic, at most METADATA_MS old."""
        return len(self._producer.client.cluster.partitions_for_topic(self._topic) or (0,))

    def partition(self, key: bytes) -> int:
        """Return the partition that Kafka's default partitioner chooses for this key."""
        every = list(range(self.partitions))
        return int(DefaultPartitioner()(key, every, every))

    async def permit(self, permit: ReplayPermitted, key: bytes) -> None:
        """Publish the permit for a replay with this key. Raises KafkaError."""
        message = permit.to_message(self._settlements_topic, SOURCE, self.partition(key))
        await send(self._producer, message)

    async def publish(self, request: OutgoingRequest, *, key: bytes | None = None) -> int:
        """Publish a request as `send` does; return its offset."""
        return (await self.send(request, key=key)).offset

    async def send(self, request: OutgoingRequest, *, key: bytes | None = None) -> Published:
        """Publish a request; return its record's position once all in-sync replicas have it. Raises KafkaError.

        `key` is the record key; None: the user id in the token. A replay needs the key of the original record.
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
        metadata = await self._producer.send_and_wait(
            self._topic,
            json.dumps(data).encode(),
            key=key,
            partition=self.partition(key),
            headers=[*headers, ("authorization", f"Bearer {request.token}".encode())],
        )
        return Published(metadata.partition, metadata.offset, metadata.timestamp)


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
    """Read statuses from now on, or from the topic's beginning. `partitions` None: all partitions.

    Every status that is published after the context has opened is read. Raises KafkaError, ConfigurationError.
    """
    existing = range(await status_partitions(kafka))
    selected = existing if partitions is None else partitions
    require_partitions(kafka, len(existing), max(selected, default=-1) + 1)
    async with read_statuses(kafka, selected, since_ms=0 if from_beginning else None) as events:
        yield events


async def published_statuses(
    kafka: KafkaSettings, request_ids: Collection[str] | None = None, partition: int | None = None
) -> AsyncIterator[StatusEvent]:
    """Yield the statuses that are in the topic at the time of the call.

    `request_ids` None: of all requests. `partition` None: of all partitions. Raises KafkaError, ConfigurationError.
    """
    numbers = range(await status_partitions(kafka)) if partition is None else (partition,)
    keys = None if request_ids is None else {request_id.encode() for request_id in request_ids}
    async for record in read_all(
        client_options(kafka), [TopicPartition(kafka.status_topic, number) for number in numbers]
    ):
        if keys is None or record.key in keys:
            status = event_of(record, DeploymentStatus)
            if status is not None:
                yield StatusEvent(status, record.value)


async def status_partitions(kafka: KafkaSettings) -> int:
    """Return the number of partitions of the status topic, and verify the ACL to read it.

    Raises KafkaError, ConfigurationError.
    """
    return await partition_count(kafka, "DEPLOYER_KAFKA__STATUS_TOPIC", kafka.status_topic, Operation.READ)


def require_partitions(kafka: KafkaSettings, existing: int, wanted: int) -> None:
    """Verify that the status topic has at least `wanted` partitions. Raises ConfigurationError.

    aiokafka would wait without end for a partition that does not exist.
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
    """Read the statuses of existing partitions, as `open_statuses` does. Raises KafkaError.

    Reading starts at the first status that the brokers appended at `since_ms` (unix milliseconds) or later; 0: at the
    beginning; None: at the end.
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
        for tp in tps:  # fetches the end offset now, not at the first read
            await consumer.position(tp)
        yield _status_events(consumer)


async def _seek(consumer: AIOKafkaConsumer, tps: Sequence[TopicPartition], since_ms: int) -> None:
    ends = await consumer.end_offsets(tps)  # before the look-up, so that records appended during it are read
    offsets = await consumer.offsets_for_times(dict.fromkeys(tps, since_ms))
    for tp in tps:
        first = offsets.get(tp)
        consumer.seek(tp, first.offset if first else ends[tp])


async def _status_events(consumer: AIOKafkaConsumer) -> AsyncIterator[StatusEvent]:
    async for record in consumer:
        status = event_of(record, DeploymentStatus)
        if status is not None:
            yield StatusEvent(status, record.value)


async def partition_count(kafka: KafkaSettings, setting: str, topic: str, *operations: Operation) -> int:
    """Return the number of partitions of a topic, and verify that its ACLs allow these operations.

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
    """Open a producer. It is idempotent, so that an internal retry does not cause a second deployment."""
    producer = AIOKafkaProducer(**client_options(kafka), enable_idempotence=True, metadata_max_age_ms=METADATA_MS)
    return running_client(producer, start_seconds=START_SECONDS)


def open_admin(kafka: KafkaSettings) -> AbstractAsyncContextManager[AIOKafkaAdminClient]:
    """Open an admin client. Raises KafkaError; KafkaConnectionError when no broker answers."""
    return running_client(AIOKafkaAdminClient(**client_options(kafka)), start_seconds=START_SECONDS)
