"""Dead letters as `dead-letter` reads, shows and chooses them."""

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
from worker.cli.client import partition_count
from worker.cli.view import plain
from worker.cli.words import Place
from worker.domain import dead_letter, strict_json
from worker.domain.dead_letter import Replay, next_replay
from worker.domain.request import MAX_BYTES
from worker.observability import logs
from worker.settings import KafkaSettings


@dataclass(frozen=True, slots=True, repr=False)
class Letter:
    """One dead letter. Nothing in it is trusted: others may write to the topic, too."""

    place: Place
    time: datetime
    key: bytes | None
    value: Any
    headers: dict[str, str]
    topic: str
    original: Place
    original_ms: int
    code: str
    message: str
    attempt: int
    request_id: str
    asked: DeploymentRequested | None  # None: the record could not be read

    def following(self) -> Replay | None:
        """The request that repeats it; None when there is nothing to repeat.

        Counted by the id the sender gave: of a request that was sent twice it leads to the same replay.
        """
        if self.asked is None:
            return None
        return next_replay(self.asked.request_id or self.request_id, self.asked.replay_of)

    def title(self) -> str:
        """Its place and request; as safe as `line`."""
        return _safe(f"{self.place}  {self.request_id}")

    def line(self) -> str:
        """For `list`: one line, nothing in it that a terminal would obey, and nothing that looks like a token."""
        at = self.time.isoformat(timespec="seconds")
        return _safe(
            f"{self.place!s:<8} {at}  {self.code:<24} {self.request_id}  attempt {self.attempt}  "
            f"{self.topic}/{self.original}  {self.message}"
        )

    def json(self, indent: int | None = None) -> str:
        """All of it, for people's scripts; as safe as `line`."""
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
            "headers": self.headers,
            "value": self.value,
        }
        return json.dumps(logs.scrub(None, "", document), indent=indent)  # which escapes what a terminal would obey


@dataclass(frozen=True, slots=True)
class Choice:
    """Which letters are meant; every condition that is given must hold."""

    places: frozenset[Place] = frozenset()
    code: str | None = None
    key: bytes | None = None
    request_id: str | None = None
    since: datetime | None = None

    @property
    def everything(self) -> bool:
        """Whether there is no condition."""
        return self == Choice()

    def takes(self, letter: Letter) -> bool:
        """Whether this one is meant."""
        return (
            (not self.places or letter.place in self.places)
            and self.code in (None, letter.code)
            and self.key in (None, letter.key)
            and self.request_id in (None, letter.request_id)
            and (self.since is None or letter.time >= self.since)
        )


def read_letter(record: ConsumerRecord) -> Letter | None:
    """The dead letter in a record; None when it is none."""
    headers = {name: value.decode(errors="replace") for name, value in record.headers if value is not None}
    try:
        value = strict_json.loads(record.value or b"null", max_bytes=MAX_BYTES, max_string=MAX_BYTES)
        return Letter(
            Place(record.partition, record.offset),
            datetime.fromtimestamp(record.timestamp / 1000, UTC),
            record.key,
            value,
            headers,
            headers[dead_letter.TOPIC],
            Place(int(headers[dead_letter.PARTITION]), int(headers[dead_letter.OFFSET])),
            int(headers[dead_letter.TIMESTAMP]),
            headers[dead_letter.CODE],
            headers[dead_letter.MESSAGE],
            int(headers[dead_letter.ATTEMPT]),
            headers[dead_letter.REQUEST_ID],
            _asked(value),
        )
    except (KeyError, ValueError, OverflowError):
        return None


def _safe(text: str) -> str:
    return logs.without_encoded(plain(text))


def _asked(value: Any) -> DeploymentRequested | None:
    try:
        return DeploymentRequested.model_validate(value)
    except ValidationError:
        return None


async def letters(kafka: KafkaSettings, choice: Choice) -> AsyncIterator[Letter]:
    """All that are meant, up to now. Raises KafkaError, ConfigurationError when the topic does not exist."""
    count = await partition_count(kafka, "DEPLOYER_KAFKA__DEAD_LETTER_TOPIC", kafka.dead_letter_topic, Operation.READ)
    wanted = {it.partition for it in choice.places} or set(range(count))
    places = [TopicPartition(kafka.dead_letter_topic, it) for it in sorted(wanted) if it < count]
    async for record in read_all(client_options(kafka), places):
        letter = read_letter(record)
        if letter is not None and choice.takes(letter):
            yield letter
