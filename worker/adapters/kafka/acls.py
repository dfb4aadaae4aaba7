"""The ACLs that each role needs in Kafka, and which of them Kafka has granted.

One list for the worker's start, its errors, the tests and the docs. READ and WRITE imply DESCRIBE, so no role needs
that by itself. The worker asks before it needs them, so that one error names all that are missing.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from shlex import join, quote
from typing import Any

from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.coordination import FindCoordinatorRequest
from aiokafka.protocol.metadata import MetadataRequest, MetadataRequestStruct, MetadataResponse_v5
from aiokafka.protocol.types import Array, Boolean, Int16, Int32, Schema, String

from worker.errors import ConfigurationError
from worker.settings import KafkaSettings


class Operation(Enum):
    """By its number in Kafka's protocol."""

    READ = 3
    WRITE = 4
    CREATE = 5
    DESCRIBE_CONFIGS = 10

    @property
    def title(self) -> str:
        """As `kafka-acls` writes it."""
        return self.name.title().replace("_", "")


class Resource(Enum):
    """By its number in Kafka's protocol."""

    TOPIC = 2
    GROUP = 3
    TRANSACTIONAL_ID = 5

    @property
    def title(self) -> str:
        """As people read it."""
        return self.name.lower().replace("_", " ")


@dataclass(frozen=True, slots=True)
class Right:
    """One ACL. A prefix stands for everything that begins with it."""

    operation: Operation
    resource: Resource
    name: str
    prefix: bool = False

    def __str__(self) -> str:
        return f"{self.operation.title} on the {self.resource.title} '{self.name}{'*' if self.prefix else ''}'"

    @property
    def options(self) -> str:
        """Of `kafka-acls`."""
        pattern = ("--resource-pattern-type", "prefixed") if self.prefix else ()
        resource = f"--{self.resource.name.lower().replace('_', '-')}"
        return join(("--operation", self.operation.title, resource, self.name, *pattern))


def rights_on(topic: str, *operations: Operation) -> tuple[Right, ...]:
    """One right for each use of a topic."""
    return tuple(Right(operation, Resource.TOPIC, topic) for operation in operations)


def transactional_ids(kafka: KafkaSettings) -> str:
    """What the ids of all lanes begin with."""
    return f"{kafka.group_id}.{kafka.requests_topic}."


def worker_rights(kafka: KafkaSettings) -> tuple[Right, ...]:
    """Of `run`, and of `check`, which is run with the same settings."""
    return (
        *rights_on(kafka.requests_topic, Operation.READ, Operation.DESCRIBE_CONFIGS),
        *rights_on(kafka.status_topic, Operation.READ, Operation.WRITE),
        *rights_on(kafka.settlements_topic, Operation.READ, Operation.WRITE),
        *rights_on(kafka.dead_letter_topic, Operation.WRITE),
        Right(Operation.READ, Resource.GROUP, kafka.group_id),
        Right(Operation.WRITE, Resource.TRANSACTIONAL_ID, transactional_ids(kafka), prefix=True),
    )


def creator_rights(kafka: KafkaSettings) -> tuple[Right, ...]:
    """On top of the worker's, while topics are missing that it shall make."""
    topics = (kafka.requests_topic, kafka.status_topic, kafka.settlements_topic, kafka.dead_letter_topic)
    return tuple(Right(Operation.CREATE, Resource.TOPIC, topic) for topic in topics)


def sender_rights(kafka: KafkaSettings) -> tuple[Right, ...]:
    """Of whoever sends requests: a portal, `submit`."""
    return rights_on(kafka.requests_topic, Operation.WRITE)


def reader_rights(kafka: KafkaSettings) -> tuple[Right, ...]:
    """Of whoever follows the statuses: a portal, `watch`, `submit --wait`. A consumer group of its own comes on top."""
    return rights_on(kafka.status_topic, Operation.READ)


def operator_rights(kafka: KafkaSettings) -> tuple[Right, ...]:
    """Of `submit`, `watch`, `resolve` and `dead-letter`."""
    return (
        *rights_on(kafka.requests_topic, Operation.READ, Operation.WRITE),
        *rights_on(kafka.status_topic, Operation.READ),
        *rights_on(kafka.settlements_topic, Operation.WRITE),
        *rights_on(kafka.dead_letter_topic, Operation.READ),
    )


ROLES: Mapping[str, Callable[[KafkaSettings], tuple[Right, ...]]] = {
    "worker": worker_rights,
    "worker that makes the topics": creator_rights,
    "sender": sender_rights,
    "reader": reader_rights,
    "operator": operator_rights,
}


