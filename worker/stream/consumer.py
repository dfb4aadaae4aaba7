"""RECEIVE: reads the requests topic, starts a task per record, commits what is finished.

The poll loop never waits for a handler, so a slow playground cannot push the worker out of its group.
Offsets are committed by one task only, never automatically, and only up to the first unfinished record.
A rebalance takes all partitions away for a moment: what was read is finished first, then committed.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from worker import settings
from worker.domain.request import Record
from worker.stream.offsets import OffsetTracker
from worker.stream.turns import Turn, Turns

POLL_SECONDS = 0.2
COMMIT_SECONDS = 10  # aiokafka itself would try for ever while the brokers are away
BATCH_RECORDS = 500
SINGLE_MS = 20
LOG_APPEND_TIME = 1
_UNREADABLE = "the name of a header is not UTF-8"

Handler = Callable[[Record, Turn], Coroutine[Any, Any, None]]

log = structlog.get_logger()


class RequestConsumer(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """Runs until it is stopped, or until a handler or Kafka fails for good."""

    def __init__(
        self, consumer: AIOKafkaConsumer, handle: Handler, topic: str, cluster_id: str, runtime: settings.Runtime
    ) -> None:
        self._consumer = consumer
        self._handle = handle
        self._topic = topic
        self._cluster_id = cluster_id
        self._runtime = runtime
        self._turns = Turns(runtime.max_in_flight)
        self._trackers: dict[TopicPartition, OffsetTracker] = {}
        self._tasks: dict[asyncio.Task[None], int] = {}
        self._buffered_bytes = 0
        self._finished = asyncio.Event()
        self._committing = asyncio.Lock()
        self._failure: BaseException | None = None
        self._paused = False
        self._unreadable_ahead = False
        self.polled_at = time.monotonic()
        self.assigned = asyncio.Event()

    async def run(self, stop: asyncio.Event) -> None:
        """Consume until `stop` or a failure; then finish what was read, within DRAIN_SECONDS, and commit it."""
        self._consumer.subscribe([self._topic], listener=self)
        # Not one loop that looks at `stop`: while the group rebalances aiokafka's getmany does not return.
        polling, *_ = tasks = [
            asyncio.create_task(self._poll_until_failure(), name="poll loop"),
            asyncio.create_task(self._commit_finished(), name="committer"),
            asyncio.create_task(stop.wait(), name="stop"),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            polling.cancel()
            await self._drain()
        finally:
            for task in tasks:
                task.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
        await self._commit()
        for failure in (self._failure, *ends):
            if isinstance(failure, Exception):
                raise failure

    async def _poll_until_failure(self) -> None:
        while self._failure is None:
            await self._poll()

    async def _poll(self) -> None:
        room = self._runtime.max_buffered_records - len(self._tasks)
        self._hold(room <= 0 or self._buffered_bytes >= self._runtime.max_buffered_bytes)
        try:
            if self._unreadable_ahead:
                await self._poll_singly()
            else:
                limit = max(1, min(room, BATCH_RECORDS))
                self._take(await self._consumer.getmany(timeout_ms=int(POLL_SECONDS * 1000), max_records=limit))
        except UnicodeDecodeError:
            await self._begin_again_singly()
        self.polled_at = time.monotonic()

    def _take(self, batches: Mapping[TopicPartition, Sequence[ConsumerRecord]]) -> None:
        for partition, records in batches.items():
            tracker = self._trackers.get(partition)
            if tracker is None:
                continue  # the partition is being taken away: its records will be read again
            for record in records:
                self._start(self._to_record(record), tracker)

    async def _begin_again_singly(self) -> None:
        """aiokafka fails at a header whose name is no UTF-8, does not say where, and drops what it has read."""
        for partition, tracker in list(self._trackers.items()):
            following = tracker.following
            if following is None:
                following = await self._consumer.committed(partition)
            if following is None:
                await self._consumer.seek_to_beginning(partition)
            else:
                self._consumer.seek(partition, following)
        self._unreadable_ahead = True

    async def _poll_singly(self) -> None:
        """Read one at a time until the one is found that cannot be read, and refuse it as it is."""
        for partition, tracker in list(self._trackers.items()):
            try:
                self._take(await self._consumer.getmany(partition, timeout_ms=SINGLE_MS, max_records=1))
            except UnicodeDecodeError:
                offset = await self._consumer.position(partition)
                self._consumer.seek(partition, offset + 1)
                self._unreadable_ahead = False
                place = (self._cluster_id, partition.topic, partition.partition, offset)
                self._start(Record(*place, 0, False, None, None, unreadable=_UNREADABLE), tracker)

    def _hold(self, full: bool) -> None:
        """Stop reading when full, go on when half empty. A paused partition loses what was prefetched."""
        if full and not self._paused:
            self._consumer.pause(*self._trackers)
            self._paused = True
        elif self._paused and self._half_empty():
            self._consumer.resume(*self._trackers)
            self._paused = False

    def _half_empty(self) -> bool:
        return (
            len(self._tasks) <= self._runtime.max_buffered_records // 2
            and self._buffered_bytes <= self._runtime.max_buffered_bytes // 2
        )

    def _start(self, record: Record, tracker: OffsetTracker) -> None:
        tracker.start(record.offset)
        size = record.size
        turn = self._turns.join(record.key)
        task = asyncio.create_task(self._handle(record, turn))
        self._tasks[task] = size
        self._buffered_bytes += size
        task.add_done_callback(lambda done: self._done(done, record, turn, tracker))

    def _done(self, task: asyncio.Task[None], record: Record, turn: Turn, tracker: OffsetTracker) -> None:
        self._buffered_bytes -= self._tasks.pop(task)
        turn.close()
        if not task.cancelled():
            if (failure := task.exception()) is None:
                tracker.finish(record.offset)
            else:
                self._failure = self._failure or failure
        self._finished.set()

    def _to_record(self, record: ConsumerRecord) -> Record:
        return Record(
            self._cluster_id,
            record.topic,
            record.partition,
            record.offset,
            record.timestamp,
            record.timestamp_type == LOG_APPEND_TIME,
            record.key,
            record.value,
            record.headers,
        )

    async def _drain(self) -> None:
        """Wait for what was read; what does not finish in time stays uncommitted and is read again."""
        if not self._tasks:
            return
        _, late = await asyncio.wait(self._tasks, timeout=self._runtime.drain_seconds)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        if late:
            log.warning("requests were cut off and will be read again", requests=len(late))

    async def _commit_finished(self) -> None:
        """Commits at once when idle; what finishes during a commit goes into the next one."""
        while True:
            await self._finished.wait()
            self._finished.clear()
            if not await self._commit():
                await asyncio.sleep(1)
                self._finished.set()

    async def _commit(self) -> bool:
        return await self._commit_marks(self._trackers)

    async def _commit_marks(self, trackers: dict[TopicPartition, OffsetTracker]) -> bool:
        async with self._committing:
            marks = {partition: mark for partition, it in trackers.items() if (mark := it.uncommitted()) is not None}
            try:
                if marks:
                    async with asyncio.timeout(COMMIT_SECONDS):
                        await self._consumer.commit(marks)
            except (KafkaError, TimeoutError) as error:
                # After a rebalance the offsets are another worker's; otherwise the next round repeats it.
                log.warning("commit failed", error=type(error).__name__)
                return False
            for partition, mark in marks.items():
                trackers[partition].committed(mark)
            return True

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:  # noqa: ARG002 - always all
        """Nothing new is started; what was read is finished and committed before anybody else gets it."""
        trackers, self._trackers = self._trackers, {}
        self.assigned.clear()
        await self._drain()
        await self._commit_marks(trackers)

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """aiokafka starts every partition afresh at its committed offset, and forgets that any was paused."""
        self._trackers = {partition: OffsetTracker() for partition in assigned}
        self._paused = self._unreadable_ahead = False
        self.polled_at = time.monotonic()  # no poll returns during a rebalance, which may take minutes
        self.assigned.set()
        log.info("partitions assigned", partitions=sorted(partition.partition for partition in assigned))
        try:
            async with asyncio.timeout(COMMIT_SECONDS):
                await self._report_losses(list(assigned))
        except (KafkaError, TimeoutError) as error:
            log.warning("it is unknown whether requests were lost to retention", error=type(error).__name__)

    async def _report_losses(self, assigned: list[TopicPartition]) -> None:
        """What retention deleted before it was read can only be told, not repaired."""
        earliest = await self._consumer.beginning_offsets(assigned) if assigned else {}
        for partition, first in earliest.items():
            committed = await self._consumer.committed(partition)
            if committed is not None and committed < first:
                log.error(
                    "requests were lost to retention",
                    partition=partition.partition,
                    first_offset=committed,
                    requests=first - committed,
                )
