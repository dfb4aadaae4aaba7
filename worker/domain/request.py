"""RECEIVE: one record of the requests topic → one deployment request, or the reason why it is not one.

CloudEvents over Kafka in binary mode (`ce_` headers), structured mode (the event in the value), or bare JSON.
"""

import re
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any, Protocol
from uuid import UUID

from pydantic import ValidationError

from schemas import DeploymentRequested, SourceInfo
from schemas.events import REQUEST_ID_PATTERN
from worker.domain import strict_json
from worker.errors import Unreadable

MAX_BYTES = 64 * 1024
MAX_VALUES = 1000  # a request has about ten; reading 50,000 takes 5 ms, and anybody may send as many records as fit
MAX_HEADERS = 100  # senders have about ten; a name of two bytes costs a tuple of 72 to read
_KEPT = {"ce_id": 1, "ce_type": 1, "traceparent": 1, "authorization": 2}
"""The headers that are read, and how many of each count, from the last one on: two tokens are one too many."""
_LONGEST = max(map(len, _KEPT))

# Ids of places begin so, and no sender's may: whoever could guess the next place would take its id beforehand.
RECORD_ID_PREFIX = "record-"
_REQUEST_ID = re.compile(rf"(?!{RECORD_ID_PREFIX})" + REQUEST_ID_PATTERN.removesuffix("$") + r"\Z")
TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
# The names that a refusal may repeat: an unknown one is the sender's text.
_FIELDS = {field.alias or name for name, field in DeploymentRequested.model_fields.items()}


LOG_APPEND_TIME = 1  # the timestamp type of a topic whose broker says when a record came


class ConsumedRecord(Protocol):
    """A record as Kafka's client gives it."""

    topic: str
    partition: int
    offset: int
    timestamp: int  # milliseconds
    timestamp_type: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]


class NotUnpacked(bytes):
    """What stands in place of a record's value and headers when they are too large to be looked at: why, as UTF-8."""


@dataclass(frozen=True, slots=True)
class Record:
    """One record as the broker gave it."""

    cluster_id: str
    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    appended_by_broker: bool  # timestamp type LogAppendTime; a producer's own time proves nothing
    key: bytes | None = field(repr=False)
    value: bytes | None = field(repr=False)
    headers: Sequence[tuple[str, bytes]] = field(repr=False, default=())  # of those given, only what is read
    misplaced: bool = False  # its key leads to another partition

    # What follows from the rest, worked out once.
    size: int = field(init=False)  # bytes of what the sender chose and the worker holds
    source: SourceInfo = field(init=False)  # where the record stands, as a status says it
    appended_at: float | None = field(init=False)  # unix seconds; None when only the producer gives a time
    traceparent: str | None = field(init=False)  # the W3C trace context to carry over
    record_id: str = field(init=False)

    @classmethod
    def of(cls, cluster_id: str, given: ConsumedRecord, *, misplaced: bool = False) -> "Record":
        """Return the record, which keeps only what is read of the headers."""
        return cls(
            cluster_id,
            given.topic,
            given.partition,
            given.offset,
            given.timestamp,
            given.timestamp_type == LOG_APPEND_TIME,
            given.key,
            given.value,
            given.headers,
            misplaced,
        )

    def __post_init__(self) -> None:
        if len(self.headers) > MAX_HEADERS:
            object.__setattr__(self, "value", NotUnpacked(b"it has more than %d headers" % MAX_HEADERS))
        object.__setattr__(self, "headers", kept_headers(self.headers))
        headers = sum(len(key) + len(value) for key, value in self.headers)
        trace = next(reversed(self.all_headers("traceparent")), None)
        derived = {
            "size": len(self.value or b"") + len(self.key or b"") + headers,
            "source": SourceInfo(topic=self.topic, partition=self.partition, offset=self.offset),
            "appended_at": self.timestamp_ms / 1000 if self.appended_by_broker else None,
            "traceparent": trace if trace and TRACEPARENT.fullmatch(trace) else None,
            "record_id": record_id(self),
        }
        for name, value in derived.items():
            object.__setattr__(self, name, value)

    def without_content(self) -> "Record":
        """Return it without value and headers, which nobody needs once its request is accepted."""
        return replace(self, value=None, headers=())

    def header(self, name: str) -> str | None:
        """Return the last header of this name; what is not UTF-8 in it is replaced, and so valid nowhere."""
        return next(reversed(self.all_headers(name)), None)

    def all_headers(self, name: str) -> list[str]:
        """Return every header of this name in its order; Kafka's null values are left out."""
        return [value.decode(errors="replace") for key, value in self.headers if key == name]


