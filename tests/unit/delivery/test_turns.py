import asyncio

from worker.delivery.admission import Turn, Turns


class Worker:
    """Enters a turn in a task of its own and leaves it when told."""

    def __init__(self, turn: Turn) -> None:
        self.entered = asyncio.Event()
        self.leave = asyncio.Event()
        self.task = asyncio.create_task(self._work(turn))

    async def _work(self, turn: Turn) -> None:
        async with turn:
            self.entered.set()
            await self.leave.wait()


async def settled() -> None:
    """Every task that can go on has gone on."""
    for _ in range(10):
        await asyncio.sleep(0)


async def entered(*workers: Worker) -> list[bool]:
    await settled()
    return [worker.entered.is_set() for worker in workers]


async def finish(*workers: Worker) -> None:
    for worker in workers:
        worker.leave.set()
    await asyncio.gather(*(worker.task for worker in workers))


async def test_one_key_works_in_the_order_it_came() -> None:
    """The second of a user waits for the first, whoever asks to enter earlier."""
    turns = Turns()
    first, second = turns.join(b"a"), turns.join(b"a")
    late = Worker(second)
    assert [False] == await entered(late)
    early = Worker(first)
    assert [True, False] == await entered(early, late)
    await finish(early)
    assert [True] == await entered(late)
    await finish(late)


async def test_other_keys_are_not_held_up() -> None:
    """A slow user is alone with it; records without a key wait for nobody."""
    turns = Turns()
    workers = [Worker(turns.join(key)) for key in (b"a", b"b", None, None)]
    assert await entered(*workers) == [True] * 4
    await finish(*workers)


async def test_a_turn_that_is_closed_unused_lets_the_next_one_go() -> None:
    """A rejected request never enters; closing from the middle keeps the order of the others."""
    turns = Turns()
    first, second, third = (turns.join(b"a") for _ in range(3))
    second.close()
    last = Worker(third)
    assert [False] == await entered(last)
    first.close()
    assert [True] == await entered(last)
    await finish(last)
    third.close()


async def test_a_cancelled_waiter_keeps_no_place() -> None:
    """Its lane died while it waited; the next of its user goes when the first is done."""
    turns = Turns()
    holder, waiter, last = (Worker(turns.join(b"a")) for _ in range(3))
    assert [True, False, False] == await entered(holder, waiter, last)
    waiter.task.cancel()
    await asyncio.gather(waiter.task, return_exceptions=True)
    await finish(holder)
    assert [True] == await entered(last)
    await finish(last)


async def test_a_key_that_is_done_is_forgotten() -> None:
    """Users come and go; memory does not grow with them."""
    turns = Turns()
    for key in range(100):
        turns.join(bytes([key])).close()
    assert {} == turns._queues
