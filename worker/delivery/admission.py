"""Who may work now: one request of a user at a time, so many in all, and none on a dependency that is down."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Protocol

from worker.delivery.breakers import Breakers, Source
from worker.domain.lifecycle import Outage
from worker.domain.request import Request
from worker.domain.solution import Caller
from worker.observability.telemetry import stages

# ------------------------------------------------------------------------------------------------ one of a key


class KeyQueue:
    """Requests with the same key work one after the other, in the order in which they joined."""

    def __init__(self) -> None:
        self._queues: dict[object, deque[KeyLock]] = {}

    def join(self, key: bytes | None) -> "KeyLock":
        """Queue behind the key's earlier locks, at once: the caller's order is the order of work.

        A record without a key queues behind nothing. The lock must be released, acquired or not.
        """
        lock = KeyLock(self, key if key is not None else object())
        queue = self._queues.setdefault(lock.key, deque())
        queue.append(lock)
        queue[0].first.set()
        return lock

    def leave(self, lock: "KeyLock") -> None:
        """Take a lock out of its queue, wherever it stands. Leaving twice does nothing."""
        queue = self._queues.get(lock.key)
        if queue is None or lock not in queue:
            return
        queue.remove(lock)
        if queue:
            queue[0].first.set()
        else:
            del self._queues[lock.key]


class KeyLock:
    """A place in the queue of a key."""

    def __init__(self, queue: KeyQueue, key: object) -> None:
        self.key = key
        self.first = asyncio.Event()
        self.acquired = False
        self._queue = queue

    async def acquire(self) -> None:
        """Wait until it is the first of its key."""
        with stages.key_queue():
            await self.first.wait()
        self.acquired = True

    def release(self) -> None:
        """Let the next one of the key go."""
        self.acquired = False
        self._queue.leave(self)


# ------------------------------------------------------------------------------------------------ so many in all


class Limiter:
    """MAX_IN_FLIGHT requests call dependencies at the same time.

    As many again may be between two such steps, waiting for Kafka to make a status durable: so its transactions cost no
    throughput, and the bundles in memory have a bound.
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
        """How many of the slots are in use."""
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
        """Hold a slot to POST. It goes before those that want to build: a finished bundle takes memory."""
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
            raise  # a cancelled slot is passed over in its queue

    def _release(self) -> None:
        for queue in (self._posts, self._builds):
            while queue:
                slot = queue.popleft()
                if not slot.done():
                    return slot.set_result(None)
        self._free += 1
        return None


# ------------------------------------------------------------------------------------------------ both gates


class Asking(Protocol):
    """A request that makes attempts, and remembers how much of the outages is counted."""

    caller: Caller | None
    seen_down: float | None
    counted_down: float | None

    def readable_request(self) -> Request:
        """Return what it asks for. Raises DeploymentError."""
        ...


class Admission:
    """Both gates that an attempt goes through."""

    def __init__(self, limiter: Limiter, breakers: Breakers) -> None:
        self.limiter = limiter
        self.breakers = breakers

    @asynccontextmanager
    async def attempt(self, asking: Asking) -> AsyncIterator[None]:
        """Hold what an attempt needs from its beginning to the end of its POST. Raises DeploymentError."""
        source = Source(asking.caller.user_id if asking.caller else "", asking.readable_request().solution_id)
        async with self.breakers.guard(source), self.limiter.attempts:
            yield

    def outage(self, asking: Asking) -> Outage:
        """Return for how long a dependency was known to be down since the last status of `asking`."""
        asking.seen_down = down = self.breakers.down_seconds()
        if asking.counted_down is None:
            asking.counted_down = down
        return Outage(timedelta(seconds=down - asking.counted_down), self.breakers.any_open())
