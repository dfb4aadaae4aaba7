"""A partition's processor: the async shell around `PartitionState`, and the jobs of its requests.

Only the processor writes its partition's statuses, and it writes nothing before it has taken over, in this order: fence
the last owner's producer; verify the ownership with a plain commit, because fencing alone always wins; load what the
status topic says; go on from there. A transaction that did not succeed, or may not have, ends all of that, and only the
same take-over brings it back. Where the ownership is refused it waits until the group assigns the partition again.

Processor and job are in one file because each needs the other to be right: what a job may say depends on whether its
processor still owns the partition, and what the processor hands over at its end depends on how far the job has come.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from socket import gethostname
from typing import Any
from uuid import uuid4

import structlog

from schemas import FINAL_STATES, DeploymentInfo, DeploymentSettled, DeploymentStatus, State, rfc3339
from worker.delivery.admission import KeyLock, KeyQueue
from worker.domain.dead_letter import DeadLetter, dead_letter
from worker.domain.lifecycle import RECORD_GONE, RequestState
from worker.domain.partition_state import PartitionState, PendingStatus, RequestTable, StatusEncoder, Transaction
from worker.domain.request import Record, Request, read_request
from worker.domain.solution import Caller
from worker.errors import (
    CODES,
    Conflict,
    DeploymentError,
    NotSettled,
    OutcomeUnknown,
    OverridesInvalid,
    PartitionLost,
    StatusNotPublished,
    TooManyRequests,
    Unauthenticated,
    Unavailable,
    Unreadable,
    WorkerError,
)
from worker.observability import telemetry
from worker.observability.metrics import DEAD_LETTERS, REQUEST_SECONDS, REQUESTS, TRANSACTION_SECONDS, TRANSACTIONS
from worker.ports import Clocks, Store, Writer

RESTART_SECONDS, MAX_RESTART_SECONDS = 0.5, 4.0
"""The pause between a failure and the next take-over: it doubles until a transaction succeeds, and not further, so that
brokers that are back are used within 10 s."""
# Requests that wait for an earlier one of their user are not counted among what is read: a worker has room for so many.
MAX_WAITING = 2_000
WORKER_NAME = f"worker {gethostname()}"[:200]  # as settlements name it

Content = tuple[Record, Request | DeploymentError]
"""A record, and what it asks for or why it cannot be tried."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class WorkerContext:
    """What the partitions of one worker share.

    `handle` takes a job to its end; `hand_over` publishes the settlement of an attempt, in its own time.
    """

    store: Store
    handle: Callable[["Job"], Coroutine[Any, Any, None]]
    encoder: StatusEncoder
    key_queue: KeyQueue
    clocks: Clocks
    hand_over: Callable[[int, Coroutine[Any, Any, DeploymentSettled | None]], None]
    park_max_seconds: float


class TruncatedLog(WorkerError):
    """The partition ends before what was read of it: its topic was made anew, or a broker has lost its disk."""


