"""The lifecycle of one request: all that changes its state, and what to do next. Pure.

A request stands where its last status says. `RequestState` is made of statuses alone: `apply` takes one that was read
from the status topic as well as one that was just written, so that a request left by another worker and a fresh one are
the same thing. `Lifecycle` decides under the operator's settings: `next_step` is the I/O to do next, and `after_…` is
the status that an error, a settlement or a stop leads to. `schemas.SUCCESSORS` is the table of what may follow what.
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

if TYPE_CHECKING:  # 30 MB and half a second, which only those need who build bundles
    from worker.domain.bundle.archive import Bundle
    from worker.domain.bundle.plan import Plan

RECORD_GONE = -1  # the offset of a record that is no longer in its topic
MAX_INTERRUPTIONS = 3  # workers that ended while they built its bundle, one after the other
SERVER_MARGIN = timedelta(seconds=30)  # beyond the deadline of a POST whose worker is gone

BACKOFF_SECONDS = 1.0  # after the first attempt; doubled after each further one
MAX_BACKOFF_SECONDS = 60.0

# What each status repeats of the one before. `give_up_at` ends with the final status, and when it is parked.
_CARRIED = (
    "source", "attempt", "solution_id", "revision_id", "replay_of", "fingerprint", "solution_name", "kind", "bundle",
    "warnings",
)  # fmt: skip
# States in which nothing is to be done before somebody asks: the offset of the record passes with them.
RESTING_STATES = FINAL_STATES | {State.PARKED}


@dataclass(slots=True)
class RequestState:
    """Where one request stands. `state` None: its record was read, and no status is written yet."""

    request_id: str
    offset: (
        int  # of its record; RECORD_GONE when the partition does not wait for it: another record may have its offset
    )
    since: datetime  # of its first status that is still kept; before that, when its record was read
    first: Mapping[str, Any] | None = field(default=None, repr=False)  # the fields of its first status
    fingerprint: str | None = None
    state: State | None = None
    last: DeploymentStatus | None = None  # None, too, of what ended and is only remembered
    traceparent: str | None = None
    key: bytes | None = None  # of its record, which is its user's id; None: the record was not read
    statuses_from: int = 0  # where in the status partition all stands that a next owner needs of it
    settlements: dict[int, DeploymentSettled] = field(default_factory=dict, repr=False)  # by attempt

    @classmethod
    def of_record(cls, record: Record, request: Request | DeploymentError, now: datetime) -> "RequestState":
        """Return the state of a record that was just read, under the id of its place."""
        first: dict[str, Any] = {"source": record.source, "attempt": 1}
        if isinstance(request, Request):
            first |= {
                "solution_id": request.solution_id,
                "revision_id": request.revision_id,
                "replay_of": request.replay_of,
            }
        return cls(record.record_id, record.offset, now, first, key=record.key)

    def apply(self, status: DeploymentStatus) -> None:
        """Move to where this status says."""
        self.fingerprint, self.state, self.last = status.fingerprint, status.state, status

    @property
    def record_offset(self) -> int:
        """Where its record is, or was."""
        return self.last.source.offset if self.last else self.offset

    @property
    def final(self) -> bool:
        """Whether nothing follows."""
        return self.state in FINAL_STATES

    @property
    def attempt(self) -> int:
        """The attempt that runs, ran last, or will be the first."""
        return self.last.attempt if self.last else 1

    @property
    def is_settled(self) -> bool:
        """Whether it is known what became of its last attempt."""
        return self.attempt in self.settlements

    @property
    def interruptions(self) -> int:
        """How many workers in a row ended while they built its bundle. Asked only when nobody builds it."""
        if self.last is None or self.state is not State.BUILDING:
            return 0
        # Who settles an attempt of its own has not died of it; that may come later than the status that counts it.
        settled = max(self.settlements, default=0)
        return max(0, min((self.last.interruptions or 0) + 1, self.last.attempt - settled))

    def seconds_left(self, now: datetime) -> float:
        """Return the time until the attempt's deadline."""
        deadline = self.last.attempt_deadline if self.last else None
        return (deadline - now).total_seconds() if deadline else 0.0

    # ---------------------------------------------------------------------------------------- the statuses it may have

    def accepted(self, now: datetime, fingerprint: str) -> DeploymentStatus:
        """Return the status after its token was verified."""
        return self._status(now, State.ACCEPTED, "The request is accepted.", fingerprint=fingerprint)

    def building(self, now: datetime) -> DeploymentStatus:
        """Return the status with which an attempt begins."""
        again = self.state in (State.BUILDING, State.RETRYING)
        return self._status(
            now,
            State.BUILDING,
            "The bundle is being built.",
            attempt=self.attempt + again,
            interruptions=self.interruptions or None,
        )

    def submitting(self, now: datetime, plan: "Plan", bundle: "Bundle", seconds: float) -> DeploymentStatus:
        """Return the status that has to be durable before the first byte of the bundle is sent.

        `seconds`: in which the playground has to answer.
        """
        return self._status(
            now,
            State.SUBMITTING,
            "The bundle is being sent to the playground.",
            solution_name=_printable(plan.solution_name)[:100],
            kind=plan.kind,
            bundle=BundleInfo(sha256=bundle.sha256, size=len(bundle.data), nodes=bundle.nodes),
            warnings=_shortened(plan.warnings),
            attempt_deadline=now + timedelta(seconds=seconds),
        )

    def retrying(
        self, now: datetime, why: DeploymentError | None, at: datetime, give_up_at: datetime
    ) -> DeploymentStatus:
        """Return the status between two attempts. `why` None: the worker stops, and another one continues."""
        message = f"It will be tried again. {why.message}" if why else "The worker stops; another one continues."
        error = why.info().model_copy(update={"retryable": True}) if why else None
        return self._status(now, State.RETRYING, message, error=error, next_attempt_at=at, give_up_at=give_up_at)

    def parked(self, now: datetime) -> DeploymentStatus:
        """Return the status of a request whose POST has an unknown outcome, until somebody settles it."""
        unknown = OutcomeUnknown(CODES["outcome-unknown"])
        return self._status(now, State.PARKED, unknown.message, error=unknown.info())

    def deployed(self, now: datetime, deployment: DeploymentInfo | None, how: str = "") -> DeploymentStatus:
        """Return the final status of a deployment. `how`: who says so, when it was not the playground."""
        message = how or (f"Deployed as {deployment.id}." if deployment else "Deployed.")
        return self._status(now, State.DEPLOYED, message, deployment=deployment)

    def ended_with(self, now: datetime, error: DeploymentError) -> DeploymentStatus:
        """Return the other final status: rejected or failed, as the error says."""
        return self._status(now, error.state, error.message, error=error.info())

    def _status(self, now: datetime, state: State, message: str, **more: Any) -> DeploymentStatus:
        """Make a status. Raises AssertionError when `state` may not follow."""
        if state not in SUCCESSORS[self.state]:
            raise AssertionError(f"{state} may not follow {self.state}")
        last = self.last
        carried = {name: getattr(last, name) for name in _CARRIED} if last else self.first or {}
        if last and state not in RESTING_STATES:
            more.setdefault("give_up_at", last.give_up_at)
        sequence = last.sequence + 1 if last else 0
        fields = {**carried, **more, "request_id": self.request_id, "sequence": sequence, "state": state, "time": now}
        return DeploymentStatus(**fields, message=_printable(message)[:1000])


