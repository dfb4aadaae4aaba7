"""Small, honest stand-ins for the adapters, passed in where the real adapters go."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any, cast
from uuid import UUID

from schemas import DeploymentInfo, DeploymentSettled, DeploymentStatus
from tests.support.builders import CALLER, record
from worker.adapters.http import spend
from worker.build import Builder
from worker.delivery.admission import RESERVED_BYTES, Admission, Breakers, Budget, KeyQueue, Limiter, Origin
from worker.delivery.partition import Job, PartitionProcessor, WorkerContext
from worker.deploy import Deployer
from worker.domain.dead_letter import DeadLetter
from worker.domain.lifecycle import Lifecycle, RequestState
from worker.domain.partition_state import StatusEncoder
from worker.domain.request import Record, read_request
from worker.domain.solution import ByteLimit, Caller, Solution
from worker.errors import DeploymentError, StatusNotPublished
from worker.ports import Clocks, Playground, Tokens
from worker.settings import PlaygroundSettings, RuntimeSettings


def source(user: int = 0, solution: int = 0) -> Origin:
    """Return the user and the solution of an attempt."""
    return Origin(f"user-{user}", UUID(int=solution))


class FakeTokens:
    """Knows one caller, or rejects every token."""

    def __init__(self, error: DeploymentError | None = None) -> None:
        self.error = error
        self.judged: list[bool] = []  # whether each call verified the token's times

    async def authenticate(self, token: str, appended_at: float | None, *, times: bool = True) -> Caller:
        self.judged.append(times)
        if self.error and (times or self.error.code != "token-expired"):
            raise self.error
        return CALLER

    def read(self, token: str) -> Caller:
        return CALLER


class FakeCatalog:
    """Knows one solution, or fails."""

    def __init__(self, solution: Solution | Exception, refusal: DeploymentError | None = None) -> None:
        """Fail with `refusal` when the protobufs are checked."""
        self.solution = solution
        self.refusal = refusal
        self.checked: list[tuple[tuple[str, ...], Caller | None]] = []  # uris, and the caller

    async def find(self, solution_id: UUID, revision_id: UUID, caller: Caller | None, left: ByteLimit) -> Solution:
        if isinstance(self.solution, Exception):
            raise self.solution
        if isinstance(self.solution.description, str):
            spend([left], len(self.solution.description.encode()))
        return self.solution

    async def check_protobufs(
        self, uris: Sequence[str], solution: Solution, caller: Caller | None, left: ByteLimit
    ) -> None:
        self.checked.append((tuple(uris), caller))
        if self.refusal:
            raise self.refusal


class FakeArtifacts:
    """Serves files by uri and records each fetch."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.files = files
        self.fetched: list[str] = []

    async def fetch(self, uris: Sequence[str], left: ByteLimit, size: int | None = None) -> list[bytes | None]:
        self.fetched.extend(uris)
        spend([left], sum(len(self.files.get(uri, b"")) for uri in uris))
        return [self.files.get(uri) for uri in uris]


