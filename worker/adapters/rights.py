"""Which of our rights Kafka has granted: asked before they are needed, so that one error names all that are missing."""

from collections.abc import Mapping
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
from worker.kafka_rights import Operation, Resource, Right, without
from worker.settings import Kafka

_COORDINATORS = {
    Resource.GROUP: (0, GroupAuthorizationFailedError.errno),
    Resource.TRANSACTIONAL_ID: (1, TransactionalIdAuthorizationFailed.errno),
}
_SHOWING = (Operation.READ, Operation.WRITE)  # who has one of them sees the topic
_DESCRIBE = 8
_UNKNOWN = -(2**31)  # what a broker says that does not know its clients' rights


async def granted(connection: AIOKafkaConnection, kafka: Kafka, rights: tuple[Right, ...]) -> dict[str, int]:
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
