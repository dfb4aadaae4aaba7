"""What follows an attempt (a retry, `parked`, a settlement, a final status), and how inherited requests continue."""

import json
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from schemas import DeploymentSettled, DeploymentStatus, SourceInfo, State, fingerprint, rfc3339
from tests.support.builders import (
    CALLER,
    OPTIONS,
    PROTOBUF,
    REVISION_ID,
    SHIPPED,
    SOLUTION_ID,
    blueprint,
    node,
    record,
    solution,
)
from tests.support.fakes import (
    FakeArtifacts,
    FakeCatalog,
    FakeClock,
    FakeJob,
    FakePlayground,
    FakeTime,
    FakeTokens,
    fake_deployer,
    source,
)
from worker.build import Builder
from worker.domain.lifecycle import RequestState
from worker.domain.request import record_id
from worker.errors import DeploymentError, OutcomeUnknown, Unauthenticated, Unavailable

MINE = fingerprint(CALLER.user_id, SOLUTION_ID, REVISION_ID)
ID = record_id(record())
NOW = FakeClock().now
BUSY = Unavailable("playground-busy", "Busy.", "submit", retry_after=20)
DOWN = Unavailable("playground-unavailable", "Down.", "submit", dependency_wide=True)
FORGED = Unauthenticated("token-signature", "Forged.")
EXPIRED = Unauthenticated("token-expired", "Expired.")
KEYS_AWAY = Unavailable("keys-unavailable", "Away.", "authenticate", dependency_wide=True)


class World:
    """A deployer whose clock advances only while it sleeps."""

    def __init__(
        self, *errors: DeploymentError | None, token_error: DeploymentError | None = None, **settings: Any
    ) -> None:
        self.playground = FakePlayground(*errors)
        self.tokens = FakeTokens(token_error)
        self.time = FakeTime()
        files = {"org/blueprint.json": blueprint(node("a", proto_uri="p")), "p": PROTOBUF}
        builder = Builder(FakeCatalog(solution()), FakeArtifacts(files), SHIPPED, OPTIONS)
        self.deployer = fake_deployer(self.tokens, builder, self.playground, self.time, **settings)

    async def handle(self, job: FakeJob) -> list[State]:
        await self.deployer.handle(job)
        return [status.state for status in job.statuses]


def left(state: State, **changes: Any) -> DeploymentStatus:
    """The last status that a dead worker published."""
    values: dict[str, Any] = {
        "request_id": ID,
        "sequence": 5,
        "state": state,
        "time": NOW,
        "attempt": 2,
        "message": "So far.",
        "fingerprint": MINE,
        "source": SourceInfo(topic="requests", partition=3, offset=7),
        "attempt_deadline": NOW + timedelta(seconds=330) if state is State.SUBMITTING else None,
    }
    return DeploymentStatus(**(values | changes))


def settled(outcome: str, attempt: int = 2) -> DeploymentSettled:
    """An operator's settlement."""
    return DeploymentSettled.model_validate(
        {"requestId": ID, "attempt": attempt, "outcome": outcome, "reason": "It is there.", "by": "ada"}
    )


def code(job: FakeJob) -> str | None:
    """The error code of the last status."""
    error = job.statuses[-1].error
    return error.code if error else None


def waits(job: FakeJob) -> list[timedelta]:
    """The delay between each failure and the next attempt."""
    return [status.next_attempt_at - status.time for status in job.statuses if status.next_attempt_at]


async def test_an_outage_is_waited_out() -> None:
    """After an outage the second attempt deploys; `retrying` carries the reason and the time of the retry."""
    world, job = World(DOWN, None), FakeJob()
    expected = [State.ACCEPTED, State.BUILDING, State.SUBMITTING, State.RETRYING]
    assert [*expected, *expected[1:3], State.DEPLOYED] == await world.handle(job)
    retrying = job.statuses[3]
    assert retrying.error
    assert ("playground-unavailable", True) == (retrying.error.code, retrying.error.retryable)
    assert retrying.next_attempt_at and retrying.give_up_at
    assert timedelta(seconds=0.75) == retrying.next_attempt_at - retrying.time
    assert [1, 1, 1, 1, 2, 2, 2] == [status.attempt for status in job.statuses]


