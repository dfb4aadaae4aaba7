"""Requests whose token names a key that the issuer cannot be asked for now, while the keys of others are known.

Whether it exists is known when the issuer is back, and anybody can make such names up. So they have a share of their
own, next to the records that are read: they hold up no partition, no other user and no other request of the user that
they claim to be of.
"""

import asyncio
from collections import Counter
from collections.abc import Coroutine
from typing import Any, Protocol

from worker.domain.request import Record

MAX_AWAITING_KEYS = 100  # a tenth of MAX_BUFFERED_RECORDS; each costs its record and a timer


class UnverifiedJob(Protocol):
    """The part of a job that waits."""

    record: Record
    gave_way: bool

    def exclude_from_backpressure(self) -> None:
        """Let it hold up nobody."""
        ...

    def include_in_backpressure(self) -> None:
        """Count it among the records that are read."""
        ...


class AwaitingKeys:
    """At most so many at once. Another one takes the place of one of the key with most of them: its oldest.

    So a sender of many makes room for one of few, and who was there first cannot keep out those who come later. Which
    user a record is of is not verified yet; that of its key is the best there is.
    """

    def __init__(self, limit: int = MAX_AWAITING_KEYS) -> None:
        self._limit = limit
        self._waiting: dict[UnverifiedJob, asyncio.Task[None]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    async def wait(self, job: UnverifiedJob, sleep: Coroutine[Any, Any, None]) -> None:
        """Sleep outside of what is counted; less long when it has to give way, which it is told."""
        sleeping = self._waiting[job] = asyncio.create_task(sleep)
        job.exclude_from_backpressure()
        if len(self._waiting) > self._limit:
            self._give_way()
        try:
            await asyncio.wait([sleeping])
        finally:
            sleeping.cancel()
            self._waiting.pop(job, None)
            job.include_in_backpressure()

    def _give_way(self) -> None:
        [(key, _)] = Counter(job.record.key for job in self._waiting).most_common(1)
        oldest = next(job for job in self._waiting if job.record.key == key)
        oldest.gave_way = True
        self._waiting.pop(oldest).cancel()
