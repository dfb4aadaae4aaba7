"""The events, strict in what we write and tolerant in what we read.

Field names on the wire are camelCase (the aliases); Python code uses snake_case.
Each event class carries its CloudEvents type and the default name of its topic.
"""

from datetime import datetime
from enum import StrEnum
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


def _rfc3339(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


Time = Annotated[
    AwareDatetime,
    PlainSerializer(_rfc3339, when_used="json"),
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
        None, description="Names the request in every status. Without it the CloudEvents id, else one is made."
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

    request_id: RequestId = Field(description="The request's own id, or the one made for it; also the record key.")
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
    deadline: Time | None = Field(
        None,
        description="With `submitting`: when the attempt ends at the latest; with `retrying`: when the request is "
        "given up, unless the dependency it waits for is known to be down.",
    )
    replay_of: RequestId | None = Field(None, description="The request this one repeats.")
    identity: Sha256 | None = Field(
        None,
        description="SHA-256 of user, solution and revision id; absent when the token was not verified.",
    )
    source: SourceInfo

    def to_json(self) -> bytes:
        """The event's data as UTF-8 JSON; absent fields are left out."""
        return self.model_dump_json(by_alias=True, exclude_none=True).encode()


class DeploymentSettled(_Part):
    """The outcome of a POST whose answer the worker did not see."""

    TYPE: ClassVar[str] = "org.eclipse.graphene.playground.deployment.settled.v1"
    TOPIC: ClassVar[str] = "playground.deployment.settlements"

    request_id: RequestId = Field(description="The request that is settled; also the record key.")
    attempt: int = Field(ge=1, description="The attempt that is settled, as its status says.")
    outcome: Literal["deployed", "failed", "retry"] = Field(alias="as", description="What became of the attempt.")
    deployment: DeploymentInfo | None = None
    reason: Sentence = Field(description="How the outcome is known; a sentence for people.")
    by: str = Field(max_length=200, description="The operator or the worker that says so.")
