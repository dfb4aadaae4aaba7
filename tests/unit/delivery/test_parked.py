"""Parked requests: no job works on them, their records are not kept, and they resume when settled or due."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from schemas import DeploymentSettled, DeploymentStatus, State, fingerprint
from tests.component.generated.partition_model import IDS, Model, ModelStore, Worker, records
from tests.support.builders import record
from worker.delivery.partition import Job
from worker.domain.lifecycle import RequestState
from worker.domain.partition_state import Checkpoint
from worker.domain.request import Record, read_request
from worker.errors import TooManyRequests

MANY = 12


class Stage:
    """A user's parked requests, and the worker that owns their partition; its clock never advances."""

    def __init__(self, count: int = MANY, users: int = 1) -> None:
        self.model = Model(records(count, users), count, owner="first", unclear={f"r-{it}" for it in range(count)})
        self.worker = self._start("first")

    def _start(self, name: str) -> Worker:
        worker = Worker(self.model, name)
        self.never = asyncio.Event()
        shared = worker.processor.context
        # No timer ever fires.
        object.__setattr__(shared.clocks, "sleep", lambda _: self.never.wait())
        return worker

    async def until(self, state: State, count: int = MANY) -> None:
        """Wait until this number of requests is in this state."""
        async with asyncio.timeout(10):
            while list(self.states().values()).count(state) < count:
                self.worker.poll()
                await asyncio.sleep(0)
            for _ in range(20):
                await asyncio.sleep(0)

    def states(self) -> dict[str, State]:
        """Return each request's state by its last durable status."""
        return {it.request_id: it.state for it in self.model.log}

    async def take_over(self) -> None:
        """Let another worker take over."""
        await self.end()
        self.model.owner = "second"
        self.worker = self._start("second")
        for _ in range(100):
            await asyncio.sleep(0)
        assert self.worker.processor.ready

    async def end(self) -> None:
        """Stop the worker."""
        self.worker.task.cancel()
        await asyncio.gather(self.worker.task, return_exceptions=True)

    def settle(self, request_id: str, outcome: str) -> None:
        """Settle a request as an operator does."""
        said = {"requestId": request_id, "attempt": 1, "outcome": outcome, "by": "ada"}
        self.worker.processor.on_settlement(DeploymentSettled.model_validate(said))


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    """A stage whose requests are all parked."""
    with capture_logs():
        one = Stage()
        await one.until(State.PARKED)
        yield one
        await one.end()


@pytest.mark.parametrize("taken_over", [False, True])
async def test_nobody_works_on_what_is_parked(stage: Stage, taken_over: bool) -> None:
    """Neither the worker that parked a request nor the next has a job or fetches a record; the offset has passed."""
    if taken_over:
        await stage.take_over()
    processor = stage.worker.processor
    assert (set(), MANY) == (processor.jobs, len(processor.state.requests.parked))
    assert ([], MANY) == ([it for it in stage.model.fetched if it], stage.model.committed)


@pytest.mark.parametrize("taken_over", [False, True])
@pytest.mark.parametrize(
    ("outcome", "end", "fetched"),
    [("deployed", State.DEPLOYED, []), ("failed", State.FAILED, []), ("retry", State.DEPLOYED, [(3,), (5,)])],
)
async def test_what_is_settled_goes_on(
    stage: Stage, taken_over: bool, outcome: str, end: State, fetched: list[tuple[int]]
) -> None:
    """A settled request resumes at once, the others stay parked, and its record is read only for a retry."""
    if taken_over:
        await stage.take_over()
    for it in ("r-3", "r-5", "r-3"):  # the first settlement of an attempt counts
        stage.settle(it, outcome if it not in stage.states() or stage.states()[it] is State.PARKED else "failed")
    await stage.until(end, 2)
    assert fetched == [it for it in stage.model.fetched if it]
    assert {"r-3": end, "r-5": end} == {it: state for it, state in stage.states().items() if state is not State.PARKED}
    assert (set(), MANY - 2) == (stage.worker.processor.jobs, len(stage.worker.processor.state.requests.parked))


async def test_what_was_settled_between_two_workers_goes_on(stage: Stage) -> None:
    """The next owner finds a settlement written between two workers, and needs no record to apply it."""
    said = {"requestId": "r-3", "attempt": 1, "outcome": "failed", "by": "ada"}
    stage.model.settled.append(DeploymentSettled.model_validate(said))
    await stage.take_over()
    await stage.until(State.FAILED, 1)
    assert [] == [it for it in stage.model.fetched if it]


async def test_another_attempts_settlement_resumes_nothing(stage: Stage) -> None:
    """A settlement of another attempt, used up or late, resumes nothing."""
    said = {"requestId": "r-3", "attempt": 2, "outcome": "failed", "by": "ada"}
    stage.worker.processor.on_settlement(DeploymentSettled.model_validate(said))
    assert set() == stage.worker.processor.jobs


