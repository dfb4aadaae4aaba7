"""What follows an attempt: another one, a parking, a settlement, an end. And where another worker left a request."""

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
    """A deployer whose time passes only while it sleeps."""

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
    """The last status of a worker that is gone."""
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
    """What an operator says."""
    return DeploymentSettled.model_validate(
        {"requestId": ID, "attempt": attempt, "outcome": outcome, "reason": "It is there.", "by": "ada"}
    )


def code(job: FakeJob) -> str | None:
    """Of the last status."""
    error = job.statuses[-1].error
    return error.code if error else None


def waits(job: FakeJob) -> list[timedelta]:
    """How long after each failure the next attempt comes."""
    return [status.next_attempt_at - status.time for status in job.statuses if status.next_attempt_at]


async def test_an_outage_is_waited_out() -> None:
    """The second attempt deploys; in between the status says why, and when."""
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
    """Why, by whose fault, which attempt it was and when the next one is; the end says what came of it all."""
    refused = Unavailable("playground-unavailable", "Down.", "submit").because("https://playground.example", "refused")
    unknown = OutcomeUnknown("Nobody knows.").because("https://playground.example", "status 502")
    with capture_logs() as said:
        job = FakeJob()
        await World(refused, unknown).handle(job)
        assert "request parked" == said[-1]["event"]  # it has not ended
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
    """The dependency knows best; its own wait is longer than ours."""
    world, job = World(BUSY, None), FakeJob()
    await world.handle(job)
    assert [timedelta(seconds=20)] == waits(job)


async def test_retries_end_at_the_deadline_with_a_dead_letter() -> None:
    """The last reason counts, and what is kept of the record has no token. An open breaker would hold time still."""
    world, job = World(BUSY, request_deadline_seconds=65), FakeJob()
    states = await world.handle(job)
    assert (State.FAILED, "playground-busy", [timedelta(seconds=20)] * 2) == (states[-1], code(job), waits(job))
    [letter] = job.dead_letters
    kept = json.loads(letter.value)
    assert {"requestId": ID, "solutionId": str(SOLUTION_ID), "revisionId": str(REVISION_ID)} == kept
    assert b"playground-busy" == dict(letter.headers)["dlt-error-code"]


async def test_while_a_dependency_is_down_the_deadline_stands_still() -> None:
    """Ten attempts without an answer take far longer than the deadline, and then it is deployed all the same."""
    world, job = World(*[DOWN] * 10, None, request_deadline_seconds=120), FakeJob()
    assert State.DEPLOYED == (await world.handle(job))[-1]
    assert 11 == job.statuses[-1].attempt


async def test_refused_credentials_wait_for_the_operator() -> None:
    """However long it takes: no request ends because of an operator's mistake."""
    refused = Unavailable("playground-unauthorized", "Not allowed.", "submit", dependency_wide=True)
    world, job = World(*[refused] * 20, None, request_deadline_seconds=60), FakeJob()
    assert State.DEPLOYED == (await world.handle(job))[-1]


async def test_an_unknown_outcome_is_parked_and_then_unresolved() -> None:
    """Nobody settles it: it is not sent again, and ends after three days."""
    world, job = World(OutcomeUnknown("Nobody knows."), None), FakeJob()
    states = await world.handle(job)
    assert [State.SUBMITTING, State.PARKED] == states[-2:]
    due = FakeJob(last=(parked := job.statuses[-1]))
    assert [State.FAILED] == await world.handle(due)
    assert ("unresolved", 1) == (code(due), len(world.playground.received))
    assert due.waited_until == parked.time + timedelta(seconds=259200)


async def test_an_unknown_outcome_may_be_sent_again() -> None:
    """Where the operator prefers two deployments to none."""
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
    """From the state it was left in, with the next number and the next attempt."""
    world, job = World(), FakeJob(last=last)
    assert states == await world.handle(job)
    assert [6, 7, 8] == [status.sequence for status in job.statuses]
    assert ({attempt}, {MINE}) == ({it.attempt for it in job.statuses}, {it.fingerprint for it in job.statuses})


@pytest.mark.parametrize("state", [State.ACCEPTED, State.BUILDING, State.RETRYING, State.PARKED])
@pytest.mark.parametrize("error", [FORGED, KEYS_AWAY], ids=lambda it: it.code)
async def test_what_was_accepted_is_not_judged_again(state: State, error: DeploymentError) -> None:
    """Whoever continues it may have another secret, or not reach the issuer; it goes on for its user all the same."""
    world, job = World(token_error=error), FakeJob(last=left(state), settlements=[settled("retry")])
    assert State.DEPLOYED == (await world.handle(job))[-1]
    assert ([], CALLER) == (world.tokens.judged, job.caller)


