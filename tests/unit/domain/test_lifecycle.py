from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import FINAL_STATES, SUCCESSORS, DeploymentSettled, DeploymentStatus, ErrorInfo, SourceInfo, State
from tests.support.builders import CALLER, OPTIONS, REVISION_ID, SHIPPED, SOLUTION_ID, blueprint, node, record, solution
from tests.support.fakes import lifecycle
from worker.domain.bundle.archive import build_bundle
from worker.domain.bundle.blueprint import read_blueprint
from worker.domain.bundle.plan import plan_pipeline
from worker.domain.lifecycle import (
    BACKOFF_SECONDS,
    MAX_BACKOFF_SECONDS,
    SERVER_MARGIN,
    Authenticate,
    AwaitSettlement,
    BuildAndSubmit,
    CompareWithOriginal,
    End,
    GiveUp,
    Outage,
    RequestState,
    Sleep,
    Step,
    WaitForKeyLock,
    backoff,
)
from worker.domain.request import read_request, record_id
from worker.domain.solution import Caller
from worker.errors import (
    CODES,
    Conflict,
    DeploymentError,
    Internal,
    NotAllowed,
    OutcomeUnknown,
    PlaygroundRefused,
    Unavailable,
    WorkerDied,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)
WHOSE = "0" * 64
PLAN = plan_pipeline(solution(), read_blueprint(blueprint(node("a")), 10), OPTIONS.orchestrator_image)
BUNDLE = build_bundle(PLAN, {}, SHIPPED, OPTIONS)

BUSY = Unavailable("playground-busy", "Busy.", "submit", retry_after=20)
KEYS = Unavailable("keys-unavailable", "Down.", "authenticate", retry_after=20)
UNKNOWN = OutcomeUnknown(CODES["outcome-unknown"])


def fresh() -> RequestState:
    """The state of a record that was just read."""
    return RequestState.of_record(record(), read_request(record()), NOW)


def left(state: State | None, **changes: Any) -> RequestState:
    """The state that an earlier worker's last status leaves; None means fresh."""
    values: dict[str, Any] = {
        "request_id": "a",
        "sequence": 5,
        "state": state,
        "time": NOW,
        "attempt": 2,
        "message": "So far.",
        "fingerprint": WHOSE,
        "source": SourceInfo(topic="requests", partition=3, offset=7),
        "attempt_deadline": NOW + 330 * SECOND if state is State.SUBMITTING else None,
    }
    found = fresh()
    if state:
        found.apply(DeploymentStatus(**(values | changes)))
    return found


@dataclass
class JobView:
    """What a worker holds of a request."""

    state: RequestState
    original: RequestState | None = None
    repeats: bool = False
    caller: Caller | None = None
    auth_attempts: int = 1
    evicted: bool = False
    has_key_lock: bool = False
    resumed: bool = False
    may_be_sent: bool = False


# ---------------------------------------------------------------------------------------------------- the statuses


SAY: dict[State, Callable[[RequestState], DeploymentStatus]] = {
    State.ACCEPTED: lambda state: state.accepted(NOW, WHOSE),
    State.BUILDING: lambda state: state.building(NOW),
    State.SUBMITTING: lambda state: state.submitting(NOW, PLAN, BUNDLE, 330),
    State.RETRYING: lambda state: state.retrying(NOW, BUSY, NOW + 20 * SECOND, NOW + HOUR),
    State.PARKED: lambda state: state.parked(NOW),
    State.DEPLOYED: lambda state: state.deployed(NOW, None),
    State.REJECTED: lambda state: state.ended_with(NOW, Conflict("request-id-conflict", "No.")),
    State.FAILED: lambda state: state.ended_with(NOW, Internal()),
}


@pytest.mark.parametrize("what", State)
@pytest.mark.parametrize("state", [None, *State])
def test_what_may_not_follow_is_a_defect(state: State | None, what: State) -> None:
    """Each state accepts only the successors that the contract allows, and a final state accepts none."""
    if what in SUCCESSORS[state]:
        assert what is SAY[what](left(state)).state
    else:
        with pytest.raises(AssertionError, match=f"^{what} may not follow {state}$"):
            SAY[what](left(state))
    assert state not in FINAL_STATES or not SUCCESSORS[state]


