"""Dead letters: read, filtered, shown and replayed, for `dead-letter` and the gateway."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from pydantic import ValidationError

from schemas import DeploymentRequested, ReplayPermitted
from worker.adapters.kafka.acls import Operation
from worker.adapters.kafka.clients import client_options, fetch_record, open_reader, read_all
from worker.client.requests import OutgoingRequest, RequestPublisher, partition_count
from worker.domain import dead_letter, strict_json
from worker.domain.dead_letter import MAX_REPLAYS, Replay, next_replay
from worker.domain.position import PartitionOffset
from worker.domain.request import MAX_BYTES, Record, Request, read_request
from worker.domain.tokens import strip_bearer
from worker.errors import CommandError, one_line
from worker.observability import logs
from worker.settings import KafkaSettings


@dataclass(frozen=True, slots=True, repr=False)
class StoredDeadLetter:
    """One dead letter in its topic. Its content is not trusted, because other programs may write to the topic."""

    position: PartitionOffset
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
    fingerprint: str | None  # None if the request was never accepted
    requested: DeploymentRequested | None  # None if the record could not be read

    def next_replay(self) -> Replay | None:
        """Return the next replay of the request; None when the record could not be read."""
        if self.requested is None:
            return None
        return next_replay(self.requested.request_id or self.request_id, self.requested.replay_of, self.nonce)

    def title(self) -> str:
        """Return the dead letter's position and request id; as safe as `line`."""
        return _safe(f"{self.position}  {self.request_id}")

    def line(self) -> str:
        """Return one line for `list`, without terminal control characters and without texts that look like a token."""
        at = self.time.isoformat(timespec="seconds")
        return _safe(
            f"{self.position!s:<8} {at}  {self.code:<24} {self.request_id}  attempt {self.attempt}  "
            f"{self.topic}/{self.original}  {self.message}"
        )

    def json(self, indent: int | None = None) -> str:
        """Return the whole dead letter as JSON for scripts; as safe as `line`."""
        document = {
            "place": str(self.position),
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
    """Conditions on dead letters. A dead letter matches when all of them hold."""

    positions: frozenset[PartitionOffset] = frozenset()
    code: str | None = None
    key: bytes | None = None
    request_id: str | None = None
    since: datetime | None = None

    @property
    def matches_all(self) -> bool:
        """Whether the filter has no condition."""
        return self == DeadLetterFilter()

    def matches(self, letter: StoredDeadLetter) -> bool:
        """Return whether every condition holds for this dead letter."""
        return (
            (not self.positions or letter.position in self.positions)
            and self.code in (None, letter.code)
            and self.key in (None, letter.key)
            and self.request_id in (None, letter.request_id)
            and (self.since is None or letter.time >= self.since)
        )


def parse_dead_letter(record: ConsumerRecord) -> StoredDeadLetter | None:
    """Return the dead letter in a record; None when the record is no dead letter."""
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
    """Yield the matching dead letters that are in the topic at the time of the call.

    Raises KafkaError, or ConfigurationError when the topic does not exist.
    """
    topic = kafka.dead_letter_topic
    count = await partition_count(kafka, "DEPLOYER_KAFKA__DEAD_LETTER_TOPIC", topic, Operation.READ)
    partitions = {position.partition for position in wanted.positions} or set(range(count))
    tps = [TopicPartition(topic, partition) for partition in sorted(partitions) if partition < count]
    async for record in read_all(client_options(kafka), tps):
        letter = parse_dead_letter(record)
        if letter is not None and wanted.matches(letter):
            yield letter


# --------------------------------------------------------------------------------------------------------------- replay


async def build_replay(
    letter: StoredDeadLetter,
    originals: "OriginalRecords",
    ids: dict[tuple[str, int], str],
    token: str | None = None,
    *,
    force: bool = False,
) -> OutgoingRequest:
    """Build the request that replays a dead letter.

    Args:
        letter: the dead letter to replay.
        originals: the original records, which hold the tokens.
        ids: (original id, replay number) → request id, for all calls of one command, which this function extends. Two
            dead letters of one request get the same id, because they must not cause two deployments.
        token: a token to send instead of the original record's.
        force: whether to replay the request more than MAX_REPLAYS times.

    Raises KafkaError, or CommandError when the dead letter cannot be replayed.
    """
    replay, requested = letter.next_replay(), letter.requested
    if replay is None or requested is None:
        raise CommandError(
            f"the record could not be read ({one_line(letter.code)}), so there is nothing to replay. "
            "Ask the sender to send the request again."
        )
    if letter.key is None:
        raise CommandError("the record has no key, so its user is unknown. Ask the sender to send the request again.")
    if replay.number > MAX_REPLAYS and not force:
        raise CommandError(
            f"the request has already been replayed {MAX_REPLAYS} times. Find out why it fails, or add --force."
        )
    originals.require_origin(letter)
    replay_token = token or await originals.token(letter)
    if replay_token is None:
        raise CommandError(
            "Kafka has deleted the request's record, and the token with it. Give a token with --token-file."
        )
    request_id = ids.setdefault((replay.original, replay.number), replay.request_id)
    request = OutgoingRequest(request_id, requested.solution_id, requested.revision_id, replay_token, replay.original)
    if token and request.user_id.encode() != letter.key:
        raise CommandError(
            "the request and the token belong to different users. Select one user's requests with --key, or give the "
            "other user's --token-file."
        )
    return request


async def send_replay(
    publisher: RequestPublisher, request: OutgoingRequest, letter: StoredDeadLetter, *, permitted: bool
) -> None:
    """Publish a replay under the key of the dead letter. Raises KafkaError.

    With `permitted`, a permit is published first, which records that an operator replays an accepted request.
    """
    if permitted and letter.fingerprint and request.replay_of:
        permit = ReplayPermitted(
            request_id=request.request_id, replay_of=request.replay_of, fingerprint=letter.fingerprint
        )
        await publisher.permit(permit, letter.key or b"")
    await publisher.publish(request, key=letter.key)


class OriginalRecords:
    """The original records of dead letters, for as long as Kafka keeps them."""

    def __init__(self, reader: AIOKafkaConsumer, topic: str, partitions: int) -> None:
        self._reader = reader
        self._topic = topic
        self._partitions = partitions

    def require_origin(self, letter: StoredDeadLetter) -> None:
        """Verify that the request came from a partition of this topic. Raises CommandError."""
        if letter.topic != self._topic:
            raise CommandError(
                f"the request came from the topic '{one_line(letter.topic)}'. "
                "Set DEPLOYER_KAFKA__REQUESTS_TOPIC to that topic."
            )
        if letter.original.partition not in range(self._partitions):
            raise CommandError(
                f"'{self._topic}' has no partition {letter.original.partition}. Send the request again with: "
                "playground-deployer submit."
            )

    async def token(self, letter: StoredDeadLetter) -> str | None:
        """Return the token of the original record; None when the record is gone. Raises KafkaError."""
        tp = TopicPartition(self._topic, letter.original.partition)
        record = await fetch_record(self._reader, tp, letter.original.offset)
        if record is None or record.timestamp != letter.original_ms:  # another record, in a topic created later
            return None
        request = read_request(Record.of("", record))
        return strip_bearer(request.token) if isinstance(request, Request) else None


@asynccontextmanager
async def open_originals(kafka: KafkaSettings) -> AsyncIterator[OriginalRecords]:
    """Open the requests topic for reading. Raises KafkaError, or ConfigurationError when the topic does not exist."""
    partitions = await partition_count(kafka, "DEPLOYER_KAFKA__REQUESTS_TOPIC", kafka.requests_topic, Operation.READ)
    async with open_reader(client_options(kafka), []) as reader:
        yield OriginalRecords(reader, kafka.requests_topic, partitions)
