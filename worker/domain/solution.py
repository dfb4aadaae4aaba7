"""What is known about a request: who is asking, and what Graphene knows of the solution."""

from dataclasses import dataclass, field
from uuid import UUID

from schemas import Kind
from worker.errors import WorkerError


@dataclass(frozen=True, slots=True)
class Caller:
    """The user a verified token names. Neither field may reach a log."""

    user_id: str = field(repr=False)
    email: str = field(repr=False)


@dataclass(slots=True)
class ByteLimit:
    """How many bytes may still be fetched; beyond that this error is raised, if there is one."""

    remaining: float
    error: type[WorkerError] | None = None


class Unproven(bytes):
    """A file that neither a checksum nor a known size proves: a front may have answered in its place."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Something a solution may have and the deployment does without, because it could not be fetched."""

    reason: str  # a sentence for people that goes on after "The … is left out:"


@dataclass(frozen=True, slots=True)
class Solution:
    """One revision of one solution, as CCDS describes it."""

    solution_id: UUID
    revision_id: UUID
    name: str
    kind: Kind
    owner_id: str | None = field(default=None, repr=False)
    blueprint_uri: str | None = None  # pipelines: the first BP artifact
    proto_uri: str | None = None  # single models: the first MI artifact
    file_size: int | None = None  # bytes of the blueprint or the single model's protobuf; None: CCDS does not say
    image: str | None = None  # single models: the DI artifact's uri is the image reference
    icon: bytes | LeftOut | None = field(default=None, repr=False)  # None: it has none
    description: str | LeftOut | None = field(default=None, repr=False)  # HTML as the user wrote it
    remarks: tuple[str, ...] = ()  # sentences for people: what was chosen where Graphene has several
