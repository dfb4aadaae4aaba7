"""What is known of POSTs without an answer: by request id and attempt, each used at most once."""

import asyncio
from collections.abc import Callable
from datetime import datetime

from schemas import DeploymentSettled


class Changed:
    """Something waits until something else is so."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def set(self) -> None:
        """Look again."""
        event, self._event = self._event, asyncio.Event()
        event.set()

    async def until(self, so: Callable[[], bool]) -> None:
        """Returns when it is so."""
        while not so():
            await self._event.wait()


class Settlements:
    """Of one partition."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._found: dict[tuple[str, int], DeploymentSettled] = {}
        self._changed = Changed()

    def add(self, settled: DeploymentSettled) -> None:
        """The first one of an attempt counts."""
        self._found.setdefault((settled.request_id, settled.attempt), settled)
        self._changed.set()

    async def find(self, request_id: str, attempt: int, until: datetime) -> DeploymentSettled | None:
        """The settlement of this attempt, once there is one; None when there is none by then."""
        place = (request_id, attempt)
        try:
            async with asyncio.timeout(max(0.0, (until - self._now()).total_seconds())):
                await self._changed.until(lambda: place in self._found)
        except TimeoutError:
            return self._found.get(place)
        return self._found[place]