@pytest.mark.parametrize("there", [None, record({**IDS, "requestId": "another", "jwtToken": "0"}), record(b"{")])
async def test_without_its_record_it_cannot_be_tried_again(
    stage: Stage, there: Record | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A retry whose record is deleted or replaced fails as `request-gone`, and the log names the request."""

    async def fetch(_store: ModelStore, _partition: int, _offsets: Sequence[int]) -> AsyncIterator[Record]:
        if there:
            yield there

    monkeypatch.setattr(ModelStore, "fetch", fetch)
    with capture_logs() as said:
        stage.settle("r-3", "retry")
        await stage.until(State.FAILED, 1)
    last = stage.model.log[-1]
    assert ("r-3", "request-gone") == (last.request_id, last.error and last.error.code)
    assert ["r-3"] == [it["request_id"] for it in said if it["event"] == "a request's record is gone"]


async def test_a_record_that_cannot_be_read_now_is_read_later(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unreachable brokers fail no request whose record must be read, and delay no other request of the partition."""
    answers: list[Exception | None] = [TimeoutError("away"), OSError("away"), None]
    fetched = ModelStore.fetch

    async def fetch(store: ModelStore, partition: int, offsets: Sequence[int]) -> AsyncIterator[Record]:
        if error := answers.pop(0):
            raise error
        async for it in fetched(store, partition, offsets):
            yield it

    monkeypatch.setattr(ModelStore, "fetch", fetch)

    async def at_once(_: float) -> None:
        await asyncio.sleep(0)

    object.__setattr__(stage.worker.processor.context.clocks, "sleep", at_once)
    with capture_logs() as said:
        stage.settle("r-3", "retry")
        await stage.until(State.DEPLOYED, 1)
    assert ["TimeoutError", "OSError"] == [it["error"] for it in said if it["event"].endswith("cannot be read")]


async def test_what_is_due_is_given_up_in_its_order() -> None:
    """A parked request is given up after three days, not before, and one timer serves the whole partition."""
    with capture_logs():
        stage = Stage(3)
        await stage.until(State.PARKED, 3)
        slept: list[float] = []
        clocks: Any = stage.worker.processor.context.clocks
        passed = asyncio.Semaphore(0)

        async def sleep(seconds: float) -> None:
            slept.append(seconds)
            await passed.acquire()

        await stage.end()
        stage.model.owner = "second"
        stage.worker = Worker(stage.model, "second")
        clocks = stage.worker.processor.context.clocks
        object.__setattr__(clocks, "sleep", sleep)
        for _ in range(100):
            await asyncio.sleep(0)
        first = next(it for it in stage.model.log if it.state is State.PARKED)
        assert [259_200 - (clocks.now() - first.time).total_seconds()] == slept
        object.__setattr__(clocks, "now", lambda: first.time + timedelta(seconds=259_200))
        for _ in range(30):
            passed.release()
            await asyncio.sleep(0)
        await stage.until(State.FAILED, 3)
        assert {"unresolved"} == {it.error.code for it in stage.model.log if it.state is State.FAILED and it.error}
        await stage.end()


@pytest.mark.parametrize("taken_over", [False, True])
async def test_parked_requests_count_among_those_that_a_user_may_have(stage: Stage, taken_over: bool) -> None:
    """A user's parked requests count towards the limit until they end, whichever worker parked them."""
    if taken_over:
        await stage.take_over()
    processor = stage.worker.processor
    processor.context.key_queue._max_open = MANY

    def claims(user: str, number: int) -> bool:
        one = record({**IDS, "requestId": f"{user}-{number}", "jwtToken": user}, offset=100 + number, key=user.encode())
        request = read_request(one)
        job = Job(processor, one, request, RequestState.of_record(one, request, processor.context.clocks.now()))
        try:
            return job.claim(stage.worker.read(user), fingerprint(user, *IDS.values()))
        except TooManyRequests:
            job.end()
            return False

    assert [False, True] == [claims("0", 1), claims("1", 1)]
    stage.settle("r-3", "failed")
    await stage.until(State.FAILED, 1)
    assert [True, False] == [claims("0", number) for number in (2, 3)]


async def test_a_checkpoint_names_what_rests() -> None:
    """A checkpoint lists each parked request, so the next owner finds it by its last status alone."""
    with capture_logs():
        stage = Stage(3)
        stage.model.remembered = 0
        await stage.until(State.PARKED, 3)
        assert isinstance(stage.model.checkpoint, Checkpoint)
        await stage.take_over()
        parked = [it for it in stage.worker.processor.state.requests.open() if isinstance(it.last, DeploymentStatus)]
        assert ["r-0", "r-1", "r-2"] == sorted(it.request_id for it in parked)
        await stage.end()