# -------------------------------------------------------------------------------------------------------- what is next


@dataclass(frozen=True, slots=True)
class CompareWithOriginal:
    """The id that it brings is another record's: find out whether this one asks for the same."""


@dataclass(frozen=True, slots=True)
class Authenticate:
    """Verify the token."""


@dataclass(frozen=True, slots=True)
class WaitForKeyLock:
    """Wait for the key lock: one request of a user at a time."""


@dataclass(frozen=True, slots=True)
class Sleep:
    """Wait until then. `excluded`: from back-pressure, because others do not need what it waits for."""

    until: datetime
    excluded: bool = False


@dataclass(frozen=True, slots=True)
class BuildAndSubmit:
    """Make an attempt."""


@dataclass(frozen=True, slots=True)
class AwaitSettlement:
    """Wait until somebody says what became of its POST, until then at the longest."""

    until: datetime


@dataclass(frozen=True, slots=True)
class GiveUp:
    """End it for this reason."""

    error: DeploymentError


@dataclass(frozen=True, slots=True)
class End:
    """Nothing is left to do."""


Step = CompareWithOriginal | Authenticate | WaitForKeyLock | Sleep | BuildAndSubmit | AwaitSettlement | GiveUp | End


class JobView(Protocol):
    """What `Job` in worker/delivery/partition.py shows the lifecycle: the state, and what is gone with its worker."""

    state: RequestState
    original: RequestState | None  # of the record that has the id which this one brings, when that is another one
    repeats: bool  # it was found to ask for the same as the original
    caller: Caller | None  # whom its token names, once that is verified
    auth_attempts: int  # to verify it, so far
    gave_way: bool  # it cannot be verified yet, and others took its place
    has_key_lock: bool  # it has the key lock
    resumed: bool  # it is parked, and settled or due: else nobody works on a parked request

    @property
    def may_be_sent(self) -> bool:
        """Whether something of the attempt in `submitting` may have been sent, by this worker or an earlier one."""
        ...


