"""Everything that an attempt waits for: the key lock, then the gates, which are budget, breakers and limiter.

A failure may be caused by the dependency, by the requested solution, or by the user. A failure that a request cannot
cause (no connection could be opened, or the worker's credentials are rejected) is dependency-wide for any user. Any
other failure (an error status, a redirect, a broken answer, no answer in time) counts as dependency-wide only when it
affects several users and several solutions. What one user or one solution causes delays no other user.

An attempt that has reserved bytes never needs more of them, so attempts cannot deadlock. An attempt that waits for
bytes holds nothing else: no slot, no trial of a breaker, no connection.

This long module is one file because every attempt passes all of these gates, and a reader needs them together.
"""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from types import TracebackType
from typing import Protocol, Self
from uuid import UUID

import structlog

from worker.delivery.awaiting_keys import AwaitingKeys
from worker.domain.lifecycle import Outage
from worker.domain.request import Request
from worker.domain.solution import Caller
from worker.errors import DeploymentError, OutcomeUnknown, PlaygroundRefused, TooManyRequests, Unavailable
from worker.observability.telemetry import stages

FAILURES = 5  # in a row; a request that is rejected for its own fault does not count
# Failures with neither user nor solution in common. Two unrelated requests may fail at the same time by chance.
# A higher number would miss an outage where there are few users.
MIN_ORIGINS = 3
FIRST_OPEN_SECONDS, MAX_OPEN_SECONDS = 5.0, 60.0
RECHECK_SECONDS = 0.1  # while another request is the trial
DEPENDENCIES = ("catalog", "artifacts", "playground")  # in the order in which an attempt calls them

# The peak memory of fetching and building the largest solution: the protobufs and the zip with them, 16 MiB each, a
# blueprint of 1 MB and three copies of its parsed content, a picture, a description. Measured: 58 MiB.
RESERVED_BYTES = 64 * 1024 * 1024

log = structlog.get_logger()


# ------------------------------------------------------------------------------------------------ the key lock


class KeyQueue:
    """Requests with the same key run one after the other, in the order in which they joined the queue.

    A user's later requests wait for as long as a deployment takes. They do not delay other users, because at most
    MAX_OPEN_REQUESTS_PER_USER requests of a user are accepted. A parked request counts, but is in no queue.
    """

    def __init__(self, max_open: int = 50) -> None:
        """`max_open`: MAX_OPEN_REQUESTS_PER_USER."""
        self._max_open = max_open
        self._queues: dict[object, deque[KeyLock]] = {}
        self._open: Counter[object] = Counter()
        self.waiting = 0

    def join(self, key: bytes | None) -> "KeyLock":
        """Queue behind the key's earlier locks. The queue has the order of the calls of `join`, which never waits.

        A record without a key gets a queue that it shares with no other record. The lock must be released, even if it
        was never acquired.
        """
        lock = KeyLock(self, key if key is not None else object())
        queue = self._queues.setdefault(lock.key, deque())
        queue.append(lock)
        queue[0].first.set()
        return lock

    def leave(self, lock: "KeyLock") -> None:
        """Remove a lock from its queue, at any position. Leaving twice does nothing."""
        queue = self._queues.get(lock.key)
        if queue is None or lock not in queue:
            return
        queue.remove(lock)
        if lock.counted:
            self._open[lock.key] -= 1
        if queue:
            queue[0].first.set()
        else:
            del self._queues[lock.key], self._open[lock.key]

    def count_open(self, lock: "KeyLock", parked: int, *, accepted: bool) -> None:
        """Count the request as an open request of its key. Raises TooManyRequests, unless the request is `accepted`."""
        if not accepted and self._open[lock.key] + parked >= self._max_open:
            raise TooManyRequests
        lock.counted = True
        self._open[lock.key] += 1


