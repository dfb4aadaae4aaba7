"""What goes out to Kafka: CloudEvents in binary mode, in the partition their request came from, and dead letters."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from schemas import DeploymentSettled, DeploymentStatus
from worker.domain.dead_letter import DeadLetter


@dataclass(frozen=True, slots=True)
class Message:
    """A record to be written. `partition` None: wherever the key leads."""

    topic: str
    partition: int | None
    key: bytes | None = field(repr=False)
    value: bytes = field(repr=False)
    headers: tuple[tuple[str, bytes], ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where a lane's records go, and in whose name."""

    status_topic: str
    dead_letter_topic: str
    source: str

    def __call__(
        self, status: DeploymentStatus, dead_letter: DeadLetter | None, traceparent: str | None
    ) -> tuple[Message, ...]:
        """The records of one status. Raises ValueError when it is too large."""
        message = status_message(status, traceparent, self.status_topic, self.source)
        if dead_letter is None:
            return (message,)
        return message, dead_letter_message(dead_letter, self.dead_letter_topic)


def status_message(status: DeploymentStatus, traceparent: str | None, topic: str, source: str) -> Message:
    """Raises ValueError when it is too large: a record the producer refuses would spoil its sequence numbers."""
    value = status.to_json()
    if len(value) > DeploymentStatus.MAX_BYTES:
        raise ValueError(f"a status of {len(value)} bytes is larger than {DeploymentStatus.MAX_BYTES}")
    headers = {
        "ce_specversion": "1.0",
        "ce_type": DeploymentStatus.TYPE,
        "ce_source": source,
        "ce_id": f"{status.request_id}:{status.sequence}",
        "ce_subject": status.request_id,
        "ce_time": status.time.isoformat(),
        "content-type": "application/json",
    }
    if traceparent:
        headers["traceparent"] = traceparent
    return Message(topic, status.source.partition, status.request_id.encode(), value, _headers(headers))


def settlement_message(settled: DeploymentSettled, topic: str, partition: int, source: str) -> Message:
    """The outcome of one attempt, for the lane that owns the partition."""
    headers = {
        "ce_specversion": "1.0",
        "ce_type": DeploymentSettled.TYPE,
        "ce_source": source,
        "ce_id": f"{settled.request_id}:{settled.attempt}:{settled.by}",
        "ce_subject": settled.request_id,
        "content-type": "application/json",
    }
    value = settled.model_dump_json(by_alias=True, exclude_none=True).encode()
    return Message(topic, partition, settled.request_id.encode(), value, _headers(headers))


def dead_letter_message(letter: DeadLetter, topic: str) -> Message:
    """A dead letter has no CloudEvents attributes: it is no event, but what is left of a record."""
    return Message(topic, None, letter.key, letter.value, letter.headers)


def _headers(headers: Mapping[str, str]) -> tuple[tuple[str, bytes], ...]:
    return tuple((name, value.encode()) for name, value in headers.items())