class FakePlayground:
    """Deploys everything, or answers with these errors in order and repeats the last."""

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
    """A clock that advances by a second on each reading."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


class FakeStore:
    """What a job needs from Kafka: the permits of operators, by request id."""

    def __init__(self, permits: Mapping[str, str]) -> None:
        self._permits = permits
        self.record: Record | None = None  # the only record of its topic

    async def permitted(self, _partition: int, request_id: str, _appended_at: float) -> str | None:
        return self._permits.get(request_id)

    async def fetch(self, _partition: int, _offsets: Sequence[int]) -> AsyncIterator[Record]:
        if self.record:
            yield self.record


class FakeProcessor(PartitionProcessor):
    """A partition whose transactions succeed at once: it keeps what is published, and knows what the test sets."""

    def __init__(self, clocks: Clocks, permits: Mapping[str, str] = MappingProxyType({})) -> None:
        encoder = StatusEncoder("statuses", "dead-letters", "/worker")
        store: Any = FakeStore(permits)
        super().__init__(
            3, WorkerContext(store, _never, encoder, KeyQueue(), clocks, lambda *_: None, 3), lambda *_: None
        )
        self.statuses: list[DeploymentStatus] = []
        self.dead_letters: list[DeadLetter] = []
        self.finished: list[int] = []
        self.fails_at: int | None = None  # the sequence number that Kafka rejects
        self.ready = True

    def publish(self, job: Job, status: DeploymentStatus, dead_letter: DeadLetter | None) -> asyncio.Future[None]:
        if status.sequence == self.fails_at:
            raise StatusNotPublished
        self.statuses.append(status)
        self.dead_letters += [dead_letter] if dead_letter else []
        job.state.apply(status)
        job.on_committed(status)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done

    def finish(self, job: Job) -> None:
        self.finished.append(job.record.offset)


class FakeJob(Job):
    """A request at work, in its own partition."""

    processor_class: type[FakeProcessor] = FakeProcessor

    def __init__(
        self,
        given: Record | None = None,
        *,
        last: DeploymentStatus | None = None,
        original: RequestState | None = None,
        settlements: Sequence[DeploymentSettled] = (),
        known: Sequence[RequestState] = (),
        clocks: Clocks | None = None,
        permits: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """`last`: the last status by another worker. `original`: the state of the earlier record with the same id."""
        read = given or record()
        request = read_request(read)
        self.processor = self.processor_class(clocks or FakeTime().clocks(), permits)
        self.store = cast("FakeStore", self.processor.context.store)
        for state in (*known, *filter(None, [original])):
            self.processor.state.requests.remember(state, 0)
        state = RequestState.of_record(read, request, FakeClock().now)
        if last:
            state.request_id = last.request_id
            state.apply(last)
            self.processor.state.requests.leave(state)
            self.processor.state.requests.parked.resume(state)
        for settled in settlements:
            self.processor.on_settlement(settled)
        self.store.record = read
        super().__init__(self.processor, read, request, state)
        self.waited_until: datetime | None = None

    @property
    def statuses(self) -> list[DeploymentStatus]:
        return self.processor.statuses

    @property
    def dead_letters(self) -> list[DeadLetter]:
        return self.processor.dead_letters

    async def wait_for_settlement(self, until: datetime) -> DeploymentSettled | None:
        self.waited_until = until
        return await super().wait_for_settlement(until)


async def _never(job: Job) -> None:
    raise AssertionError("a test handles its job itself")


class FakeTime:
    """A clock that advances only during a sleep, and records the lengths of the sleeps."""

    def __init__(self) -> None:
        self.wall = FakeClock()
        self.slept: list[float] = []

    def clocks(self) -> Clocks:
        """Return clocks that both read this time, with a random source that always returns the middle."""
        return Clocks(self.wall, self.seconds, self.sleep, lambda: 0.5)

    def seconds(self) -> float:
        """Return the seconds since the epoch."""
        return self.wall.now.timestamp()

    async def sleep(self, seconds: float) -> None:
        """Advance the time at once."""
        self.slept.append(seconds)
        self.wall.now += timedelta(seconds=seconds)
        await asyncio.sleep(0)


def lifecycle(**changes: Any) -> Lifecycle:
    """Return the lifecycle under the default settings; `changes` are fields of the groups playground and runtime."""
    playground = {name: value for name, value in changes.items() if name in PlaygroundSettings.model_fields}
    runtime = {name: value for name, value in changes.items() if name not in playground}
    return Lifecycle(
        PlaygroundSettings(deploy_url="https://playground.example/deploy_solution", **playground),
        RuntimeSettings(**runtime),
    )


def fake_deployer(
    tokens: Tokens, builder: Builder, playground: Playground, time: FakeTime | None = None, **changes: Any
) -> Deployer:
    """Return a deployer with 32 slots, closed breakers, and a manual clock; `changes` as for `lifecycle`."""
    clocks = (time or FakeTime()).clocks()
    admission = Admission(Limiter(32), Breakers(clocks.monotonic, clocks.sleep), Budget(RESERVED_BYTES))
    return Deployer(tokens, builder, playground, admission, clocks, lifecycle(**changes))