async def test_the_log_explains_each_retry() -> None:
    """Each retry is logged with its cause, dependency, attempt and next time; the final line logs the outcome."""
    refused = Unavailable("playground-unavailable", "Down.", "submit").because("https://playground.example", "refused")
    unknown = OutcomeUnknown("Nobody knows.").because("https://playground.example", "status 502")
    with capture_logs() as said:
        job = FakeJob()
        await World(refused, unknown).handle(job)
        assert "request parked" == said[-1]["event"]  # `parked` is not final
        await World().handle(FakeJob(last=job.statuses[-1]))
    why = {"attempt": 1, "code": "playground-unavailable", "message": "It will be tried again. Down."}
    at = job.statuses[3].next_attempt_at
    assert at
    retrying, parked, ended = said
    assert {
        "event": "request retrying", "log_level": "warning", "request_id": ID, **why,
        "url": "https://playground.example", "cause": "refused", "next_attempt_at": rfc3339(at),
    } == retrying  # fmt: skip
    assert ("request parked", 2, "outcome-unknown", "status 502") == tuple(
        parked[it] for it in ("event", "attempt", "code", "cause")
    )
    assert ("request ended", "failed", 2, "unresolved") == tuple(
        ended[it] for it in ("event", "state", "attempt", "code")
    )
    assert "cause" not in ended


async def test_retry_after_is_respected() -> None:
    """A dependency's `Retry-After` overrides a shorter backoff."""
    world, job = World(BUSY, None), FakeJob()
    await world.handle(job)
    assert [timedelta(seconds=20)] == waits(job)


async def test_retries_end_at_the_deadline_with_a_dead_letter() -> None:
    """Retries stop at the request deadline, with the last error and a dead letter without the token.

    No breaker is open here: an open breaker would pause the deadline.
    """
    world, job = World(BUSY, request_deadline_seconds=65), FakeJob()
    states = await world.handle(job)
    assert (State.FAILED, "playground-busy", [timedelta(seconds=20)] * 2) == (states[-1], code(job), waits(job))
    [letter] = job.dead_letters
    kept = json.loads(letter.value)
    assert {"requestId": ID, "solutionId": str(SOLUTION_ID), "revisionId": str(REVISION_ID)} == kept
    assert b"playground-busy" == dict(letter.headers)["dlt-error-code"]


async def test_while_a_dependency_is_down_the_deadline_stands_still() -> None:
    """The request deadline pauses while a dependency is down.

    Ten attempts without an answer exceed the deadline by far, and the request is still deployed.
    """
    world, job = World(*[DOWN] * 10, None, request_deadline_seconds=120), FakeJob()
    assert State.DEPLOYED == (await world.handle(job))[-1]
    assert 11 == job.statuses[-1].attempt


async def test_refused_credentials_wait_for_the_operator() -> None:
    """Rejected credentials fail no request, however long the operator takes to correct them."""
    refused = Unavailable("playground-unauthorized", "Not allowed.", "submit", dependency_wide=True)
    world, job = World(*[refused] * 20, None, request_deadline_seconds=60), FakeJob()
    assert State.DEPLOYED == (await world.handle(job))[-1]


async def test_an_unknown_outcome_is_parked_and_then_unresolved() -> None:
    """An unknown outcome is parked and not sent again; without a settlement it fails after three days."""
    world, job = World(OutcomeUnknown("Nobody knows."), None), FakeJob()
    states = await world.handle(job)
    assert [State.SUBMITTING, State.PARKED] == states[-2:]
    due = FakeJob(last=(parked := job.statuses[-1]))
    assert [State.FAILED] == await world.handle(due)
    assert ("unresolved", 1) == (code(due), len(world.playground.received))
    assert due.waited_until == parked.time + timedelta(seconds=259200)


async def test_an_unknown_outcome_may_be_sent_again() -> None:
    """`ON_UNKNOWN_OUTCOME=retry` sends again, for operators who prefer two deployments to none."""
    world, job = World(OutcomeUnknown("Nobody knows."), None, on_unknown_outcome="retry"), FakeJob()
    states = await world.handle(job)
    assert [State.RETRYING, State.BUILDING, State.SUBMITTING, State.DEPLOYED] == states[-4:]


@pytest.mark.parametrize(
    ("last", "states", "attempt"),
    [
        (left(State.ACCEPTED, attempt=1), [State.BUILDING, State.SUBMITTING, State.DEPLOYED], 1),
        (left(State.BUILDING), [State.BUILDING, State.SUBMITTING, State.DEPLOYED], 3),
        (left(State.RETRYING), [State.BUILDING, State.SUBMITTING, State.DEPLOYED], 3),
    ],
)
async def test_another_workers_request_goes_on(last: DeploymentStatus, states: list[State], attempt: int) -> None:
    """An inherited request continues from its last state, with the next sequence number and the next attempt."""
    world, job = World(), FakeJob(last=last)
    assert states == await world.handle(job)
    assert [6, 7, 8] == [status.sequence for status in job.statuses]
    assert ({attempt}, {MINE}) == ({it.attempt for it in job.statuses}, {it.fingerprint for it in job.statuses})


