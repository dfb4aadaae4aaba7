"""A record that could not be read, or a request whose retries ran out, kept for people and for `dead-letter replay`.

It is kept without the token: of a readable record the other fields of its value, of an unreadable one only its size and
hash. A replay is the same request once more, under an id that says so and is the same however often it is sent.
"""

import json
from dataclasses import dataclass, field
from hashlib import sha256
from uuid import NAMESPACE_URL, uuid5

from schemas import DeploymentRequested
from worker.domain.request import NotUnpacked, Record, Request
from worker.errors import DeploymentError

TOPIC, PARTITION, OFFSET, TIMESTAMP = (f"dlt-original-{it}" for it in ("topic", "partition", "offset", "timestamp"))
CODE, MESSAGE, ATTEMPT, REQUEST_ID = "dlt-error-code", "dlt-error-message", "dlt-attempt", "dlt-request-id"
CUT = "dlt-cut"  # what was left out because it is too large

MAX_REPLAYS = 5  # of one request, unless --force is given
_COUNTED = 1000  # replays of one request that are recognised by their ids
_NAMESPACE = uuid5(NAMESPACE_URL, DeploymentRequested.TYPE)


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """The record for the dead-letter topic."""

    key: bytes | None = field(repr=False)
    value: bytes
    headers: tuple[tuple[str, bytes], ...]

    def without(self, *parts: str) -> "DeadLetter":
        """Return it without `key`, or without `key` and `value`, which are too large; a header says so."""
        key = self.key if "key" not in parts else None
        value = self.value if "value" not in parts else json.dumps(_size_and_hash(self.value)).encode()
        return DeadLetter(key, value, (*self.headers, (CUT, ",".join(parts).encode())))


def dead_letter(
    record: Record, request_id: str, request: Request | DeploymentError, error: DeploymentError, attempt: int
) -> DeadLetter:
    """Keep what may be kept of the record, and why it ended."""
    headers = {
        TOPIC: record.topic,
        PARTITION: record.partition,
        OFFSET: record.offset,
        TIMESTAMP: record.timestamp_ms,
        CODE: error.code,
        MESSAGE: error.message,
        ATTEMPT: attempt,
        REQUEST_ID: request_id,
    }
    readable = isinstance(request, Request)
    kept = _without_token(request) if isinstance(request, Request) else _what_it_was(record)
    return DeadLetter(
        record.key if readable else None,
        json.dumps(kept).encode(),
        tuple((name, str(value).encode()) for name, value in headers.items()),
    )


def _without_token(request: Request) -> dict[str, str]:
    asked = DeploymentRequested(
        request_id=request.id,
        solution_id=request.solution_id,
        revision_id=request.revision_id,
        replay_of=request.replay_of,
    )
    return asked.model_dump(mode="json", by_alias=True, exclude_none=True)


def _what_it_was(record: Record) -> dict[str, str | int]:
    return {} if isinstance(record.value, NotUnpacked) else _size_and_hash(record.value or b"")


def _size_and_hash(value: bytes) -> dict[str, str | int]:
    return {"size": len(value), "sha256": sha256(value).hexdigest()}


def replay_id(original: str, number: int) -> str:
    """Make the id of the n-th replay, from 1. The worker recognises it when it comes twice."""
    return str(uuid5(_NAMESPACE, f"{original}/replay/{number}"))  # no request id has a `/`


@dataclass(frozen=True, slots=True)
class Replay:
    """The n-th repetition of a request, from 1."""

    original: str
    number: int

    @property
    def request_id(self) -> str:
        """The replay's own id."""
        return replay_id(self.original, self.number)


def next_replay(request_id: str, replay_of: str | None) -> Replay:
    """Return the replay that follows a request, which is an original or a replay itself.

    A request that calls itself a replay and has another id was repeated by its sender: it counts as an original.
    """
    if replay_of is not None:
        for number in range(1, _COUNTED):
            if replay_id(replay_of, number) == request_id:
                return Replay(replay_of, number + 1)
    return Replay(request_id, 1)
