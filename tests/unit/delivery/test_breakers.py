import asyncio

import pytest

from tests.support.fakes import FakeTime
from worker.delivery.admission import FAILURES, Breakers
from worker.errors import DeploymentError, NotFound, OutcomeUnknown, Unavailable

DOWN = Unavailable("catalog-unavailable", "Down.")
REFUSED = Unavailable("artifacts-unauthorized", "Refused.")


class World:
    """Breakers in a time that passes while somebody waits."""

    def __init__(self) -> None:
        self.time = FakeTime()
        self.breakers = Breakers(self.time.seconds, self.time.sleep)

    async def attempt(self, error: DeploymentError | None = None) -> None:
        """One that ends so."""
        try:
            async with self.breakers.closed():
                if error:
                    raise error
        except DeploymentError:
            pass

    @property
    def open(self) -> list[str]:
        return [name for name, it in self.breakers.all.items() if it.open]


async def test_failures_in_a_row_open_it() -> None:
    """An answer in between shows that the dependency is there, a refusal too."""
    world = World()
    for error in (DOWN, DOWN, NotFound("proto-missing", "Gone."), *[DOWN] * (FAILURES - 1)):
        await world.attempt(error)
    assert [] == world.open
    await world.attempt(DOWN)
    assert ["catalog"] == world.open


async def test_refused_credentials_open_it_at_once() -> None:
    """No other request fares better."""
    world = World()
    await world.attempt(REFUSED)
    assert ["artifacts"] == world.open


async def test_unknown_outcomes_are_failures_of_the_playground() -> None:
    """Or every request in turn would be parked."""
    world = World()
    for _ in range(FAILURES):
        await world.attempt(OutcomeUnknown("x"))
    assert ["playground"] == world.open


async def test_one_tries_and_the_others_wait() -> None:
    """Until it has an answer; the time in between is counted."""
    world = World()
    await world.attempt(REFUSED)
    trying, may_end = asyncio.Event(), asyncio.Event()

    async def probe() -> None:
        async with world.breakers.closed():
            trying.set()
            await may_end.wait()

    first = asyncio.create_task(probe())
    await trying.wait()
    second = asyncio.create_task(world.attempt())
    for _ in range(20):
        await asyncio.sleep(0)
    assert not second.done()
    may_end.set()
    await asyncio.gather(first, second)
    assert [] == world.open
    assert world.breakers.down_seconds() >= 5


async def test_whoever_tried_in_vain_lets_the_next_one_try() -> None:
    """It was cancelled, or ended before it came to the dependency; a failure opens it for longer."""
    world = World()
    await world.attempt(REFUSED)
    with pytest.raises(ZeroDivisionError):
        async with world.breakers.closed():
            raise ZeroDivisionError
    before = world.time.seconds()
    await world.attempt(REFUSED)
    assert ["artifacts"] == world.open
    await world.attempt()
    assert ([], True) == (world.open, world.time.seconds() - before > 9)
