"""The lifecycle of one request: every change of its state, and the next step. Pure.

The last status of a request determines its state. `RequestState` is derived from statuses alone: `apply` takes a status
from the status topic as well as a status that was just written, so that inherited and fresh requests are treated alike.
`Lifecycle` decides according to the operator's settings. `next_step` returns the next I/O, and `after_…` returns the
status that an error, a settlement or a stop leads to. `schemas.SUCCESSORS` is the table of allowed transitions.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

from schemas import (
    FINAL_STATES,
    SUCCESSORS,
    BundleInfo,
    DeploymentInfo,
    DeploymentSettled,
    DeploymentStatus,
    State,
)
from worker.domain.request import Record, Request
from worker.domain.solution import Caller
from worker.errors import CODES, DeploymentError, NotSettled, OutcomeUnknown, Unavailable, WorkerDied, one_line
from worker.settings import PlaygroundSettings, RuntimeSettings

if TYPE_CHECKING:  # 30 MB and half a second, needed only to build bundles
    from worker.domain.bundle.archive import Bundle
    from worker.domain.bundle.plan import Plan

RECORD_GONE = -1  # the offset of a record that is no longer in its topic
MAX_INTERRUPTIONS = 3  # in a row: workers that died while they built the request's bundle
SERVER_MARGIN = timedelta(seconds=30)  # after the deadline of a POST whose worker is gone

BACKOFF_SECONDS = 1.0  # after the first attempt; doubled after each further attempt
MAX_BACKOFF_SECONDS = 60.0

# The fields that each status copies from the status before. Final statuses and `parked` do not copy `give_up_at`.
_CARRIED = (
    "source", "attempt", "solution_id", "revision_id", "replay_of", "fingerprint", "solution_name",
    "solution_version", "kind", "bundle", "warnings",
)  # fmt: skip
# States in which nothing is to be done until someone acts. The offset of the request's record passes in these states.
RESTING_STATES = FINAL_STATES | {State.PARKED}


@dataclass(slots=True)
class RequestState:
    """The state of one request. `state` None: its record was read, and no status is written yet."""

    request_id: str
    # The offset of its record. RECORD_GONE: the partition does not wait for the record, and another record may have the
    # offset.
    offset: int
    since: datetime  # the time of its first retained status, or when its record was read if there is no status
    first: Mapping[str, Any] | None = field(default=None, repr=False)  # the fields of its first status
    fingerprint: str | None = None
    state: State | None = None
    last: DeploymentStatus | None = None  # also None if the request ended and only its fingerprint is remembered
    traceparent: str | None = None
    key: bytes | None = None  # of its record: the user's id; None: the record was not read
    statuses_from: int = 0  # the offset in the status partition from which its next owner must read
    settlements: dict[int, DeploymentSettled] = field(default_factory=dict, repr=False)  # by attempt

    @classmethod
    def of_record(cls, record: Record, request: Request | DeploymentError, now: datetime) -> "RequestState":
        """Return the state of a record that was just read, with its record id as the request id."""
        first: dict[str, Any] = {"source": record.source, "attempt": 1}
        if isinstance(request, Request):
            first |= {
                "solution_id": request.solution_id,
                "revision_id": request.revision_id,
                "replay_of": request.replay_of,
            }
        return cls(record.record_id, record.offset, now, first, key=record.key)

    def apply(self, status: DeploymentStatus) -> None:
        """Change to the state of this status."""
        self.fingerprint, self.state, self.last = status.fingerprint, status.state, status

    @property
    def record_offset(self) -> int:
        """The offset that its record has, or had."""
        return self.last.source.offset if self.last else self.offset

    @property
    def final(self) -> bool:
        """Whether the state is final: no status follows."""
        return self.state in FINAL_STATES

    @property
    def attempt(self) -> int:
        """The number of the current or last attempt; 1 before the first attempt."""
        return self.last.attempt if self.last else 1

    @property
    def is_settled(self) -> bool:
        """Whether its last attempt is settled."""
        return self.attempt in self.settlements

    @property
    def interruptions(self) -> int:
        """How many workers in a row died while they built its bundle. Valid only while no worker builds the bundle."""
        if self.last is None or self.state is not State.BUILDING:
            return 0
        # A worker that settled its attempt did not die. The status that counts the attempt may precede the settlement.
        settled = max(self.settlements, default=0)
        return max(0, min((self.last.interruptions or 0) + 1, self.last.attempt - settled))

    def seconds_left(self, now: datetime) -> float:
        """Return the seconds until the attempt deadline; 0 without a deadline."""
        deadline = self.last.attempt_deadline if self.last else None
        return (deadline - now).total_seconds() if deadline else 0.0

    # ---------------------------------------------------------------------------------------- the statuses of a request

    def accepted(self, now: datetime, fingerprint: str) -> DeploymentStatus:
        """Return the status that follows the verification of its token."""
        return self._status(now, State.ACCEPTED, "The request is accepted.", fingerprint=fingerprint)

    def building(self, now: datetime) -> DeploymentStatus:
        """Return the status that starts an attempt."""
        again = self.state in (State.BUILDING, State.RETRYING)
        return self._status(
            now,
            State.BUILDING,
            "The bundle is being built.",
            attempt=self.attempt + again,
            interruptions=self.interruptions or None,
        )

    def submitting(self, now: datetime, plan: "Plan", bundle: "Bundle", seconds: float) -> DeploymentStatus:
        """Return the status that must be durable before the first byte of the bundle is sent.

        `seconds`: the time within which the playground must answer.
        """
        return self._status(
            now,
            State.SUBMITTING,
            "The bundle is being sent to the playground.",
            solution_name=_printable(plan.solution_name)[:100],
            solution_version=_printable(plan.solution_version)[:50] if plan.solution_version else None,
            kind=plan.kind,
            bundle=BundleInfo(sha256=bundle.sha256, size=len(bundle.data), nodes=bundle.nodes),
            warnings=_shortened(plan.warnings),
            attempt_deadline=now + timedelta(seconds=seconds),
        )

    def retrying(
        self, now: datetime, why: DeploymentError | None, at: datetime, give_up_at: datetime
    ) -> DeploymentStatus:
        """Return the status between two attempts. `why` None: the worker stops, and another worker continues."""
        message = f"It will be tried again. {why.message}" if why else "The worker stops; another one continues."
        error = why.info().model_copy(update={"retryable": True}) if why else None
        return self._status(now, State.RETRYING, message, error=error, next_attempt_at=at, give_up_at=give_up_at)

    def parked(self, now: datetime) -> DeploymentStatus:
        """Return the status of a request whose POST has an unknown outcome, until the request is settled."""
        unknown = OutcomeUnknown(CODES["outcome-unknown"])
        return self._status(now, State.PARKED, unknown.message, error=unknown.info())

    def deployed(self, now: datetime, deployment: DeploymentInfo | None, how: str = "") -> DeploymentStatus:
        """Return the final status of a deployment. `how`: the message, when the outcome is from a settlement."""
        message = how or (f"Deployed as {deployment.id}." if deployment else "Deployed.")
        return self._status(now, State.DEPLOYED, message, deployment=deployment)

    def ended_with(self, now: datetime, error: DeploymentError) -> DeploymentStatus:
        """Return the final status of an error: `rejected` or `failed`, according to the error's class."""
        return self._status(now, error.state, error.message, error=error.info())

    def _status(self, now: datetime, state: State, message: str, **more: Any) -> DeploymentStatus:
        """Create a status. Raises AssertionError when `state` may not follow the current state."""
        if state not in SUCCESSORS[self.state]:
            raise AssertionError(f"{state} may not follow {self.state}")
        last = self.last
        carried = {name: getattr(last, name) for name in _CARRIED} if last else self.first or {}
        if last and state not in RESTING_STATES:
            more.setdefault("give_up_at", last.give_up_at)
        sequence = last.sequence + 1 if last else 0
        fields = {**carried, **more, "request_id": self.request_id, "sequence": sequence, "state": state, "time": now}
        return DeploymentStatus(**fields, message=_printable(message)[:1000])