@pytest.mark.parametrize("state", [State.ACCEPTED, State.BUILDING, State.RETRYING, State.PARKED])
@pytest.mark.parametrize("error", [FORGED, KEYS_AWAY], ids=lambda it: it.code)
async def test_what_was_accepted_is_not_judged_again(state: State, error: DeploymentError) -> None:
    """The token of an accepted request is not verified again.

    The new owner may have another secret or not reach the issuer; the request continues for its user.
    """
    world, job = World(token_error=error), FakeJob(last=left(state), settlements=[settled("retry")])
    assert State.DEPLOYED == (await world.handle(job))[-1]
    assert ([], CALLER) == (world.tokens.judged, job.caller)


async def test_a_record_that_came_after_it_was_accepted_is_judged() -> None:
    """A record appended after its request was accepted is verified again.

    Its topic was recreated: the record has the same offset and the same id, and anyone may have sent it.
    """
    later = record(timestamp_ms=int(NOW.timestamp() * 1000) + 60_000)
    for given in (later, record(appended_by_broker=False)):
        job = FakeJob(given, last=left(State.RETRYING, request_id=record_id(given)))
        assert [State.REJECTED] == await World(token_error=FORGED).handle(job)
        assert "token-signature" == code(job)


async def test_a_retry_is_not_tried_before_its_time() -> None:
    """An inherited retry waits until the time that the earlier worker set."""
    world = World()
    await world.handle(FakeJob(last=left(State.RETRYING, next_attempt_at=NOW + timedelta(seconds=40))))
    assert 1 == len(world.time.slept)
    assert 30 < world.time.slept[0] < 40


async def test_who_ends_three_workers_is_not_tried_again() -> None:
    """Three interruptions fail a request: two are counted in its status, and its inheritance is the third."""
    world, job = World(), FakeJob(last=left(State.BUILDING, interruptions=1))
    await world.handle(job)
    assert 2 == job.statuses[0].interruptions
    job = FakeJob(last=left(State.BUILDING, attempt=3, interruptions=2))
    assert [State.FAILED] == await world.handle(job)
    assert "worker-died" == code(job)


@pytest.mark.parametrize("state", [State.SUBMITTING, State.PARKED])
@pytest.mark.parametrize(
    ("outcome", "states", "ends"),
    [
        ("deployed", [State.DEPLOYED], None),
        ("failed", [State.FAILED], "resolved-as-failed"),
        ("retry", [State.RETRYING, State.BUILDING, State.SUBMITTING, State.DEPLOYED], None),
    ],
)
async def test_a_settlement_decides(state: State, outcome: str, states: list[State], ends: str | None) -> None:
    """A settlement decides the outcome of the POST; only `retry` sends again."""
    world, job = World(), FakeJob(last=left(state), settlements=[settled(outcome)])
    assert states == await world.handle(job)
    assert (ends, outcome == "retry") == (code(job), bool(world.playground.received))


async def test_what_was_down_before_a_settlement_gives_no_more_time() -> None:
    """Retries after a settlement get the full request deadline and no more.

    An outage of an hour that the request did not wait for adds nothing.
    """
    world = World(*[BUSY] * 4, None, request_deadline_seconds=65)
    job, breakers = FakeJob(last=left(State.PARKED), settlements=[settled("retry")]), world.deployer.admission.breakers
    wait = job.wait_for_settlement

    async def an_hour_later(until: datetime) -> DeploymentSettled | None:
        with suppress(Unavailable):
            async with breakers.guard(source()):
                raise Unavailable("playground-unauthorized", "Not allowed.", "submit", dependency_wide=True)
        await world.time.sleep(3600)
        async with breakers.guard(source()):
            return await wait(until)

    job.wait_for_settlement = an_hour_later  # type: ignore[method-assign]
    await world.handle(job)
    ends = {status.give_up_at for status in job.statuses if status.state is State.RETRYING}
    assert {job.statuses[0].time + timedelta(seconds=65)} == ends


async def test_a_settlement_of_another_attempt_says_nothing() -> None:
    """A settlement of another attempt is ignored: it was already used, or came too late."""
    for state, states in ((State.SUBMITTING, [State.PARKED]), (State.PARKED, [State.FAILED])):
        job = FakeJob(last=left(state), settlements=[settled("deployed", attempt=1)])
        assert states == await World().handle(job)


