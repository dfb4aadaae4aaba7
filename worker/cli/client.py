"""A client of the contract: publishes requests, reads statuses. What `submit`, `watch` and `demo` share."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar
from uuid import UUID

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaConnectionError
from aiokafka.partitioner import DefaultPartitioner
from pydantic import ValidationError

from schemas import DeploymentRequested, DeploymentStatus
from worker.adapters.kafka.acls import Operation, topic_acls, verify_acls
from worker.adapters.kafka.clients import client_options, stop_client
from worker.adapters.kafka.diagnosis import connected
from worker.cli.failures import CommandError
from worker.errors import ConfigurationError
from worker.settings import KafkaSettings

SOURCE = "/playground-deployer/submit"
START_SECONDS = 20  # aiokafka itself would try for ever with some brokers
STOP_SECONDS = 5


@dataclass(frozen=True, slots=True)
class Ask:
    """One request as a user makes it. The token is never shown."""

    request_id: str
    solution_id: UUID
    revision_id: UUID
    token: str = field(repr=False)
    replay_of: str | None = None

    @property
    def user_id(self) -> str:
        """The record key. The token is not verified here: the worker does that, and refuses a wrong key."""
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
class Event:
    """A status, and its JSON as it was published."""

    status: DeploymentStatus
    json: bytes


class Requests:
    """Publishes requests as CloudEvents in binary mode."""

    def __init__(self, producer: AIOKafkaProducer, topic: str, partitions: int) -> None:
        self._producer = producer
        self._topic = topic
        self._partitions = list(range(partitions))

    def partition(self, ask: Ask) -> int:
        """Where Kafka's default partitioner puts this user's requests."""
        return int(DefaultPartitioner()(ask.user_id.encode(), self._partitions, self._partitions))

    async def publish(self, ask: Ask, *, key: bytes | None = None, partition: int | None = None) -> int:
        """Returns the record's offset when all in-sync replicas have it. Raises KafkaError.

        `key` and `partition` are the user's, unless a replay says otherwise.
        """
        data = {
            "requestId": ask.request_id,
            "solutionId": str(ask.solution_id),
            "revisionId": str(ask.revision_id),
        }
        if ask.replay_of is not None:
            data["replayOf"] = ask.replay_of
        headers = [
            ("ce_specversion", b"1.0"),
            ("ce_type", DeploymentRequested.TYPE.encode()),
            ("ce_source", SOURCE.encode()),
            ("ce_id", ask.request_id.encode()),
            ("content-type", b"application/json"),
            ("authorization", f"Bearer {ask.token}".encode()),
        ]
        written = await self._producer.send_and_wait(
            self._topic,
            json.dumps(data).encode(),
            key=ask.user_id.encode() if key is None else key,
            partition=self.partition(ask) if partition is None else partition,
            headers=headers,
        )
        return int(written.offset)


@asynccontextmanager
async def open_requests(kafka: KafkaSettings) -> AsyncIterator[Requests]:
    """Raises KafkaError, ConfigurationError when the topic does not exist."""
    partitions = await partition_count(kafka, "DEPLOYER_KAFKA__REQUESTS_TOPIC", kafka.requests_topic, Operation.WRITE)
    # Idempotent, so that a send that is repeated within does not become two deployments.
    async with running(AIOKafkaProducer(**client_options(kafka), enable_idempotence=True)) as producer:
        yield Requests(producer, kafka.requests_topic, partitions)


@asynccontextmanager
async def open_statuses(
    kafka: KafkaSettings, partitions: Sequence[int] | None = None, *, from_beginning: bool = False
) -> AsyncIterator[AsyncIterator[Event]]:
    """Statuses from now on, or from the topic's beginning; of all partitions unless some are named.

    Whatever is published after this has opened is seen. Raises KafkaError, ConfigurationError.
    """
    setting = "DEPLOYER_KAFKA__STATUS_TOPIC"
    every = range(await partition_count(kafka, setting, kafka.status_topic, Operation.READ))
    wanted = every if partitions is None else partitions
    if not set(wanted) <= set(every):  # aiokafka would wait for the missing one without end
        raise ConfigurationError(
            f"{setting}: '{kafka.status_topic}' has fewer partitions than '{kafka.requests_topic}'. Add partitions."
        )
    consumer = AIOKafkaConsumer(
        **client_options(kafka),
        group_id=None,
        enable_auto_commit=False,
        isolation_level="read_committed",
        auto_offset_reset="earliest" if from_beginning else "latest",
    )
    async with running(consumer):
        places = [TopicPartition(kafka.status_topic, number) for number in wanted]
        consumer.assign(places)
        for place in places:  # asks for the end now, not at the first read
            await consumer.position(place)
        yield _events(consumer)


async def _events(consumer: AIOKafkaConsumer) -> AsyncIterator[Event]:
    async for record in consumer:
        status = read_status(record)
        if status is not None:
            yield Event(status, record.value)


def read_status(record: ConsumerRecord) -> DeploymentStatus | None:
    """The status in a record; None when it holds something else. Fields of later versions are ignored."""
    if ("ce_type", DeploymentStatus.TYPE.encode()) not in record.headers:
        return None
    try:
        return DeploymentStatus.model_validate_json(record.value or b"", extra="ignore")
    except ValidationError:
        return None


async def partition_count(kafka: KafkaSettings, setting: str, topic: str, *uses: Operation) -> int:
    """How many partitions the topic has that is to be used so.

    Raises KafkaError, ConfigurationError when it does not exist, or when we may not.
    """
    async with connected(kafka) as connection:
        count = (await verify_acls(connection, kafka, topic_acls(topic, *uses))).get(topic)
    if count is None:
        raise ConfigurationError(
            f"{setting}: the topic '{topic}' does not exist. "
            "Make it, or start the worker with DEPLOYER_KAFKA__CREATE_TOPICS=true."
        )
    return count


Client = TypeVar("Client", AIOKafkaAdminClient, AIOKafkaConsumer, AIOKafkaProducer)


@asynccontextmanager
async def running(client: Client) -> AsyncIterator[Client]:
    """A Kafka client, started. Raises KafkaError, KafkaConnectionError above all."""
    try:
        try:
            async with asyncio.timeout(START_SECONDS):
                await client.start()
        except TimeoutError:
            raise KafkaConnectionError from None
        yield client
    finally:
        await stop_client(client.close if isinstance(client, AIOKafkaAdminClient) else client.stop, STOP_SECONDS)
