"""Neighbours that are known to be down: no attempt is burnt on them, and nothing else stops."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import structlog

from worker.errors import DeploymentError, OutcomeUnknown, PlaygroundRefused, Unavailable

FAILURES = 5  # in a row, of different requests: one that is refused for its own sake is no outage
FIRST_PAUSE, LONGEST_PAUSE = 5.0, 60.0  # seconds
LOOK_AGAIN = 0.1  # seconds, while another one tries

Sleep = Callable[[float], Awaitable[None]]

log = structlog.get_logger()


class Breaker:
    """Closed; open after FAILURES in a row, or at once when our credentials are refused; then one request tries."""

    def __init__(self, neighbour: str, clock: Callable[[], float], sleep: Sleep) -> None:
        """`clock` gives monotonic seconds."""
        self.neighbour = neighbour
        self._clock = clock
        self._sleep = sleep
        self._failures = 0
        self._pause = FIRST_PAUSE
        self._opens_at: float | None = None  # None: closed
        self._trying = False

    @property
    def open(self) -> bool:
        """Whether requests wait."""
        return self._opens_at is not None

    @property
    def state(self) -> int:
        """0 closed, 1 open, 2 open and one request tries."""
        return 0 if self._opens_at is None else 1 + self._trying

    async def passed(self) -> bool:
        """Returns when a request may go: whether it is the one that tries whether the neighbour is back."""
        while self._opens_at is not None:
            left = self._opens_at - self._clock()
            if left <= 0 and not self._trying:
                self._trying = True
                return True
            await self._sleep(min(max(left, LOOK_AGAIN), 1.0))
        return False

    def failed(self, *, at_once: bool) -> None:
        """No answer, or none of use."""
        self._failures += 1
        if self._trying or at_once or self._failures >= FAILURES:
            if not self.open:
                log.error("a neighbour is down: its requests wait", neighbour=self.neighbour, seconds=self._pause)
            self._opens_at = self._clock() + self._pause
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
            self._trying = False

    def succeeded(self) -> None:
        """An answer."""
        if self.open:
            log.warning("a neighbour is back", neighbour=self.neighbour)
        self._failures, self._pause, self._opens_at, self._trying = 0, FIRST_PAUSE, None, False

    def abandoned(self) -> None:
        """The one that should try never reached it."""
        self._trying = False


class Breakers:
    """One per neighbour that an attempt needs, in the order in which it needs them."""

    def __init__(
        self,
        clock: Callable[[], float],
        sleep: Sleep,
        neighbours: Sequence[str] = ("catalog", "artifacts", "playground"),
    ) -> None:
        self._clock = clock
        self.all = {name: Breaker(name, clock, sleep) for name in neighbours}
        self._down = 0.0
        self._down_since: float | None = None

    def any_open(self) -> bool:
        """Whether some neighbour is known to be down."""
        return any(breaker.open for breaker in self.all.values())

    def down_seconds(self) -> float:
        """For how long that was so, since the start."""
        return self._down + (self._clock() - self._down_since if self._down_since is not None else 0.0)

    @asynccontextmanager
    async def closed(self) -> AsyncIterator[None]:
        """Around one attempt: waits until none is open, and learns how it ended."""
        trying: list[Breaker] = []
        try:
            for breaker in self.all.values():
                if await breaker.passed():
                    trying.append(breaker)  # noqa: PERF401 - what was taken before an interruption is given back
            yield
            self._learn(None)
        except DeploymentError as error:
            self._learn(error)
            raise
        finally:
            for breaker in trying:
                breaker.abandoned()

    def _learn(self, error: DeploymentError | None) -> None:
        """Who was reached before the attempt ended succeeded."""
        self._judge(error)
        if self.any_open() and self._down_since is None:
            self._down_since = self._clock()
        elif not self.any_open() and self._down_since is not None:
            self._down, self._down_since = self.down_seconds(), None

    def _judge(self, error: DeploymentError | None) -> None:
        at_fault = _at_fault(error)
        for name, breaker in self.all.items():
            if name == at_fault:
                return breaker.failed(at_once=isinstance(error, Unavailable) and error.needs_operator)
            if (
                error is None
                or name == "catalog"
                or (error.stage == "submit" and name != "playground")
                or isinstance(error, PlaygroundRefused)
            ):
                breaker.succeeded()
        return None


def _at_fault(error: DeploymentError | None) -> str | None:
    if isinstance(error, OutcomeUnknown):
        return "playground"
    return error.neighbour if isinstance(error, Unavailable) else None
