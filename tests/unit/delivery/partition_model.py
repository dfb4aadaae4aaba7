"""Kafka as a lane sees it, as a model: one partition, two workers, a group that moves it, and a log with epochs.

No imitation of a broker: only what the lane is promised. A fence always wins; a commit of an older epoch is refused;
the proof is refused to whoever the group has not given the partition to.
"""

import asyncio
from collections import Counter
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from worker.delivery.job import LaneJob
from worker.delivery.journal import Journal
from worker.delivery.progress import Progress
from worker.domain.messages import Addresses, Message

from schemas import FINAL_STATES, DeploymentInfo, DeploymentSettled, DeploymentStatus, Kind, State
from tests.support.builders import record, solution
from worker.delivery.admission import Turns
from worker.delivery.partition import Lane
from worker.domain.bundle.archive import Bundle
from worker.domain.bundle.plan import plan_single_model
from worker.domain.request import Record
from worker.errors import OutcomeUnknown, PartitionLost

NOW = datetime(2026, 1, 1, tzinfo=UTC)
IDS = {"solutionId": "11111111-1111-4111-8111-111111111111", "revisionId": "22222222-2222-4222-8222-222222222222"}

PLAN = plan_single_model(solution(kind=Kind.SINGLE_MODEL, image="registry.example/m:1"))
BUNDLE = Bundle(b"zip", "0" * 64, ("model",), {})


class Refused(Exception):
    """What Kafka's errors are to a lane."""


@dataclass(repr=False)  # asyncio makes one of each result
class Model:
    """The partition."""

    records: list[Record]
    epoch: int = 0
    owner: str = ""
    log: list[DeploymentStatus] = field(default_factory=list)
    committed: int = 0
    settled: list[DeploymentSettled] = field(default_factory=list)
    posts: Counter[str] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)  # what the next commits do: "", "before", "after"
    broken: list[str] = field(default_factory=list)  # promises that were not kept

    def commit(self, epoch: int, messages: Sequence[Message], mark: int | None) -> None:
        """All or nothing; with "after" it succeeds and raises."""
        error = self.errors.pop(0) if self.errors else ""
        if epoch != self.epoch or error == "before":
            raise Refused
        self.log += [DeploymentStatus.model_validate_json(message.value) for message in messages]
        if mark is not None:
            if mark < self.committed:
                self.broken.append(f"the offset goes back from {self.committed} to {mark}")
            self.committed = mark
        passed = {status.source.offset for status in self.log if status.state in {*FINAL_STATES, State.PARKED}}
        self.broken += [f"offset {it} passed unfinished" for it in range(self.committed) if it not in passed]
        self.broken += [f"offset {it} waits although it ended" for it in self._ended() if it >= self.committed > it - 1]
        if error == "after":
            raise Refused

    def _ended(self) -> list[int]:
        return [status.source.offset for status in self.log if status.state in FINAL_STATES]


class ModelWriter:
    """One epoch's producer."""

    def __init__(self, model: Model, epoch: int) -> None:
        self._model, self._epoch = model, epoch

    async def commit(self, messages: Sequence[Message], mark: int | None) -> None:
        """A moment passes before and after."""
        await asyncio.sleep(0)
        self._model.commit(self._epoch, messages, mark)
        await asyncio.sleep(0)

    async def close(self) -> None:
        """Nothing to close."""


class ModelLedger:
    """One worker's side of it."""

    def __init__(self, model: Model, worker: str) -> None:
        self._model, self._worker = model, worker

    async def fence(self, partition: int) -> ModelWriter:
        """Always wins."""
        await asyncio.sleep(0)
        self._model.epoch += 1
        return ModelWriter(self._model, self._model.epoch)

    async def prove(self, partition: int) -> int:
        """Only the owner's."""
        await asyncio.sleep(0)
        if self._model.owner != self._worker:
            raise PartitionLost
        return self._model.committed

    async def read(self, partition: int) -> tuple[Journal, list[DeploymentSettled]]:
        """What is committed."""
        await asyncio.sleep(0)
        journal = Journal()
        for status in self._model.log:
            journal.record(status)
        return journal, list(self._model.settled)

    async def fetch(self, partition: int, offset: int) -> Record | None:
        """It is still there."""
        return self._model.records[offset]


class Worker:
    """A lane, a poll loop that gives it records, and a path that deploys."""

    def __init__(self, model: Model, name: str) -> None:
        self.model, self.name = model, name
        self.dead = False
        self._position = 0
        self._handovers: set[asyncio.Task[None]] = set()
        addresses = Addresses("status", "dead", "/model")
        self.lane = Lane(
            0, ModelLedger(model, name), self.handle, addresses, Turns(), asyncio.Semaphore(1), lambda: NOW,
            self.hand_over, self.live, name, 0,
        )  # fmt: skip
        self.task = asyncio.create_task(self.lane.run())

    def live(self, lane: Lane, offset: int) -> None:
        """Read from there."""
        self._position = offset

    def poll(self) -> None:
        """Everything there is."""
        while self.lane.alive and self._position < len(self.model.records):
            self.lane.start(self.model.records[self._position])
            self._position += 1

    def hand_over(self, partition: int, outcome: Coroutine[Any, Any, DeploymentSettled | None]) -> None:
        """At once: into the topic, and to whoever reads it now."""

        async def run() -> None:
            settled = await outcome
            if settled and not self.dead:
                self.model.settled.append(settled)
                self.lane.settlements.add(settled)

        task = asyncio.create_task(run())
        self._handovers.add(task)
        task.add_done_callback(self._handovers.discard)

    async def handle(self, job: LaneJob) -> None:
        """As worker/deploy.py does it, with next to no work; an unknown outcome fails."""
        if job.entry.offset != job.record.offset:
            return job.absorbed()
        progress = Progress(job, lambda: NOW, job.request_id, job.record.source, job.entry.last)
        if progress.state is State.SUBMITTING:
            found = await job.settlement(progress.attempt, NOW)
            if found is None:
                return await progress.failed(OutcomeUnknown("Nobody knows."))
            if found.outcome == "deployed":
                return await progress.deployed(found.deployment)
            await progress.retrying(None, NOW, NOW)
        elif progress.state is None:
            progress.accepted("0" * 64)
        async with job.turn():
            await progress.building()
            await progress.submitting(PLAN, BUNDLE, 0)
            deployment = await job.post(progress.attempt, self.post(job.request_id))
            await progress.deployed(deployment)
        return None

    async def post(self, request_id: str) -> DeploymentInfo:
        """The intent must be durable by now, and nobody else's."""
        last = [status.state for status in self.model.log if status.request_id == request_id]
        if last[-1:] != [State.SUBMITTING]:
            self.model.broken.append(f"a POST of {request_id} after {last}")
        self.model.posts[request_id] += 1
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return DeploymentInfo(id="d", url="http://playground.example/d")


def records(count: int, users: int) -> list[Record]:
    """Each with an id of its own."""
    return [
        record(
            {**IDS, "requestId": f"r-{number}", "jwtToken": "t"},
            offset=number,
            partition=0,
            key=b"%d" % (number % users),
        )
        for number in range(count)
    ]
