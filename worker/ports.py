"""What the path of a request needs of the world: the adapters' and the lane's side of it, as protocols."""

from collections.abc import Coroutine, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from schemas import DeploymentInfo, DeploymentSettled
from worker.delivery.journal import Entry
from worker.delivery.progress import Reporter
from worker.domain.request import Record, Request
from worker.domain.solution import Caller, Solution
from worker.errors import DeploymentError


class Tokens(Protocol):
    """Who is asking. Raises Unauthenticated, Unavailable."""

    async def authenticate(self, token: str, appended_at: float | None, *, times: bool = True) -> Caller: ...


class Catalog(Protocol):
    """What a revision is, and whether the caller may read it. Raises NotFound, NotAllowed, Unavailable."""

    async def find(self, solution_id: UUID, revision_id: UUID, caller: Caller | None) -> Solution: ...


class Artifacts(Protocol):
    """Files of a solution, by their uris; None for one that is gone. Raises NotFound, NotDeployable, Unavailable."""

    async def fetch(self, uris: Sequence[str]) -> list[bytes | None]: ...


class Playground(Protocol):
    """Where bundles are deployed, within so many seconds. Raises PlaygroundRefused, OutcomeUnknown, Unavailable."""

    async def submit(self, bundle: bytes, username: str, request_id: str, seconds: float) -> DeploymentInfo: ...


class Job(Reporter, Protocol):
    """One record, or what another worker left of it, in the lane that owns its partition."""

    record: Record
    request_id: str
    request: Request | DeploymentError  # or why there is none
    entry: Entry  # of its id, in the journal
    stopping: bool  # the worker stops; only then may a cancelled job still report

    @property
    def posted(self) -> bool:
        """Whether a POST has begun whose outcome no status tells."""
        ...

    def turn(self) -> AbstractAsyncContextManager[None]:
        """The first of its key, in the order of the records."""
        ...

    def known(self, request_id: str) -> Entry | None:
        """Another request of the partition."""
        ...

    def absorbed(self) -> None:
        """It repeats what is known: its offset may pass, and nothing is said."""
        ...

    def rename(self, request_id: str) -> None:
        """The id is another request's: this one goes on under its own."""
        ...

    async def first_status(self) -> None:
        """Until the journal has a status of its id."""
        ...

    async def settlement(self, attempt: int, until: datetime) -> DeploymentSettled | None:
        """What somebody else knows of the attempt; None: nobody by then."""
        ...

    async def post(self, attempt: int, post: Coroutine[Any, Any, DeploymentInfo]) -> DeploymentInfo:
        """A POST. It goes on when the lane is lost, and its outcome is handed over as a settlement."""
        ...
