"""A model of Kafka for a partition processor: one partition, two workers, a group that moves the partition, epochs.

The model imitates no broker, only the guarantees that the processor relies on. A fence always wins. A commit of an
older epoch is refused. Ownership is refused to a worker that the group has not assigned the partition to. The code in
between is real: processor, job, lifecycle and deployer, with dependencies that answer at once.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from schemas import FINAL_STATES, DeploymentInfo, DeploymentSettled, DeploymentStatus, Kind, Message, State
from tests.support.builders import record, solution
from tests.support.fakes import lifecycle
from worker.delivery.admission import RESERVED_BYTES, Admission, Breakers, Budget, KeyQueue, Limiter
from worker.delivery.partition import PartitionProcessor, WorkerContext
from worker.deploy import Deployer
from worker.domain.bundle.archive import Bundle
from worker.domain.bundle.plan import Plan, plan_single_model
from worker.domain.partition_state import REMEMBERED, Checkpoint, RequestTable, RequestTableReader, StatusEncoder
from worker.domain.request import Record
from worker.domain.solution import Caller
from worker.errors import CODES, OutcomeUnknown, PartitionLost
from worker.ports import Clocks

NOW = datetime(2026, 1, 1, tzinfo=UTC)
IDS = {"solutionId": "11111111-1111-4111-8111-111111111111", "revisionId": "22222222-2222-4222-8222-222222222222"}

PLAN = plan_single_model(solution(kind=Kind.SINGLE_MODEL, image="registry.example/m:1"))
BUNDLE = Bundle(b"zip", "0" * 64, ("model",), {})


class Refused(Exception):
    """An error of Kafka, for the processor."""


@dataclass(repr=False)  # asyncio formats the repr of each result
class Model:
    """The partition: its records, its statuses, its owner, and the promises that were broken."""

    records: list[Record]
    requests: int  # the number of distinct requests, which come first; the other records repeat some of them
    remembered: int = REMEMBERED
    epoch: int = 0
    owner: str = ""
    log: list[DeploymentStatus] = field(default_factory=list)
    checkpoint: Checkpoint = field(default_factory=lambda: Checkpoint(0))
    settled: list[DeploymentSettled] = field(default_factory=list)
    posts: Counter[str] = field(default_factory=Counter)
    unclear: set[str] = field(default_factory=set)  # requests whose first POST has an unknown outcome
    slow: set[str] = field(default_factory=set)  # users whose token takes long to verify
    fetched: list[tuple[int, ...]] = field(default_factory=list)  # offsets that were read with one reader
    errors: list[str] = field(default_factory=list)  # the effect on the next commits: "", "before", "after"
    broken: list[str] = field(default_factory=list)  # broken promises
    read: list[int] = field(default_factory=list)  # the number of statuses that each take-over read

    @property
    def committed(self) -> int:
        """Return the group's offset."""
        return self.checkpoint.offset

    def commit(self, epoch: int, messages: Sequence[Message], checkpoint: Checkpoint | None) -> Sequence[int]:
        """Commit everything or nothing; with "after" the commit succeeds and raises."""
        error = self.errors.pop(0) if self.errors else ""
        if epoch != self.epoch or error == "before":
            raise Refused
        places = []
        for it in messages:
            places.append(len(self.log))
            if it.topic == "status":
                self.log.append(status := DeploymentStatus.model_validate_json(it.value))
                if status.error and status.error.code == "internal":
                    self.broken.append(f"a defect ended {status.request_id}")
        if checkpoint is not None:
            if checkpoint.offset < self.committed:
                self.broken.append(f"the offset goes back from {self.committed} to {checkpoint.offset}")
            self.checkpoint = Checkpoint.of(checkpoint.offset, checkpoint.metadata)
        passed = {status.source.offset for status in self.log if status.state in {*FINAL_STATES, State.PARKED}}
        firsts = range(min(self.committed, self.requests))
        self.broken += [f"offset {it} passed unfinished" for it in firsts if it not in passed]
        self.broken += [f"offset {it} waits although it ended" for it in self._ended() if it >= self.committed > it - 1]
        if error == "after":
            raise Refused
        return places

    def _ended(self) -> list[int]:
        return [status.source.offset for status in self.log if status.state in FINAL_STATES]

    def ended(self) -> bool:
        """Return whether every request has its final status and the group has committed all records."""
        return self.committed == len(self.records) and self.requests == len(self._ended())

    def last(self, request_id: str) -> State | None:
        """Return the durable state of a request."""
        return next((it.state for it in reversed(self.log) if it.request_id == request_id), None)


class ModelWriter:
    """The producer of one epoch."""

    def __init__(self, model: Model, epoch: int) -> None:
        self._model, self._epoch = model, epoch

    async def commit(self, messages: Sequence[Message], checkpoint: Checkpoint | None) -> Sequence[int]:
        """Commit, with a pause before and after."""
        await asyncio.sleep(0)
        places = self._model.commit(self._epoch, messages, checkpoint)
        await asyncio.sleep(0)
        return places

    async def close(self) -> None:
        """Do nothing: there is nothing to close."""


