"""A job: what one worker holds of a request, and the outcome when the job ends."""

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from structlog.testing import capture_logs

from schemas import DeploymentInfo, DeploymentSettled, DeploymentStatus, SourceInfo, State, fingerprint
from tests.support.builders import CALLER, REVISION_ID, SOLUTION_ID, record
from tests.support.fakes import FakeJob, FakeTime
from worker.delivery import partition as partition_module
from worker.delivery.admission import KeyQueue
from worker.delivery.partition import Job, PartitionProcessor, WorkerContext
from worker.domain.lifecycle import RequestState
from worker.domain.partition_state import StatusEncoder
from worker.domain.request import read_request, record_id
from worker.errors import (
    CODES,
    DeploymentError,
    OutcomeUnknown,
    PlaygroundRefused,
    TooManyRequests,
    Unauthenticated,
    Unavailable,
)

DEPLOYED = DeploymentInfo(id="d-1", url="https://playground.example/d-1")

IDS = {"solutionId": str(SOLUTION_ID), "revisionId": str(REVISION_ID)}
KEY = CALLER.user_id.encode()


def left(state: State) -> DeploymentStatus:
    """The last status of an earlier worker."""
    return DeploymentStatus(
        request_id=record_id(record()),
        sequence=2,
        state=state,
        time=datetime(2026, 1, 1, tzinfo=UTC),
        attempt=2,
        message="So far.",
        source=SourceInfo(topic="requests", partition=3, offset=7),
    )


class Processor(PartitionProcessor):
    """A partition whose jobs end when the test ends them, and which keeps what they hand over."""

    def __init__(self, max_open: int = 50) -> None:
        self.handed: list[Coroutine[Any, Any, DeploymentSettled | None]] = []
        no_store: Any = None  # no take-over happens here
        shared = WorkerContext(
            no_store,
            self._never,
            StatusEncoder("statuses", "dead-letters", "/worker"),
            KeyQueue(max_open),
            FakeTime().clocks(),
            lambda _, outcome: self.handed.append(outcome),
            259_200,
        )
        super().__init__(3, shared, lambda *_: None)
        self.ready = True

    @staticmethod
    async def _never(job: Job) -> None:
        raise AssertionError("a test handles its job itself")

    def job(self, offset: int = 7, last: DeploymentStatus | None = None) -> Job:
        """A job of the builders' user, fresh or as an earlier worker left it."""
        one = record(offset=offset)
        request = FakeJob(one).request
        state = RequestState.of_record(one, request, datetime(2026, 1, 1, tzinfo=UTC))
        if last:
            state.apply(last)
            self.state.requests.leave(state)
        else:
            self.state.requests.claim(state, state.request_id)
        job = Job(self, one, request, state)
        self.jobs.add(job)
        return job


async def test_an_end_lets_the_next_of_the_user_go() -> None:
    """A job's end, whatever its cause, passes the key lock to the user's next job."""
    processor = Processor()
    first, second, third = (processor.job(offset) for offset in (7, 8, 9))
    await first.acquire_key_lock()
    waiting, last = asyncio.create_task(second.acquire_key_lock()), asyncio.create_task(third.acquire_key_lock())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    second.end()
    assert (True, False, False) == (first.has_key_lock, second.has_key_lock, third.has_key_lock)
    assert (False, True, True) == (first.waits_for_turn, second.waits_for_turn, third.waits_for_turn)
    assert first.turn_at is None
    first.end()
    for _ in range(5):
        await asyncio.sleep(0)
    assert (False, True) == (first.has_key_lock, third.has_key_lock)
    assert (False, True) == (third.waits_for_turn, third.turn_at is not None)
    await last


async def test_a_parked_request_holds_up_nobody() -> None:
    """A parked request holds no key lock; once settled, it queues behind the requests that came since."""
    processor = Processor()
    parked, other = processor.job(7, left(State.PARKED)), processor.job(8)
    await other.acquire_key_lock()
    settled = asyncio.create_task(parked.acquire_key_lock())
    await asyncio.sleep(0)
    assert not settled.done()
    other.end()
    for _ in range(5):
        await asyncio.sleep(0)
    assert parked.has_key_lock
    await settled


async def test_whoever_parks_lets_the_next_of_the_user_go() -> None:
    """Parking a request releases the key lock, because an operator may take days."""
    job = FakeJob(last=left(State.SUBMITTING))
    behind = job.processor.context.key_queue.join(job.record.key)
    await job.acquire_key_lock()
    job.publish(job.state.parked(datetime(2026, 1, 1, tzinfo=UTC)))
    await behind.acquire()
    assert not job.has_key_lock


async def deployed() -> DeploymentInfo:
    """The playground's answer."""
    return DEPLOYED


