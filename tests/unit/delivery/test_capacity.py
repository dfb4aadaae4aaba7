import asyncio
from contextlib import AbstractAsyncContextManager

from tests.unit.delivery.test_turns import settled
from worker.delivery.admission import Capacity


class Holder:
    """Holds something until it is told."""

    def __init__(self, what: AbstractAsyncContextManager[None]) -> None:
        self.entered = False
        self.leave = asyncio.Event()
        self.task = asyncio.create_task(self._hold(what))

    async def _hold(self, what: AbstractAsyncContextManager[None]) -> None:
        async with what:
            self.entered = True
            await self.leave.wait()

    async def end(self) -> None:
        self.leave.set()
        await self.task
        await settled()


async def test_so_many_speak_to_dependencies_at_once() -> None:
    """Building and posting share the limit; who posts goes first, because its bundle takes memory."""
    capacity = Capacity(2)
    first, second = Holder(capacity.building()), Holder(capacity.posting())
    await settled()
    builds, posts = Holder(capacity.building()), Holder(capacity.posting())
    await settled()
    assert [True, True, False, False] == [it.entered for it in (first, second, builds, posts)]
    await first.end()
    assert (True, False) == (posts.entered, builds.entered)
    await second.end()
    assert builds.entered
    await posts.end()
    await builds.end()


async def test_a_cancelled_waiter_takes_no_place() -> None:
    """Before its turn, and at the very moment it comes."""
    capacity = Capacity(1)
    holder = Holder(capacity.building())
    await settled()
    waiters = [Holder(capacity.building()) for _ in range(2)]
    await settled()
    waiters[0].task.cancel()
    holder.leave.set()
    await holder.task
    waiters[1].task.cancel()
    await asyncio.gather(*(it.task for it in waiters), return_exceptions=True)
    last = Holder(capacity.posting())
    await settled()
    assert last.entered
    await last.end()
