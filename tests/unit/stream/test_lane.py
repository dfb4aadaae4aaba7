"""The lane against a model: whatever happens in whatever order, the promises hold."""

import asyncio
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import FINAL_STATES, SUCCESSORS, State
from tests.unit.stream.lane_model import Model, Worker, records

# "move": the group gives the partition to the other worker. "kill": a process ends at once. "zombie": the owner does
# not notice that it lost the partition. "before", "after": the next commit fails, undone or done.
EVENTS = st.lists(
    st.tuples(st.sampled_from(("run", "run", "move", "kill", "zombie", "stop", "before", "after")), st.integers(0, 12)),
    max_size=14,
)


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    """One loop for all cases."""
    with asyncio.Runner() as running:
        yield running


@settings(max_examples=10_000, database=None)
@given(st.integers(1, 5), st.integers(1, 3), EVENTS)
def test_whatever_happens_the_promises_hold(
    runner: asyncio.Runner, count: int, users: int, events: list[tuple[str, int]]
) -> None:
    """Each request ends once, gaplessly; it is POSTed after its intent, and never again unless nothing was sent."""
    model = runner.run(_run(Model(records(count, users)), events))
    assert [] == model.broken
    for number in range(count):
        states = [None, *(it.state for it in model.log if it.request_id == f"r-{number}")]
        sequence = [it.sequence for it in model.log if it.request_id == f"r-{number}"]
        assert list(range(len(sequence))) == sequence
        assert all(after in SUCCESSORS[before] for before, after in pairwise(states))
        assert 1 == sum(state in FINAL_STATES for state in states)
        posts = model.posts[f"r-{number}"]
        assert posts <= 1
        assert posts == 1 or states[-1] is State.FAILED
    assert count == model.committed


async def _run(model: Model, events: list[tuple[str, int]]) -> Model:
    workers = {"A": Worker(model, "A")}
    leaving: list[Worker] = []
    for what, steps in events:
        _happen(model, workers, leaving, what)
        await _steps([*workers.values(), *leaving], steps)
    model.errors.clear()
    for _ in range(1000):
        if model.committed == len(model.records):
            break
        if model.owner in workers and workers[model.owner].lane.stopping:
            _happen(model, workers, leaving, "move")  # who stops leaves
        if model.owner not in workers:
            workers[model.owner] = Worker(model, model.owner)
        await _steps([*workers.values(), *leaving], 1)
    for worker in (*workers.values(), *leaving):
        worker.task.cancel()
        await asyncio.gather(worker.task, return_exceptions=True)
    await asyncio.sleep(0)
    return model


def _happen(model: Model, workers: dict[str, Worker], leaving: list[Worker], what: str) -> None:
    other = "B" if model.owner == "A" else "A"
    if what in ("before", "after"):
        model.errors.append(what)
    elif what == "stop" and model.owner in workers:
        workers[model.owner].lane.stop()
    elif what in ("move", "kill", "zombie"):
        if (old := workers.pop(model.owner, None)) and what != "zombie":
            old.task.cancel()
            if what == "kill":  # a dead process hands nothing over, and its POSTs are as good as sent
                old.lane.hand_over = lambda *_: None  # type: ignore[method-assign]
        elif old:
            leaving.append(old)
        model.owner = other
        if other not in workers:
            workers[other] = Worker(model, other)


async def _steps(workers: list[Worker], steps: int) -> None:
    for _ in range(steps + 1):
        for worker in workers:
            worker.poll()
        await asyncio.sleep(0)
