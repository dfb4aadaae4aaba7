"""RECEIVE: one record of the requests topic → one deployment request, or the reason why the record is not a request.

A record is a CloudEvent in Kafka's binary mode (`ce_` headers) or structured mode (the event in the value), or bare
JSON.
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
MAX_VALUES = 1000  # a request has about ten; parsing 50,000 takes 5 ms, and a sender may send any number of records
MAX_HEADERS = 100  # senders use about ten; reading a name of two bytes takes a tuple of 72 bytes
_KEPT = {"ce_id": 1, "ce_type": 1, "traceparent": 1, "authorization": 2}
"""The headers that are read, and how many of each are kept, from the last: a second token makes a request invalid."""
_LONGEST = max(map(len, _KEPT))

# Record ids begin with this prefix, and the request ids of senders must not: a sender could claim a future record id.
RECORD_ID_PREFIX = "record-"
_REQUEST_ID = re.compile(rf"(?!{RECORD_ID_PREFIX})" + REQUEST_ID_PATTERN.removesuffix("$") + r"\Z")
TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
# The field names that an error message may repeat. Any other name is the sender's text.
_FIELDS = {field.alias or name for name, field in DeploymentRequested.model_fields.items()}


LOG_APPEND_TIME = 1  # the timestamp type of a topic whose broker sets the time of a record


class ConsumedRecord(Protocol):
    """A record as returned by Kafka's client."""

    topic: str
    partition: int
    offset: int
    timestamp: int  # milliseconds
    timestamp_type: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]


class NotUnpacked(bytes):
    """Replaces the value of a record that is too large or too broken to be read. Contains the reason as UTF-8."""


@dataclass(frozen=True, slots=True)
class Record:
    """One record as read from the broker."""

    cluster_id: str
    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    appended_by_broker: bool  # timestamp type LogAppendTime; a producer's own time proves nothing
    key: bytes | None = field(repr=False)
    value: bytes | None = field(repr=False)
    headers: Sequence[tuple[str, bytes]] = field(repr=False, default=())  # only the headers that are read
    misplaced: bool = False  # its key belongs to another partition

    # Derived from the other fields, once.
    size: int = field(init=False)  # bytes that the sender chose and the worker keeps
    source: SourceInfo = field(init=False)  # the position of the record, as published in statuses
    appended_at: float | None = field(init=False)  # unix seconds; None if only the producer set the time
    traceparent: str | None = field(init=False)  # the W3C trace context to continue
    record_id: str = field(init=False)

    @classmethod
    def of(cls, cluster_id: str, given: ConsumedRecord, *, misplaced: bool = False) -> "Record":
        """Create a record that keeps only the headers that are read."""
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
        """Return the record without value and headers, which are not needed once its request is accepted."""
        return replace(self, value=None, headers=())

    def header(self, name: str) -> str | None:
        """Return the last header of this name. Bytes that are not UTF-8 are replaced, which makes it invalid."""
        return next(reversed(self.all_headers(name)), None)

    def all_headers(self, name: str) -> list[str]:
        """Return every header of this name, in order. Headers with Kafka's null value are left out."""
        return [value.decode(errors="replace") for key, value in self.headers if key == name]


def kept_headers(headers: Iterable[tuple[str, bytes | None]]) -> tuple[tuple[str, bytes], ...]:
    """Return the headers that are read, with names in lower case, in order. A record may have thousands of headers.

    Headers with Kafka's null value are left out, and so are blank tokens.
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
    """The request in a record. The token is never shown."""

    id: str
    solution_id: UUID
    revision_id: UUID
    token: str = field(repr=False)
    replay_of: str | None = None


@dataclass(frozen=True, slots=True)
class _Event:
    """The CloudEvents attributes and the data, in any mode."""

    id: Any = None
    type: Any = None
    data: Any = None
    problem: Unreadable | None = None


def read_request(record: Record) -> Request | Unreadable:
    """Return the request, or the reason why the record has none.

    The request id is the field `requestId`, or else the CloudEvents id. A missing or invalid id is replaced by the
    record id, and never echoed.
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
        # The error is kept until its request has ended. Its frames would keep the parsed record in memory.
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
    """Describe each invalid field and its problem, without the value."""
    details: Sequence[Mapping[str, Any]] = error.errors(include_input=False, include_url=False, include_context=False)
    problems = [f"{detail['loc'][0]}: {detail['msg']}" for detail in details if detail["loc"][0] in _FIELDS]
    return f"The request cannot be used: {'; '.join(problems)}. Correct it and send it again."


def record_id(record: Record) -> str:
    """Return the record id, which identifies the request in its statuses until it is accepted.

    The hash makes record ids differ between a topic and a recreated topic of the same name.
    """
    where = f"{record.cluster_id}/{record.topic}/{record.timestamp_ms}"
    return f"{RECORD_ID_PREFIX}{record.partition}-{record.offset}-{sha256(where.encode()).hexdigest()[:16]}"
