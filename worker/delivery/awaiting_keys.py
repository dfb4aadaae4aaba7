"""Requests whose token names a key that cannot be fetched now, while the keys of other tokens are known.

Whether the key exists is unknown until the issuer is back, and any sender can invent key names. These requests are
therefore excluded from back-pressure and have a limit of their own. They delay no partition, no other user, and no
other request of the user that they claim to come from.
"""

import asyncio
from collections import Counter
from collections.abc import Coroutine
from typing import Any, Protocol

from worker.domain.request import Record

MAX_AWAITING_KEYS = 100  # a tenth of MAX_BUFFERED_RECORDS' default; each request takes a record and a timer


class UnverifiedJob(Protocol):
    """What AwaitingKeys needs of a job."""

    record: Record
    evicted: bool

    def exclude_from_backpressure(self) -> None:
        """Exclude the job's record from back-pressure, and release its key lock."""
        ...

    def include_in_backpressure(self) -> None:
        """Count the job's record among the buffered records again."""
        ...


class AwaitingKeys:
    """Holds at most `limit` requests. One more evicts the oldest request of the record key with the most requests.

    A sender of many requests therefore makes room for a sender of few, and early senders cannot keep out later senders.
    The record key is the best available hint at the user, who is not verified yet.
    """

    def __init__(self, limit: int = MAX_AWAITING_KEYS) -> None:
        self._limit = limit
        self._waiting: dict[UnverifiedJob, asyncio.Task[None]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    async def wait(self, job: UnverifiedJob, sleep: Coroutine[Any, Any, None]) -> None:
        """Sleep while the job is excluded from back-pressure. An evicted job returns early, with `evicted` set."""
        sleeping = self._waiting[job] = asyncio.create_task(sleep)
        job.exclude_from_backpressure()
        if len(self._waiting) > self._limit:
            self._evict()
        try:
            await asyncio.wait([sleeping])
        finally:
            sleeping.cancel()
            self._waiting.pop(job, None)
            job.include_in_backpressure()

    def _evict(self) -> None:
        [(key, _)] = Counter(job.record.key for job in self._waiting).most_common(1)
        oldest = next(job for job in self._waiting if job.record.key == key)
        oldest.evicted = True
        self._waiting.pop(oldest).cancel()
