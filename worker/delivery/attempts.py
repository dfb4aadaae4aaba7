"""When a request is tried again, parked, settled or given up."""

from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, TypeVar

from schemas import State
from worker.delivery.admission import Breakers
from worker.delivery.progress import Progress
from worker.delivery.retries import pause
from worker.errors import CODES, DeploymentError, NotSettled, OutcomeUnknown, Unavailable, WorkerDied
from worker.ports import Job

WORKERS_IT_MAY_END = 3
T = TypeVar("T")

SERVER_MARGIN = timedelta(seconds=30)  # beyond the deadline of a POST whose worker is gone


@dataclass(frozen=True, slots=True)
class Clocks:
    """What time it is, for people and for measuring; how to wait; and a chance from 0 to 1."""

    wall: Callable[[], datetime]
    monotonic: Callable[[], float]
    sleep: Callable[[float], Coroutine[Any, Any, None]]
    chance: Callable[[], float]

    async def sleep_until(self, moment: datetime) -> None:
        """Returns at once when it is past."""
        await self.sleep(max(0.0, (moment - self.wall()).total_seconds()))


@dataclass(frozen=True, slots=True)
class Policy:
    """What the operator decides, in seconds."""

    submit_seconds: float = 330
    deadline_seconds: float = 3600
    park_seconds: float = 259200
    on_unknown: Literal["park", "retry"] = "park"


class Attempts:
    """Decides after each attempt. Needs the job's journal entry and the breakers, and changes nothing but statuses."""

    def __init__(self, breakers: Breakers, clocks: Clocks, policy: Policy) -> None:
        self._breakers = breakers
        self._clocks = clocks
        self._policy = policy

    def deadline(self, job: Job) -> datetime:
        """When the request is given up, not counting the time in which a dependency was known to be down."""
        last = job.entry.last
        if last and last.state is State.RETRYING and last.deadline:
            return last.deadline
        return job.entry.since + timedelta(seconds=self._policy.deadline_seconds)

    async def until_done(self, job: Job, progress: Progress, attempt: Callable[[], Awaitable[None]]) -> None:
        """Attempts until one ends the request, or parks it. Raises DeploymentError when there is no further one."""
        if progress.interruptions >= WORKERS_IT_MAY_END:
            raise WorkerDied
        deadline, down = self.deadline(job), self._breakers.down_seconds()
        if progress.state is State.RETRYING and job.entry.last and job.entry.last.next_attempt_at:
            await self._clocks.sleep_until(job.entry.last.next_attempt_at)
        while True:
            try:
                async with self._breakers.closed():
                    return await attempt()
            except Unavailable as error:
                why: DeploymentError = error
                seconds = pause(progress.attempt, error.retry_after, self._clocks.chance())
            except OutcomeUnknown as error:
                if self._policy.on_unknown == "park":
                    return await progress.parked(error)
                # Not before its deadline: the playground may still work on it, and mixes up parallel uploads.
                why, seconds = error, max(pause(progress.attempt, None, self._clocks.chance()), self._left(job))
            again = self._clocks.wall() + timedelta(seconds=seconds)
            given_up = deadline + timedelta(seconds=self._breakers.down_seconds() - down)
            if again > given_up and not self._breakers.any_open():
                raise why
            await progress.retrying(why, again, given_up)
            await self._clocks.sleep(seconds)

    def _left(self, job: Job) -> float:
        """Seconds to the deadline of the POST that was sent."""
        deadline = job.entry.last.deadline if job.entry.last else None
        return (deadline - self._clocks.wall()).total_seconds() if deadline else 0.0

    async def settled(self, job: Job, progress: Progress) -> bool:
        """What became of a POST without an answer: True when that ended or parked the request, False to try again.

        Raises NotSettled when it was settled as failed, or by nobody in time.
        """
        last = job.entry.last
        if last is None:
            raise AssertionError("a request without a known outcome is `submitting` or `parked`")
        parked = progress.state is State.PARKED
        wait = timedelta(seconds=self._policy.park_seconds) if parked else SERVER_MARGIN
        found = await job.settlement(progress.attempt, (last.time if parked else last.deadline or last.time) + wait)
        if found is None and parked:
            raise NotSettled("unresolved", CODES["unresolved"])
        unknown = OutcomeUnknown(CODES["outcome-unknown"])
        if found is None and self._policy.on_unknown == "park":
            await progress.parked(unknown)
            return True
        if found is None or found.outcome == "retry":
            why = unknown if found is None else NotSettled("resolved-as-failed", found.reason)
            now = self._clocks.wall()
            await progress.retrying(why, now, now + timedelta(seconds=self._policy.deadline_seconds))
            return False
        if found.outcome == "failed":
            raise NotSettled("resolved-as-failed", f"Settled as failed by {found.by}: {found.reason}")
        await progress.deployed(found.deployment, f"Settled as deployed by {found.by}: {found.reason}")
        return True

    async def until_answered(self, job: Job, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask until somebody answers, without a status: nothing is accepted yet. Raises Unavailable at the deadline."""
        number, deadline = 1, self.deadline(job)
        while True:
            try:
                return await ask()
            except Unavailable as error:
                seconds = pause(number, error.retry_after, self._clocks.chance())
                if self._clocks.wall() + timedelta(seconds=seconds) > deadline:
                    raise
            number += 1
            await self._clocks.sleep(seconds)