async def test_a_record_that_came_after_it_was_accepted_is_judged() -> None:
    """It stands in a topic that was made anew, with the same place and the same id: anybody may have sent it."""
    later = record(timestamp_ms=int(NOW.timestamp() * 1000) + 60_000)
    for given in (later, record(appended_by_broker=False)):
        job = FakeJob(given, last=left(State.RETRYING, request_id=record_id(given)))
        assert [State.REJECTED] == await World(token_error=FORGED).handle(job)
        assert "token-signature" == code(job)


async def test_a_retry_is_not_tried_before_its_time() -> None:
    """Another worker said when, and the new one keeps to it."""
    world = World()
    await world.handle(FakeJob(last=left(State.RETRYING, next_attempt_at=NOW + timedelta(seconds=40))))
    assert 1 == len(world.time.slept)
    assert 30 < world.time.slept[0] < 40


async def test_who_ends_three_workers_is_not_tried_again() -> None:
    """Two are counted in its status; the third is the one whose end brought it here."""
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
    """What somebody else knows of the POST; only `retry` sends again."""
    world, job = World(), FakeJob(last=left(state), settlements=[settled(outcome)])
    assert states == await world.handle(job)
    assert (ends, outcome == "retry") == (code(job), bool(world.playground.received))


async def test_what_was_down_before_a_settlement_gives_no_more_time() -> None:
    """Its retries have their whole time from there on, and not an hour more for an outage that it did not wait for."""
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
    """It was used up, or came too late."""
    for state, states in ((State.SUBMITTING, [State.PARKED]), (State.PARKED, [State.FAILED])):
        job = FakeJob(last=left(state), settlements=[settled("deployed", attempt=1)])
        assert states == await World().handle(job)


async def test_a_post_without_an_outcome_is_waited_for() -> None:
    """Until its deadline and a margin; then the operator's choice."""
    world, job = World(on_unknown_outcome="retry"), FakeJob(last=left(State.SUBMITTING))
    assert [State.RETRYING, State.BUILDING, State.SUBMITTING, State.DEPLOYED] == await world.handle(job)
    assert NOW + timedelta(seconds=360) == job.waited_until


async def test_an_attempt_that_is_late_sends_nothing() -> None:
    """A worker that stood still between its intent and the POST: somebody else may have given the attempt up."""
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
    """For the same user and solution, under this very id; whatever else calls itself a replay is judged as usual."""
    value = {"solutionId": str(SOLUTION_ID), "revisionId": str(REVISION_ID), "jwtToken": "t"}
    original = RequestState("r-0", 1, NOW, fingerprint=MINE, state=State.FAILED)
    job = FakeJob(record(value | {"requestId": "r-1", "replayOf": "r-0"}), known=[original], permits=permits)
    assert state == (await World(token_error=EXPIRED).handle(job))[-1]


def first(whose: str | None) -> RequestState:
    """The id is that of an earlier record."""
    return RequestState(ID, 3, NOW, fingerprint=whose, state=State.DEPLOYED)


async def test_the_same_request_again_gets_nothing_new() -> None:
    """No status and no second deployment; its offset passes."""
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
    """The id's own statuses are not touched, whoever sends it."""
    job = FakeJob(original=first(whose))
    assert [State.REJECTED] == await World(token_error=error).handle(job)
    assert (record_id(job.record), reason) == (job.statuses[0].request_id, code(job))


def test_the_clock_of_these_tests_is_whole() -> None:
    """Deadlines are compared exactly above."""
    assert datetime.fromtimestamp(int(NOW.timestamp()), NOW.tzinfo) == NOW


async def test_an_outage_before_its_settlement_does_not_prolong_its_retries() -> None:
    """A parked request waits for people; the time for its retries begins when they have decided."""
    world = World(BUSY, request_deadline_seconds=65)
    job = FakeJob(last=left(State.PARKED), settlements=[settled("retry")], clocks=world.time.clocks())
    breakers = world.deployer.admission.breakers
    wait = job.wait_for_settlement

    async def through_an_outage(until: datetime) -> DeploymentSettled | None:
        with suppress(Unavailable):
            async with breakers.guard(source()):
                raise Unavailable("catalog-unauthorized", "Refused.", dependency_wide=True)
        world.time.wall.now += timedelta(hours=2)
        async with breakers.guard(source()):  # it is back
            pass
        return await wait(until)

    job.wait_for_settlement = through_an_outage  # type: ignore[method-assign]
    assert State.FAILED == (await world.handle(job))[-1]
    given_up = {status.give_up_at for status in job.statuses if status.give_up_at}
    assert 1 == len(given_up)