def test_the_statuses_of_a_request_have_no_gap() -> None:
    """Sequence numbers have no gap, each retry adds one attempt, and later statuses repeat what is already known."""
    state, statuses = fresh(), []
    attempt = [State.BUILDING, State.SUBMITTING]
    for what in (State.ACCEPTED, *attempt, State.RETRYING, *attempt, State.PARKED, State.DEPLOYED):
        statuses.append(SAY[what](state))
        state.apply(statuses[-1])
    assert list(range(8)) == [it.sequence for it in statuses]
    assert [1, 1, 1, 1, 2, 2, 2, 2] == [it.attempt for it in statuses]
    assert {(SOLUTION_ID, REVISION_ID, WHOSE, record().source)} == {
        (it.solution_id, it.revision_id, it.fingerprint, it.source) for it in statuses
    }
    assert [None] * 2 + ["Demo Pipeline"] * 6 == [it.solution_name for it in statuses]
    assert [it.bundle for it in statuses[2:]] == 6 * [statuses[2].bundle]
    assert statuses[2].bundle and BUNDLE.sha256 == statuses[2].bundle.sha256


def test_the_end_of_the_retries_is_said_until_the_request_ends() -> None:
    """`giveUpAt` is repeated from the first `retrying` on; fields that belong to one state are not."""
    state = left(State.RETRYING, give_up_at=NOW + HOUR, next_attempt_at=NOW)
    state.apply(state.building(NOW))
    state.apply(submitting := state.submitting(NOW, PLAN, BUNDLE, 330))
    assert (NOW + HOUR, NOW + 330 * SECOND, None) == (
        submitting.give_up_at, submitting.attempt_deadline, submitting.next_attempt_at
    )  # fmt: skip
    assert (None, None) == ((parked := state.parked(NOW)).give_up_at, parked.attempt_deadline)
    assert [None] * 2 == [it.give_up_at for it in (state.deployed(NOW, None), state.ended_with(NOW, Internal()))]


def test_of_an_unreadable_record_its_place_is_known() -> None:
    """An unreadable record is rejected under its record id, with its source and without the ids of a solution."""
    one = record(b"no JSON", headers=(("ce_id", b"somebody-elses"),))
    problem = read_request(one)
    assert isinstance(problem, DeploymentError)
    status = RequestState.of_record(one, problem, NOW).ended_with(NOW, problem)
    assert record_id(one) == status.request_id
    assert (State.REJECTED, 0, 1, one.source) == (status.state, status.sequence, status.attempt, status.source)
    assert (None, None, None) == (status.solution_id, status.revision_id, status.fingerprint)


# ------------------------------------------------------------------------------------------------- the next step

PARKED_UNTIL = NOW + timedelta(days=3)
SENT_UNTIL = NOW + 330 * SECOND + SERVER_MARGIN
NOBODY, EVERYBODY = (False,), (False, True)


def table(
    state: State | None,
    step: Step,
    *,
    turn: tuple[bool, ...] = EVERYBODY,
    caller: tuple[bool, ...] = EVERYBODY,
    original: bool = False,
    repeats: tuple[bool, ...] = NOBODY,
    resumed: bool = False,
    **changes: Any,
) -> list[Any]:
    """A row for each combination that leads to this step."""
    return [
        pytest.param(
            JobView(
                left(state, **changes),
                original=left(State.ACCEPTED) if original else None,
                repeats=repeated,
                caller=CALLER if known else None,
                has_key_lock=first,
                resumed=resumed,
            ),
            step,
            id=f"{state}{''.join(f' {name}' for name in changes)}{' original' * original}{' repeats' * repeated}"
            f"{' caller' * known}{' turn' * first}{' resumed' * resumed}: {type(step).__name__}",
        )
        for first, known, repeated in product(turn, caller, repeats)
    ]


MINE, OTHERS = (True,), (False,)
KNOWN, UNVERIFIED = (True,), (False,)
LATER = NOW + 40 * SECOND


