import asyncio
from contextlib import AbstractAsyncContextManager

import pytest

from tests.support.fakes import FakeJob, FakeTime
from worker.delivery.admission import RESERVED_BYTES, Admission, Breakers, Budget, KeyLock, KeyQueue, Limiter
from worker.errors import TooManyRequests


async def settled() -> None:
    """Let every task that can continue do so."""
    for _ in range(10):
        await asyncio.sleep(0)


# ------------------------------------------------------------------------------------------------ one per key


class Worker:
    """A task that acquires a lock and releases it on request."""

    def __init__(self, lock: KeyLock) -> None:
        self.leave = asyncio.Event()
        self.lock = lock
        self.acquired = False
        self.task = asyncio.create_task(self._work())

    async def _work(self) -> None:
        try:
            await self.lock.acquire()
            self.acquired = True
            await self.leave.wait()
        finally:
            self.acquired = False
            self.lock.release()


async def acquired(*workers: Worker) -> list[bool]:
    await settled()
    return [worker.acquired for worker in workers]


async def finish(*workers: Worker) -> None:
    for worker in workers:
        worker.leave.set()
    await asyncio.gather(*(worker.task for worker in workers))


async def test_one_key_works_in_the_order_it_joined() -> None:
    """A user's second request waits for the first, even if it tries to acquire the lock earlier."""
    queue = KeyQueue()
    first, second = queue.join(b"a"), queue.join(b"a")
    late = Worker(second)
    assert [False] == await acquired(late)
    early = Worker(first)
    assert [True, False] == await acquired(early, late)
    await finish(early)
    assert [False, True] == await acquired(early, late)
    await finish(late)


async def test_other_keys_are_not_held_up() -> None:
    """A slow user delays no other key, and records without a key never wait."""
    queue = KeyQueue()
    workers = [Worker(queue.join(key)) for key in (b"a", b"b", None, None)]
    assert [True] * 4 == await acquired(*workers)
    await finish(*workers)


async def test_a_lock_that_is_released_unused_lets_the_next_one_go() -> None:
    """Releasing an unused lock lets the next request continue, and leaving the middle keeps the order of the others."""
    queue = KeyQueue()
    first, second, third = (queue.join(b"a") for _ in range(3))
    second.release()
    last = Worker(third)
    assert [False] == await acquired(last)
    first.release()
    first.release()
    assert [True] == await acquired(last)
    await finish(last)


async def test_a_cancelled_waiter_keeps_no_place() -> None:
    """A cancelled waiter leaves the queue, and the user's next request continues when the first is done."""
    queue = KeyQueue()
    holder, waiter, last = (Worker(queue.join(b"a")) for _ in range(3))
    assert [True, False, False] == await acquired(holder, waiter, last)
    waiter.task.cancel()
    await asyncio.gather(waiter.task, return_exceptions=True)
    await finish(holder)
    assert [True] == await acquired(last)
    await finish(last)


async def test_a_key_that_is_done_is_forgotten() -> None:
    """A finished key is forgotten, so memory does not grow with the number of users."""
    queue = KeyQueue()
    for key in range(100):
        lock = queue.join(bytes([key]))
        lock.count_open()
        lock.release()
        lock.release()
    assert ({}, {}) == (queue._queues, queue._open)


async def test_a_key_has_so_many_open_and_no_more() -> None:
    """A key's limit counts only its own accepted requests, and an ended request makes room."""
    queue = KeyQueue(2)
    first, second, third = (queue.join(b"a") for _ in range(3))
    first.count_open()
    second.count_open()
    queue.join(b"b").count_open()
    with pytest.raises(TooManyRequests):
        third.count_open()
    second.release()
    third.count_open()
    with pytest.raises(TooManyRequests):
        queue.join(b"a").count_open()


async def test_what_was_accepted_stays_so() -> None:
    """Requests that an earlier worker accepted under a higher limit count and are never rejected."""
    queue = KeyQueue(1)
    for _ in range(3):
        queue.join(b"a").count_open(accepted=True)
    last = queue.join(b"a")
    with pytest.raises(TooManyRequests):
        last.count_open()
    last.release()
    assert 3 == queue._open[b"a"]


async def test_those_that_wait_are_counted() -> None:
    """Waiting requests are counted without the first of each key and without those that stopped waiting."""
    queue = KeyQueue()
    workers = [Worker(queue.join(key)) for key in (b"a", b"a", b"a", b"b")]
    await acquired(*workers)
    assert 2 == queue.waiting
    workers[1].task.cancel()
    await asyncio.gather(workers[1].task, return_exceptions=True)
    assert 1 == queue.waiting
    await finish(workers[0], workers[3])
    await acquired(workers[2])
    assert 0 == queue.waiting
    await finish(workers[2])


# ------------------------------------------------------------------------------------------------ the limit for all


class Holder:
    """A task that holds something until it is released."""

    def __init__(self, what: AbstractAsyncContextManager[object]) -> None:
        self.entered = False
        self.leave = asyncio.Event()
        self.task = asyncio.create_task(self._hold(what))

    async def _hold(self, what: AbstractAsyncContextManager[object]) -> None:
        async with what:
            self.entered = True
            await self.leave.wait()

    async def end(self) -> None:
        self.leave.set()
        await self.task
        await settled()


async def test_so_many_call_dependencies_at_once() -> None:
    """Builds and POSTs share the limit, and POSTs have priority because their bundles take memory."""
    limiter = Limiter(2)
    first, second = Holder(limiter.build()), Holder(limiter.post())
    await settled()
    builds, posts = Holder(limiter.build()), Holder(limiter.post())
    await settled()
    assert [True, True, False, False] == [it.entered for it in (first, second, builds, posts)]
    await first.end()
    assert (True, False, 2) == (posts.entered, builds.entered, limiter.in_use)
    await second.end()
    assert builds.entered
    await posts.end()
    await builds.end()
    assert 0 == limiter.in_use


async def test_a_cancelled_waiter_takes_no_slot() -> None:
    """A waiter cancelled before its turn, or at the moment it comes, takes no slot."""
    limiter = Limiter(1)
    holder = Holder(limiter.build())
    await settled()
    waiters = [Holder(limiter.build()) for _ in range(2)]
    await settled()
    waiters[0].task.cancel()
    holder.leave.set()
    await holder.task
    waiters[1].task.cancel()
    await asyncio.gather(*(it.task for it in waiters), return_exceptions=True)
    last = Holder(limiter.post())
    await settled()
    assert last.entered
    await last.end()


async def test_twice_as_many_attempts_may_have_begun() -> None:
    """Twice as many attempts as slots may begin, so no wait for Kafka blocks a slot and the bundles stay bounded."""
    time = FakeTime()
    admission = Admission(Limiter(2), Breakers(time.seconds, time.sleep), Budget(RESERVED_BYTES))
    attempts = [Holder(admission.attempt(FakeJob())) for _ in range(5)]
    await settled()
    assert [True] * 4 + [False] == [it.entered for it in attempts]
    await attempts[0].end()
    assert attempts[4].entered
    for attempt in attempts[1:]:
        await attempt.end()
