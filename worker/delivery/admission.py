"""Dependencies that are known to be down: no attempt is burnt on them, and nothing else stops."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from types import TracebackType

import structlog

from worker.errors import DeploymentError, OutcomeUnknown, PlaygroundRefused, Unavailable
from worker.observability.telemetry import stage

FAILURES = 5  # in a row, of different requests: one that is refused for its own sake is no outage
FIRST_PAUSE, LONGEST_PAUSE = 5.0, 60.0  # seconds
LOOK_AGAIN = 0.1  # seconds, while another one tries

Sleep = Callable[[float], Awaitable[None]]

log = structlog.get_logger()


class Breaker:
    """Closed; open after FAILURES in a row, or at once when our credentials are refused; then one request tries."""

    def __init__(self, dependency: str, clock: Callable[[], float], sleep: Sleep) -> None:
        """`clock` gives monotonic seconds."""
        self.dependency = dependency
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
        """Returns when a request may go: whether it is the one that tries whether the dependency is back."""
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
                log.error("a dependency is down: its requests wait", dependency=self.dependency, seconds=self._pause)
            self._opens_at = self._clock() + self._pause
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
            self._trying = False

    def succeeded(self) -> None:
        """An answer."""
        if self.open:
            log.warning("a dependency is back", dependency=self.dependency)
        self._failures, self._pause, self._opens_at, self._trying = 0, FIRST_PAUSE, None, False

    def abandoned(self) -> None:
        """The one that should try never reached it."""
        self._trying = False


class Breakers:
    """One per dependency that an attempt needs, in the order in which it needs them."""

    def __init__(
        self,
        clock: Callable[[], float],
        sleep: Sleep,
        dependencies: Sequence[str] = ("catalog", "artifacts", "playground"),
    ) -> None:
        self._clock = clock
        self.all = {name: Breaker(name, clock, sleep) for name in dependencies}
        self._down = 0.0
        self._down_since: float | None = None

    def any_open(self) -> bool:
        """Whether some dependency is known to be down."""
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
    return error.dependency if isinstance(error, Unavailable) else None


# ----------------------------------------------------------------------------------------------------
# Who may work now: one request per key, in the order they came, and so many at once in all.


class Turns:
    """Hands out turns, one per key at a time."""

    def __init__(self) -> None:
        self._queues: dict[object, deque[Turn]] = {}

    def join(self, key: bytes | None) -> "Turn":
        """Queue behind the key's earlier turns, at once: the caller's order is the order of work.

        A record without a key queues behind nobody. The turn must be closed, entered or not.
        """
        turn = Turn(self, key if key is not None else object())
        queue = self._queues.setdefault(turn.key, deque())
        queue.append(turn)
        queue[0].first.set()
        return turn

    def leave(self, turn: "Turn") -> None:
        """Take a turn out of its queue, wherever it stands. Leaving twice does nothing."""
        queue = self._queues.get(turn.key)
        if queue is None or turn not in queue:
            return
        queue.remove(turn)
        if queue:
            queue[0].first.set()
        else:
            del self._queues[turn.key]


class Turn:
    """`async with turn:` waits until it is the first of its key."""

    def __init__(self, turns: Turns, key: object) -> None:
        self.key = key
        self.first = asyncio.Event()
        self._turns = turns

    async def __aenter__(self) -> None:
        try:
            with stage("key_queue"):
                await self.first.wait()
        except asyncio.CancelledError:
            self.close()
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let the next one go."""
        self._turns.leave(self)


# ----------------------------------------------------------------------------------------------------
# How much is worked on at once.
#
# MAX_IN_FLIGHT requests speak to dependencies at the same time. As many again may be between two such steps, waiting
# for Kafka to make a status durable: so its transactions cost no throughput, and the bundles in memory have a bound.


class Capacity:
    """`async with capacity.begun():` around a whole attempt, `building()` and `posting()` around its two steps."""

    def __init__(self, limit: int) -> None:
        """`limit`: MAX_IN_FLIGHT."""
        self._limit = limit
        self._begun = asyncio.Semaphore(2 * limit)
        self._free = limit
        self._posts: deque[asyncio.Future[None]] = deque()
        self._builds: deque[asyncio.Future[None]] = deque()

    @property
    def taken(self) -> int:
        """How many of the places are in use."""
        return self._limit - self._free

    def begun(self) -> asyncio.Semaphore:
        """From the attempt's beginning to the end of its POST."""
        return self._begun

    @asynccontextmanager
    async def building(self) -> AsyncIterator[None]:
        """Fetch and build."""
        async with self._taken(self._builds):
            yield

    @asynccontextmanager
    async def posting(self) -> AsyncIterator[None]:
        """POST. Goes before those who want to build: a finished bundle takes memory."""
        async with self._taken(self._posts):
            yield

    @asynccontextmanager
    async def _taken(self, queue: deque[asyncio.Future[None]]) -> AsyncIterator[None]:
        if self._free:
            self._free -= 1
        else:
            place = asyncio.get_running_loop().create_future()
            queue.append(place)
            try:
                with stage("limiter"):
                    await place
            except asyncio.CancelledError:
                if place.done() and not place.cancelled():
                    self._give_back()
                raise  # a cancelled place is passed over in its queue
        try:
            yield
        finally:
            self._give_back()

    def _give_back(self) -> None:
        for queue in (self._posts, self._builds):
            while queue:
                place = queue.popleft()
                if not place.done():
                    return place.set_result(None)
        self._free += 1
        return None