@pytest.mark.parametrize(
    ("held", "step"),
    [
        *table(None, Authenticate()),
        *table(None, CompareWithOriginal(), original=True),
        *table(None, End(), original=True, repeats=(True,)),
        *(row for state in sorted(FINAL_STATES) for row in table(state, End(), repeats=EVERYBODY)),
        *(row for state in sorted(FINAL_STATES) for row in table(state, End(), original=True)),
        *table(State.ACCEPTED, WaitForKeyLock(), turn=OTHERS),
        *table(State.ACCEPTED, Authenticate(), turn=MINE, caller=UNVERIFIED),
        *table(State.ACCEPTED, BuildAndSubmit(), turn=MINE, caller=KNOWN),
        *table(State.BUILDING, WaitForKeyLock(), turn=OTHERS),
        *table(State.BUILDING, WaitForKeyLock(), turn=OTHERS, interruptions=2),
        *table(State.BUILDING, Authenticate(), turn=MINE, caller=UNVERIFIED),
        *table(State.BUILDING, Authenticate(), turn=MINE, caller=UNVERIFIED, interruptions=1),
        *table(State.BUILDING, BuildAndSubmit(), turn=MINE, caller=KNOWN),
        *table(State.RETRYING, WaitForKeyLock(), turn=OTHERS),
        *table(State.RETRYING, Authenticate(), turn=MINE, caller=UNVERIFIED, next_attempt_at=LATER),
        *table(State.RETRYING, Sleep(LATER), turn=MINE, caller=KNOWN, next_attempt_at=LATER),
        *table(State.RETRYING, BuildAndSubmit(), turn=MINE, caller=KNOWN, next_attempt_at=NOW),
        *table(State.RETRYING, BuildAndSubmit(), turn=MINE, caller=KNOWN),
        *table(State.SUBMITTING, WaitForKeyLock(), turn=OTHERS),
        *table(State.SUBMITTING, AwaitSettlement(SENT_UNTIL), turn=MINE),
        *table(State.SUBMITTING, AwaitSettlement(NOW + SERVER_MARGIN), turn=MINE, attempt_deadline=None),
        *table(State.PARKED, AwaitSettlement(PARKED_UNTIL), resumed=True),
        *table(State.PARKED, End()),
    ],
)
def test_the_next_step(held: JobView, step: Step) -> None:
    """The next step follows from the last status and from what this worker holds, whoever took the last step."""
    assert step == lifecycle().next_step(held, NOW)


def test_what_is_settled_before_it_is_parked_does_not_rest() -> None:
    """A settlement that came before `parked` resumes the request at once; another attempt's settlement does not."""
    held = JobView(left(State.PARKED))
    held.state.settlements[1] = settled("retry")
    assert End() == lifecycle().next_step(held, NOW)
    held.state.settlements[2] = settled("retry")
    assert AwaitSettlement(PARKED_UNTIL) == lifecycle().next_step(held, NOW)


@pytest.mark.parametrize("caller", [None, CALLER])
def test_who_ends_workers_is_given_up(caller: Caller | None) -> None:
    """The third interruption in a row fails the request as `worker-died`, even if its token was never verified."""
    held = JobView(left(State.BUILDING, attempt=3, interruptions=2), has_key_lock=True, caller=caller)
    step = lifecycle().next_step(held, NOW)
    assert isinstance(step, GiveUp)
    assert (WorkerDied, "worker-died") == (type(step.error), step.error.code)


def test_an_interruption_is_counted_where_workers_ended() -> None:
    """Interruptions count while workers die in a row during `building`; a different status resets the count."""
    state = left(State.BUILDING)
    state.apply(first := state.building(NOW))
    state.apply(second := state.building(NOW))
    state.apply(state.retrying(NOW, BUSY, NOW, NOW))
    assert (1, 2, None) == (first.interruptions, second.interruptions, state.building(NOW).interruptions)
    assert (3, 4, 5) == (first.attempt, second.attempt, state.building(NOW).attempt)


