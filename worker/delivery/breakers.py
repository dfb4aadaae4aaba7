"""What is down: a circuit breaker for each dependency, and for how long one was open.

A failure may be the dependency's, or follow what was asked for, or who asked. One that cannot come from the request (no
connection could be opened, our credentials are refused) counts whoever asks. Any other (a status, a redirect, a broken
answer, none in time) is the dependency's only when it strikes several users and several solutions: what one user or one
solution brings about holds up nobody else.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import UUID

import structlog

from worker.errors import DeploymentError, OutcomeUnknown, PlaygroundRefused, Unavailable

FAILURES = 5  # in a row: one that is refused for its own sake is no outage
# So many failures with neither user nor solution in common. Two things may be broken at the same time by chance; with a
# higher number an outage would go unseen where few users are.
SOURCES = 3
FIRST_OPEN_SECONDS, MAX_OPEN_SECONDS = 5.0, 60.0
RECHECK_SECONDS = 0.1  # while another request is the trial
DEPENDENCIES = ("catalog", "artifacts", "playground")  # in the order in which an attempt needs them

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Source:
    """Who asks, and for what: a failure may be the fault of either."""

    user: str = field(repr=False)
    solution: UUID


class Failures:
    """Failures in a row, and whether they are the dependency's. It takes the same memory however many there are."""

    def __init__(self, count: int = 0) -> None:
        self._count = count
        self._general = 0
        self._users: set[str] = set()
        self._solutions: set[UUID] = set()

    def add(self, source: Source, *, general: bool) -> None:
        """Count one. `general`: it cannot come from the request."""
        self._count += 1
        self._general += general
        if self.is_new(source) and len(self._users) < SOURCES:
            self._users.add(source.user)
            self._solutions.add(source.solution)

    def is_new(self, source: Source) -> bool:
        """Tell whether neither this user nor this solution is known to have failed."""
        return source.user not in self._users and source.solution not in self._solutions

    @property
    def strike_everybody(self) -> bool:
        """Whether no two users or solutions account for them."""
        return self._general >= FAILURES or (self._count >= FAILURES and len(self._users) >= SOURCES)


class Breaker:
    """A circuit breaker: closed; open after failures that strike everybody; half-open.

    Half-open, one request at a time is the trial, and the others wait for how it ends. When it fails and that may be
    its own fault, one of another user and solution is the next, until SOURCES of them have failed. When nobody else
    waits, nothing shows that the dependency is still down: it is closed, and further failures open it again.
    """

    def __init__(self, dependency: str, clock: Callable[[], float], sleep: Callable[[float], Awaitable[None]]) -> None:
        """`clock` gives monotonic seconds."""
        self.dependency = dependency
        self._clock = clock
        self._sleep = sleep
        self._failures = Failures()
        self._open_seconds = FIRST_OPEN_SECONDS
        self._half_open_at: float | None = None  # None: closed
        self._trial = False
        self._waiting: dict[object, Source] = {}

    @property
    def open(self) -> bool:
        """Whether requests wait, half-open or not."""
        return self._half_open_at is not None

    @property
    def state(self) -> int:
        """0 closed, 1 open, 2 half-open: the trial is on its way."""
        return 0 if self._half_open_at is None else 1 + self._trial

    async def acquire(self, source: Source) -> bool:
        """Wait until a request may go. Return whether it is the trial, which must be released."""
        place = object()
        self._waiting[place] = source
        try:
            while self._half_open_at is not None:
                left = self._half_open_at - self._clock()
                if left <= 0 and not self._trial and (self._failures.is_new(source) or not self._others_wait()):
                    self._trial = True
                    return True
                await self._sleep(min(max(left, RECHECK_SECONDS), 1.0))
        finally:
            del self._waiting[place]
        return False

    def _others_wait(self) -> bool:
        """Tell whether a user and a solution are waiting that have not failed since it was half-open."""
        return any(map(self._failures.is_new, self._waiting.values()))

    def release(self) -> None:
        """End the trial, whether or not it reached the dependency."""
        self._trial = False

    def fail(self, source: Source, error: DeploymentError, *, trial: bool) -> None:
        """Count a failure: no answer, or a useless one."""
        if self.open and not trial:
            return  # it began before, and says nothing new
        general = isinstance(error, Unavailable) and error.general
        self._failures.add(source, general=general)
        if self._failures.strike_everybody or (general and (trial or error.code.endswith("-unauthorized"))):
            self._open()
        elif trial and not self._others_wait():
            self._close("nobody else waits for it")

    def succeed(self) -> None:
        """Count an answer."""
        self._failures, self._open_seconds = Failures(), FIRST_OPEN_SECONDS
        if self.open:
            self._close("it answers")

    def _open(self) -> None:
        if not self.open:
            log.error("breaker opened", dependency=self.dependency, seconds=self._open_seconds)
        self._half_open_at = self._clock() + self._open_seconds
        self._open_seconds = min(2 * self._open_seconds, MAX_OPEN_SECONDS)
        self._failures = Failures(FAILURES)  # who shows that it is still down has yet to be seen
        self._trial = False

    def _close(self, why: str) -> None:
        log.warning("breaker closed", dependency=self.dependency, why=why)
        self._half_open_at, self._trial = None, False


class Breakers:
    """One for each dependency that an attempt needs, in the order in which it needs them."""

    def __init__(
        self,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
        dependencies: Sequence[str] = DEPENDENCIES,
    ) -> None:
        self._clock = clock
        self.all = {name: Breaker(name, clock, sleep) for name in dependencies}
        self._down_before = 0.0
        self._down_since: float | None = None

    def any_open(self) -> bool:
        """Return whether some dependency is known to be down."""
        return self._down_since is not None

    def down_seconds(self) -> float:
        """Return for how long that was so, since the start."""
        return self._down_before + (self._clock() - self._down_since if self._down_since is not None else 0.0)

    @asynccontextmanager
    async def guard(self, source: Source) -> AsyncIterator[None]:
        """Guard one attempt: wait until none is open, and learn how it ends."""
        trials: list[Breaker] = []
        try:
            for breaker in self.all.values():
                if await breaker.acquire(source):
                    trials.append(breaker)  # noqa: PERF401 - what was acquired before a cancellation is released
            yield
            self._learn(None, source, trials)
        except DeploymentError as error:
            self._learn(error, source, trials)
            raise
        finally:
            for breaker in trials:
                breaker.release()

    def _learn(self, error: DeploymentError | None, source: Source, trials: Sequence[Breaker]) -> None:
        """Whichever was reached before the attempt ended has answered."""
        at_fault = _at_fault(error)
        for name, breaker in self.all.items():
            if error is not None and name == at_fault:
                breaker.fail(source, error, trial=breaker in trials)
                break
            if (
                error is None
                or name == "catalog"
                or (error.stage == "submit" and name != "playground")
                or isinstance(error, PlaygroundRefused)
            ):
                breaker.succeed()
        now_open = any(breaker.open for breaker in self.all.values())
        if now_open and self._down_since is None:
            self._down_since = self._clock()
        elif not now_open and self._down_since is not None:
            self._down_before, self._down_since = self.down_seconds(), None


def _at_fault(error: DeploymentError | None) -> str | None:
    if isinstance(error, OutcomeUnknown):
        return "playground"
    return error.dependency if isinstance(error, Unavailable) else None
