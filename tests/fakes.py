"""Small honest stand-ins for the adapters, passed in where the real ones go."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from uuid import UUID

from schemas import DeploymentInfo, DeploymentStatus
from tests.builders import CALLER
from worker.domain.solution import Caller, Solution
from worker.errors import DeploymentError, NotFound


class FakeTokens:
    """Knows one caller, or refuses."""

    def __init__(self, error: DeploymentError | None = None) -> None:
        self.error = error

    async def authenticate(self, token: str, appended_at: float | None) -> Caller:
        if self.error:
            raise self.error
        return CALLER


class FakeCatalog:
    """Knows one solution, or fails."""

    def __init__(self, solution: Solution | Exception) -> None:
        self.solution = solution

    async def find(self, solution_id: UUID, revision_id: UUID, caller: Caller | None) -> Solution:
        if isinstance(self.solution, Exception):
            raise self.solution
        return self.solution


class FakeArtifacts:
    """Files by uri; counts what was fetched."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.files = files
        self.fetched: list[str] = []

    async def fetch(self, uri: str, missing: NotFound) -> bytes:
        self.fetched.append(uri)
        if uri not in self.files:
            raise missing
        return self.files[uri]


class FakePlayground:
    """Deploys everything, or answers with an error."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.received: list[tuple[bytes, str, str]] = []

    async def submit(self, bundle: bytes, username: str, request_id: str) -> DeploymentInfo:
        self.received.append((bundle, username, request_id))
        if self.error:
            raise self.error
        return DeploymentInfo(id="demo-1", url="https://playground.example/dashboard?selected_deployment_id=demo-1")


class FakeReporter:
    """Keeps the statuses; may fail at one of them."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.statuses: list[DeploymentStatus] = []
        self.fails_at = fails_at

    async def publish(self, status: DeploymentStatus, traceparent: str | None) -> None:
        if status.sequence == self.fails_at:
            raise ConnectionError
        self.statuses.append(status)


class FakeClock:
    """A second passes at each look."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


@asynccontextmanager
async def free_turn() -> AsyncIterator[None]:
    """A turn nobody else wants."""
    yield