@pytest.mark.parametrize(("settled", "interruptions"), [(0, 3), (1, 3), (2, 2), (3, 1), (4, 0), (9, 0)])
def test_a_worker_that_settles_its_attempt_was_not_interrupted(settled: int, interruptions: int) -> None:
    """Of the interruptions of attempts 2 to 4, only those after the settled attempt count, even if it settles late."""
    state = left(State.BUILDING, attempt=4, interruptions=2)
    if settled:
        said = DeploymentSettled(
            request_id="a", attempt=settled, outcome="retry", reason="Nothing was sent.", by="worker"
        )
        state.settlements[settled] = said
    assert interruptions == state.interruptions


# ------------------------------------------------------------------------------------------------ after an error


def after(
    held: JobView, error: DeploymentError, outage: Outage | None = None, **settings: Any
) -> DeploymentStatus | Sleep:
    """The status after an error, with the middle of the jitter."""
    return lifecycle(**settings).after_error(held, error, NOW, 0.5, outage or Outage())


@pytest.mark.parametrize("state", [State.BUILDING, State.SUBMITTING])
def test_an_unavailable_dependency_is_tried_again(state: State) -> None:
    """A retry waits for the dependency's `Retry-After`; its status shows the reason, the time and the deadline."""
    status = after(JobView(left(state, give_up_at=NOW + HOUR)), BUSY)
    assert isinstance(status, DeploymentStatus)
    assert (State.RETRYING, NOW + 20 * SECOND, NOW + HOUR) == (
        status.state, status.next_attempt_at, status.give_up_at
    )  # fmt: skip
    assert ErrorInfo(code="playground-busy", message="Busy.", stage="submit", retryable=True) == status.error
    assert "It will be tried again. Busy." == status.message


@pytest.mark.parametrize(
    ("give_up_at", "outage", "state"),
    [
        (NOW + 20 * SECOND, Outage(), State.RETRYING),
        (NOW + 19 * SECOND, Outage(), State.FAILED),
        (NOW + 19 * SECOND, Outage(SECOND), State.RETRYING),
        (NOW + 18 * SECOND, Outage(SECOND), State.FAILED),
        (NOW - HOUR, Outage(is_down=True), State.RETRYING),
    ],
)
def test_retries_end(give_up_at: datetime, outage: Outage, state: State) -> None:
    """Retries stop at the request deadline, which excludes known outages; during an outage no request is given up."""
    status = after(JobView(left(State.SUBMITTING, give_up_at=give_up_at)), BUSY, outage)
    assert isinstance(status, DeploymentStatus)
    assert (state, "playground-busy") == (status.state, status.error and status.error.code)
    if state is State.RETRYING:
        assert give_up_at + outage.past == status.give_up_at


def test_the_deadline_begins_with_the_request() -> None:
    """The request deadline runs from the request's start until a status has a `giveUpAt` of its own."""
    decide = lifecycle(request_deadline_seconds=60)
    assert NOW + 60 * SECOND == decide.give_up_at(fresh())
    assert NOW + 60 * SECOND == decide.give_up_at(left(State.BUILDING))
    assert NOW + HOUR == decide.give_up_at(left(State.BUILDING, give_up_at=NOW + HOUR))


@pytest.mark.parametrize("state", [None, State.ACCEPTED, State.BUILDING, State.RETRYING])
def test_keys_that_are_away_are_asked_for_again_silently(state: State | None) -> None:
    """While keys are unavailable, authentication is retried without a status until the request deadline."""
    assert Sleep(NOW + 20 * SECOND, excluded=state is None) == after(JobView(left(state)), KEYS)
    longer = Unavailable("keys-unavailable", "Down.", "authenticate")
    assert [0.75, 1.5, 45] == [
        (step.until - NOW).total_seconds()
        for tries in (1, 2, 50)
        if isinstance(step := after(JobView(left(state), auth_attempts=tries), longer), Sleep)
    ]
    ended = after(JobView(left(state)), KEYS, request_deadline_seconds=19)
    assert isinstance(ended, DeploymentStatus)
    assert (State.FAILED, "keys-unavailable") == (ended.state, ended.error and ended.error.code)


