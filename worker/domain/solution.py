"""What is known about a request: its caller, and Graphene's description of the solution."""

from dataclasses import dataclass, field
from uuid import UUID

from schemas import Kind
from worker.errors import WorkerError


@dataclass(frozen=True, slots=True)
class Caller:
    """The user that a verified token names. Neither field may reach a log."""

    user_id: str = field(repr=False)
    email: str = field(repr=False)


@dataclass(slots=True)
class ByteLimit:
    """How many bytes may still be fetched. `error`: the error to raise beyond the limit, if any."""

    remaining: float
    error: type[WorkerError] | None = None


class Unproven(bytes):
    """A file that neither a checksum nor a known size proves: a proxy may have answered instead of the server."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class LeftOut:
    """An optional part of a solution that could not be fetched. The deployment continues without it."""

    reason: str  # a sentence for people, which follows "The … is left out:"


@dataclass(frozen=True, slots=True)
class Solution:
    """One revision of one solution, as CCDS describes it."""

    solution_id: UUID
    revision_id: UUID
    name: str
    kind: Kind
    owner_id: str | None = field(default=None, repr=False)
    version: str | None = None  # of the revision
    blueprint_uri: str | None = None  # pipelines: the first BP artifact
    proto_uri: str | None = None  # single models: the first MI artifact
    file_size: int | None = None  # bytes of the blueprint or the single model's protobuf; None: CCDS does not say
    image: str | None = None  # single models: the DI artifact's uri is the image reference
    icon: bytes | LeftOut | None = field(default=None, repr=False)  # None: it has none
    description: str | LeftOut | None = field(default=None, repr=False)  # HTML as written by the user
    remarks: tuple[str, ...] = ()  # sentences for people: which of several artifacts was chosen
