"""How much is worked on at once.

MAX_IN_FLIGHT requests speak to neighbours at the same time. As many again may be between two such steps, waiting for
Kafka to make a status durable: so its transactions cost no throughput, and the bundles in memory have a bound.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from worker.telemetry import stage


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
                with stage("capacity"):
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
