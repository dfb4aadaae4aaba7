"""A partition's processor: the async shell around `PartitionState`, and the jobs of its requests.

Only the processor writes its partition's statuses, and it writes nothing before a take-over has succeeded:

1. Fence the last owner's producer.
2. Verify the ownership with a plain commit, because fencing alone always succeeds.
3. Load the statuses of the partition from the status topic.
4. Continue the inherited requests.

A transaction that failed, or may have failed, ends the processor's term, and only another take-over starts the next
term. If Kafka refuses the ownership, the processor waits until the group assigns the partition again.

This long module is one file because processor and job depend on each other. Whether a job may publish a status depends
on whether its processor still owns the partition. What is handed over at the end of a term depends on the progress of
each job.
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
"""The wait between a failure and the next take-over. It doubles up to the maximum, and is reset when a transaction
succeeds. The maximum is low, so that brokers that have recovered are used within 10 s."""
# How many requests that wait for the key lock are excluded from back-pressure, in one worker.
MAX_WAITING = 2_000
WORKER_NAME = f"worker {gethostname()}"[:200]  # the author of this worker's settlements

Content = tuple[Record, Request | DeploymentError]
"""A record, and its request or the reason why the request cannot be tried."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class WorkerContext:
    """What the partition processors of one worker share.

    `handle` runs a job to completion. `hand_over` publishes the settlement of an attempt in the background.
    """

    store: Store
    handle: Callable[["Job"], Coroutine[Any, Any, None]]
    encoder: StatusEncoder
    key_queue: KeyQueue
    clocks: Clocks
    hand_over: Callable[[int, Coroutine[Any, Any, DeploymentSettled | None]], None]
    park_max_seconds: float


class TruncatedLog(WorkerError):
    """The partition ends before records that were read: the topic was recreated, or a broker has lost its disk."""