class KeyLock:
    """A request's position in its key queue. The request that is first in the queue holds the key lock."""

    def __init__(self, queue: KeyQueue, key: object) -> None:
        self.key = key
        self.first = asyncio.Event()
        self.counted = False  # among the open requests of its key
        self._queue = queue

    async def acquire(self) -> None:
        """Wait until this lock is the first in its key queue."""
        self._queue.waiting += 1
        try:
            with stages.key_queue():
                await self.first.wait()
        finally:
            self._queue.waiting -= 1

    def count_open(self, parked: int = 0, *, accepted: bool = False) -> None:
        """Count the request as open. The user has `parked` parked requests as well. Raises TooManyRequests."""
        self._queue.count_open(self, parked, accepted=accepted)

    def release(self) -> None:
        """Pass the key lock to the next request in the queue."""
        self._queue.leave(self)


# ------------------------------------------------------------------------------------------------ the limiter


class Limiter:
    """Limits the requests that call dependencies at the same time to MAX_IN_FLIGHT.

    `attempts` admits twice that number. The other attempts are between two calls and wait for Kafka to make a status
    durable, so that Kafka's transactions cost no throughput. `attempts` also bounds the number of small bundles in
    memory. Large bundles are bounded by the Budget.
    """

    def __init__(self, limit: int) -> None:
        """`limit`: MAX_IN_FLIGHT."""
        self.attempts = asyncio.Semaphore(2 * limit)
        self._limit = limit
        self._free = limit
        self._posts: deque[asyncio.Future[None]] = deque()
        self._builds: deque[asyncio.Future[None]] = deque()

    @property
    def in_use(self) -> int:
        """The number of slots in use."""
        return self._limit - self._free

    @asynccontextmanager
    async def build(self) -> AsyncIterator[None]:
        """Hold a slot to fetch and build."""
        await self._acquire(self._builds)
        try:
            yield
        finally:
            self._release()

    @asynccontextmanager
    async def post(self) -> AsyncIterator[None]:
        """Hold a slot to POST. POSTs get slots before builds do, because a finished bundle takes memory."""
        await self._acquire(self._posts)
        try:
            yield
        finally:
            self._release()

    async def _acquire(self, queue: deque[asyncio.Future[None]]) -> None:
        if self._free:
            self._free -= 1
            return
        slot = asyncio.get_running_loop().create_future()
        queue.append(slot)
        try:
            with stages.limiter():
                await slot
        except asyncio.CancelledError:
            if slot.done() and not slot.cancelled():
                self._release()
            raise  # `_release` skips cancelled slots in the queue

    def _release(self) -> None:
        for queue in (self._posts, self._builds):
            while queue:
                slot = queue.popleft()
                if not slot.done():
                    return slot.set_result(None)
        self._free += 1
        return None


# ------------------------------------------------------------------------------------------------ the budget


class Reservation:
    """Bytes that one attempt has reserved. The last `with` block to exit returns them: a POST may outlive its job."""

    def __init__(self, budget: "Budget", size: int) -> None:
        self.size = size
        self.large = size > 0
        self._budget = budget
        self._holders = 0

    def shrink(self, size: int) -> None:
        """Keep `size` bytes for the bundle and return the rest. A small attempt has nothing to return."""
        self._budget.give_back(left := max(0, self.size - size))
        self.size -= left

    def __enter__(self) -> Self:
        self._holders += 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._holders -= 1
        if not self._holders:
            self.shrink(0)


