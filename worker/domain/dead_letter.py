"""A record that could not be read, or a request whose retries ran out, kept for people and for `dead-letter replay`.

It is kept without the token: of a readable record the other fields of its value, of an unreadable one only its size and
hash. A replay is the same request once more, under an id that is the same however often it is sent, and that nobody can
know who cannot read the dead letter.
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
FINGERPRINT = "dlt-fingerprint"  # of who asked for what; only when it was accepted
NONCE = "dlt-nonce"  # of which the ids of its replays are made
CUT = "dlt-cut"  # what was left out because it is too large

MAX_REPLAYS = 5  # of one request, unless --force is given
_REPLAY_ID = re.compile(r"replay-(\d{1,9})-[0-9a-f]{32}")


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
    record: Record, last: DeploymentStatus, request: Request | DeploymentError, error: DeploymentError, nonce: str
) -> DeadLetter:
    """Keep what may be kept of the record, and why it ended. `last`: its final status. `nonce`: a random text."""
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
    """The n-th repetition of a request, from 1."""

    original: str
    number: int
    nonce: str = field(repr=False)  # of the dead letter that is replayed

    @property
    def request_id(self) -> str:
        """The replay's own id, always the same for the same letter. Nobody can take it before."""
        return f"replay-{self.number}-{sha256(self.nonce.encode()).hexdigest()[:32]}"


def next_replay(request_id: str, replay_of: str | None, nonce: str) -> Replay:
    """Return the replay that follows a request, which is an original or a replay itself.

    A request that calls itself a replay and has another id was repeated by its sender: it counts as an original.
    """
    known = _REPLAY_ID.fullmatch(request_id) if replay_of is not None else None
    if replay_of is None or known is None:
        return Replay(request_id, 1, nonce)
    return Replay(replay_of, int(known[1]) + 1, nonce)