def test_who_names_a_key_that_may_not_exist_waits_aside() -> None:
    """Only a fresh request with an unknown key is excluded from back-pressure, and only if other keys are known."""
    one = Unavailable("keys-unavailable", "Down.", "authenticate", retry_after=20)
    none = Unavailable("keys-unavailable", "Down.", "authenticate", retry_after=20, dependency_wide=True)
    assert Sleep(NOW + 20 * SECOND, excluded=True) == after(JobView(fresh()), one)
    assert Sleep(NOW + 20 * SECOND) == after(JobView(fresh()), none) == after(JobView(left(State.ACCEPTED)), one)


@pytest.mark.parametrize("original", [None, fresh()])
def test_an_evicted_request_ends(original: RequestState | None) -> None:
    """An evicted request fails as retryable, without another look at its token, even during an outage."""
    held = JobView(fresh(), original=original, evicted=True)
    step = lifecycle().next_step(held, NOW)
    assert isinstance(step, GiveUp)
    ended = after(held, step.error, Outage(is_down=True))
    assert isinstance(ended, DeploymentStatus)
    assert ended.error
    assert (State.FAILED, "keys-unavailable", True) == (ended.state, ended.error.code, ended.error.retryable)


@pytest.mark.parametrize(
    ("state", "error", "final"),
    [
        (None, Conflict("request-id-conflict", "No."), State.REJECTED),
        (State.ACCEPTED, BUSY, State.FAILED),
        (State.BUILDING, NotAllowed("no-access", "No."), State.REJECTED),
        (State.SUBMITTING, PlaygroundRefused("playground-refused", "No."), State.FAILED),
        (State.SUBMITTING, Internal(), State.FAILED),
        (State.RETRYING, WorkerDied(), State.FAILED),
    ],
)
def test_other_errors_end_it(state: State | None, error: DeploymentError, final: State) -> None:
    """Any other error rejects or fails the request, as the error's class determines, even during an outage."""
    status = after(JobView(left(state)), error, Outage(is_down=True))
    assert isinstance(status, DeploymentStatus)
    assert (final, error.info()) == (status.state, status.error)


def test_an_unknown_outcome_is_parked() -> None:
    """An unknown outcome parks the request; `ON_UNKNOWN_OUTCOME=retry` waits for the attempt deadline and retries."""
    held = JobView(left(State.SUBMITTING))
    parked = after(held, UNKNOWN)
    assert isinstance(parked, DeploymentStatus)
    assert (State.PARKED, UNKNOWN.info()) == (parked.state, parked.error)
    again = after(held, UNKNOWN, on_unknown_outcome="retry")
    assert isinstance(again, DeploymentStatus)
    assert (State.RETRYING, NOW + 330 * SECOND) == (again.state, again.next_attempt_at)
    late = after(JobView(left(State.SUBMITTING, attempt_deadline=NOW - SECOND)), UNKNOWN, on_unknown_outcome="retry")
    assert isinstance(late, DeploymentStatus)
    assert NOW + 1.5 * SECOND == late.next_attempt_at


JITTER = st.floats(0, 1)


@given(st.integers(1, 10_000), JITTER)
def test_backoff_grows_and_has_an_end(attempt: int, jitter: float) -> None:
    """Each backoff is between half and all of the exponential value, which is at most a minute."""
    whole = min(MAX_BACKOFF_SECONDS, BACKOFF_SECONDS * 2 ** min(attempt - 1, 10))
    assert whole / 2 <= backoff(attempt, None, jitter).total_seconds() <= whole


@given(st.integers(1, 20), st.floats(0, 3600), JITTER)
def test_the_dependencys_own_wish_is_the_least(attempt: int, wish: float, jitter: float) -> None:
    """The backoff is never shorter than `Retry-After`."""
    assert backoff(attempt, wish, jitter) >= timedelta(seconds=wish)


# ------------------------------------------------------------------------------------------- after a settlement


def settled(outcome: str) -> DeploymentSettled:
    """A settlement as an operator writes it."""
    return DeploymentSettled.model_validate(
        {"requestId": "a", "attempt": 2, "outcome": outcome, "reason": "I looked.", "by": "ada"}
    )


