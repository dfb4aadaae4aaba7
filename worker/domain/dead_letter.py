"""A record that could not be read, or a request whose retries ran out, kept for people and for `dead-letter replay`.

A dead letter never contains the token. For a readable record, it keeps the record key and the request without the
token. For an unreadable record, it keeps only the size and hash of the value. A replay is the same request, sent again
under an id that is always the same for the same letter. Only readers of the dead letter can know that id.
"""

import json
import re
from dataclasses import dataclass, field
from hashlib import sha256

from schemas import DeploymentRequested, DeploymentStatus
from worker.domain.request import NotUnpacked, Record, Request
from worker.errors import DeploymentError

TOPIC, PARTITION, OFFSET, TIMESTAMP = (f"dlt-original-{it}" for it in ("topic", "partition", "offset", "timestamp"))
CODE, MESSAGE, ATTEMPT, REQUEST_ID = "dlt-error-code", "dlt-error-message", "dlt-attempt", "dlt-request-id"
FINGERPRINT = "dlt-fingerprint"  # of user, solution and revision; only for an accepted request
NONCE = "dlt-nonce"  # the ids of its replays are derived from the nonce
CUT = "dlt-cut"  # the parts that were left out because they are too large

MAX_REPLAYS = 5  # of one request, without --force
_REPLAY_ID = re.compile(r"replay-(\d{1,9})-[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """The record for the dead-letter topic."""

    key: bytes | None = field(repr=False)
    value: bytes
    headers: tuple[tuple[str, bytes], ...]

    def without(self, *parts: str) -> "DeadLetter":
        """Return the letter without its `key`, or without `key` and `value`. The header CUT lists the missing parts."""
        key = self.key if "key" not in parts else None
        value = self.value if "value" not in parts else json.dumps(_size_and_hash(self.value)).encode()
        return DeadLetter(key, value, (*self.headers, (CUT, ",".join(parts).encode())))


def dead_letter(
    record: Record, last: DeploymentStatus, request: Request | DeploymentError, error: DeploymentError, nonce: str
) -> DeadLetter:
    """Return the dead letter of a record and its error. `last`: the final status. `nonce`: a random text."""
    headers = {
        TOPIC: record.topic,
        PARTITION: record.partition,
        OFFSET: record.offset,
        TIMESTAMP: record.timestamp_ms,
        CODE: error.code,
        MESSAGE: error.message,
        ATTEMPT: last.attempt,
        REQUEST_ID: last.request_id,
        NONCE: nonce,
    }
    if last.fingerprint:
        headers[FINGERPRINT] = last.fingerprint
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


@dataclass(frozen=True, slots=True)
class Replay:
    """The n-th replay of a request, counted from 1."""

    original: str
    number: int
    nonce: str = field(repr=False)  # of the replayed dead letter

    @property
    def request_id(self) -> str:
        """The request id of the replay, always the same for the same letter. No other sender can claim the id first."""
        return f"replay-{self.number}-{sha256(self.nonce.encode()).hexdigest()[:32]}"


def next_replay(request_id: str, replay_of: str | None, nonce: str) -> Replay:
    """Return the next replay of a request, which is an original or itself a replay.

    A request that names `replay_of` but has no replay id was repeated by its sender, and counts as an original.
    """
    known = _REPLAY_ID.fullmatch(request_id) if replay_of is not None else None
    if replay_of is None or known is None:
        return Replay(request_id, 1, nonce)
    return Replay(replay_of, int(known[1]) + 1, nonce)
