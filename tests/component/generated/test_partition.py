"""The partition processor against a model: the promises hold for any events in any order."""

import asyncio
from collections.abc import Iterator
from itertools import count, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from schemas import FINAL_STATES, SUCCESSORS, DeploymentSettled, State
from tests.component.generated.partition_model import Model, Worker, records
from tests.support.generated import ROUND, ROUNDS
from worker.domain.partition_state import REMEMBERED

# "move": the group assigns the partition to the other worker. "kill": a process dies at once. "zombie": the owner does
# not notice that it lost the partition. "before", "after": the next commit fails, undone or done. "retry", "failed" and
# "deployed": an operator settles the parked requests, twice.
OUTCOMES = ("retry", "failed", "deployed")
EVENTS = st.lists(
    st.tuples(
        st.sampled_from(("run", "run", "move", "kill", "zombie", "stop", "before", "after", *OUTCOMES)),
        st.integers(0, 12),
    ),
    max_size=14,
)


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    """One event loop for all cases."""
    with asyncio.Runner() as running:
        yield running


@pytest.mark.parametrize("number", ROUNDS)
@settings(max_examples=ROUND, database=None)
@given(
    requests=st.integers(1, 5),
    users=st.integers(1, 3),
    repeated=st.integers(0, 2),
    unclear=st.integers(0, 2),
    slow=st.sets(st.sampled_from("012"), max_size=2),
    events=EVENTS,
)
def test_whatever_happens_the_promises_hold(
    runner: asyncio.Runner,
    number: int,
    requests: int,
    users: int,
    repeated: int,
    unclear: int,
    slow: set[str],
    events: list[tuple[str, int]],
) -> None:
    """Each request ends once, gaplessly; it is POSTed after its intent, and again only if settled as `retry`."""
    with capture_logs():
        # Without repeated records no ended request need be remembered, and take-overs read as little as possible.
        remembered = REMEMBERED if repeated else 0
        model = Model(records(requests, users, repeated), requests, remembered)
        model.slow, model.unclear = slow, {f"r-{number}" for number in range(unclear)}
        runner.run(_run(model, events))
    assert [] == model.broken
    for number in range(requests):
        states = [None, *(it.state for it in model.log if it.request_id == f"r-{number}")]
        sequence = [it.sequence for it in model.log if it.request_id == f"r-{number}"]
        assert list(range(len(sequence))) == sequence
        assert all(after in SUCCESSORS[before] for before, after in pairwise(states))
        assert 1 == sum(state in FINAL_STATES for state in states)
        posts = model.posts[f"r-{number}"]
        settled = [it.outcome for it in model.settled if (it.request_id, it.by) == (f"r-{number}", "ada")]
        assert posts <= 1 + settled.count("retry")
        assert posts >= 1 or states[-1] is State.FAILED or "deployed" in settled
    assert model.ended()
    assert {f"r-{number}" for number in range(requests)} == {it.request_id for it in model.log}


class Group:
    """The workers: the owner of the partition, and earlier owners that have not noticed that they lost it."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.zombies: list[Worker] = []
        self._numbers = count()
        self.owner = self._next()

    def happen(self, what: str) -> None:
        """Cause one event."""
        if what in ("before", "after"):
            self.model.errors.append(what)
        elif what in OUTCOMES:
            self._settle(what)
        elif what == "stop":
            self.owner.processor.stop()
        elif what in ("move", "kill", "zombie"):
            if what == "zombie":
                self.zombies.append(self.owner)
            else:
                self.owner.task.cancel()
            if what == "kill":  # a dead process hands no outcome over
                self.owner.dead = True
            self.owner = self._next()

    def _settle(self, outcome: str) -> None:
        last = {it.request_id: it for it in self.model.log}
        for it in last.values():
            if it.state is State.PARKED:
                said = {"requestId": it.request_id, "attempt": it.attempt, "outcome": outcome, "by": "ada"}
                settled = DeploymentSettled.model_validate(said)
                for worker in (self.owner, *self.zombies) * 2:
                    worker.processor.on_settlement(settled)
                self.model.settled.append(settled)

    def _next(self) -> Worker:
        self.model.owner = f"worker {next(self._numbers)}"
        return Worker(self.model, self.model.owner)

    async def steps(self, turns: int) -> None:
        """Run this number of turns of the loop."""
        for _ in range(turns):
            for worker in (self.owner, *self.zombies):
                worker.poll()
            await asyncio.sleep(0)

    async def end(self) -> None:
        """Run until everything is done, or never will be."""
        self.model.errors.clear()
        if self.owner.processor.stopping:
            self.happen("move")  # a stopping worker leaves the group
        for _ in range(1000):
            if self.model.ended():
                break
            await self.steps(1)
        tasks = [worker.task for worker in (self.owner, *self.zombies)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)


async def _run(model: Model, events: list[tuple[str, int]]) -> Model:
    group = Group(model)
    for what, turns in events:
        group.happen(what)
        await group.steps(turns + 1)
    await group.end()
    return model


async def test_a_post_outlives_its_processor() -> None:
    """The answer to a POST that outlives its processor is handed over to the partition's next owner.

    The bytes of the POST cannot be called back.
    """
    with capture_logs():
        group = Group(Model(records(1, 1), 1))
        while not group.model.posts:
            await group.steps(1)
        group.happen("move")
        await group.steps(30)
        await group.end()
    assert ["deployed"] == [settled.outcome for settled in group.model.settled]
    assert State.DEPLOYED is group.model.log[-1].state
