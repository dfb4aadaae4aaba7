"""A lane: everything of one owned partition. Nobody else writes its statuses, and nothing is written without proof.

Take-over, in this order: fence the last owner's producer; prove by a plain commit that the group gave the partition
to us, because fencing alone always wins; read the journal; go on from where it ends. A lane dies with any transaction
whose outcome is not success, and only the same take-over brings it back. Where the proof is refused it waits until
the group gives the partition anew.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import structlog

from schemas import FINAL_STATES, DeploymentSettled, DeploymentStatus, State
from worker.delivery.admission import Turns
from worker.delivery.job import LaneJob
from worker.delivery.journal import Entry, Journal
from worker.delivery.offsets import OffsetTracker
from worker.delivery.settlements import Changed, Settlements
from worker.domain.dead_letter import DeadLetter
from worker.domain.messages import Message
from worker.domain.request import Record, Request, derived_id, read_request
from worker.errors import CODES, DeploymentError, NotSettled, PartitionLost, StatusNotPublished
from worker.observability.metrics import TRANSACTION_SECONDS, TRANSACTIONS
from worker.observability.telemetry import publishing

BATCH = 200  # statuses in one transaction
REBIRTH_SECONDS = 0.5

log = structlog.get_logger()


class Writer(Protocol):
    """The fenced producer of one partition."""

    async def commit(self, messages: Sequence[Message], mark: int | None) -> None:
        """One transaction with the offset. Raises when it did not succeed, or may not have."""
        ...

    async def close(self) -> None:
        """Within seconds, whatever state it is in."""
        ...


class Ledger(Protocol):
    """What a lane needs of Kafka. Everything raises KafkaError or TimeoutError, and nothing waits without end."""

    async def fence(self, partition: int) -> Writer:
        """Nobody else's transactions on this partition succeed from here on."""
        ...

    async def prove(self, partition: int) -> int:
        """The group's offset. Raises PartitionLost when the group has not given the partition to us."""
        ...

    async def read(self, partition: int) -> tuple[Journal, list[DeploymentSettled]]:
        """All statuses and settlements up to now."""
        ...

    async def fetch(self, partition: int, offset: int) -> Record | None:
        """One record of the requests topic; None when it is gone."""
        ...


@dataclass(frozen=True, slots=True)
class Item:
    """One status on its way into a transaction."""

    job: LaneJob
    status: DeploymentStatus
    messages: Sequence[Message]
    done: asyncio.Future[None]


Handler = Callable[[LaneJob], Coroutine[Any, Any, None]]
Address = Callable[[DeploymentStatus, DeadLetter | None, str | None], Sequence[Message]]
HandOver = Callable[[int, Coroutine[Any, Any, DeploymentSettled | None]], None]


