"""REPORT: one request's statuses, gapless and in a legal order, exactly one of them final."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, Protocol
from uuid import UUID

from schemas import (
    FINAL_STATES,
    SUCCESSORS,
    BundleInfo,
    DeploymentInfo,
    DeploymentStatus,
    ErrorInfo,
    SourceInfo,
    State,
)
from worker.domain.bundle.archive import Bundle
from worker.domain.bundle.plan import Plan
from worker.domain.dead_letter import DeadLetter
from worker.domain.request import Request
from worker.errors import DeploymentError, one_line


class Reporter(Protocol):
    """Takes a status for the lane's next transaction, and with a final one the dead letter.

    The future ends when the transaction is committed. Raises StatusNotPublished, at once or through the future,
    when the lane is no longer ours; ValueError when the status is too large.
    """

    def publish(self, status: DeploymentStatus, dead_letter: DeadLetter | None = None) -> asyncio.Future[None]: ...


# Known from one status to the next, and after a take-over from the last one.
_KEPT = (
    "request_id", "source", "attempt", "solution_id", "revision_id", "replay_of", "identity", "solution_name", "kind",
    "bundle", "warnings",
)  # fmt: skip


class Progress:
    """Says where one request stands. Every status repeats all that is known by then."""

    def __init__(
        self,
        reporter: Reporter,
        clock: Callable[[], datetime],
        request_id: str,
        source: SourceInfo,
        last: DeploymentStatus | None = None,
    ) -> None:
        """`last`: the status another worker left, to go on from."""
        self._reporter = reporter
        self._clock = clock
        self._sequence = last.sequence + 1 if last else 0
        self._known: dict[str, Any] = {"request_id": request_id, "source": source, "attempt": 1}
        if last:
            self._known |= {name: getattr(last, name) for name in _KEPT}
        self._started = clock()
        self.code: str | None = None  # of the error that ended or parked it
        self.state = last.state if last else None
        # A worker that left in the middle of the building left no outcome.
        self.interruptions = (last.interruptions or 0) + 1 if last and last.state is State.BUILDING else 0

    @property
    def attempt(self) -> int:
        """The one that runs, ran last, or will be the first."""
        return int(self._known["attempt"])

    @property
    def ended(self) -> bool:
        """A final status is out."""
        return self.state in FINAL_STATES

    @property
    def seconds(self) -> float:
        """Since this worker began with it."""
        return (self._clock() - self._started).total_seconds()

    def summary(self) -> dict[str, str | float | None]:
        """What the one log line per request says."""
        return {"state": self.state, "code": self.code, "statuses": self._sequence, "seconds": round(self.seconds, 3)}

    def identify(self, request: Request) -> None:
        """From here on every status names the solution."""
        self._known |= {
            "solution_id": request.solution_id,
            "revision_id": request.revision_id,
            "replay_of": request.replay_of,
        }

    def accepted(self, whose: str) -> None:
        """The token was verified; `whose` is the request's identity. Not waited for: the next status is."""
        self._known["identity"] = whose
        _looked_at(self._publish(State.ACCEPTED, "The request is accepted."))

    async def building(self) -> None:
        """Its turn has come: returns when that is durable, so that no attempt can be forgotten."""
        if self.state in (State.BUILDING, State.RETRYING):
            self._known["attempt"] += 1
        await self._publish(State.BUILDING, "The bundle is being built.", interruptions=self.interruptions or None)
        self.interruptions = 0

    async def submitting(self, plan: Plan, bundle: Bundle, timeout_seconds: float) -> datetime:
        """The bundle is finished and about to be sent: returns the attempt's deadline when it is durable."""
        self._known |= {
            "solution_name": plan.solution_name[:100],
            "kind": plan.kind,
            "bundle": BundleInfo(sha256=bundle.sha256, size=len(bundle.data), nodes=bundle.nodes),
            "warnings": _shortened(plan.warnings),
        }
        deadline = self._clock() + timedelta(seconds=timeout_seconds)
        published = self._publish(State.SUBMITTING, "The bundle is being sent to the playground.", deadline=deadline)
        await published  # durable before anything is sent
        return deadline

    async def retrying(self, why: DeploymentError | None, next_attempt_at: datetime, deadline: datetime) -> None:
        """It failed, and will be tried again; or the worker stops, and another goes on."""
        await self._publish(
            State.RETRYING,
            f"It will be tried again. {why.message}"[:1000] if why else "The worker stops; another one goes on.",
            error=_retryable(why) if why else None,
            next_attempt_at=next_attempt_at,
            deadline=deadline,
        )

    async def parked(self, why: DeploymentError) -> None:
        """The outcome of a POST is unknown, and stays so until somebody settles it."""
        self.code = why.code
        await self._publish(State.PARKED, why.message[:1000], error=why.info())

    async def deployed(self, deployment: DeploymentInfo | None, how: str = "") -> None:
        """The playground has it. `how`: the way that is known, when it did not answer us."""
        self.code = None
        message = how or (f"Deployed as {deployment.id}." if deployment else "Deployed.")
        await self._publish(State.DEPLOYED, one_line(message)[:1000], deployment=deployment)

    async def failed(self, error: DeploymentError, dead_letter: DeadLetter | None = None) -> None:
        """It ended otherwise: rejected or failed, as the error says."""
        self.code = error.code
        await self._publish(error.state, error.message[:1000], dead_letter, error=error.info())

    def _publish(
        self, state: State, message: str, dead_letter: DeadLetter | None = None, **more: Any
    ) -> asyncio.Future[None]:
        if state not in SUCCESSORS[self.state]:
            raise AssertionError(f"{state} may not follow {self.state}")
        status = DeploymentStatus(
            **self._known, **more, sequence=self._sequence, state=state, message=message, time=self._clock()
        )
        published = self._reporter.publish(status, dead_letter)
        self.state = state
        self._sequence += 1
        return published


def identity(user_id: str, solution_id: UUID, revision_id: UUID) -> str:
    """SHA-256 in hex of who asks for what; tells a repeated request from another one with the same id."""
    return sha256(f"{user_id}\n{solution_id}\n{revision_id}".encode()).hexdigest()


def _retryable(why: DeploymentError) -> ErrorInfo:
    return why.info().model_copy(update={"retryable": True})


def _looked_at(future: asyncio.Future[None]) -> None:
    """Its failure is the lane's, and whoever waits for the next status learns of it."""
    future.add_done_callback(lambda done: done.cancelled() or done.exception())


def _shortened(warnings: tuple[str, ...]) -> tuple[str, ...] | None:
    """At most 40 warnings of 200 characters, so that a status stays far below its limit."""
    if len(warnings) > 40:
        warnings = (*warnings[:39], f"… and {len(warnings) - 39} more.")
    return tuple(one_line(warning)[:200] for warning in warnings) or None