async def test_a_post_without_an_outcome_is_waited_for() -> None:
    """An inherited POST is awaited until its deadline plus a margin; then `ON_UNKNOWN_OUTCOME` applies."""
    world, job = World(on_unknown_outcome="retry"), FakeJob(last=left(State.SUBMITTING))
    assert [State.RETRYING, State.BUILDING, State.SUBMITTING, State.DEPLOYED] == await world.handle(job)
    assert NOW + timedelta(seconds=360) == job.waited_until


async def test_an_attempt_that_is_late_sends_nothing() -> None:
    """An attempt that stalls past its deadline before the POST sends nothing.

    Another worker may have given the attempt up in between.
    """
    world, job = World(), FakeJob()
    publish = job.publish

    def slow(status: DeploymentStatus, *more: Any) -> Any:
        if (status.state, status.attempt) == (State.SUBMITTING, 1):
            world.time.wall.now += timedelta(seconds=400)
        return publish(status, *more)

    job.publish = slow  # type: ignore[method-assign, assignment]
    assert State.DEPLOYED == (await world.handle(job))[-1]
    assert ("attempt-late", 1) == (job.statuses[3].error and job.statuses[3].error.code, len(world.playground.received))


@pytest.mark.parametrize(
    ("permits", "state"),
    [({"r-1": MINE}, State.DEPLOYED), ({"r-1": "0" * 64}, State.REJECTED), ({"r-2": MINE}, State.REJECTED)],
)
async def test_a_replay_that_an_operator_permits_may_be_old(permits: dict[str, str], state: State) -> None:
    """A permitted replay may have an expired token; with another fingerprint or id it is rejected."""
    value = {"solutionId": str(SOLUTION_ID), "revisionId": str(REVISION_ID), "jwtToken": "t"}
    original = RequestState("r-0", 1, NOW, fingerprint=MINE, state=State.FAILED)
    job = FakeJob(record(value | {"requestId": "r-1", "replayOf": "r-0"}), known=[original], permits=permits)
    assert state == (await World(token_error=EXPIRED).handle(job))[-1]


def first(whose: str | None) -> RequestState:
    """The original request, whose id an earlier record already used."""
    return RequestState(ID, 3, NOW, fingerprint=whose, state=State.DEPLOYED)


async def test_the_same_request_again_gets_nothing_new() -> None:
    """A repeated request gets no status and no second deployment, and its offset passes."""
    world, job = World(), FakeJob(original=first(MINE))
    assert [] == await world.handle(job)
    assert ([7], []) == (job.processor.finished, world.playground.received)


@pytest.mark.parametrize(
    ("whose", "error", "reason"),
    [("0" * 64, None, "request-id-conflict"), (MINE, FORGED, "token-signature")],
)
async def test_another_request_with_the_same_id_ends_under_its_own(
    whose: str | None, error: DeploymentError | None, reason: str
) -> None:
    """A conflicting request is rejected under its own record id, and the statuses of the original id stay untouched."""
    job = FakeJob(original=first(whose))
    assert [State.REJECTED] == await World(token_error=error).handle(job)
    assert (record_id(job.record), reason) == (job.statuses[0].request_id, code(job))


def test_the_clock_of_these_tests_is_whole() -> None:
    """The test clock has no fraction of a second, because these tests compare deadlines exactly."""
    assert datetime.fromtimestamp(int(NOW.timestamp()), NOW.tzinfo) == NOW


async def test_an_outage_before_its_settlement_does_not_prolong_its_retries() -> None:
    """Time for retries starts at the settlement, so an outage while the request was parked adds none."""
    world = World(BUSY, request_deadline_seconds=65)
    job = FakeJob(last=left(State.PARKED), settlements=[settled("retry")], clocks=world.time.clocks())
    breakers = world.deployer.admission.breakers
    wait = job.wait_for_settlement

    async def through_an_outage(until: datetime) -> DeploymentSettled | None:
        with suppress(Unavailable):
            async with breakers.guard(source()):
                raise Unavailable("catalog-unauthorized", "Refused.", dependency_wide=True)
        world.time.wall.now += timedelta(hours=2)
        async with breakers.guard(source()):  # the dependency has recovered
            pass
        return await wait(until)

    job.wait_for_settlement = through_an_outage  # type: ignore[method-assign]
    assert State.FAILED == (await world.handle(job))[-1]
    given_up = {status.give_up_at for status in job.statuses if status.give_up_at}
    assert 1 == len(given_up)