def kept_headers(headers: Iterable[tuple[str, bytes | None]]) -> tuple[tuple[str, bytes], ...]:
    """Return those that are read, by their names in lower case, in their order: a record may have thousands.

    Kafka's null values are left out, and of tokens the blank ones, which are none.
    """
    kept: dict[str, deque[tuple[int, bytes]]] = {name: deque(maxlen=most) for name, most in _KEPT.items()}
    for number, (given, value) in enumerate(headers):
        name = given.lower() if len(given) <= _LONGEST else ""
        if name in kept and value is not None and (name != "authorization" or value.decode(errors="replace").strip()):
            kept[name].append((number, value))
    found = sorted((number, name, value) for name, values in kept.items() for number, value in values)
    return tuple((name, value) for _, name, value in found)


@dataclass(frozen=True, slots=True)
class Request:
    """What the record asks for. The token is never shown."""

    id: str
    solution_id: UUID
    revision_id: UUID
    token: str = field(repr=False)
    replay_of: str | None = None


@dataclass(frozen=True, slots=True)
class _Event:
    """The CloudEvents attributes and the data, whatever the mode."""

    id: Any = None
    type: Any = None
    data: Any = None
    problem: Unreadable | None = None


def read_request(record: Record) -> Request | Unreadable:
    """Return the request, or why there is none.

    Its id is the field `requestId`, else the CloudEvents id; one that is missing or does not match is
    replaced by the id of the record's place, and never echoed.
    """
    event = _read_event(record)
    data = event.data if isinstance(event.data, dict) else {}
    wanted = event.id if data.get("requestId") is None else data["requestId"]
    valid = isinstance(wanted, str) and _REQUEST_ID.match(wanted) is not None
    try:
        if event.problem:
            raise event.problem
        return _request(record, event, wanted if valid else record.record_id)
    except Unreadable as problem:
        # It is kept until its request has ended, and its frames would keep what was read together with the record.
        problem.__context__ = None
        return problem.with_traceback(None)


def _read_event(record: Record) -> _Event:
    ce_id, ce_type = record.header("ce_id"), record.header("ce_type")
    if isinstance(record.value, NotUnpacked):
        problem = f"The record is not read: {record.value.decode()}. Send a smaller one, or fewer in a batch."
        return _Event(problem=Unreadable("invalid-request", problem))
    try:
        value = strict_json.loads(record.value or b"", max_bytes=MAX_BYTES, max_string=MAX_BYTES, max_values=MAX_VALUES)
    except strict_json.JsonError as error:
        return _Event(
            id=ce_id,
            type=ce_type,
            problem=Unreadable("not-json", f"The record cannot be read: {error}. Send one JSON object."),
        )
    if ce_type is None and isinstance(value, dict) and "specversion" in value:
        return _Event(value.get("id"), value.get("type"), value.get("data"))
    return _Event(ce_id, ce_type, value)


def _request(record: Record, event: _Event, request_id: str) -> Request:
    if event.type not in (None, DeploymentRequested.TYPE):
        raise Unreadable(
            "unknown-event-type", f"The record's event type is unknown. Send {DeploymentRequested.TYPE}, or none."
        )
    if not isinstance(event.data, dict):
        raise Unreadable(
            "invalid-request", "The request is not a JSON object. Send one with solutionId and revisionId."
        )
    try:
        asked = DeploymentRequested.model_validate({**event.data, "requestId": request_id})
    except ValidationError as error:
        raise Unreadable("invalid-request", _explain(error)) from None
    return Request(request_id, asked.solution_id, asked.revision_id, _token(record, asked), asked.replay_of)


def _token(record: Record, asked: DeploymentRequested) -> str:
    tokens = [*record.all_headers("authorization"), asked.jwt_token.get_secret_value() if asked.jwt_token else ""]
    given = [token for token in tokens if token.strip()]
    if not given:
        raise Unreadable(
            "token-missing", "The request has no token. Send it in the Kafka header authorization or in jwtToken."
        )
    if len(given) > 1:
        raise Unreadable("token-twice", "The request has more than one token, in headers or in jwtToken. Send one.")
    return given[0]


def _explain(error: ValidationError) -> str:
    """Name the field and what is wrong with it, without its value."""
    details: Sequence[Mapping[str, Any]] = error.errors(include_input=False, include_url=False, include_context=False)
    problems = [f"{detail['loc'][0]}: {detail['msg']}" for detail in details if detail["loc"][0] in _FIELDS]
    return f"The request cannot be used: {'; '.join(problems)}. Correct it and send it again."


def record_id(record: Record) -> str:
    """Make the id of the record's place, under which it is told what it is told before it is accepted.

    The hash makes it another one in a topic that was created again.
    """
    where = f"{record.cluster_id}/{record.topic}/{record.timestamp_ms}"
    return f"{RECORD_ID_PREFIX}{record.partition}-{record.offset}-{sha256(where.encode()).hexdigest()[:16]}"