@dataclass(frozen=True, slots=True)
class Outage:
    """How long a dependency was known to be down since the last status of the request, and whether one is now."""

    past: timedelta = timedelta()
    is_down: bool = False


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """The decisions. `playground` and `runtime` have the times in seconds, and what to do with unknown outcomes."""

    playground: PlaygroundSettings
    runtime: RuntimeSettings

    def next_step(self, held: JobView, now: datetime) -> Step:
        """Return the I/O that comes next, whoever did the last."""
        state, last = held.state, held.state.last
        if state.final or held.repeats:
            return End()
        if last is None and held.gave_way:
            return GiveUp(Unavailable("keys-unavailable", CODES["keys-unavailable"], "authenticate"))
        if last is None:
            return CompareWithOriginal() if held.original else Authenticate()
        if state.state is State.PARKED:
            # Without a settlement its job ends, and its partition keeps what is needed to resume it.
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
        """Return when a request that was parked then is given up, unless somebody settles it before."""
        return parked.time + timedelta(seconds=self.playground.park_max_seconds)

    def give_up_at(self, state: RequestState) -> datetime:
        """Return when it is given up, not counting the time in which a dependency was known to be down."""
        known = state.last.give_up_at if state.last else None
        return known or state.since + timedelta(seconds=self.runtime.request_deadline_seconds)

    def after_error(
        self, held: JobView, error: DeploymentError, now: datetime, jitter: float, outage: Outage
    ) -> DeploymentStatus | Sleep:
        """Return what an error leads to: another attempt, `parked`, or the end. Sleep: the same step again, silently.

        `jitter` is 0 … 1, drawn for each error, so that requests that failed together do not come back together.
        While a dependency is known to be down, nothing is given up.
        """
        state, give_up_at = held.state, self.give_up_at(held.state) + outage.past
        if isinstance(error, Unavailable) and error.stage == "authenticate":
            at = now + backoff(held.auth_attempts, error.retry_after, jitter)
            if held.gave_way or not (at <= give_up_at or outage.is_down):
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
                # Not before its deadline: the playground may still work on it, and mixes up parallel uploads.
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
        """Return what a settlement leads to. None: nobody settled it in time."""
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
        """Return what a graceful stop leaves behind, if anything: what was built in vain is no interruption."""
        state = held.state
        if state.state is State.BUILDING or (state.state is State.SUBMITTING and not held.may_be_sent):
            return state.retrying(now, None, now, self.give_up_at(state))
        return None


def backoff(attempt: int, retry_after: float | None, jitter: float) -> timedelta:
    """Return the time until the next attempt: exponential, with jitter, and never less than was asked for.

    Args:
        attempt: the one that failed, from 1.
        retry_after: seconds the dependency asked for (RFC 9110 10.2.3); None: it did not.
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