async def test_whether_something_may_be_sent_is_known() -> None:
    """A bundle may be sent by an earlier worker's attempt, or by this job from its POST until the outcome's status."""
    assert FakeJob(last=left(State.SUBMITTING)).may_be_sent
    job = FakeJob()
    job.state.apply(left(State.BUILDING))
    job.publish(submitting := left(State.SUBMITTING))
    assert (False, False) == (job.may_be_sent, job.posting)
    await job.post(deployed())
    assert (True, True) == (job.may_be_sent, job.posting)
    job.on_committed(submitting)
    assert job.posting
    job.on_committed(left(State.RETRYING))
    assert not job.posting


@pytest.mark.parametrize("last", [None, State.ACCEPTED, State.SUBMITTING, State.PARKED])
async def test_a_job_that_sent_nothing_hands_nothing_over(last: State | None) -> None:
    """A job that sent nothing hands nothing over; an earlier worker's POST is that worker's to report."""
    processor = Processor()
    processor.job(last=left(last) if last else None).end()
    assert [] == processor.handed


@pytest.mark.parametrize(
    ("error", "outcome", "reason"),
    [
        (None, "deployed", "The playground confirmed the deployment."),
        (PlaygroundRefused("playground-refused", "No."), "failed", "No."),
        (Unavailable("playground-busy", "Busy.", "submit"), "retry", "Busy."),
        (OutcomeUnknown(CODES["outcome-unknown"]), None, None),
    ],
)
async def test_a_post_goes_on_when_its_partition_is_lost(
    error: DeploymentError | None, outcome: str | None, reason: str | None
) -> None:
    """A lost partition's POST is logged and continues; a known outcome is handed over, an unknown outcome is logged."""
    processor, answer = Processor(), asyncio.Event()
    job = processor.job(last=left(State.BUILDING))
    job.publish(left(State.SUBMITTING))

    async def post() -> DeploymentInfo:
        await answer.wait()
        if error:
            raise error
        return DEPLOYED

    posting = asyncio.create_task(job.post(post()))
    await asyncio.sleep(0)
    posting.cancel()
    await asyncio.gather(posting, return_exceptions=True)
    with capture_logs() as said:
        job.end()
        answer.set()
        [handed] = processor.handed
        settled = await handed
    told = ["a POST runs without its request", *(["the outcome of a POST is unknown"] if outcome is None else [])]
    assert [(it, record_id(record()), 2) for it in told] == [
        (it["event"], it["request_id"], it["attempt"]) for it in said
    ]
    assert (outcome, reason) == ((settled.outcome, settled.reason) if settled else (None, None))
    if settled:
        assert (2, record_id(record())) == (settled.attempt, settled.request_id)
        assert (DEPLOYED if error is None else None) == settled.deployment


async def test_a_post_that_a_stop_cuts_off_has_that_cause() -> None:
    """When a stop cuts off a POST, the log names the worker's stop as the cause, and nothing of the POST remains."""
    processor, cut_off = Processor(), asyncio.Event()
    job = processor.job(last=left(State.BUILDING))
    job.publish(left(State.SUBMITTING))

    async def post() -> DeploymentInfo:
        try:
            await asyncio.Event().wait()
        finally:
            cut_off.set()
        raise AssertionError("nobody answers")

    posting = asyncio.create_task(job.post(post()))
    await asyncio.sleep(0)
    posting.cancel()
    await asyncio.gather(posting, return_exceptions=True)
    job.end()
    [outcome] = processor.handed
    handing = asyncio.create_task(outcome)
    await asyncio.sleep(0)
    with capture_logs() as said:
        handing.cancel()
        await asyncio.gather(handing, return_exceptions=True)
    assert (True, True) == (handing.cancelled(), cut_off.is_set())
    assert [("the outcome of a POST is unknown", "outcome-unknown", "this worker was stopped")] == [
        (it["event"], it["code"], it["cause"]) for it in said
    ]


async def test_an_intent_without_a_post_is_handed_over_too() -> None:
    """An intent without a POST is handed over as unsent, so that the next owner need not park it."""
    processor = Processor()
    job = processor.job(last=left(State.BUILDING))
    job.publish(left(State.SUBMITTING))
    job.end()
    [handed] = processor.handed
    settled = await handed
    assert settled is not None
    assert ("retry", "Nothing was sent.") == (settled.outcome, settled.reason)


async def test_a_bundle_that_is_built_in_vain_is_no_interruption() -> None:
    """A worker that lost its partition while it built settles the attempt as unsent, so it is no interruption."""
    processor = Processor()
    job = processor.job(last=left(State.ACCEPTED))
    job.publish(building := left(State.BUILDING))
    assert 1 == job.state.interruptions
    job.on_committed(left(State.ACCEPTED))
    job.on_committed(building)
    job.end()
    [handed] = processor.handed
    settled = await handed
    assert settled is not None
    assert (2, "retry", "Nothing was sent.") == (settled.attempt, settled.outcome, settled.reason)
    processor.on_settlement(settled)
    assert 0 == job.state.interruptions