class Signal:
    """Wakes those that wait for a condition, so that they look at it again."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def set(self) -> None:
        """Wake them."""
        event, self._event = self._event, asyncio.Event()
        event.set()

    async def wait_for(self, condition: Callable[[], bool]) -> None:
        """Return when it holds."""
        while not condition():
            await self._event.wait()


class PartitionProcessor:
    """Runs until it is cancelled: takes over, works, and after a failure takes over again."""

    def __init__(
        self, partition: int, context: WorkerContext, on_ready: Callable[["PartitionProcessor", int], None]
    ) -> None:
        """`on_ready`: told the offset to read from, when records may be given to it."""
        self.partition = partition
        self.context = context
        self.state = PartitionState(RequestTable(), 0)
        self.jobs: set[Job] = set()
        self.ready = False
        self.stopping = False
        self.changed = Signal()
        self.settled = Signal()
        self._on_ready = on_ready
        self._writable = asyncio.Event()
        self._waiting: dict[PendingStatus, tuple[Job, asyncio.Future[None]]] = {}
        self._settled_meanwhile: list[DeploymentSettled] = []  # while a take-over reads what it needs
        self._failure: BaseException | None = None
        self._failures = 0  # in a row
        self.unprocessed_since: float | None = context.clocks.monotonic()  # None: it is processed
        self._assigned = asyncio.Event()
        self._expiry: asyncio.Task[None] | None = None  # of what is parked

    async def run(self) -> None:
        """Run until it is cancelled."""
        while True:
            self._assigned.clear()
            try:
                await self._take_over_and_work()
            except PartitionLost:
                self._failures = 0
                log.warning("partition lost", partition=self.partition)
                await self._assigned.wait()  # which may have come while the ownership was verified
                continue
            except Exception as error:  # noqa: BLE001 - whatever it was, only a take-over tells what is so
                name, why = type(error).__name__, str(error)[:200]
                log.warning("partition processor failed", partition=self.partition, error=name, why=why)
            await self._pause(min(RESTART_SECONDS * 2**self._failures, MAX_RESTART_SECONDS))
            self._failures = min(self._failures + 1, 10)

    async def _pause(self, seconds: float) -> None:
        """Wait before the next take-over, until the group assigns the partition at the longest: then Kafka is there."""
        pause = asyncio.ensure_future(self.context.clocks.sleep(seconds))
        assigned = asyncio.ensure_future(self._assigned.wait())
        try:
            await asyncio.wait((pause, assigned), return_when=asyncio.FIRST_COMPLETED)
        finally:
            pause.cancel()
            assigned.cancel()

    async def _take_over_and_work(self) -> None:
        store = self.context.store
        writer = await store.fence(self.partition)
        try:
            checkpoint, end = await store.verify_ownership(self.partition)
            requests = RequestTable(range(checkpoint.offset, end))
            settlements = await store.load(self.partition, checkpoint, requests)
            self.state = PartitionState(requests, checkpoint.offset)
            left = self.state.take_inherited()
            offsets = [it.offset for it in left if it.offset != RECORD_GONE]
            found = {it.offset: _content(it) async for it in store.fetch(self.partition, offsets)}
            self._start(checkpoint.offset, [(it, found.get(it.offset)) for it in left], settlements)
            await self._commit_loop(writer)
        finally:
            self._end()
            await writer.close()

    def _start(
        self,
        committed: int,
        left: Sequence[tuple[RequestState, "Content | None"]],
        settlements: Sequence[DeploymentSettled],
    ) -> None:
        self.ready, self.unprocessed_since = True, None
        meanwhile, self._settled_meanwhile = self._settled_meanwhile, []
        for settled in (*settlements, *meanwhile):
            self.on_settlement(settled)
        requests = len(self.state.requests)
        log.info("partition taken over", partition=self.partition, offset=committed, requests=requests)
        for state, found in left:
            self._inherit(state, found)
        self._watch_parked()
        self._on_ready(self, committed)

    def _inherit(self, state: RequestState, found: "Content | None") -> None:
        """Work on what an earlier worker left. Without its record it may still be settled, but not be tried again."""
        record, request = self._checked(state, found)
        state.key = record.key
        self._spawn(Job(self, record, request, state))

    def _checked(self, state: RequestState, found: "Content | None") -> "Content":
        """Return what was read of a request's record, or what stands in its place when that is another one or gone."""
        if found and isinstance(found[1], Request) and found[1].id == state.request_id:
            return found
        log.error("a request's record is gone", partition=self.partition, request_id=state.request_id)
        return _placeholder(state)

    def take_over_again(self) -> None:
        """End this term: what it knows of the partition's records is no longer so."""
        self._failure = TruncatedLog()
        self._writable.set()

    def on_assigned(self) -> None:
        """Note that the group has assigned the partition to this worker, perhaps once more."""
        self._assigned.set()

    def on_settlement(self, settled: DeploymentSettled) -> None:
        """Note what is said of an attempt. The first settlement of an attempt counts."""
        if not self.ready:
            self._settled_meanwhile.append(settled)
        elif (state := self.state.requests.find(settled.request_id)) and not state.final:
            state.settlements.setdefault(settled.attempt, settled)
            self.settled.set()
            if state.is_settled and not self.stopping:
                self._resume(state)

    # ------------------------------------------------------------------------------------------------------ parked

    def _resume(self, state: RequestState) -> None:
        """Start a job for a parked request that is settled or due, unless it has one."""
        if self.state.requests.parked.resume(state):
            self._spawn(Job(self, *_placeholder(state), state))

    def _watch_parked(self) -> None:
        """See to it that what is parked is given up in time. It is parked, and so due, in its order."""
        if self._expiry is None and len(self.state.requests.parked):
            self._expiry = asyncio.create_task(self._give_up_parked(), name=f"parked {self.partition}")
            self._expiry.add_done_callback(self._fail_with)

    async def _give_up_parked(self) -> None:
        parked, clocks = self.state.requests.parked, self.context.clocks
        while first := parked.first():
            await clocks.sleep(max(0.0, first.time + self.context.park_max_seconds - clocks.now().timestamp()))
            if first is parked.first():
                self._resume(first.state())
        self._expiry = None

    async def read_again(self, state: RequestState) -> "Content":
        """Read the record of a request that was parked, or return what stands in its place."""
        while True:
            try:
                found = [_content(it) async for it in self.context.store.fetch(self.partition, [state.record_offset])]
            except Exception as error:  # noqa: BLE001 - of Kafka's client: it is there later
                name, why = type(error).__name__, str(error)[:200]
                where = {"partition": self.partition, "offset": state.record_offset}
                log.warning("a request's record cannot be read", **where, error=name, why=why)
                await self.context.clocks.sleep(MAX_RESTART_SECONDS)
            else:
                return self._checked(state, found[0] if found else None)

    # ---------------------------------------------------------------------------------------------------- requests

    def receive(self, record: Record) -> None:
        """Take a record of the partition, in its order. One that was read before is passed over."""
        if self.ready:
            request = read_request(record)
            if state := self.state.receive(record, request, self.context.clocks.now()):
                self._spawn(Job(self, record, request, state))
            if self.state.requests.left:
                for gone in self.state.take_inherited():
                    self._inherit(gone, None)
            if not self.state.idle:
                self._writable.set()

    def finish(self, job: "Job") -> None:
        """Let its offset pass without a status."""
        if job in self.jobs and self.state.offsets.finish(job.state.offset):
            self._writable.set()

    def _spawn(self, job: "Job") -> None:
        self.jobs.add(job)
        job.task = asyncio.create_task(self.context.handle(job), name=f"request {self.partition}/{job.record.offset}")
        job.task.add_done_callback(lambda task: self._ended(job, task))

    def _ended(self, job: "Job", task: asyncio.Task[None]) -> None:
        self.jobs.discard(job)
        job.end()
        self._fail_with(task)
        self.changed.set()

    def _fail_with(self, task: asyncio.Task[None]) -> None:
        failure = None if task.cancelled() else task.exception()
        if failure and not isinstance(failure, StatusNotPublished):
            self._failure = failure  # a defect: without a final status its offset would hold up the partition
            self._writable.set()

    # ---------------------------------------------------------------------------------------------------- statuses

    def publish(self, job: "Job", status: DeploymentStatus, dead_letter: DeadLetter | None) -> asyncio.Future[None]:
        """Put a status into the next transaction; the future ends with that.

        Raises StatusNotPublished: the partition is lost, now or by the time of the transaction; ValueError: too large.
        """
        if job not in self.jobs or not self.ready:
            raise StatusNotPublished(f"status {status.sequence} ({status.state}) was not published")
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        ours = telemetry.publishing(status.state, done) if telemetry.Spans.tracer else None
        traceparent = ours or job.record.traceparent or job.state.traceparent
        pending = self.state.enqueue(job.state, status, dead_letter, traceparent, self.context.encoder)
        self._waiting[pending] = job, done
        self._writable.set()
        return done

    async def _commit_loop(self, writer: Writer) -> None:
        """Commit at once when idle; what comes meanwhile goes into the next transaction."""
        while True:
            await self._writable.wait()
            async with self.context.store.transaction_slots:
                self._writable.clear()
                if self._failure:
                    failure, self._failure = self._failure, None
                    raise failure
                if transaction := self.state.next_transaction():
                    try:
                        with TRANSACTION_SECONDS.time():
                            offsets = await writer.commit(transaction.messages, transaction.checkpoint)
                    except Exception:
                        TRANSACTIONS.labels("failed").inc()
                        raise
                    self._committed(transaction, offsets)

    def _committed(self, transaction: Transaction, offsets: Sequence[int]) -> None:
        TRANSACTIONS.labels("committed").inc()
        self._failures = 0
        if self.state.committed(transaction, offsets):
            self._writable.set()
        for pending in transaction.pending:
            job, done = self._waiting.pop(pending)
            job.on_committed(pending.status)
            if not done.done():
                done.set_result(None)
            if pending.status.state is State.PARKED:
                self._watch_parked()
        self.changed.set()

    # -------------------------------------------------------------------------------------------------------- ends

    def stop(self) -> None:
        """Begin no new POST: whatever does not POST now is left to others."""
        self.stopping = True
        for job in [*self.jobs]:
            if job.task and not job.posting:
                job.task.cancel()

    async def wait_until_idle(self) -> None:
        """Return when nothing runs any more and everything said is durable, or the partition is lost."""
        await self.changed.wait_for(lambda: not self.ready or not (self.jobs or self._waiting or not self.state.idle))

    def _end(self) -> None:
        """Publish nothing more for the partition, and end its jobs."""
        if self.ready:
            self.ready, self.unprocessed_since = False, self.context.clocks.monotonic()
        self._writable.clear()
        self.state = PartitionState(RequestTable(), 0)
        if self._expiry:
            self._expiry.cancel()
            self._expiry = None
        waiting, self._waiting = self._waiting, {}
        for pending, (_, done) in waiting.items():
            if not done.done():
                done.set_exception(StatusNotPublished(f"status {pending.status.sequence} may not be out"))
                done.exception()  # looked at: not every status is waited for
        for job in [*self.jobs]:
            if job.task:
                job.task.cancel()
            self.jobs.discard(job)
        self.changed.set()