class Lane:
    """Runs until it is cancelled: takes over, works, and after a death takes over again."""

    def __init__(
        self,
        partition: int,
        ledger: Ledger,
        handle: Handler,
        address: Address,
        turns: Turns,
        pace: asyncio.Semaphore,
        now: Callable[[], datetime],
        hand_over: HandOver,
        live: Callable[["Lane", int], None],
        by: str,
        rebirth_seconds: float = REBIRTH_SECONDS,
    ) -> None:
        """
        Args:
            handle: takes a job to its end.
            address: the records of a status, its dead letter and its traceparent. Raises ValueError: too large.
            pace: how many lanes may be in a transaction at once; the others batch meanwhile.
            hand_over: publishes a settlement, in its own time.
            live: told the offset to read from, when the lane may be given records.
            by: how settlements name this worker.
            rebirth_seconds: between a death and the next take-over.
        """
        self.partition = partition
        self.turns = turns
        self.journal = Journal()
        self.settlements = Settlements(now)
        self.changed = Changed()
        self.alive = False
        self.stopping = False
        self.jobs: set[LaneJob] = set()
        self.tracker = OffsetTracker(0)
        self.bytes = 0
        self._ledger = ledger
        self._handle = handle
        self._address = address
        self._pace = pace
        self._now = now
        self._hand_over = hand_over
        self._live = live
        self._by = by
        self._rebirth_seconds = rebirth_seconds
        self._outbox: deque[Item] = deque()
        self._work = asyncio.Event()
        self._sizes: dict[int, int] = {}
        self._failure: BaseException | None = None
        self._given = asyncio.Event()

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            self._given.clear()
            try:
                await self._take_over_and_work()
            except PartitionLost:
                log.warning("a partition is another worker's", partition=self.partition)
                await self._given.wait()  # which may have come while the proof was on its way
                continue
            except Exception as error:  # noqa: BLE001 - whatever it was, only a take-over tells what is so
                log.warning("a lane died", partition=self.partition, error=type(error).__name__)
            await asyncio.sleep(self._rebirth_seconds)

    async def _take_over_and_work(self) -> None:
        writer = await self._ledger.fence(self.partition)
        try:
            committed = await self._ledger.prove(self.partition)
            self.journal, known = await self._ledger.read(self.partition)
            for settled in known:
                self.settlements.add(settled)
            self._begin(committed, await self._left_behind(committed))
            await self._commit(writer)
        finally:
            self._die()
            await writer.close()

    async def _left_behind(self, committed: int) -> list[tuple[Entry, Record]]:
        """Requests without a final state whose offset has passed: parked ones, and what became of some of them."""
        left = [entry for entry in self.journal.open() if entry.offset < committed]
        records = [await self._ledger.fetch(self.partition, entry.offset) for entry in left]
        return [(entry, record or self._gone(entry)) for entry, record in zip(left, records, strict=True)]

    def _gone(self, entry: Entry) -> Record:
        """In place of a record that retention took."""
        topic = entry.last.source.topic if entry.last else ""
        return Record("", topic, self.partition, entry.offset, 0, False, None, None)

    def _begin(self, committed: int, left: Sequence[tuple[Entry, Record]]) -> None:
        self.tracker = OffsetTracker(committed)
        self.alive = True
        log.info("partition taken over", partition=self.partition, offset=committed, requests=len(self.journal))
        for entry, record in left:
            self._spawn(LaneJob(self, record, entry.request_id, _asked(entry, record), entry))
        self._live(self, committed)

    def given(self) -> None:
        """The group has given the partition to this worker, perhaps once more."""
        self._given.set()

    # ------------------------------------------------------------------------------------------------------ records

    def start(self, record: Record) -> None:
        """A record of the partition, in its order. One that was read before is passed over."""
        if not self.alive or record.offset < self.tracker.following:
            return None
        self.tracker.start(record.offset)
        self._sizes[record.offset] = record.size
        self.bytes += record.size
        request_id, request = read_request(record)
        entry = self.journal.claim(request_id, record.offset, self._now())
        if entry.offset == record.offset and entry.state in (*FINAL_STATES, State.PARKED):
            # An earlier worker ended it, and its offset waited for another one's. A parked one was left behind above.
            if entry.state is State.PARKED:
                self._spawn(LaneJob(self, record, request_id, request, entry))
            return self.finish(record.offset)
        return self._spawn(LaneJob(self, record, request_id, request, entry))

    def finish(self, offset: int) -> None:
        """Its offset may pass, without a status."""
        self._finished(offset)
        self._work.set()

    @property
    def buffered(self) -> int:
        """Records that are read and not finished."""
        return len(self._sizes)

    def _finished(self, offset: int) -> None:
        self.tracker.finish(offset)
        self.bytes -= self._sizes.pop(offset, 0)

    def _spawn(self, job: LaneJob) -> None:
        self.jobs.add(job)
        job.task = asyncio.create_task(self._handle(job), name=f"request {self.partition}/{job.record.offset}")
        job.task.add_done_callback(lambda task: self._ended(job, task))

    def _ended(self, job: LaneJob, task: asyncio.Task[None]) -> None:
        self.jobs.discard(job)
        job.end()
        failure = None if task.cancelled() else task.exception()
        if failure and not isinstance(failure, StatusNotPublished):
            self._failure = failure  # a defect: without a final status its offset would hold up the partition
        self._work.set()
        self.changed.set()

    def hand_over(self, job: LaneJob, attempt: int) -> None:
        """The attempt's outcome is for the partition's next owner, who may be this lane in its next life."""
        self._hand_over(self.partition, job.outcome(attempt, self._by))

    # ----------------------------------------------------------------------------------------------------- statuses

    def publish(
        self, job: LaneJob, status: DeploymentStatus, dead_letter: DeadLetter | None = None
    ) -> asyncio.Future[None]:
        """For the next transaction. Raises StatusNotPublished: the lane is dead; ValueError: it is too large."""
        if job not in self.jobs or not self.alive:
            raise StatusNotPublished(f"status {status.sequence} ({status.state}) was not published")
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        ours = publishing(status.state, done)
        messages = self._address(status, dead_letter, ours or job.record.traceparent or job.entry.traceparent)
        self._outbox.append(Item(job, status, messages, done))
        self._work.set()
        return done

    async def _commit(self, writer: Writer) -> None:
        """At once when idle; what comes meanwhile goes into the next transaction."""
        while True:
            await self._work.wait()
            async with self._pace:
                self._work.clear()
                if self._failure:
                    failure, self._failure = self._failure, None
                    raise failure
                batch = [self._outbox.popleft() for _ in range(min(BATCH, len(self._outbox)))]
                for item in batch:
                    if item.status.state in FINAL_STATES or item.status.state is State.PARKED:
                        self._finished(item.status.source.offset)
                mark = self.tracker.uncommitted()
                if batch or mark is not None:
                    try:
                        with TRANSACTION_SECONDS.time():
                            await writer.commit([message for item in batch for message in item.messages], mark)
                    except BaseException as error:
                        self._outbox.extendleft(reversed(batch))  # so that those who wait for them are told
                        if isinstance(error, Exception):
                            TRANSACTIONS.labels("failed").inc()
                        raise
                    self._committed(batch, mark)
            if self._outbox:
                self._work.set()

    def _committed(self, batch: Sequence[Item], mark: int | None) -> None:
        TRANSACTIONS.labels("committed").inc()
        if mark is not None:
            self.tracker.committed(mark)
        for item in batch:
            self.journal.record(item.status)
            item.job.published(item.status)
            if not item.done.done():
                item.done.set_result(None)
        self.changed.set()

    # --------------------------------------------------------------------------------------------------------- ends

    def stop(self) -> None:
        """No new POST: whatever does not POST now is left to others."""
        self.stopping = True
        for job in [*self.jobs]:
            job.stopping = True
            if job.task and not job.posted:
                job.task.cancel()

    async def idle(self) -> None:
        """Returns when nothing runs any more and everything said is durable, or the lane is dead."""
        await self.changed.until(lambda: not self.alive or not (self.jobs or self._outbox or self._uncommitted()))

    def _uncommitted(self) -> bool:
        return self.tracker.uncommitted() is not None

    def _die(self) -> None:
        """Nobody may say anything in its name any more."""
        self.alive = False
        self._work.clear()
        while self._outbox:
            item = self._outbox.popleft()
            if not item.done.done():
                item.done.set_exception(StatusNotPublished(f"status {item.status.sequence} may not be out"))
                item.done.exception()  # looked at: not every status is waited for
        for job in [*self.jobs]:
            if job.task:
                job.task.cancel()
            self.jobs.discard(job)
        self._sizes.clear()
        self.bytes = 0
        self.changed.set()


def _asked(entry: Entry, record: Record) -> Request | DeploymentError:
    """What the record asks for, unless it is gone and another one stands there, or none."""
    request_id, request = read_request(record)
    if request_id in (entry.request_id, derived_id(record)) and record.value is not None:
        return request
    return NotSettled("request-gone", CODES["request-gone"])