class Budget:
    """The memory for large solutions: MAX_BYTES_IN_FLIGHT bytes."""

    def __init__(self, limit: int) -> None:
        """`limit`: bytes, at least RESERVED_BYTES; otherwise no large attempt could ever start."""
        self.limit = limit
        self.reserved = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def waiting(self) -> int:
        """The number of attempts that wait for a reservation."""
        return len(self._waiting)

    @asynccontextmanager
    async def reserve(self, *, large: bool) -> AsyncIterator[Reservation]:
        """Reserve RESERVED_BYTES for a large attempt, and nothing for a small attempt."""
        if large:
            await self._acquire()
        with Reservation(self, RESERVED_BYTES if large else 0) as reservation:
            yield reservation

    def give_back(self, size: int) -> None:
        """Return bytes to the budget, and grant the waiting reservations that fit now."""
        self.reserved -= size
        while self._waiting and self._fits():
            first = self._waiting.popleft()
            if not first.done():
                self.reserved += RESERVED_BYTES
                first.set_result(None)

    async def _acquire(self) -> None:
        if self._fits():  # then no other attempt waits
            self.reserved += RESERVED_BYTES
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            with stages.budget():
                await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give_back(RESERVED_BYTES)
            elif turn in self._waiting:
                self._waiting.remove(turn)
            raise

    def _fits(self) -> bool:
        return self.reserved + RESERVED_BYTES <= self.limit


# ------------------------------------------------------------------------------------------------ the breakers


@dataclass(frozen=True, slots=True)
class Origin:
    """The user and the solution of an attempt: a failure may be the fault of either."""

    user: str = field(repr=False)
    solution: UUID


class Failures:
    """Failures in a row, and whether they are dependency-wide. The memory does not grow with the number of failures."""

    def __init__(self, count: int = 0) -> None:
        self._count = count
        self._dependency_wide = 0
        self._users: set[str] = set()
        self._solutions: set[UUID] = set()

    def add(self, origin: Origin, *, dependency_wide: bool) -> None:
        """Count a failure. `dependency_wide`: the request cannot have caused the failure."""
        self._count += 1
        self._dependency_wide += dependency_wide
        if self.is_new(origin) and len(self._users) < MIN_ORIGINS:
            self._users.add(origin.user)
            self._solutions.add(origin.solution)

    def is_new(self, origin: Origin) -> bool:
        """Return whether neither this user nor this solution is known to have failed."""
        return origin.user not in self._users and origin.solution not in self._solutions

    @property
    def are_dependency_wide(self) -> bool:
        """Whether FAILURES are dependency-wide by kind, or come from MIN_ORIGINS unrelated users and solutions."""
        return self._dependency_wide >= FAILURES or (self._count >= FAILURES and len(self._users) >= MIN_ORIGINS)