class Signal:
    """Wakes the tasks that wait for a condition, so that they check it again."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def set(self) -> None:
        """Wake all waiting tasks."""
        event, self._event = self._event, asyncio.Event()
        event.set()

    async def wait_for(self, condition: Callable[[], bool]) -> None:
        """Return when the condition holds."""
        while not condition():
            await self._event.wait()


class PartitionProcessor:
    """Owns one partition until it is cancelled: takes over, works, and after a failure takes over again."""

    def __init__(
        self, partition: int, context: WorkerContext, on_ready: Callable[["PartitionProcessor", int], None]
    ) -> None:
        """`on_ready` is called with the offset to read from, when the processor can receive records."""
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
        self._settled_meanwhile: list[DeploymentSettled] = []  # settlements that arrive during a take-over
        self._failure: BaseException | None = None
        self._failures = 0  # in a row
        self.unprocessed_since: float | None = context.clocks.monotonic()  # None: the partition is processed
        self._assigned = asyncio.Event()
        self._expiry: asyncio.Task[None] | None = None  # the task that gives up parked requests

    async def run(self) -> None:
        """Take over and work, again after every failure, until cancelled."""
        while True:
            self._assigned.clear()
            try:
                await self._take_over_and_work()
            except PartitionLost:
                self._failures = 0
                log.warning("partition lost", partition=self.partition)
                await self._assigned.wait()  # the assignment may have arrived while the ownership was verified
                continue
            except Exception as error:  # noqa: BLE001 - after any failure, only a take-over shows the true state
                name, why = type(error).__name__, str(error)[:200]
                log.warning("partition processor failed", partition=self.partition, error=name, why=why)
            await self._pause(min(RESTART_SECONDS * 2**self._failures, MAX_RESTART_SECONDS))
            self._failures = min(self._failures + 1, 10)

    async def _pause(self, seconds: float) -> None:
        """Wait before the next take-over. An assignment of the partition ends the wait: it shows that Kafka is back."""
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
        """Start a job for an inherited request. Without its record, it can be settled but not retried."""
        record, request = self._checked(state, found)
        state.key = record.key
        self._spawn(Job(self, record, request, state))

    def _checked(self, state: RequestState, found: "Content | None") -> "Content":
        """Return a request's record and content, or a placeholder if the record is gone or is another request's."""
        if found and isinstance(found[1], Request) and found[1].id == state.request_id:
            return found
        log.error("a request's record is gone", partition=self.partition, request_id=state.request_id)
        return _placeholder(state)

    def take_over_again(self) -> None:
        """End this term, because its knowledge of the partition's records is out of date."""
        self._failure = TruncatedLog()
        self._writable.set()

    def on_assigned(self) -> None:
        """Note that the group has assigned the partition to this worker, or assigned it again."""
        self._assigned.set()

    def on_settlement(self, settled: DeploymentSettled) -> None:
        """Record the settlement of an attempt. Only the first settlement of an attempt counts."""
        if not self.ready:
            self._settled_meanwhile.append(settled)
        elif (state := self.state.requests.find(settled.request_id)) and not state.final:
            state.settlements.setdefault(settled.attempt, settled)
            self.settled.set()
            if state.is_settled and not self.stopping:
                self._resume(state)

    # ------------------------------------------------------------------------------------------------------ parked

    def _resume(self, state: RequestState) -> None:
        """Start a job for a parked request that is settled or due, unless the request has a job."""
        if self.state.requests.parked.resume(state):
            self._spawn(Job(self, *_placeholder(state), state))

    def _watch_parked(self) -> None:
        """Start the task that gives up parked requests when they are due. They fall due in the order of parking."""
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
        """Read the record of a parked request again, or return a placeholder if the record is gone."""
        while True:
            try:
                found = [_content(it) async for it in self.context.store.fetch(self.partition, [state.record_offset])]
            except Exception as error:  # noqa: BLE001 - an error of Kafka's client: try again later
                name, why = type(error).__name__, str(error)[:200]
                where = {"partition": self.partition, "offset": state.record_offset}
                log.warning("a request's record cannot be read", **where, error=name, why=why)
                await self.context.clocks.sleep(MAX_RESTART_SECONDS)
            else:
                return self._checked(state, found[0] if found else None)

    # ---------------------------------------------------------------------------------------------------- requests

    def receive(self, record: Record) -> None:
        """Receive a record, in the partition's order. A record that was read before is skipped."""
        if self.ready:
            request = read_request(record)
            if state := self.state.receive(record, request, self.context.clocks.now()):
                self._spawn(Job(self, record, request, state))
            if self.state.requests.inherited:
                for gone in self.state.take_inherited():
                    self._inherit(gone, None)
            if not self.state.idle:
                self._writable.set()

    def finish(self, job: "Job") -> None:
        """Let the offset of the job's record pass without a status."""
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
            self._failure = failure  # a defect: without a final status, the offset would block the partition
            self._writable.set()

    # ---------------------------------------------------------------------------------------------------- statuses

    def publish(self, job: "Job", status: DeploymentStatus, dead_letter: DeadLetter | None) -> asyncio.Future[None]:
        """Put a status into the next transaction. The future completes when that transaction is committed.

        Raises StatusNotPublished when the partition is lost (from the future, if it is lost by the time of the
        transaction), and ValueError when the status is too large.
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
        """Commit immediately when idle. Statuses that arrive during a transaction go into the next transaction."""
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

    # --------------------------------------------------------------------------------------------------- stop and end

    def stop(self) -> None:
        """Start no new POST. Cancel every job without a running POST: the next owner continues its request."""
        self.stopping = True
        for job in [*self.jobs]:
            if job.task and not job.posting:
                job.task.cancel()

    async def wait_until_idle(self) -> None:
        """Return when no job runs and every status is durable, or when the partition is lost."""
        await self.changed.wait_for(lambda: not self.ready or not (self.jobs or self._waiting or not self.state.idle))

    def _end(self) -> None:
        """End the term: publish nothing more for the partition, and cancel its jobs."""
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
                done.exception()  # marks it as retrieved: not every status is awaited
        for job in [*self.jobs]:
            if job.task:
                job.task.cancel()
            self.jobs.discard(job)
        self.changed.set()


class Job:
    """One request at work: its state, and what this worker holds in memory for it. It ends with its partition's term.

    Only a running POST continues when the partition is lost. The outcome of the attempt is then handed over as a
    settlement.
    """

    def __init__(
        self,
        processor: PartitionProcessor,
        record: Record,
        request: Request | DeploymentError,
        state: RequestState,
    ) -> None:
        """`request`: the request in the record, or the reason why it cannot be read."""
        self.record = record
        self.request = request
        self.state = state
        self.original: RequestState | None = None  # of the earlier record with the same request id
        self.repeats = False
        self.caller: Caller | None = None
        self._asked = ""  # the fingerprint of the caller's request
        self.has_key_lock = False  # whether the request is first in its key queue
        self.resumed = state.state is State.PARKED
        self.auth_attempts = 0
        self.evicted = False
        self.began = processor.context.clocks.now()
        # Seconds for which a dependency was known to be down: at the last check, and at the last status.
        self.seen_down: float | None = None
        self.counted_down: float | None = None
        self.published: DeploymentStatus | None = None  # the last status that this worker published
        self.task: asyncio.Task[None] | None = None
        self._processor = processor
        self._lock: KeyLock | None = None
        # A parked request joins its key queue once its retry is durable. Until then it delays no request of its user.
        if not self.resumed:
            self._join()
        self.waits_for_turn = False
        self.turn_at: datetime | None = None  # when its wait for the key lock ended
        self._dead_letter_code: str | None = None
        self._error: DeploymentError | None = None  # the error that led to the last status, if any
        self._attempt: int | None = None  # the attempt whose outcome no status shows yet
        self._post: asyncio.Task[DeploymentInfo] | None = None

    @property
    def stopping(self) -> bool:
        """Whether the worker is stopping. Only then may a cancelled job still publish a status."""
        return self._processor.stopping

    @property
    def posting(self) -> bool:
        """Whether a POST has started whose outcome no status shows yet."""
        return self._post is not None

    @property
    def may_be_sent(self) -> bool:
        """Whether this or an earlier worker may have sent a part of the bundle of the attempt in `submitting`."""
        return self._attempt is None or self.posting

    @property
    def was_accepted(self) -> bool:
        """Whether this very record was accepted. A record later than the first status is from a recreated topic."""
        at = self.record.appended_at
        return self.state.last is not None and at is not None and at <= self.state.since.timestamp()

    async def acquire_key_lock(self) -> None:
        """Wait for the key lock. Requests of a key get the lock in the order of their records."""
        lock, offsets = self._lock or self._join(), self._processor.state.offsets
        self.waits_for_turn = not lock.first.is_set()
        if lock.first.is_set() or self._processor.context.key_queue.waiting >= MAX_WAITING:
            await lock.acquire()
        else:  # the user's other deployment takes minutes
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
        """Join the key queue behind the earlier requests of the key."""
        self._lock = lock = self._processor.context.key_queue.join(self.record.key)
        if self.state.last is not None:
            lock.count_open(accepted=True)
        return lock

    def _release_key_lock(self) -> None:
        """Pass the key lock to the next request of the key."""
        self.has_key_lock = False
        if self._lock:
            self._lock.release()
            self._lock = None

    def exclude_from_backpressure(self) -> None:
        """Delay neither the partition nor the user of the record key, because the sender cannot be verified yet."""
        self._release_key_lock()
        self._processor.state.offsets.exclude_from_backpressure(self.state.offset)

    def include_in_backpressure(self) -> None:
        """Count the job's record among the buffered records again."""
        self._processor.state.offsets.include_in_backpressure(self.state.offset)

    def readable_request(self) -> Request:
        """Return the request in the record. Raises DeploymentError, usually Unreadable."""
        if not isinstance(self.request, Request):
            raise self.request
        return self.request

    async def accepted_fingerprint(self) -> str | None:
        """Return the fingerprint accepted earlier for this request, for its request id, or for the request it replays.

        Return None if there is none. A replay needs an operator's permit. Each call counts as a try to authenticate.
        """
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
        """Claim the request id for the verified caller. Return whether `accepted` must be published.

        The result is False if an earlier record has the id, or if this request was accepted before.

        Raises:
            Unauthenticated: the record has a wrong key or partition, where the key lock would not keep it from running
                at the same time as the user's other requests.
            TooManyRequests: the user has too many open requests.
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
                if requests.find(request.id) is None:  # otherwise the record repeats a known request
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
        """Wait until the original has a status. Raises Conflict if the original requests something else."""
        original = self.original or self.state
        await self._processor.changed.wait_for(lambda: original.state is not None)
        self.repeats = self._asked == original.fingerprint
        if not self.repeats:
            raise Conflict("request-id-conflict", CODES["request-id-conflict"])

    def publish(self, status: DeploymentStatus, error: DeploymentError | None = None) -> asyncio.Future[None]:
        """Put a status into the partition's next transaction, with a dead letter if `error` requires one.

        Raises the errors of PartitionProcessor.publish.
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
        """Handle a status that is durable now: log it, count its dead letter, free a parked request's key lock."""
        if status.state is State.PARKED:
            self._release_key_lock()  # by now the request counts as a parked request of its user
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
            # Not before the status is durable: otherwise the next owner starts an attempt with the same number.
            self._attempt = status.attempt

    def finish(self) -> None:
        """Let the offset pass, if no status did, and log and count the result. A parked request has not ended."""
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
        """Return the log fields of a status and of the error that led to it."""
        error = self._error
        code, at = status.error.code if status.error else None, status.next_attempt_at
        why = {"url": error.url, "cause": error.cause} if error and error.cause else {}
        goes_on = {"next_attempt_at": rfc3339(at)} if at else {}
        return {"attempt": status.attempt, "code": code, "message": status.message, **why, **goes_on}

    async def wait_for_settlement(self, until: datetime) -> DeploymentSettled | None:
        """Wait for the settlement of the attempt until `until`. Return None without a settlement.

        The record of a parked request is not kept in memory, and is read again only for a retry.
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
        """Run the POST, shielded from cancellation, because sent bytes cannot be recalled."""
        self._attempt = self._attempt or self.state.attempt
        self._post = asyncio.create_task(post, name=f"POST {self.state.request_id}")
        return await asyncio.shield(self._post)

    def end(self) -> None:
        """Release the key lock, and hand over an outcome that no status shows to the partition's next owner."""
        self._release_key_lock()
        if self.state.state is None:
            self._processor.state.requests.drop(self.state)
        if self._attempt is not None:
            if self._post and not self._post.done():
                log.warning("a POST runs without its request", request_id=self.state.request_id, attempt=self._attempt)
            self._processor.context.hand_over(self._processor.partition, self._outcome(self._attempt))

    async def _outcome(self, attempt: int) -> DeploymentSettled | None:
        """Return the attempt's settlement; None if the outcome is unknown: the next owner acts as after a crash."""
        outcome, reason, deployment = "retry", "Nothing was sent.", None
        if self._post:
            try:
                deployment = await asyncio.shield(self._post)
                outcome, reason = "deployed", "The playground confirmed the deployment."
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
    """Parse the record of an accepted request. The content of the record itself is no longer needed."""
    return record.without_content(), read_request(record)


def _placeholder(state: RequestState) -> Content:
    """Return a placeholder for a record that is gone, or that was not read."""
    source = state.last.source if state.last else None
    topic, partition, offset = (source.topic, source.partition, source.offset) if source else ("", 0, 0)
    record = Record("", topic, partition, offset, 0, False, None, None)
    return record, NotSettled("request-gone", CODES["request-gone"])
