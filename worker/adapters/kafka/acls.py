"""The ACLs that each role needs in Kafka, and a check that Kafka grants them.

The worker's startup, its error messages, the tests and docs/kafka-security.md share this list. READ and WRITE imply
DESCRIBE, so no role needs that operation on its own. The worker checks all its ACLs up front, so that a single error
names all missing ACLs.
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
    """An ACL operation, by its number in Kafka's protocol."""

    READ = 3
    WRITE = 4
    CREATE = 5
    DESCRIBE_CONFIGS = 10

    @property
    def title(self) -> str:
        """Its name as `kafka-acls.sh` spells it."""
        return self.name.title().replace("_", "")


class ResourceType(Enum):
    """A resource type, by its number in Kafka's protocol."""

    TOPIC = 2
    GROUP = 3
    TRANSACTIONAL_ID = 5

    @property
    def title(self) -> str:
        """Its name in a sentence."""
        return self.name.lower().replace("_", " ")


@dataclass(frozen=True, slots=True)
class AclBinding:
    """An operation that is allowed on one resource, or if `prefixed`, on all whose names start with `name`."""

    operation: Operation
    resource_type: ResourceType
    name: str
    prefixed: bool = False

    def __str__(self) -> str:
        return f"{self.operation.title} on the {self.resource_type.title} '{self.name}{'*' if self.prefixed else ''}'"

    @property
    def options(self) -> str:
        """The options of `kafka-acls.sh` that add this ACL."""
        pattern = ("--resource-pattern-type", "prefixed") if self.prefixed else ()
        resource = f"--{self.resource_type.name.lower().replace('_', '-')}"
        return join(("--operation", self.operation.title, resource, self.name, *pattern))


def topic_acls(topic: str, *operations: Operation) -> tuple[AclBinding, ...]:
    """Return the ACL of each operation on a topic."""
    return tuple(AclBinding(operation, ResourceType.TOPIC, topic) for operation in operations)


def transactional_id_prefix(kafka: KafkaSettings) -> str:
    """Return the prefix of the workers' transactional ids; the partition number follows it."""
    return f"{kafka.group_id}.{kafka.requests_topic}."


def worker_acls(kafka: KafkaSettings) -> tuple[AclBinding, ...]:
    """Return the ACLs of `run`, and of `check`, which runs with the same settings."""
    return (
        *topic_acls(kafka.requests_topic, Operation.READ, Operation.DESCRIBE_CONFIGS),
        *topic_acls(kafka.status_topic, Operation.READ, Operation.WRITE, Operation.DESCRIBE_CONFIGS),
        *topic_acls(kafka.settlements_topic, Operation.READ, Operation.WRITE, Operation.DESCRIBE_CONFIGS),
        *topic_acls(kafka.dead_letter_topic, Operation.WRITE, Operation.DESCRIBE_CONFIGS),
        AclBinding(Operation.READ, ResourceType.GROUP, kafka.group_id),
        AclBinding(Operation.WRITE, ResourceType.TRANSACTIONAL_ID, transactional_id_prefix(kafka), prefixed=True),
    )


def topic_creation_acls(kafka: KafkaSettings) -> tuple[AclBinding, ...]:
    """Return the ACLs that a worker needs in addition to `worker_acls` to create missing topics."""
    topics = (kafka.requests_topic, kafka.status_topic, kafka.settlements_topic, kafka.dead_letter_topic)
    return tuple(AclBinding(Operation.CREATE, ResourceType.TOPIC, topic) for topic in topics)


def sender_acls(kafka: KafkaSettings) -> tuple[AclBinding, ...]:
    """Return the ACLs of clients that send requests: a portal, `submit`."""
    return topic_acls(kafka.requests_topic, Operation.WRITE)


def reader_acls(kafka: KafkaSettings) -> tuple[AclBinding, ...]:
    """Return the ACLs of clients that read statuses: a portal, `watch`, `status`, `submit --wait`.

    A reader with a consumer group needs READ on that group as well.
    """
    return topic_acls(kafka.status_topic, Operation.READ)


def operator_acls(kafka: KafkaSettings) -> tuple[AclBinding, ...]:
    """Return the ACLs for `submit`, `watch`, `status`, `resolve` and `dead-letter`."""
    return (
        *topic_acls(kafka.requests_topic, Operation.READ, Operation.WRITE),
        *topic_acls(kafka.status_topic, Operation.READ),
        *topic_acls(kafka.settlements_topic, Operation.WRITE),
        *topic_acls(kafka.dead_letter_topic, Operation.READ),
    )


def gateway_acls(kafka: KafkaSettings) -> tuple[AclBinding, ...]:
    """Return the ACLs of `gateway`, which sends and follows requests, and offers users what operators' commands do.

    The gateway needs neither a group nor a transactional id: each replica reads all statuses, and publishes one record
    at a time. READ on the requests topic is for "deploy again", and WRITE on the settlements topic for the permit of
    the resulting replay.
    """
    return (
        *topic_acls(kafka.requests_topic, Operation.READ, Operation.WRITE),
        *topic_acls(kafka.status_topic, Operation.READ),
        *topic_acls(kafka.settlements_topic, Operation.WRITE),
        *topic_acls(kafka.dead_letter_topic, Operation.READ),
    )


