"""Which of our rights Kafka has granted: asked before they are needed, so that one error names all that are missing."""

from typing import Any

from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.coordination import FindCoordinatorRequest
from aiokafka.protocol.metadata import MetadataRequest_v5, MetadataResponse_v5
from aiokafka.protocol.types import Array, Boolean, Int16, Int32, Schema, String

from worker.errors import ConfigurationError
from worker.kafka_rights import Operation, Resource, Right, without
from worker.settings import Kafka

_COORDINATORS = {
    Resource.GROUP: (0, GroupAuthorizationFailedError.errno),
    Resource.TRANSACTIONAL_ID: (1, TransactionalIdAuthorizationFailed.errno),
}
_SHOWING = (Operation.READ, Operation.WRITE)  # who has one of them sees the topic
_UNKNOWN = -(2**31)  # what a broker says that does not know its clients' rights


async def granted(connection: AIOKafkaConnection, kafka: Kafka, rights: tuple[Right, ...]) -> dict[str, int]:
    """How many partitions each topic has that the rights name, if it exists. Of one that does not, nothing is said.

    Raises KafkaError, ConfigurationError when rights are missing.
    """
    names = dict.fromkeys(right.name for right in rights if right.resource is Resource.TOPIC)
    answer = await connection.send(_Topics(list(names)))
    topics = {name: (code, len(partitions), *may) for code, name, _, partitions, *may in answer.topics}
    missing = []
    for right in rights:
        if right.resource is Resource.TOPIC:
            code, _, *may = topics[right.name]
            hidden = code == TopicAuthorizationFailedError.errno
            denied = (hidden and right.operation in _SHOWING) or not (code or _allowed(right, *may))
        else:
            denied = await _is_hidden(connection, right)
        if denied:
            missing.append(right)
    if missing:
        raise ConfigurationError("\n".join(without(right, kafka) for right in missing))
    return {name: partitions for name, (code, partitions, *_) in topics.items() if not code}


def _allowed(right: Right, operations: int = _UNKNOWN) -> bool:
    return operations == _UNKNOWN or bool(operations >> right.operation.value & 1)


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


class _Topics(Request[MetadataRequest_v5 | _MetadataRequest_v8]):  # type: ignore[misc]
    """These topics and our rights on them; without the rights where the broker knows no better."""

    API_KEY = 3

    def __init__(self, names: list[str]) -> None:
        self._names = names

    def build(self, request_struct_class: type[Any]) -> Any:
        """Makes no topic."""
        more = (False, True) if request_struct_class is _MetadataRequest_v8 else ()
        return request_struct_class(self._names, False, *more)