# ------------------------------------------------------------------------------------------------------- the next step


@dataclass(frozen=True, slots=True)
class CompareWithOriginal:
    """Another record has the same request id: compare the two requests."""


@dataclass(frozen=True, slots=True)
class Authenticate:
    """Verify the token."""


@dataclass(frozen=True, slots=True)
class WaitForKeyLock:
    """Wait for the key lock: one request of a user at a time."""


@dataclass(frozen=True, slots=True)
class Sleep:
    """Wait until `until`. `excluded`: excluded from back-pressure, because other requests can continue."""

    until: datetime
    excluded: bool = False


@dataclass(frozen=True, slots=True)
class BuildAndSubmit:
    """Make an attempt."""


@dataclass(frozen=True, slots=True)
class AwaitSettlement:
    """Wait for the settlement of the attempt, no longer than `until`."""

    until: datetime


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Give the request up with this error."""

    error: DeploymentError


@dataclass(frozen=True, slots=True)
class End:
    """Nothing is left to do."""


Step = CompareWithOriginal | Authenticate | WaitForKeyLock | Sleep | BuildAndSubmit | AwaitSettlement | GiveUp | End


class JobView(Protocol):
    """What the lifecycle sees of a `Job` (worker/delivery/partition.py): its state, and what its worker remembers."""

    state: RequestState
    original: RequestState | None  # of the earlier record with the same request id, if there is one
    repeats: bool  # it requests the same as the original
    caller: Caller | None  # the user that its token names; None until the token is verified or read
    auth_attempts: int  # the number of tries to authenticate so far
    evicted: bool  # its token cannot be verified yet, and other requests evicted it
    has_key_lock: bool  # it holds the key lock
    resumed: bool  # it is parked and is settled or due; no other parked request has a job

    @property
    def may_be_sent(self) -> bool:
        """Whether this or an earlier worker may have sent a part of the bundle of the attempt in `submitting`."""
        ...


@dataclass(frozen=True, slots=True)
class Outage:
    """How long a dependency was known to be down since the request's last status, and whether one is down now."""

    past: timedelta = timedelta()
    is_down: bool = False


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """The decisions. `playground` and `runtime` have the times in seconds, and the policy for unknown outcomes."""

    playground: PlaygroundSettings
    runtime: RuntimeSettings

    def next_step(self, held: JobView, now: datetime) -> Step:
        """Return the next I/O, whichever worker did the last step."""
        state, last = held.state, held.state.last
        if state.final or held.repeats:
            return End()
        if last is None and held.evicted:
            return GiveUp(Unavailable("keys-unavailable", CODES["keys-unavailable"], "authenticate"))
        if last is None:
            return CompareWithOriginal() if held.original else Authenticate()
        if state.state is State.PARKED:
            # Without a settlement, the job completes, and the partition keeps what is needed to resume the request.
            return AwaitSettlement(self.due_at(last)) if held.resumed or state.is_settled else End()
        if not held.has_key_lock:
            return WaitForKeyLock()
        if state.state is State.SUBMITTING:
            return AwaitSettlement((last.attempt_deadline or last.time) + SERVER_MARGIN)
        if state.interruptions >= MAX_INTERRUPTIONS:
            return GiveUp(WorkerDied())
        if held.caller is None:
            return Authenticate()
        if last.next_attempt_at and last.next_attempt_at > now:
            return Sleep(last.next_attempt_at)
        return BuildAndSubmit()

    def due_at(self, parked: DeploymentStatus) -> datetime:
        """Return when a request with this `parked` status is given up, unless it is settled earlier."""
        return parked.time + timedelta(seconds=self.playground.park_max_seconds)

    def give_up_at(self, state: RequestState) -> datetime:
        """Return the request deadline as of the last status. `after_error` adds the outages since then."""
        known = state.last.give_up_at if state.last else None
        return known or state.since + timedelta(seconds=self.runtime.request_deadline_seconds)

    def after_error(
        self, held: JobView, error: DeploymentError, now: datetime, jitter: float, outage: Outage
    ) -> DeploymentStatus | Sleep:
        """Return the status that an error leads to: another attempt, `parked`, or a final status.

        Sleep means: repeat the same step later, without a status. `jitter` is 0 … 1 and random for each error, so that
        requests that failed together do not return together. The request deadline does not apply while a dependency is
        known to be down.
        """
        state, give_up_at = held.state, self.give_up_at(held.state) + outage.past
        if isinstance(error, Unavailable) and error.stage == "authenticate":
            at = now + backoff(held.auth_attempts, error.retry_after, jitter)
            if held.evicted or not (at <= give_up_at or outage.is_down):
                return state.ended_with(now, error)
            return Sleep(at, excluded=state.state is None and not error.dependency_wide)
        if state.state not in (State.BUILDING, State.SUBMITTING):
            return state.ended_with(now, error)
        match error:
            case Unavailable():
                delay = backoff(state.attempt, error.retry_after, jitter)
            case OutcomeUnknown() if self.playground.on_unknown_outcome == "park":
                return state.parked(now)
            case OutcomeUnknown():
                # Not before the attempt deadline: the playground may still work, and mixes up parallel uploads.
                delay = max(backoff(state.attempt, None, jitter), timedelta(seconds=state.seconds_left(now)))
            case _:
                return state.ended_with(now, error)
        at = now + delay
        return (
            state.ended_with(now, error)
            if at > give_up_at and not outage.is_down
            else state.retrying(now, error, at, give_up_at)
        )

    def after_settlement(
        self, state: RequestState, settled: DeploymentSettled | None, now: datetime
    ) -> DeploymentStatus:
        """Return the status that a settlement leads to. `settled` None: no settlement came in time."""
        unknown = OutcomeUnknown(CODES["outcome-unknown"])
        give_up_at = now + timedelta(seconds=self.runtime.request_deadline_seconds)
        if settled is None:
            if state.state is State.PARKED:
                return state.ended_with(now, NotSettled("unresolved", CODES["unresolved"]))
            if self.playground.on_unknown_outcome == "park":
                return state.parked(now)
            return state.retrying(now, unknown, now, give_up_at)
        how = f"Resolved as {settled.outcome} by {settled.by}{f': {settled.reason}' if settled.reason else '.'}"
        if settled.outcome == "retry":
            return state.retrying(now, OutcomeUnknown(how), now, give_up_at)
        if settled.outcome == "failed":
            return state.ended_with(now, NotSettled("resolved-as-failed", how))
        return state.deployed(now, settled.deployment, how)

    def after_stop(self, held: JobView, now: datetime) -> DeploymentStatus | None:
        """Return the status to publish on a graceful shutdown, if any, so that a cut-off build is no interruption."""
        state = held.state
        if state.state is State.BUILDING or (state.state is State.SUBMITTING and not held.may_be_sent):
            return state.retrying(now, None, now, self.give_up_at(state))
        return None


def backoff(attempt: int, retry_after: float | None, jitter: float) -> timedelta:
    """Return the time until the next attempt: exponential, with jitter, and never less than `retry_after`.

    Args:
        attempt: the number of the failed attempt, from 1.
        retry_after: the dependency's `Retry-After` (RFC 9110 10.2.3), in seconds; None without one.
        jitter: 0 … 1.
    """
    longest = min(MAX_BACKOFF_SECONDS, BACKOFF_SECONDS * 2 ** min(attempt - 1, 16))
    return timedelta(seconds=max(longest * (0.5 + jitter / 2), retry_after or 0.0))


def _printable(text: str) -> str:
    return text if text.isprintable() else one_line(text)


def _shortened(warnings: tuple[str, ...]) -> tuple[str, ...] | None:
    """Return at most 40 warnings of 200 characters, so that a status stays far below its limit."""
    if len(warnings) > 40:
        warnings = (*warnings[:39], f"… and {len(warnings) - 39} more.")
    return tuple(_printable(it)[:200] for it in warnings) or None