class Job:
    """One request at work: its state, and what this worker holds of it besides. It ends with its partition's term.

    Only its POST goes on when the partition is lost; what came of its attempt is handed over as a settlement.
    """

    def __init__(
        self,
        processor: PartitionProcessor,
        record: Record,
        request: Request | DeploymentError,
        state: RequestState,
    ) -> None:
        """`request`: what the record asks for, or why it cannot be read."""
        self.record = record
        self.request = request
        self.state = state
        self.original: RequestState | None = None  # of the record that has the id which this one brings
        self.repeats = False
        self.caller: Caller | None = None
        self._asked = ""  # the fingerprint of what the caller asks for
        self.has_key_lock = False  # whether it is the first of its key
        self.resumed = state.state is State.PARKED
        self.auth_attempts = 0
        self.gave_way = False
        self.began = processor.context.clocks.now()
        # For how long a dependency was known to be down: when that was last looked at, and at the last status.
        self.seen_down: float | None = None
        self.counted_down: float | None = None
        self.published: DeploymentStatus | None = None  # the last of this worker's statuses
        self.task: asyncio.Task[None] | None = None
        self._processor = processor
        self._lock: KeyLock | None = None
        # A parked request queues once its retry is durable; until then it holds up no other request of its user.
        if not self.resumed:
            self._join()
        self.waits_for_turn = False
        self.turn_at: datetime | None = None  # when its wait for an earlier request of its user was over
        self._dead_letter_code: str | None = None
        self._error: DeploymentError | None = None  # what led to the last status, if one did
        self._attempt: int | None = None  # whose outcome no status tells yet
        self._post: asyncio.Task[DeploymentInfo] | None = None

    @property
    def stopping(self) -> bool:
        """Whether the worker stops; only then may a cancelled job still report."""
        return self._processor.stopping

    @property
    def posting(self) -> bool:
        """Whether a POST has begun whose outcome no status tells."""
        return self._post is not None

    @property
    def may_be_sent(self) -> bool:
        """Whether something of the attempt in `submitting` may have been sent, by this worker or an earlier one."""
        return self._attempt is None or self.posting

    @property
    def was_accepted(self) -> bool:
        """Whether this very record was: one that came later stands in a topic that was made anew."""
        at = self.record.appended_at
        return self.state.last is not None and at is not None and at <= self.state.since.timestamp()

    async def acquire_key_lock(self) -> None:
        """Wait until it is the first of its key, in the order of the records."""
        lock, offsets = self._lock or self._join(), self._processor.state.offsets
        self.waits_for_turn = not lock.first.is_set()
        if lock.first.is_set() or self._processor.context.key_queue.waiting >= MAX_WAITING:
            await lock.acquire()
        else:  # it waits for another deployment of its user, which takes minutes
            self.record = self.record.without_content()
            offsets.exclude_from_backpressure(self.state.offset)
            try:
                await lock.acquire()
            finally:
                offsets.include_in_backpressure(self.state.offset)
        self.has_key_lock = True
        if self.waits_for_turn:
            self.waits_for_turn, self.turn_at = False, self._processor.context.clocks.now()

    def _join(self) -> KeyLock:
        """Queue behind the earlier ones of its key."""
        self._lock = lock = self._processor.context.key_queue.join(self.record.key)
        if self.state.last is not None:
            lock.count_open(accepted=True)
        return lock

    def _release_key_lock(self) -> None:
        """Let the next of its key go."""
        self.has_key_lock = False
        if self._lock:
            self._lock.release()
            self._lock = None

    def exclude_from_backpressure(self) -> None:
        """Hold up neither its partition nor the user of its key: whose it is cannot be verified yet."""
        self._release_key_lock()
        self._processor.state.offsets.exclude_from_backpressure(self.state.offset)

    def include_in_backpressure(self) -> None:
        """Count it among the records that are read."""
        self._processor.state.offsets.include_in_backpressure(self.state.offset)

    def readable_request(self) -> Request:
        """Return what the record asks for. Raises DeploymentError, mostly Unreadable."""
        if not isinstance(self.request, Request):
            raise self.request
        return self.request

    async def accepted_fingerprint(self) -> str | None:
        """Return the fingerprint under which it was accepted before, or what an operator repeats with it was."""
        self.auth_attempts += 1
        if self.state.last is not None:
            return self.state.fingerprint
        request, processor = self.readable_request(), self._processor
        if (before := processor.state.requests.find(request.id)) and before.fingerprint:
            return before.fingerprint
        if request.replay_of is None or self.record.appended_at is None:
            return None
        return await processor.context.store.permitted(processor.partition, request.id, self.record.appended_at)

    def claim(self, caller: Caller, fingerprint: str) -> bool:
        """Take the id that the record brings, now that it is known who asks for what. Return whether it is accepted.

        It is not when an earlier record has the id, or when it was accepted before. Raises Rejected: it is not where
        its user's requests belong, so that others might be sent at the same time, or the user has too many open ones.
        """
        processor, key = self._processor, caller.user_id.encode()
        if self.record.key != key:
            raise Unauthenticated("wrong-record-key", CODES["wrong-record-key"])
        new = self.state.last is None
        if new and self.record.misplaced:
            raise Unauthenticated("wrong-partition", CODES["wrong-partition"])
        request, requests = self.readable_request(), processor.state.requests
        if new:
            try:
                (self._lock or self._join()).count_open(requests.parked.count_of(caller.user_id))
            except TooManyRequests:
                if requests.find(request.id) is None:  # else it is one of the many, once more
                    raise
        self.caller, self._asked = caller, fingerprint
        if not new:
            return False
        owner = requests.claim(self.state, request.id)
        if owner is not self.state:
            self.original = owner
            return False
        self.state.traceparent, self.request = self.record.traceparent, replace(request, token="")
        structlog.contextvars.bind_contextvars(request_id=self.state.request_id)
        return True

    async def compare_with_original(self) -> None:
        """Wait until the original has a status. Raises Conflict when that is about something else."""
        original = self.original or self.state
        await self._processor.changed.wait_for(lambda: original.state is not None)
        self.repeats = self._asked == original.fingerprint
        if not self.repeats:
            raise Conflict("request-id-conflict", CODES["request-id-conflict"])

    def publish(self, status: DeploymentStatus, error: DeploymentError | None = None) -> asyncio.Future[None]:
        """Put a status into the partition's next transaction, with a dead letter where `error` leaves one.

        Raises as PartitionProcessor.publish does.
        """
        letter = None
        if status.state in FINAL_STATES and isinstance(error, Unreadable | Unavailable | OutcomeUnknown):
            letter = dead_letter(self.record, status, self.request, error, uuid4().hex)
            self._dead_letter_code = error.code
        if isinstance(error, OverridesInvalid):
            log.error("overrides invalid", detail=error.message)
        self._error = error
        done = self._processor.publish(self, status, letter)
        self.published, self.counted_down = status, self.seen_down
        if status.state is State.SUBMITTING:
            self._attempt = status.attempt
        elif status.state is State.PARKED:
            self.resumed = False
        return done

    def on_committed(self, status: DeploymentStatus) -> None:
        """Note that a status is durable."""
        if status.state is State.PARKED:
            self._release_key_lock()  # by now it counts among what its user has parked
            log.warning("request parked", request_id=status.request_id, **self._log_fields(status))
        elif status.state is State.RETRYING:
            log.warning("request retrying", request_id=status.request_id, **self._log_fields(status))
        if status.state in FINAL_STATES and self._dead_letter_code:
            DEAD_LETTERS.labels(self._dead_letter_code).inc()
        if status.state is not State.SUBMITTING:
            self._post = self._attempt = None
            if self.stopping and status.state not in FINAL_STATES and self.task:
                self.task.cancel()
        if status.state is State.BUILDING:
            # Not before it is durable: otherwise the next owner begins an attempt with the same number.
            self._attempt = status.attempt

    def finish(self) -> None:
        """Let its offset pass, if no status did that, and sum it up. A parked request has not ended."""
        status = self.published
        fields = self._log_fields(status) if status else {}
        self._processor.finish(self)
        if self.state.state is State.PARKED:
            return
        if status:
            seconds = (self._processor.context.clocks.now() - self.began).total_seconds()
            REQUESTS.labels(status.state, status.error.code if status.error else "").inc()
            REQUEST_SECONDS.observe(seconds)
            if telemetry.Spans.tracer:
                telemetry.ended(status)
            log.info(
                "request ended",
                state=status.state,
                **fields,
                statuses=status.sequence + 1,
                seconds=round(seconds, 3),
            )
        elif self.original:
            REQUESTS.labels("duplicate", "").inc()
            log.info("request repeated", original=self.original.request_id, original_offset=self.original.record_offset)

    def _log_fields(self, status: DeploymentStatus) -> dict[str, object]:
        """Return what a line of the log says of a status, and of the error that led to it."""
        error = self._error
        code, at = status.error.code if status.error else None, status.next_attempt_at
        why = {"url": error.url, "cause": error.cause} if error and error.cause else {}
        goes_on = {"next_attempt_at": rfc3339(at)} if at else {}
        return {"attempt": status.attempt, "code": code, "message": status.message, **why, **goes_on}

    async def wait_for_settlement(self, until: datetime) -> DeploymentSettled | None:
        """Wait for the settlement of the attempt; None: there is none by then.

        The record of a parked request, which nobody has kept, is read when it is needed: to try it again.
        """
        settlements, attempt = self.state.settlements, self.state.attempt
        if attempt not in settlements:
            settled = asyncio.ensure_future(self._processor.settled.wait_for(lambda: attempt in settlements))
            timer = asyncio.ensure_future(self._processor.context.clocks.sleep_until(until))
            try:
                await asyncio.wait((settled, timer), return_when=asyncio.FIRST_COMPLETED)
            finally:
                settled.cancel()
                timer.cancel()
        found = settlements.get(attempt)
        if self.resumed and found and found.outcome == "retry":
            self.record, self.request = await self._processor.read_again(self.state)
            self.state.key = self.record.key
        return found

    async def post(self, post: Coroutine[Any, Any, DeploymentInfo]) -> DeploymentInfo:
        """Run the POST, shielded: its bytes cannot be called back."""
        self._attempt = self._attempt or self.state.attempt
        self._post = asyncio.create_task(post, name=f"POST {self.state.request_id}")
        return await asyncio.shield(self._post)

    def end(self) -> None:
        """Let the next of its key go. What no status tells of the attempt is for the partition's next owner."""
        self._release_key_lock()
        if self.state.state is None:
            self._processor.state.requests.drop(self.state)
        if self._attempt is not None:
            if self._post and not self._post.done():
                log.warning("a POST runs without its request", request_id=self.state.request_id, attempt=self._attempt)
            self._processor.context.hand_over(self._processor.partition, self._outcome(self._attempt))

    async def _outcome(self, attempt: int) -> DeploymentSettled | None:
        """Return what became of the attempt; None: it is unknown, and the next owner finds out as after a crash."""
        outcome, reason, deployment = "retry", "Nothing was sent.", None
        if self._post:
            try:
                deployment = await asyncio.shield(self._post)
                outcome, reason = "deployed", "The playground said so."
            except asyncio.CancelledError:
                self._post.cancel()
                await asyncio.wait((self._post,))
                error = OutcomeUnknown(CODES["outcome-unknown"]).because("", "this worker was stopped")
                self._log_unknown(attempt, error)
                raise
            except Unavailable as error:
                reason = error.message
            except OutcomeUnknown as error:
                self._log_unknown(attempt, error)
                return None
            except DeploymentError as error:
                outcome, reason = "failed", error.message
        fields = {"requestId": self.state.request_id, "attempt": attempt, "outcome": outcome, "by": WORKER_NAME}
        return DeploymentSettled.model_validate({**fields, "reason": reason[:1000], "deployment": deployment})

    def _log_unknown(self, attempt: int, error: OutcomeUnknown) -> None:
        request_id = self.state.request_id
        log.warning("the outcome of a POST is unknown", request_id=request_id, attempt=attempt, **error.log_fields())


def _content(record: Record) -> Content:
    """Read what was accepted before: the record itself is needed no longer."""
    return record.without_content(), read_request(record)


def _placeholder(state: RequestState) -> Content:
    """Return what stands in place of a record that is gone, or was not read."""
    source = state.last.source if state.last else None
    topic, partition, offset = (source.topic, source.partition, source.offset) if source else ("", 0, 0)
    record = Record("", topic, partition, offset, 0, False, None, None)
    return record, NotSettled("request-gone", CODES["request-gone"])