class ModelStore:
    """The partition store of one worker."""

    def __init__(self, model: Model, worker: str) -> None:
        self._model, self._worker = model, worker
        self.transaction_slots = asyncio.Semaphore(1)

    async def fence(self, partition: int) -> ModelWriter:
        """Fence the earlier owner, which always succeeds."""
        await asyncio.sleep(0)
        self._model.epoch += 1
        return ModelWriter(self._model, self._model.epoch)

    async def verify_ownership(self, partition: int) -> tuple[Checkpoint, int]:
        """Return checkpoint and end offset to the owner; raise PartitionLost for another worker."""
        await asyncio.sleep(0)
        if self._model.owner != self._worker:
            raise PartitionLost
        return self._model.checkpoint, len(self._model.records)

    async def load(self, partition: int, checkpoint: Checkpoint, table: RequestTable) -> list[DeploymentSettled]:
        """Load the committed statuses that the checkpoint names."""
        await asyncio.sleep(0)
        log, reader = self._model.log, RequestTableReader(table)
        table.remembered, table.read_from = self._model.remembered, checkpoint.statuses_from
        for at in (*checkpoint.parked, *range(checkpoint.statuses_from, len(log))):
            reader.add(log[at].request_id.encode(), log[at].to_json(), at, 0, None)
        reader.finish(len(log))
        self._model.read.append(len(log) - checkpoint.statuses_from)
        return list(self._model.settled)

    async def permitted(self, partition: int, request_id: str, appended_at: float) -> str | None:
        """Permit no replay."""
        return None

    async def fetch(self, partition: int, offsets: Sequence[int]) -> AsyncIterator[Record]:
        """Yield the records at these offsets, which are never deleted."""
        self._model.fetched.append(tuple(offsets))
        for offset in offsets:
            await asyncio.sleep(0)
            yield self._model.records[offset]


class ModelClock:
    """The time of one worker, which passes only during a sleep; each sleep takes a few turns of the loop."""

    def __init__(self) -> None:
        self.now = NOW

    def clocks(self) -> Clocks:
        """Return clocks that all show this time."""
        return Clocks(lambda: self.now, self.seconds, self.sleep, lambda: 0.5)

    def seconds(self) -> float:
        """Return the seconds since the epoch."""
        return self.now.timestamp()

    async def sleep(self, seconds: float) -> None:
        """Sleep; every sleep takes the same number of turns, whatever its length."""
        until = self.now + timedelta(seconds=seconds)
        for _ in range(3):
            await asyncio.sleep(0)
        self.now = max(self.now, until)


class Worker:
    """A processor, a poll loop that feeds it records, and the deployer with dependencies that answer at once."""

    def __init__(self, model: Model, name: str) -> None:
        self.model, self.name = model, name
        self.dead = False
        self._position = 0
        self._handovers: set[asyncio.Task[None]] = set()
        clocks = ModelClock().clocks()
        admission = Admission(Limiter(32), Breakers(clocks.monotonic, clocks.sleep), Budget(RESERVED_BYTES))
        builder: Any = self  # and tokens, and the playground
        deployer = Deployer(self, builder, self, admission, clocks, lifecycle())
        encoder = StatusEncoder("status", "dead", "/model")
        context = WorkerContext(
            ModelStore(model, name), deployer.handle, encoder, KeyQueue(), clocks, self.hand_over, 259_200
        )
        self.processor = PartitionProcessor(0, context, self.on_ready)
        self.task = asyncio.create_task(self.processor.run())

    def on_ready(self, processor: PartitionProcessor, offset: int) -> None:
        """Read from this offset."""
        self._position = offset

    def poll(self) -> None:
        """Deliver all remaining records."""
        ready = self.processor.ready and not self.processor.stopping
        while ready and self._position < len(self.model.records):
            self.processor.receive(self.model.records[self._position])
            self._position += 1

    def hand_over(self, partition: int, outcome: Coroutine[Any, Any, DeploymentSettled | None]) -> None:
        """Hand the outcome over at once: to the topic, and to the current reader."""

        async def run() -> None:
            settled = await outcome
            if settled and not self.dead:
                self.model.settled.append(settled)
                self.processor.on_settlement(settled)

        task = asyncio.create_task(run())
        self._handovers.add(task)
        task.add_done_callback(self._handovers.discard)

    # --------------------------------------------------------------------------------------------- the dependencies

    async def authenticate(self, token: str, appended_at: float | None, *, times: bool = True) -> Caller:
        """Return the caller; the token is the user's id."""
        for _ in range(40 if token in self.model.slow else 1):
            await asyncio.sleep(0)
        return self.read(token)

    def read(self, token: str) -> Caller:
        """Return the caller without verification."""
        return Caller(token, f"{token}@example.org")

    async def build(
        self, solution_id: UUID, revision_id: UUID, caller: Caller | None, *, large: bool
    ) -> tuple[Plan, Bundle]:
        """Return the same bundle for every request."""
        await asyncio.sleep(0)
        return PLAN, BUNDLE

    async def submit(self, bundle: bytes, username: str, request_id: str, seconds: float) -> DeploymentInfo:
        """Check that the intent is durable and the request's last status, and answer."""
        if self.model.last(request_id) is not State.SUBMITTING:
            self.model.broken.append(f"a POST of {request_id} after {self.model.last(request_id)}")
        self.model.posts[request_id] += 1
        if request_id in self.model.unclear:
            self.model.unclear.remove(request_id)
            raise OutcomeUnknown(CODES["outcome-unknown"])
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return DeploymentInfo(id="d", url="http://playground.example/d")


def records(count: int, users: int, repeated: int = 0) -> list[Record]:
    """Return records with distinct ids, followed by the first `repeated` of them again."""
    numbers = [*range(count), *range(min(repeated, count))]
    return [
        record(
            {**IDS, "requestId": f"r-{number}", "jwtToken": f"{number % users}"},
            offset=offset,
            partition=0,
            key=b"%d" % (number % users),
        )
        for offset, number in enumerate(numbers)
    ]