async def test_an_attempt_that_is_not_durable_is_not_handed_over() -> None:
    """An attempt that is not durable is not handed over, because the next owner starts one with the same number."""
    processor = Processor()
    job = processor.job(last=left(State.ACCEPTED))
    job.publish(left(State.BUILDING))
    job.end()
    assert [] == processor.handed


async def test_an_end_without_a_status_forgets_the_id() -> None:
    """A job that ends without a status releases its id, so the next record or take-over starts from scratch."""
    processor = Processor()
    job = processor.job()
    assert job.state is processor.state.requests.find(job.state.request_id)
    job.end()
    assert processor.state.requests.find(job.state.request_id) is None


def fresh(processor: Processor, offset: int = 7, request_id: str = "r-1", key: bytes = KEY) -> Job:
    """A job for a record with this id, whose token is not verified yet."""
    one = replace(record({**IDS, "requestId": request_id, "jwtToken": "t"}, offset=offset), key=key)
    request = read_request(one)
    job = Job(processor, one, request, RequestState.of_record(one, request, datetime(2026, 1, 1, tzinfo=UTC)))
    processor.jobs.add(job)
    return job


def claim(job: Job) -> bool:
    """Claim the id for the builders' user."""
    return job.claim(CALLER, fingerprint(CALLER.user_id, SOLUTION_ID, REVISION_ID))


async def test_a_user_may_have_so_many_open_requests() -> None:
    """A request over the user's limit is rejected under its record id and claims no id; a repeat is only compared."""
    processor = Processor(max_open=2)
    jobs = [fresh(processor, offset, f"r-{offset}") for offset in (7, 8, 9)]
    assert [True, True] == [claim(job) for job in jobs[:2]]
    with pytest.raises(TooManyRequests):
        claim(jobs[2])
    assert record_id(jobs[2].record) == jobs[2].state.request_id
    assert processor.state.requests.find("r-9") is None
    again = fresh(processor, 10, "r-7")
    assert (False, jobs[0].state) == (claim(again), again.original)
    jobs[0].end()
    assert claim(fresh(processor, 11, "r-9"))


@pytest.mark.parametrize(
    ("key", "misplaced", "code"), [(b"other", False, "wrong-record-key"), (KEY, True, "wrong-partition")]
)
async def test_a_record_belongs_where_its_user_is(key: bytes, misplaced: bool, code: str) -> None:
    """A record in the wrong partition or with another key claims no id: its user could have two POSTs at once."""
    processor = Processor()
    job = fresh(processor, key=key)
    job.record = replace(job.record, misplaced=misplaced)
    with pytest.raises(Unauthenticated) as refusal:
        claim(job)
    assert (code, None) == (refusal.value.code, processor.state.requests.find("r-1"))


async def test_what_was_accepted_may_stand_elsewhere() -> None:
    """A request accepted before partitions were added may be in another partition."""
    job = Processor().job(last=left(State.ACCEPTED))
    job.record = replace(job.record, misplaced=True)
    assert not claim(job)


async def test_an_accepted_request_keeps_no_content() -> None:
    """While it waits, perhaps for hours, an accepted request keeps its trace but not its value, headers or token."""
    trace = ("traceparent", f"00-{'a' * 32}-{'b' * 16}-01".encode())
    processor = Processor()
    first, job = fresh(processor), fresh(processor, 8, "r-2")
    job.record = replace(job.record, headers=(trace,))
    assert claim(job)
    waiting = asyncio.create_task(job.acquire_key_lock())
    await asyncio.sleep(0)
    first.end()
    await waiting
    assert (None, (), "") == (job.record.value, job.record.headers, job.readable_request().token)
    assert trace[1].decode() == job.state.traceparent


async def test_who_waits_for_a_turn_is_not_counted_among_what_is_read() -> None:
    """A request that waits for its key lock is excluded from back-pressure until it has the lock."""
    processor = Processor()
    first, second = processor.job(7), processor.job(8)
    for job in (first, second):
        processor.state.offsets.start(job.record.offset, 100)
    await first.acquire_key_lock()
    waiting = asyncio.create_task(second.acquire_key_lock())
    await asyncio.sleep(0)
    assert (1, 100) == (processor.state.offsets.buffered, processor.state.offsets.buffered_bytes)
    first.end()
    await waiting
    assert 2 == processor.state.offsets.buffered


async def test_only_so_many_wait_beside_the_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a limited number is excluded from back-pressure, so waiting requests cannot take unbounded memory."""
    monkeypatch.setattr(partition_module, "MAX_WAITING", 1)
    processor = Processor()
    jobs = [processor.job(offset) for offset in (7, 8, 9)]
    for job in jobs:
        processor.state.offsets.start(job.record.offset, 100)
    waiting = [asyncio.create_task(job.acquire_key_lock()) for job in jobs]
    await asyncio.sleep(0)
    assert 2 == processor.state.offsets.buffered
    for task in waiting[1:]:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
