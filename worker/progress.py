"""REPORT: one request's statuses, gapless and in a legal order, exactly one of them final."""

from collections.abc import Callable
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, Protocol
from uuid import UUID

from schemas import (
    SUCCESSORS,
    BundleInfo,
    DeploymentInfo,
    DeploymentStatus,
    SourceInfo,
    State,
)
from worker.domain.bundle import Bundle
from worker.domain.plan import Plan
from worker.domain.request import Request
from worker.domain.solution import Caller
from worker.errors import DeploymentError, StatusNotPublished, one_line


class Reporter(Protocol):
    """Publishes one status, durably, before it returns."""

    async def publish(self, status: DeploymentStatus, traceparent: str | None) -> None: ...


class Progress:
    """Says where one request stands. Every status repeats all that is known by then."""

    def __init__(
        self,
        reporter: Reporter,
        clock: Callable[[], datetime],
        request_id: str,
        source: SourceInfo,
        traceparent: str | None,
    ) -> None:
        self._reporter = reporter
        self._clock = clock
        self._traceparent = traceparent
        self._sequence = 0
        self._known: dict[str, Any] = {"request_id": request_id, "source": source, "attempt": 1}
        self._started = clock()
        self._code: str | None = None
        self.state: State | None = None

    def summary(self) -> dict[str, str | float | None]:
        """What the one log line per request says."""
        seconds = (self._clock() - self._started).total_seconds()
        return {"state": self.state, "code": self._code, "statuses": self._sequence, "seconds": round(seconds, 3)}

    def identify(self, request: Request) -> None:
        """From here on every status names the solution."""
        self._known |= {
            "solution_id": request.solution_id,
            "revision_id": request.revision_id,
            "replay_of": request.replay_of,
        }

    async def accepted(self, request: Request, caller: Caller) -> None:
        """The token was verified."""
        self._known["identity"] = identity(caller.user_id, request.solution_id, request.revision_id)
        await self._publish(State.ACCEPTED, "The request is accepted.")

    async def building(self) -> None:
        """Its turn has come."""
        await self._publish(State.BUILDING, "The bundle is being built.")

    async def submitting(self, plan: Plan, bundle: Bundle, timeout_seconds: float) -> None:
        """The bundle is finished and about to be sent."""
        self._known |= {
            "solution_name": plan.solution_name[:100],
            "kind": plan.kind,
            "bundle": BundleInfo(sha256=bundle.sha256, size=len(bundle.data), nodes=bundle.nodes),
            "warnings": _shortened(plan.warnings),
        }
        deadline = self._clock() + timedelta(seconds=timeout_seconds)
        await self._publish(State.SUBMITTING, "The bundle is being sent to the playground.", deadline=deadline)

    async def deployed(self, deployment: DeploymentInfo) -> None:
        """The playground has it."""
        await self._publish(State.DEPLOYED, f"Deployed as {deployment.id}.", deployment=deployment)

    async def failed(self, error: DeploymentError) -> None:
        """It ended otherwise: rejected or failed, as the error says."""
        self._code = error.code
        await self._publish(error.state, error.message[:1000], error=error.info())

    async def _publish(self, state: State, message: str, **more: Any) -> None:
        if state not in SUCCESSORS[self.state]:
            raise AssertionError(f"{state} may not follow {self.state}")
        status = DeploymentStatus(
            **self._known, **more, sequence=self._sequence, state=state, message=message, time=self._clock()
        )
        try:
            await self._reporter.publish(status, self._traceparent)
        except Exception as error:
            raise StatusNotPublished(f"status {status.sequence} ({state}) was not published") from error
        self.state = state
        self._sequence += 1


def identity(user_id: str, solution_id: UUID, revision_id: UUID) -> str:
    """SHA-256 in hex of who asks for what; tells a repeated request from another one with the same id."""
    return sha256(f"{user_id}\n{solution_id}\n{revision_id}".encode()).hexdigest()


def _shortened(warnings: tuple[str, ...]) -> tuple[str, ...] | None:
    """At most 40 warnings of 200 characters, so that a status stays far below its limit."""
    if len(warnings) > 40:
        warnings = (*warnings[:39], f"… and {len(warnings) - 39} more.")
    return tuple(one_line(warning)[:200] for warning in warnings) or None
