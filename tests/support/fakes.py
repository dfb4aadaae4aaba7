"""Small honest stand-ins for the adapters, passed in where the real ones go."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from worker.delivery.attempts import Clocks, Policy
from worker.delivery.journal import Entry

from schemas import DeploymentInfo, DeploymentSettled, DeploymentStatus
from tests.support.builders import CALLER, record
from worker.build import Builder
from worker.delivery.admission import Breakers, Capacity
from worker.deploy import Deployer
from worker.domain.dead_letter import DeadLetter
from worker.domain.request import Record, Request, read_request
from worker.domain.solution import Caller, Solution
from worker.errors import DeploymentError, StatusNotPublished
from worker.ports import Playground, Tokens


class FakeTokens:
    """Knows one caller, or refuses."""

    def __init__(self, error: DeploymentError | None = None) -> None:
        self.error = error
        self.judged: list[bool] = []  # whether the times of a token were

    async def authenticate(self, token: str, appended_at: float | None, *, times: bool = True) -> Caller:
        self.judged.append(times)
        if self.error and (times or self.error.code != "token-expired"):
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

    async def fetch(self, uris: Sequence[str]) -> list[bytes | None]:
        self.fetched.extend(uris)
        return [self.files.get(uri) for uri in uris]


class FakePlayground:
    """Deploys everything, or answers with errors, the last one for ever."""

    def __init__(self, *errors: Exception | None) -> None:
        self.errors = list(errors) or [None]
        self.received: list[tuple[bytes, str, str]] = []
        self.seconds: list[float] = []

    async def submit(self, bundle: bytes, username: str, request_id: str, seconds: float) -> DeploymentInfo:
        self.received.append((bundle, username, request_id))
        self.seconds.append(seconds)
        error = self.errors.pop(0) if len(self.errors) > 1 else self.errors[0]
        if error:
            raise error
        return DeploymentInfo(id="demo-1", url="https://playground.example/dashboard?selected_deployment_id=demo-1")


class FakeClock:
    """A second passes at each look."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


class FakeJob:
    """A lane's side of one record: keeps what is said, and knows what the test tells it."""

    def __init__(
        self,
        given: Record | None = None,
        *,
        last: DeploymentStatus | None = None,
        entry: Entry | None = None,
        settlements: Sequence[DeploymentSettled] = (),
        known: Mapping[str, Entry] | None = None,
        fails_at: int | None = None,
    ) -> None:
        """`last`: where another worker left it. `entry`: of its id, when that is another record's."""
        self.record = given or record()
        self.request_id, asked = read_request(self.record)
        self.request: Request | DeploymentError = asked
        self.entry = entry or Entry(self.request_id, self.record.offset, FakeClock().now)
        if last:
            self.entry.now(last)
        self.stopping = False
        self.posted = False
        self.statuses: list[DeploymentStatus] = []
        self.dead_letters: list[DeadLetter] = []
        self.was_absorbed = False
        self.waited_until: datetime | None = None
        self._settlements = {(it.request_id, it.attempt): it for it in settlements}
        self._known = known or {}
        self._fails_at = fails_at

    def publish(self, status: DeploymentStatus, dead_letter: DeadLetter | None = None) -> asyncio.Future[None]:
        if status.sequence == self._fails_at:
            raise StatusNotPublished
        self.statuses.append(status)
        self.dead_letters += [dead_letter] if dead_letter else []
        self.entry.now(status)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        yield

    def known(self, request_id: str) -> Entry | None:
        return self._known.get(request_id)

    def absorbed(self) -> None:
        self.was_absorbed = True

    def rename(self, request_id: str) -> None:
        self.request_id = request_id
        self.entry = self._known.get(request_id) or Entry(request_id, self.record.offset, self.entry.since)

    async def first_status(self) -> None:
        pass

    async def settlement(self, attempt: int, until: datetime) -> DeploymentSettled | None:
        self.waited_until = until
        return self._settlements.get((self.request_id, attempt))

    async def post(self, attempt: int, post: Coroutine[Any, Any, DeploymentInfo]) -> DeploymentInfo:
        self.posted = True
        deployment = await post
        self.posted = False
        return deployment


class FakeTime:
    """A clock that only moves while somebody sleeps; remembers for how long."""

    def __init__(self) -> None:
        self.wall = FakeClock()
        self.slept: list[float] = []

    def clocks(self) -> Clocks:
        """Both clocks are this one; chance is always the middle."""
        return Clocks(self.wall, self.seconds, self.sleep, lambda: 0.5)

    def seconds(self) -> float:
        """Since the epoch."""
        return self.wall.now.timestamp()

    async def sleep(self, seconds: float) -> None:
        """Time passes at once."""
        self.slept.append(seconds)
        self.wall.now += timedelta(seconds=seconds)
        await asyncio.sleep(0)


def fake_deployer(
    tokens: Tokens,
    builder: Builder,
    playground: Playground,
    time: FakeTime | None = None,
    policy: Policy | None = None,
) -> Deployer:
    """With room for 32, closed breakers, and time that does not pass by itself."""
    clocks = (time or FakeTime()).clocks()
    return Deployer(
        tokens,
        builder,
        playground,
        Capacity(32),
        Breakers(clocks.monotonic, clocks.sleep),
        clocks,
        policy or Policy(330, 3600),
    )