@pytest.mark.parametrize("outcome", ["deployed", "failed", "retry"])
def test_a_settlement_without_a_reason_says_by_whom(outcome: str) -> None:
    """Without a reason the status message ends after the name of whoever resolved the request."""
    said = settled(outcome).model_copy(update={"reason": None})
    status = lifecycle().after_settlement(left(State.PARKED), said, NOW)
    assert status.message.endswith(f"Resolved as {outcome} by ada.")


@pytest.mark.parametrize("state", [State.SUBMITTING, State.PARKED])
@pytest.mark.parametrize(
    ("outcome", "leads_to", "code"),
    [
        ("deployed", State.DEPLOYED, None),
        ("failed", State.FAILED, "resolved-as-failed"),
        ("retry", State.RETRYING, "outcome-unknown"),
    ],
)
def test_a_settlement_decides(state: State, outcome: str, leads_to: State, code: str | None) -> None:
    """A settlement sets the final state, or a retry at once with a new deadline; the message names who and why."""
    status = lifecycle().after_settlement(left(state), settled(outcome), NOW)
    assert (leads_to, code) == (status.state, status.error and status.error.code)
    assert f"Resolved as {outcome} by ada: I looked." in status.message
    if leads_to is State.RETRYING:
        assert (NOW, NOW + HOUR) == (status.next_attempt_at, status.give_up_at)


@pytest.mark.parametrize(
    ("state", "unknown", "leads_to", "code"),
    [
        (State.SUBMITTING, "park", State.PARKED, "outcome-unknown"),
        (State.SUBMITTING, "retry", State.RETRYING, "outcome-unknown"),
        (State.PARKED, "park", State.FAILED, "unresolved"),
        (State.PARKED, "retry", State.FAILED, "unresolved"),
    ],
)
def test_what_nobody_settles_ends_as_configured(state: State, unknown: str, leads_to: State, code: str) -> None:
    """Without a settlement a request in `submitting` is parked or retried as configured, and a parked one fails."""
    status = lifecycle(on_unknown_outcome=unknown).after_settlement(left(state), None, NOW)
    assert (leads_to, code) == (status.state, status.error and status.error.code)


# -------------------------------------------------------------------------------------------------- after a stop


@pytest.mark.parametrize(
    ("state", "may_be_sent", "leads_to"),
    [
        *((state, sent, None) for state in (None, State.ACCEPTED, State.RETRYING, State.PARKED) for sent in EVERYBODY),
        *((state, sent, None) for state in sorted(FINAL_STATES) for sent in EVERYBODY),
        (State.BUILDING, False, State.RETRYING),
        (State.BUILDING, True, State.RETRYING),
        (State.SUBMITTING, False, State.RETRYING),
        (State.SUBMITTING, True, None),  # this worker's POST, or a POST that an earlier worker may have started
    ],
)
def test_a_graceful_stop(state: State | None, may_be_sent: bool, leads_to: State | None) -> None:
    """A graceful stop retries what was not sent, without an interruption; what may be sent keeps its status."""
    status = lifecycle().after_stop(JobView(left(state), may_be_sent=may_be_sent), NOW)
    assert leads_to == (status and status.state)
    if status:
        assert (NOW, NOW + HOUR, None, None) == (
            status.next_attempt_at, status.give_up_at, status.error, status.interruptions
        )  # fmt: skip


def test_no_status_carries_control_or_direction_characters() -> None:
    """No user text in a name, a message or a warning can move a reader's cursor or break a line."""
    evil = "a\x1b[2J\u202eb\u2066c\r\n\x00d"
    plan = replace(PLAN, solution_name=evil * 9, solution_version=evil * 9, warnings=(evil,))
    state = fresh()
    makes: tuple[Callable[[], DeploymentStatus], ...] = (
        lambda: state.accepted(NOW, "f" * 64),
        lambda: state.building(NOW),
        lambda: state.submitting(NOW, plan, BUNDLE, 0),
        lambda: state.deployed(NOW, None, evil),
    )
    for make in makes:
        state.apply(said := make())
        names = said.solution_name or "", said.solution_version or ""
        assert all(text.isprintable() for text in (said.message, *names, *(said.warnings or ())))