def notification_group(kafka: KafkaSettings) -> str:
    """Return the consumer group of gateways with `NOTIFY`."""
    return f"{kafka.group_id}-notifications"


def notification_acls(kafka: KafkaSettings) -> tuple[AclBinding, ...]:
    """Return the ACLs that a gateway with `NOTIFY` needs in addition to `gateway_acls`."""
    return (AclBinding(Operation.READ, ResourceType.GROUP, notification_group(kafka)),)


ROLES: Mapping[str, Callable[[KafkaSettings], tuple[AclBinding, ...]]] = {
    "worker": worker_acls,
    "worker that creates the topics": topic_creation_acls,
    "gateway": gateway_acls,
    "gateway that notifies": notification_acls,
    "sender": sender_acls,
    "reader": reader_acls,
    "operator": operator_acls,
}


def missing_acl(acl: AclBinding, kafka: KafkaSettings) -> str:
    """Return the error message for a missing ACL, with the command that adds it."""
    user = kafka.sasl_username if kafka.security_protocol.startswith("SASL_") else None
    return (
        f"Kafka: the ACL {acl} is missing. Add it (docs/kafka-security.md): "
        f"kafka-acls.sh --bootstrap-server {kafka.bootstrap_servers} --add --allow-principal "
        f"{quote(f'User:{user}') if user else 'User:…'} {acl.options}"
    )


_COORDINATORS = {
    ResourceType.GROUP: (0, GroupAuthorizationFailedError.errno),
    ResourceType.TRANSACTIONAL_ID: (1, TransactionalIdAuthorizationFailed.errno),
}
_IMPLY_DESCRIBE = (Operation.READ, Operation.WRITE)  # with either of them the topic would be visible
_DESCRIBE = 8
_UNKNOWN = -(2**31)  # the broker does not report authorized operations


async def verify_acls(
    connection: AIOKafkaConnection, kafka: KafkaSettings, acls: tuple[AclBinding, ...]
) -> dict[str, int]:
    """Verify that Kafka grants these ACLs, and return the partition count of each existing topic among them.

    On a topic that does not exist, only a denied READ or WRITE is detected. Raises KafkaError, ConfigurationError.
    """
    names = dict.fromkeys(acl.name for acl in acls if acl.resource_type is ResourceType.TOPIC)
    answer = (await connection.send(_TopicMetadata(list(names)))).to_object()
    topics = {topic["topic"]: topic for topic in answer["topics"]}
    missing = []
    for acl in acls:
        if acl.resource_type is ResourceType.TOPIC:
            denied = _is_denied(topics[acl.name], acl.operation)
        else:
            denied = await _is_hidden(connection, acl)
        if denied:
            missing.append(acl)
    if missing:
        raise ConfigurationError("\n".join(missing_acl(acl, kafka) for acl in missing))
    return {name: len(topic["partitions"]) for name, topic in topics.items() if not topic["error_code"]}


def _is_denied(topic: Mapping[str, Any], operation: Operation) -> bool:
    if topic["error_code"]:
        return topic["error_code"] == TopicAuthorizationFailedError.errno and operation in _IMPLY_DESCRIBE
    allowed = topic.get("operations", _UNKNOWN)
    known = allowed != _UNKNOWN and allowed >> _DESCRIBE & 1  # any client that sees the topic may describe it
    return bool(known and not allowed >> operation.value & 1)


async def _is_hidden(connection: AIOKafkaConnection, acl: AclBinding) -> bool:
    """Request the coordinator, which Kafka reveals only to clients that may use it."""
    key_type, denial = _COORDINATORS[acl.resource_type]
    name = f"{acl.name}0" if acl.prefixed else acl.name
    return bool((await connection.send(FindCoordinatorRequest(name, key_type))).error_code == denial)


class _MetadataResponse_v8(Response):  # type: ignore[misc]  # aiokafka has no types  # noqa: N801
    """Version 5 plus the authorized operations."""

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
    """A version that reports the authorized operations. aiokafka's newest version, 5, does not."""

    API_KEY = 3
    API_VERSION = 8
    RESPONSE_TYPE = _MetadataResponse_v8
    SCHEMA = Schema(
        ("topics", Array(String("utf-8"))),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
    )


class _TopicMetadata(Request[MetadataRequestStruct | _MetadataRequest_v8]):  # type: ignore[misc]
    """Requests topics and our authorized operations on them. An old broker omits the operations."""

    API_KEY = 3

    def __init__(self, names: list[str]) -> None:
        self._names = names

    def build(self, request_struct_class: type[Any]) -> Any:
        """Build the request so that it creates no topic."""
        if request_struct_class is _MetadataRequest_v8:
            return _MetadataRequest_v8(self._names, False, False, True)
        return MetadataRequest(self._names, allow_auto_topic_creation=False).build(request_struct_class)