class Breaker:
    """A circuit breaker: closed, open after dependency-wide failures, then half-open.

    While the breaker is half-open, one request at a time is the trial, and the other requests wait for its outcome. If
    the trial fails and may have caused its own failure, the next trial has another user and another solution, until
    MIN_ORIGINS trials have failed. If no such request waits, nothing shows that the dependency is still down: the
    breaker closes, and further failures open it again.
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
        self._waiting: dict[object, Origin] = {}

    @property
    def open(self) -> bool:
        """Whether requests must wait: the breaker is open or half-open."""
        return self._half_open_at is not None

    @property
    def state(self) -> int:
        """0: closed; 1: open; 2: half-open, a trial is running."""
        return 0 if self._half_open_at is None else 1 + self._trial

    async def acquire(self, origin: Origin) -> bool:
        """Wait until the request may pass. Return whether the request is the trial, which must be released."""
        place = object()
        self._waiting[place] = origin
        try:
            while self._half_open_at is not None:
                left = self._half_open_at - self._clock()
                if left <= 0 and not self._trial and (self._failures.is_new(origin) or not self._others_wait()):
                    self._trial = True
                    return True
                await self._sleep(min(max(left, RECHECK_SECONDS), 1.0))
        finally:
            del self._waiting[place]
        return False

    def _others_wait(self) -> bool:
        """Return whether a request waits whose user and solution have not failed since the breaker opened."""
        return any(map(self._failures.is_new, self._waiting.values()))

    def release(self) -> None:
        """End the trial, whether or not it reached the dependency."""
        self._trial = False

    def fail(self, origin: Origin, error: DeploymentError, *, trial: bool) -> None:
        """Count a failure: no answer, or an unusable answer."""
        if self.open and not trial:
            return  # the attempt started before the breaker opened, so its failure is no news
        dependency_wide = isinstance(error, Unavailable) and error.dependency_wide
        self._failures.add(origin, dependency_wide=dependency_wide)
        if self._failures.are_dependency_wide or (dependency_wide and (trial or error.code.endswith("-unauthorized"))):
            self._open(error)
        elif trial and not self._others_wait():
            self._close("nobody else waits for it")

    def succeed(self) -> None:
        """Count an answer."""
        self._failures, self._open_seconds = Failures(), FIRST_OPEN_SECONDS
        if self.open:
            self._close("it answers")

    def _open(self, error: DeploymentError) -> None:
        say = log.info if self.open else log.error
        say("breaker opened", dependency=self.dependency, seconds=self._open_seconds, **error.log_fields())
        self._half_open_at = self._clock() + self._open_seconds
        self._open_seconds = min(2 * self._open_seconds, MAX_OPEN_SECONDS)
        self._failures = Failures(FAILURES)  # counts as enough failures, but without users and solutions yet
        self._trial = False

    def _close(self, why: str) -> None:
        log.warning("breaker closed", dependency=self.dependency, why=why)
        self._half_open_at, self._trial = None, False


class Breakers:
    """A breaker for each dependency, in the order in which an attempt calls the dependencies."""

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
        """Return for how many seconds a dependency was known to be down since the worker started."""
        return self._down_before + (self._clock() - self._down_since if self._down_since is not None else 0.0)

    @asynccontextmanager
    async def guard(self, origin: Origin) -> AsyncIterator[None]:
        """Guard one attempt: wait until no breaker is open, and record the outcome of the attempt."""
        trials: list[Breaker] = []
        try:
            for breaker in self.all.values():
                if await breaker.acquire(origin):
                    trials.append(breaker)  # noqa: PERF401 - a cancellation must release the earlier trials
            yield
            self._learn(None, origin, trials)
        except DeploymentError as error:
            self._learn(error, origin, trials)
            raise
        finally:
            for breaker in trials:
                breaker.release()

    def _learn(self, error: DeploymentError | None, origin: Origin, trials: Sequence[Breaker]) -> None:
        """Record a success for each dependency that answered, and a failure for the dependency at fault."""
        at_fault = _at_fault(error)
        for name, breaker in self.all.items():
            if error is not None and name == at_fault:
                breaker.fail(origin, error, trial=breaker in trials)
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


# ------------------------------------------------------------------------------------------------ all gates together


class AttemptingJob(Protocol):
    """A job that makes attempts, and remembers which part of the outages is already counted."""

    request: Request | DeploymentError
    caller: Caller | None
    seen_down: float | None
    counted_down: float | None


class Admission:
    """The gates that an attempt passes, and the requests whose token cannot be verified yet."""

    def __init__(self, limiter: Limiter, breakers: Breakers, budget: Budget) -> None:
        self.limiter = limiter
        self.breakers = breakers
        self.budget = budget
        self.awaiting_keys = AwaitingKeys()

    @asynccontextmanager
    async def attempt(self, asking: AttemptingJob, *, large: bool = False) -> AsyncIterator["Reservation"]:
        """Hold everything that an attempt needs, from its start to the end of its POST. Raises DeploymentError."""
        if not isinstance(asking.request, Request):
            raise asking.request
        origin = Origin(asking.caller.user_id if asking.caller else "", asking.request.solution_id)
        async with self.budget.reserve(large=large) as room, self.breakers.guard(origin), self.limiter.attempts:
            yield room

    def outage(self, asking: AttemptingJob) -> Outage:
        """Return how long a dependency was down since the last status of `asking`, and whether one is down now."""
        asking.seen_down = down = self.breakers.down_seconds()
        if asking.counted_down is None:
            asking.counted_down = down
        return Outage(timedelta(seconds=down - asking.counted_down), self.breakers.any_open())
