"""The events: strict when written, tolerant when read.

Field names on the wire are camelCase (the aliases); Python code uses snake_case.
Each event class has its CloudEvents type and the default name of its topic. It is converted to a Kafka record in
CloudEvents' binary mode.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from typing import Annotated, ClassVar, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, PlainSerializer, SecretStr, WithJsonSchema
from pydantic.alias_generators import to_camel

REQUEST_ID_PATTERN = r"^[A-Za-z0-9._:-]{1,128}$"

RequestId = Annotated[str, Field(pattern=REQUEST_ID_PATTERN)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Sentence = Annotated[str, Field(max_length=1000)]
Warning_ = Annotated[str, Field(max_length=200)]
ErrorCode = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{1,63}$")]


def rfc3339(moment: datetime) -> str:
    """Format a UTC time as in every event."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


Time = Annotated[
    AwareDatetime,
    PlainSerializer(rfc3339, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]


class State(StrEnum):
    """The state of a request. `deployed`, `rejected` and `failed` are final."""

    ACCEPTED = "accepted"
    BUILDING = "building"
    SUBMITTING = "submitting"
    RETRYING = "retrying"
    PARKED = "parked"
    DEPLOYED = "deployed"
    REJECTED = "rejected"
    FAILED = "failed"


FINAL_STATES = frozenset({State.DEPLOYED, State.REJECTED, State.FAILED})

# None means that nothing has been published yet. An unreadable record is `rejected` at once.
SUCCESSORS: dict[State | None, frozenset[State]] = {
    None: frozenset({State.ACCEPTED, State.REJECTED, State.FAILED}),
    State.ACCEPTED: frozenset({State.BUILDING, State.RETRYING, State.REJECTED, State.FAILED}),
    State.BUILDING: frozenset({State.BUILDING, State.SUBMITTING, State.RETRYING, State.REJECTED, State.FAILED}),
    State.SUBMITTING: frozenset({State.DEPLOYED, State.RETRYING, State.PARKED, State.FAILED}),
    State.RETRYING: frozenset({State.BUILDING, State.REJECTED, State.FAILED}),
    State.PARKED: frozenset({State.DEPLOYED, State.RETRYING, State.FAILED}),
    State.DEPLOYED: frozenset(),
    State.REJECTED: frozenset(),
    State.FAILED: frozenset(),
}


class Kind(StrEnum):
    """The kind of a solution. A composite solution (toolkit type `CP`) is a pipeline; all others are single models."""

    SINGLE_MODEL = "single-model"
    PIPELINE = "pipeline"


class _Part(BaseModel):
    """A strict, frozen model. Its errors never include the input, which may contain a token."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )


class DeploymentRequested(_Part):
    """A request to deploy one revision of one solution for the user that the token names.

    The record key is the user's id (`mlpuser.userId` of the token). The token is either in the
    Kafka header `authorization` or in `jwtToken`, but not in both. Unknown fields are ignored.
    """

    model_config = ConfigDict(extra="ignore")

    TYPE: ClassVar[str] = "org.eclipse.graphene.playground.deployment.requested.v1"
    TOPIC: ClassVar[str] = "playground.deployment.requests"

    request_id: RequestId | None = Field(
        None,
        description="Identifies the request in every status from `accepted` on; it must not begin with `record-`. "
        "Defaults to the CloudEvents id, or else to the record id.",
    )
    solution_id: UUID = Field(description="Graphene's solution id.")
    revision_id: UUID = Field(description="Graphene's revision id; the revision must belong to the solution.")
    jwt_token: SecretStr | None = Field(
        None, description="The user's Graphene token, if it is not in the header `authorization`."
    )
    replay_of: RequestId | None = Field(None, description="The request that this request replays.")


class BundleInfo(_Part):
    """The solution.zip that was built."""

    sha256: Sha256 = Field(description="SHA-256 of the zip, in hex.")
    size: int = Field(ge=1, description="Size of the zip in bytes.")
    nodes: tuple[Annotated[str, Field(max_length=63)], ...] = Field(
        description="Kubernetes names of the deployed containers, including the orchestrator."
    )


class DeploymentInfo(_Part):
    """The location of the deployment."""

    id: str = Field(max_length=63, description="The namespace that was created for the deployment.")
    url: str = Field(max_length=2000, description="The deployment's page on the dashboard.")


class ErrorInfo(_Part):
    """The reason why a request was not deployed."""

    code: ErrorCode = Field(description="Stable; docs/contract.md lists every code and its remedy.")
    message: Sentence = Field(description="A sentence for people: the problem and its remedy.")
    stage: Literal["receive", "authenticate", "authorise", "fetch", "plan", "bundle", "submit", "internal"] = Field(
        description="The step in which the request failed."
    )
    retryable: bool = Field(description="Whether the same request may succeed later, unchanged.")


class SourceInfo(_Part):
    """The record that a status belongs to."""

    topic: str = Field(description="The requests topic.")
    partition: int = Field(ge=0, description="The record's partition; the status has the same partition number.")
    offset: int = Field(ge=0, description="The record's offset in the partition.")


class DeploymentStatus(_Part):
    """One step of one request. Subscribers drop duplicates by `ce_id`, which is `<requestId>:<sequence>`."""

    TYPE: ClassVar[str] = "org.eclipse.graphene.playground.deployment.status.v1"
    TOPIC: ClassVar[str] = "playground.deployment.status"
    MAX_BYTES: ClassVar[int] = 64 * 1024

    request_id: RequestId = Field(
        description="The request's own id from `accepted` on; before that, the record id. Also the record key."
    )
    sequence: int = Field(ge=0, description="0, 1, 2 … without gaps.")
    state: State
    time: Time = Field(description="The time when the state was reached; UTC.")
    attempt: int = Field(ge=1, description="1 for the first attempt, incremented for each further attempt.")
    solution_id: UUID | None = Field(None, description="As requested; absent if the request could not be read.")
    revision_id: UUID | None = Field(None, description="As requested; absent if the request could not be read.")
    solution_name: Annotated[str, Field(max_length=100)] | None = Field(
        None, description="The name in Graphene, shortened; from `submitting` on."
    )
    solution_version: Annotated[str, Field(max_length=50)] | None = Field(
        None, description="The revision's version in Graphene, such as 1.0.0; from `submitting` on."
    )
    kind: Kind | None = None
    message: Sentence = Field(description="A sentence for people.")
    warnings: Annotated[tuple[Warning_, ...], Field(max_length=40)] | None = Field(
        None, description="What was changed or left out."
    )
    bundle: BundleInfo | None = None
    deployment: DeploymentInfo | None = None
    error: ErrorInfo | None = None
    interruptions: int | None = Field(
        None, ge=1, description="Number of successive workers that stopped while they built the bundle; absent: none."
    )
    next_attempt_at: Time | None = Field(None, description="With `retrying`: the earliest time of the next attempt.")
    attempt_deadline: Time | None = Field(
        None, description="With `submitting`: the time by which the POST must have been answered."
    )
    give_up_at: Time | None = Field(
        None,
        description="From the first `retrying` on: the time when the request is given up, unless a dependency that it "
        "waits for is known to be down.",
    )
    replay_of: RequestId | None = Field(None, description="The request that this request replays.")
    fingerprint: Sha256 | None = Field(
        None,
        description="SHA-256 of user, solution and revision id; absent if the token was not verified.",
    )
    source: SourceInfo

    def to_json(self) -> bytes:
        """Return the event's data as UTF-8 JSON, without absent fields."""
        return self.model_dump_json(by_alias=True, exclude_none=True).encode()

    def to_message(self, topic: str, source: str, traceparent: str | None = None) -> "Message":
        """Return the record of the status topic.

        Raises:
            ValueError: The value is larger than MAX_BYTES. The producer would refuse such a record after numbering it.
        """
        value = self.to_json()
        if len(value) > self.MAX_BYTES:  # below Message.MAX_BYTES even with key and headers
            raise ValueError(f"a status of {len(value)} bytes is larger than {self.MAX_BYTES}")
        attributes = {"id": f"{self.request_id}:{self.sequence}", "subject": self.request_id}
        attributes |= {"time": self.time.isoformat()}
        headers = cloud_event_headers(self.TYPE, source, attributes, traceparent)
        return Message(topic, self.source.partition, self.request_id.encode(), value, headers)


class DeploymentSettled(_Part):
    """The outcome of a POST whose answer the worker did not receive."""

    TYPE: ClassVar[str] = "org.eclipse.graphene.playground.deployment.settled.v1"
    TOPIC: ClassVar[str] = "playground.deployment.settlements"

    request_id: RequestId = Field(description="The settled request; also the record key.")
    attempt: int = Field(ge=1, description="The settled attempt, as in its status.")
    outcome: Literal["deployed", "failed", "retry"] = Field(description="The outcome of the attempt.")
    deployment: DeploymentInfo | None = None
    reason: Sentence | None = Field(
        None, description="How the outcome is known: a sentence for people. Absent if none was given."
    )
    by: str = Field(max_length=200, description="The operator or the worker that reports the outcome.")

    def to_message(self, topic: str, source: str, partition: int) -> "Message":
        """Return the record of the settlements topic, for the worker that owns the request's partition.

        Raises:
            ValueError: The record is larger than Message.MAX_BYTES. Values within the fields' limits cannot cause this.
        """
        attributes = {"id": f"{self.request_id}:{self.attempt}:{self.by}", "subject": self.request_id}
        value = self.model_dump_json(by_alias=True, exclude_none=True).encode()
        headers = cloud_event_headers(self.TYPE, source, attributes)
        message = Message(topic, partition, self.request_id.encode(), value, headers)
        if message.size > Message.MAX_BYTES:
            raise ValueError(f"a settlement of {message.size} bytes is larger than {Message.MAX_BYTES}")
        return message


class ReplayPermitted(_Part):
    """An operator's permit for the replay of an earlier request, whose token may have expired."""

    TYPE: ClassVar[str] = "org.eclipse.graphene.playground.deployment.replay-permitted.v1"
    TOPIC: ClassVar[str] = DeploymentSettled.TOPIC
    SECONDS: ClassVar[int] = 60  # between the permit and the request, by the brokers' clock

    request_id: RequestId = Field(description="The replay's id, which cannot be predicted; also the record key.")
    replay_of: RequestId = Field(description="The request that is replayed.")
    fingerprint: Sha256 = Field(description="SHA-256 of user, solution and revision id of the accepted request.")

    def to_message(self, topic: str, source: str, partition: int) -> "Message":
        """Return the record of the settlements topic, for the worker that owns the request's partition."""
        value = self.model_dump_json(by_alias=True, exclude_none=True).encode()
        headers = cloud_event_headers(self.TYPE, source, {"id": self.request_id, "subject": self.request_id})
        return Message(topic, partition, self.request_id.encode(), value, headers)


@dataclass(frozen=True, slots=True)
class Message:
    """A Kafka record to be written. If `partition` is None, the key determines the partition.

    MAX_BYTES is the topics' `max.message.bytes`: enough for a request of 64 KiB and a token of 8 KiB, or for a status
    of 64 KiB. In a reader's memory, a hostile record is up to 40 times as large.
    """

    MAX_BYTES: ClassVar[int] = 128 * 1024

    topic: str
    partition: int | None
    key: bytes | None = field(repr=False)
    value: bytes = field(repr=False)
    headers: tuple[tuple[str, bytes], ...] = field(repr=False)

    @property
    def size(self) -> int:
        """Maximum size in a batch of its own: lengths, offset and time of the record, and the batch header."""
        headers = sum(len(name.encode()) + len(value) + 10 for name, value in self.headers)
        return 128 + len(self.key or b"") + len(self.value) + headers


def cloud_event_headers(
    event_type: str, source: str, attributes: Mapping[str, str], traceparent: str | None = None
) -> tuple[tuple[str, bytes], ...]:
    """Return the headers of a CloudEvent in Kafka's binary mode. `attributes` has further attributes, without `ce_`."""
    headers = {"ce_specversion": "1.0", "ce_type": event_type, "ce_source": source}
    headers |= {f"ce_{name}": value for name, value in attributes.items()}
    headers["content-type"] = "application/json"
    if traceparent:
        headers["traceparent"] = traceparent
    return tuple((name, value.encode()) for name, value in headers.items())


def fingerprint(user_id: str, solution_id: UUID | str, revision_id: UUID | str) -> str:
    """Return the SHA-256 in hex of user, solution and revision; it distinguishes a duplicate from an id conflict."""
    return sha256(f"{user_id}\n{solution_id}\n{revision_id}".encode()).hexdigest()
