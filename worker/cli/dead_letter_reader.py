"""Dead letters as the command `dead-letter` reads, filters and prints them."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from aiokafka import ConsumerRecord, TopicPartition
from pydantic import ValidationError

from schemas import DeploymentRequested
from worker.adapters.kafka.acls import Operation
from worker.adapters.kafka.clients import client_options, read_all
from worker.cli.argument_types import PartitionOffset
from worker.cli.client import partition_count
from worker.domain import dead_letter, strict_json
from worker.domain.dead_letter import Replay, next_replay
from worker.domain.request import MAX_BYTES
from worker.errors import one_line
from worker.observability import logs
from worker.settings import KafkaSettings


@dataclass(frozen=True, slots=True, repr=False)
class StoredDeadLetter:
    """One dead letter in its topic. Nothing in it is trusted, because others may write to the topic, too."""

    place: PartitionOffset
    time: datetime
    key: bytes | None
    value: Any
    headers: dict[str, str]
    topic: str
    original: PartitionOffset
    original_ms: int
    code: str
    message: str
    attempt: int
    request_id: str
    nonce: str
    fingerprint: str | None  # None if it was never accepted
    requested: DeploymentRequested | None  # None if the record could not be read

    def next_replay(self) -> Replay | None:
        """Return the next replay of the request; None when there is nothing to replay."""
        if self.requested is None:
            return None
        return next_replay(self.requested.request_id or self.request_id, self.requested.replay_of, self.nonce)

    def title(self) -> str:
        """Return its place and request; as safe as `line`."""
        return _safe(f"{self.place}  {self.request_id}")

    def line(self) -> str:
        """Return one line for `list`, without terminal control characters and without anything like a token."""
        at = self.time.isoformat(timespec="seconds")
        return _safe(
            f"{self.place!s:<8} {at}  {self.code:<24} {self.request_id}  attempt {self.attempt}  "
            f"{self.topic}/{self.original}  {self.message}"
        )

    def json(self, indent: int | None = None) -> str:
        """Return all of it as JSON for scripts; as safe as `line`."""
        document = {
            "place": str(self.place),
            "time": self.time.isoformat(),
            "key": self.key.decode(errors="replace") if self.key is not None else None,
            "code": self.code,
            "message": self.message,
            "attempt": self.attempt,
            "requestId": self.request_id,
            "original": {
                "topic": self.topic,
                "partition": self.original.partition,
                "offset": self.original.offset,
                "timestamp": self.original_ms,
            },
            "headers": {name: value for name, value in self.headers.items() if name != dead_letter.NONCE},
            "value": self.value,
        }
        return json.dumps(logs.scrub(None, "", document), indent=indent)  # escapes terminal control characters


@dataclass(frozen=True, slots=True)
class DeadLetterFilter:
    """Conditions on dead letters, all of which must hold."""

    places: frozenset[PartitionOffset] = frozenset()
    code: str | None = None
    key: bytes | None = None
    request_id: str | None = None
    since: datetime | None = None

    @property
    def matches_all(self) -> bool:
        """Whether there is no condition."""
        return self == DeadLetterFilter()

    def matches(self, letter: StoredDeadLetter) -> bool:
        """Return whether every condition holds."""
        return (
            (not self.places or letter.place in self.places)
            and self.code in (None, letter.code)
            and self.key in (None, letter.key)
            and self.request_id in (None, letter.request_id)
            and (self.since is None or letter.time >= self.since)
        )


def parse_dead_letter(record: ConsumerRecord) -> StoredDeadLetter | None:
    """Return the dead letter in a record; None when it holds something else."""
    headers = {name: value.decode(errors="replace") for name, value in record.headers if value is not None}
    try:
        value = strict_json.loads(record.value or b"null", max_bytes=MAX_BYTES, max_string=MAX_BYTES)
        return StoredDeadLetter(
            PartitionOffset(record.partition, record.offset),
            datetime.fromtimestamp(record.timestamp / 1000, UTC),
            record.key,
            value,
            headers,
            headers[dead_letter.TOPIC],
            PartitionOffset(int(headers[dead_letter.PARTITION]), int(headers[dead_letter.OFFSET])),
            int(headers[dead_letter.TIMESTAMP]),
            headers[dead_letter.CODE],
            headers[dead_letter.MESSAGE],
            int(headers[dead_letter.ATTEMPT]),
            headers[dead_letter.REQUEST_ID],
            headers[dead_letter.NONCE],
            headers.get(dead_letter.FINGERPRINT),
            _requested(value),
        )
    except (KeyError, ValueError, OverflowError, strict_json.JsonError):
        return None


def _safe(text: str) -> str:
    return logs.without_encoded(one_line(text))


def _requested(value: Any) -> DeploymentRequested | None:
    try:
        return DeploymentRequested.model_validate(value)
    except ValidationError:
        return None


async def read_dead_letters(kafka: KafkaSettings, wanted: DeadLetterFilter) -> AsyncIterator[StoredDeadLetter]:
    """Yield the matching dead letters that are in the topic now.

    Raises KafkaError, or ConfigurationError when the topic does not exist.
    """
    topic = kafka.dead_letter_topic
    count = await partition_count(kafka, "DEPLOYER_KAFKA__DEAD_LETTER_TOPIC", topic, Operation.READ)
    partitions = {it.partition for it in wanted.places} or set(range(count))
    tps = [TopicPartition(topic, it) for it in sorted(partitions) if it < count]
    async for record in read_all(client_options(kafka), tps):
        letter = parse_dead_letter(record)
        if letter is not None and wanted.matches(letter):
            yield letter
