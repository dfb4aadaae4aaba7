"""The rights that each role needs in Kafka: one list for the worker's start, its errors, the tests and the docs.

READ and WRITE imply DESCRIBE, so no role needs that by itself.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from shlex import join, quote

from worker.settings import Kafka


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


def transactional_ids(kafka: Kafka) -> str:
    """What the ids of all lanes begin with."""
    return f"{kafka.group_id}.{kafka.requests_topic}."


def worker_rights(kafka: Kafka) -> tuple[Right, ...]:
    """Of `run`, and of `check`, which is run with the same settings."""
    return (
        *rights_on(kafka.requests_topic, Operation.READ, Operation.DESCRIBE_CONFIGS),
        *rights_on(kafka.status_topic, Operation.READ, Operation.WRITE),
        *rights_on(kafka.settlements_topic, Operation.READ, Operation.WRITE),
        *rights_on(kafka.dead_letter_topic, Operation.WRITE),
        Right(Operation.READ, Resource.GROUP, kafka.group_id),
        Right(Operation.WRITE, Resource.TRANSACTIONAL_ID, transactional_ids(kafka), prefix=True),
    )


def creator_rights(kafka: Kafka) -> tuple[Right, ...]:
    """On top of the worker's, while topics are missing that it shall make."""
    topics = (kafka.requests_topic, kafka.status_topic, kafka.settlements_topic, kafka.dead_letter_topic)
    return tuple(Right(Operation.CREATE, Resource.TOPIC, topic) for topic in topics)


def sender_rights(kafka: Kafka) -> tuple[Right, ...]:
    """Of whoever sends requests: a portal, `submit`."""
    return rights_on(kafka.requests_topic, Operation.WRITE)


def reader_rights(kafka: Kafka) -> tuple[Right, ...]:
    """Of whoever follows the statuses: a portal, `watch`, `submit --wait`. A consumer group of its own comes on top."""
    return rights_on(kafka.status_topic, Operation.READ)


def operator_rights(kafka: Kafka) -> tuple[Right, ...]:
    """Of `submit`, `watch`, `resolve` and `dead-letter`."""
    return (
        *rights_on(kafka.requests_topic, Operation.READ, Operation.WRITE),
        *rights_on(kafka.status_topic, Operation.READ),
        *rights_on(kafka.settlements_topic, Operation.WRITE),
        *rights_on(kafka.dead_letter_topic, Operation.READ),
    )


ROLES: Mapping[str, Callable[[Kafka], tuple[Right, ...]]] = {
    "worker": worker_rights,
    "worker that makes the topics": creator_rights,
    "sender": sender_rights,
    "reader": reader_rights,
    "operator": operator_rights,
}


def without(right: Right, kafka: Kafka) -> str:
    """What is said when it is missing."""
    user = kafka.sasl_username if kafka.security_protocol.startswith("SASL_") else None
    return (
        f"Kafka: we lack the right {right}. Grant it (docs/kafka-security.md): "
        f"kafka-acls --bootstrap-server {kafka.bootstrap_servers} --add --allow-principal "
        f"{quote(f'User:{user}') if user else 'User:…'} {right.options}"
    )