def without(right: Right, kafka: KafkaSettings) -> str:
    """What is said when it is missing."""
    user = kafka.sasl_username if kafka.security_protocol.startswith("SASL_") else None
    return (
        f"Kafka: we lack the right {right}. Grant it (docs/kafka-security.md): "
        f"kafka-acls --bootstrap-server {kafka.bootstrap_servers} --add --allow-principal "
        f"{quote(f'User:{user}') if user else 'User:…'} {right.options}"
    )


_COORDINATORS = {
    Resource.GROUP: (0, GroupAuthorizationFailedError.errno),
    Resource.TRANSACTIONAL_ID: (1, TransactionalIdAuthorizationFailed.errno),
}
_SHOWING = (Operation.READ, Operation.WRITE)  # who has one of them sees the topic
_DESCRIBE = 8
_UNKNOWN = -(2**31)  # what a broker says that does not know its clients' rights


async def granted(connection: AIOKafkaConnection, kafka: KafkaSettings, rights: tuple[Right, ...]) -> dict[str, int]:
    """How many partitions each topic has that the rights name, if it exists. Of one that does not, nothing is said.

    Raises KafkaError, ConfigurationError when rights are missing.
    """
    names = dict.fromkeys(right.name for right in rights if right.resource is Resource.TOPIC)
    answer = (await connection.send(_Topics(list(names)))).to_object()
    topics = {topic["topic"]: topic for topic in answer["topics"]}
    missing = []
    for right in rights:
        if right.resource is Resource.TOPIC:
            denied = _is_denied(topics[right.name], right.operation)
        else:
            denied = await _is_hidden(connection, right)
        if denied:
            missing.append(right)
    if missing:
        raise ConfigurationError("\n".join(without(right, kafka) for right in missing))
    return {name: len(topic["partitions"]) for name, topic in topics.items() if not topic["error_code"]}


def _is_denied(topic: Mapping[str, Any], operation: Operation) -> bool:
    if topic["error_code"]:
        return topic["error_code"] == TopicAuthorizationFailedError.errno and operation in _SHOWING
    allowed = topic.get("operations", _UNKNOWN)
    known = allowed != _UNKNOWN and allowed >> _DESCRIBE & 1  # which everybody may who sees the topic
    return bool(known and not allowed >> operation.value & 1)


async def _is_hidden(connection: AIOKafkaConnection, right: Right) -> bool:
    """Kafka shows a coordinator to those who may use it."""
    kind, refusal = _COORDINATORS[right.resource]
    name = f"{right.name}0" if right.prefix else right.name
    return bool((await connection.send(FindCoordinatorRequest(name, kind))).error_code == refusal)


class _MetadataResponse_v8(Response):  # type: ignore[misc]  # aiokafka has no types  # noqa: N801
    """As version 5, with the operations that we may use."""

    API_KEY = 3
    API_VERSION = 8
    SCHEMA = Schema(
        *zip(MetadataResponse_v5.SCHEMA.names[:-1], MetadataResponse_v5.SCHEMA.fields[:-1], strict=True),
        (
            "topics",
            Array(
                ("error_code", Int16),
                ("topic", String("utf-8")),
                ("is_internal", Boolean),
                (
                    "partitions",
                    Array(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", Array(Int32)),
                        ("isr", Array(Int32)),
                        ("offline_replicas", Array(Int32)),
                    ),
                ),
                ("operations", Int32),
            ),
        ),
        ("cluster_operations", Int32),
    )


class _MetadataRequest_v8(RequestStruct):  # type: ignore[misc]  # noqa: N801
    """aiokafka ends with version 5, which does not tell what we may do."""

    API_KEY = 3
    API_VERSION = 8
    RESPONSE_TYPE = _MetadataResponse_v8
    SCHEMA = Schema(
        ("topics", Array(String("utf-8"))),
        ("make", Boolean),
        ("cluster_operations", Boolean),
        ("topic_operations", Boolean),
    )


class _Topics(Request[MetadataRequestStruct | _MetadataRequest_v8]):  # type: ignore[misc]
    """These topics and our rights on them; without the rights where the broker knows no better."""

    API_KEY = 3

    def __init__(self, names: list[str]) -> None:
        self._names = names

    def build(self, request_struct_class: type[Any]) -> Any:
        """Makes no topic."""
        if request_struct_class is _MetadataRequest_v8:
            return _MetadataRequest_v8(self._names, False, False, True)
        return MetadataRequest(self._names, allow_auto_topic_creation=False).build(request_struct_class)
