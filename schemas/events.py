"""The events, strict in what we write and tolerant in what we read.

Field names on the wire are camelCase (the aliases); Python code uses snake_case.
Each event class carries its CloudEvents type and the default name of its topic, and becomes a Kafka record in
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
    """Write a time of UTC as every event does."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


Time = Annotated[
    AwareDatetime,
    PlainSerializer(rfc3339, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]


class State(StrEnum):
    """Where a request stands. `deployed`, `rejected` and `failed` are final."""

    ACCEPTED = "accepted"
    BUILDING = "building"
    SUBMITTING = "submitting"
    RETRYING = "retrying"
    PARKED = "parked"
    DEPLOYED = "deployed"
    REJECTED = "rejected"
    FAILED = "failed"


FINAL_STATES = frozenset({State.DEPLOYED, State.REJECTED, State.FAILED})

# None stands for "nothing published yet". An unreadable record goes straight to `rejected`.
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
    """What a solution is. Composite (toolkit type `CP`) is a pipeline, anything else a single model."""

    SINGLE_MODEL = "single-model"
    PIPELINE = "pipeline"


class _Part(BaseModel):
    """Strict and frozen. Input never appears in an error: it may hold a token."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )


class DeploymentRequested(_Part):
    """Deploy one revision of one solution to the playground of the user the token names.

    The record key is the user's id (`mlpuser.userId` of the token). The token comes in the
    Kafka header `authorization` or in `jwtToken`, exactly one of them. Unknown fields are ignored.
    """

    model_config = ConfigDict(extra="ignore")

    TYPE: ClassVar[str] = "org.eclipse.graphene.playground.deployment.requested.v1"
    TOPIC: ClassVar[str] = "playground.deployment.requests"

    request_id: RequestId | None = Field(
        None,
        description="Names the request in every status from `accepted` on; it must not begin with `record-`. "
        "Without it the CloudEvents id, else that of the record's place.",
    )
    solution_id: UUID = Field(description="Graphene's solution id.")
    revision_id: UUID = Field(description="Graphene's revision id; the revision must belong to the solution.")
    jwt_token: SecretStr | None = Field(
        None, description="The user's Graphene token, when it is not in the header `authorization`."
    )
    replay_of: RequestId | None = Field(None, description="The request this one repeats.")


class BundleInfo(_Part):
    """The solution.zip that was built."""

    sha256: Sha256 = Field(description="Of the zip, in hex.")
    size: int = Field(ge=1, description="Bytes.")
    nodes: tuple[Annotated[str, Field(max_length=63)], ...] = Field(
        description="Kubernetes names of the deployed containers, the orchestrator included."
    )


class DeploymentInfo(_Part):
    """Where the deployment can be seen."""

    id: str = Field(max_length=63, description="The namespace the playground server made.")
    url: str = Field(max_length=2000, description="Its page on the playground's dashboard.")


class ErrorInfo(_Part):
    """Why a request did not end in a deployment."""

    code: ErrorCode = Field(description="Stable; docs/contract.md lists every code and what to do.")
    message: Sentence = Field(description="A sentence for people: what is wrong and the way out.")
    stage: Literal["receive", "authenticate", "authorise", "fetch", "plan", "bundle", "submit", "internal"] = Field(
        description="The step that ended the request."
    )
    retryable: bool = Field(description="Whether the same request may succeed later, unchanged.")


class SourceInfo(_Part):
    """The record a status is about."""

    topic: str = Field(description="The requests topic.")
    partition: int = Field(ge=0, description="The status has the same partition number.")
    offset: int = Field(ge=0, description="Of the request in its partition.")


class DeploymentStatus(_Part):
    """One step of one request. Subscribers drop what they know by `ce_id`, `<requestId>:<sequence>`."""

    TYPE: ClassVar[str] = "org.eclipse.graphene.playground.deployment.status.v1"
    TOPIC: ClassVar[str] = "playground.deployment.status"
    MAX_BYTES: ClassVar[int] = 64 * 1024

    request_id: RequestId = Field(
        description="The request's own id, from `accepted` on; else that of its place. Also the record key."
    )
    sequence: int = Field(ge=0, description="0, 1, 2 … without gaps.")
    state: State
    time: Time = Field(description="When the state was reached; UTC.")
    attempt: int = Field(ge=1, description="1 for the first try, one more for each repetition.")
    solution_id: UUID | None = Field(None, description="As requested; absent when the request could not be read.")
    revision_id: UUID | None = Field(None, description="As requested; absent when the request could not be read.")
    solution_name: Annotated[str, Field(max_length=100)] | None = Field(
        None, description="As Graphene knows it, shortened; from `submitting` on."
    )
    kind: Kind | None = None
    message: Sentence = Field(description="A sentence for people.")
    warnings: Annotated[tuple[Warning_, ...], Field(max_length=40)] | None = Field(
        None, description="What was changed or left out on the way."
    )
    bundle: BundleInfo | None = None
    deployment: DeploymentInfo | None = None
    error: ErrorInfo | None = None
    interruptions: int | None = Field(
        None, ge=1, description="How many workers ended one after the other while they built its bundle; absent: none."
    )
    next_attempt_at: Time | None = Field(None, description="With `retrying`: not before.")
    attempt_deadline: Time | None = Field(
        None, description="With `submitting`: when the playground must have answered at the latest."
    )
    give_up_at: Time | None = Field(
        None,
        description="From the first `retrying` on: when the request is given up, unless a dependency that it waits for "
        "is known to be down.",
    )
    replay_of: RequestId | None = Field(None, description="The request this one repeats.")
    fingerprint: Sha256 | None = Field(
        None,
        description="SHA-256 of user, solution and revision id; absent when the token was not verified.",
    )
    source: SourceInfo

    def to_json(self) -> bytes:
        """Return the event's data as UTF-8 JSON; absent fields are left out."""
        return self.model_dump_json(by_alias=True, exclude_none=True).encode()

    def to_message(self, topic: str, source: str, traceparent: str | None = None) -> "Message":
        """Return the record of the status topic.

        Raises:
            ValueError: it is larger than MAX_BYTES. A record that the producer refuses would spoil its numbering.
        """
        value = self.to_json()
        if len(value) > self.MAX_BYTES:  # with key and headers it is below Message.MAX_BYTES
            raise ValueError(f"a status of {len(value)} bytes is larger than {self.MAX_BYTES}")
        attributes = {"id": f"{self.request_id}:{self.sequence}", "subject": self.request_id}
        attributes |= {"time": self.time.isoformat()}
        headers = cloud_event_headers(self.TYPE, source, attributes, traceparent)
        return Message(topic, self.source.partition, self.request_id.encode(), value, headers)


class DeploymentSettled(_Part):
    """The outcome of a POST whose answer the worker did not see."""

    TYPE: ClassVar[str] = "org.eclipse.graphene.playground.deployment.settled.v1"
    TOPIC: ClassVar[str] = "playground.deployment.settlements"

    request_id: RequestId = Field(description="The request that is settled; also the record key.")
    attempt: int = Field(ge=1, description="The attempt that is settled, as its status says.")
    outcome: Literal["deployed", "failed", "retry"] = Field(description="What became of the attempt.")
    deployment: DeploymentInfo | None = None
    reason: Sentence | None = Field(
        None, description="How the outcome is known; a sentence for people, if it was said."
    )
    by: str = Field(max_length=200, description="The operator or the worker that says so.")

    def to_message(self, topic: str, source: str, partition: int) -> "Message":
        """Return the record of the settlements topic, for the worker that owns the request's partition.

        Raises:
            ValueError: it is larger than Message.MAX_BYTES, which no text within the limits of its fields is.
        """
        attributes = {"id": f"{self.request_id}:{self.attempt}:{self.by}", "subject": self.request_id}
        value = self.model_dump_json(by_alias=True, exclude_none=True).encode()
        headers = cloud_event_headers(self.TYPE, source, attributes)
        message = Message(topic, partition, self.request_id.encode(), value, headers)
        if message.size > Message.MAX_BYTES:
            raise ValueError(f"a settlement of {message.size} bytes is larger than {Message.MAX_BYTES}")
        return message


class ReplayPermitted(_Part):
    """A request is the repetition of an earlier one, which an operator wants although its token may have expired."""

    TYPE: ClassVar[str] = "org.eclipse.graphene.playground.deployment.replay-permitted.v1"
    TOPIC: ClassVar[str] = DeploymentSettled.TOPIC
    SECONDS: ClassVar[int] = 60  # between this and the request, by the brokers' time

    request_id: RequestId = Field(description="The request that repeats; also the record key. Nobody else can know it.")
    replay_of: RequestId = Field(description="The request that is repeated.")
    fingerprint: Sha256 = Field(description="SHA-256 of user, solution and revision id, as they were accepted.")

    def to_message(self, topic: str, source: str, partition: int) -> "Message":
        """Return the record of the settlements topic, for the worker that owns the request's partition."""
        value = self.model_dump_json(by_alias=True, exclude_none=True).encode()
        headers = cloud_event_headers(self.TYPE, source, {"id": self.request_id, "subject": self.request_id})
        return Message(topic, partition, self.request_id.encode(), value, headers)


@dataclass(frozen=True, slots=True)
class Message:
    """A Kafka record to be written. `partition` None: wherever the key leads.

    Topics have MAX_BYTES as `max.message.bytes`: room for a request of 64 KiB and a token of 8 KiB, or for a status of
    64 KiB. A hostile record is up to 40 times as large in a reader's memory.
    """

    MAX_BYTES: ClassVar[int] = 128 * 1024

    topic: str
    partition: int | None
    key: bytes | None = field(repr=False)
    value: bytes = field(repr=False)
    headers: tuple[tuple[str, bytes], ...] = field(repr=False)

    @property
    def size(self) -> int:
        """Its bytes in a batch of its own, at most: lengths, offset and time of a record, and the head of the batch."""
        headers = sum(len(name.encode()) + len(value) + 10 for name, value in self.headers)
        return 128 + len(self.key or b"") + len(self.value) + headers


def cloud_event_headers(
    event_type: str, source: str, attributes: Mapping[str, str], traceparent: str | None = None
) -> tuple[tuple[str, bytes], ...]:
    """Return the headers of a CloudEvent in Kafka's binary mode. `attributes` are its further ones, without `ce_`."""
    headers = {"ce_specversion": "1.0", "ce_type": event_type, "ce_source": source}
    headers |= {f"ce_{name}": value for name, value in attributes.items()}
    headers["content-type"] = "application/json"
    if traceparent:
        headers["traceparent"] = traceparent
    return tuple((name, value.encode()) for name, value in headers.items())


def fingerprint(user_id: str, solution_id: UUID | str, revision_id: UUID | str) -> str:
    """Return the SHA-256 in hex of who asks for what; it tells a repeated request from another one with its id."""
    return sha256(f"{user_id}\n{solution_id}\n{revision_id}".encode()).hexdigest()
