"""R3: SIGKILL at each named point on the path of a request, and the exact outcome that is expected after it."""

import asyncio
from pathlib import Path

import pytest

from schemas import State
from tests.extended.faults.report import Row, size
from tests.support.faults.worker import POINTS
from tests.support.faults.world import World, open_world

pytestmark = pytest.mark.timeout(3000)

# Point → the last status by the next worker, and the number of complete POSTs that the playground got.
EXPECTED = {
    "before-intent": (State.DEPLOYED, 1),
    "after-intent": (State.PARKED, 0),
    "before-bytes": (State.PARKED, 0),
    "mid-body": (State.PARKED, 0),
    "before-response": (State.PARKED, 1),
    "after-response": (State.PARKED, 1),
    "before-commit": (State.PARKED, 1),
    "mid-commit": (State.PARKED, 1),
    "after-commit": (State.DEPLOYED, 1),
}


async def test_points(kafka: str, tmp_path: Path) -> None:
    """R3: a request killed before its intent is repeated; after its intent it is parked, unless its end is durable."""
    row, times = Row("R3", "SIGKILL at each of nine points"), size(2, 20)
    wrong: dict[str, int] = dict.fromkeys(POINTS, 0)

    async def one(point: str) -> None:
        async with open_world(kafka, tmp_path / point, partitions=1) as world:
            for number in range(times):
                wrong[point] += not await killed_at(world, point, f"r-{number}", number)
            last = await world.start(ready=False)
            await world.until_ended(world.asked)
            wrong[point] += sum(not as_expected(world, point, it) for it in world.asked)
            await world.settle_parked()
            verdict = world.judge()
            wrong[point] += verdict.deployed != times or verdict.illegal + verdict.lost > 0
            last.process.kill()

    assert tuple(EXPECTED) == POINTS
    gate = asyncio.Semaphore(5)  # worlds at once

    async def gated(point: str) -> None:
        async with gate:
            await one(point)

    await asyncio.gather(*map(gated, POINTS))
    row.report({"kills": times * len(POINTS), **wrong}, kept=not any(wrong.values()))
    assert dict.fromkeys(POINTS, 0) == wrong


async def killed_at(world: World, point: str, request_id: str, number: int) -> bool:
    """Return whether a worker that gets this request dies at the point. By then it has finished earlier requests."""
    worker = await world.start(kill=f"{point}:{request_id}", ready=False)
    if world.asked:
        await world.until_ended(world.asked)
    if point == "before-response":

        async def kill(key: str) -> None:
            if key == request_id:
                worker.process.kill()
                await worker.process.wait()

        world.playground.answer = kill
    await world.ask(request_id, number)
    async with asyncio.timeout(60):
        return await worker.process.wait() == -9


def as_expected(world: World, point: str, request_id: str) -> bool:
    """Return whether the last status and the POSTs are as expected."""
    return EXPECTED[point] == (world.statuses[request_id][-1].state, world.playground.posts[request_id])
