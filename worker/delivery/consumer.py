"""RECEIVE: reads the requests topic and gives each record to the processor of its partition.

The poll loop never waits for a request, so a slow playground cannot push the worker out of its group. After a
rebalance aiokafka starts every partition afresh: processors of partitions that stayed continue where they were.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition

from worker import settings
from worker.delivery.partition import PartitionProcessor
from worker.domain.request import Record
from worker.observability.metrics import PARTITIONS, REBALANCES

POLL_SECONDS = 0.2
BATCH_RECORDS = 500
SINGLE_MS = 20
# One partition's share of the bounds: a slow user in one of them leaves room for the others.
SHARE = 0.75
_UNREADABLE = "the name of a header is not UTF-8"

log = structlog.get_logger()


class RequestConsumer(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """Runs until it is stopped, or until Kafka's client fails permanently."""

    def __init__(
        self,
        consumer: AIOKafkaConsumer,
        open_processor: Callable[[int, Callable[[PartitionProcessor, int], None]], PartitionProcessor],
        to_record: Callable[[ConsumerRecord], Record],
        on_assignment: Callable[[frozenset[int]], None],
        topic: str,
        runtime: settings.RuntimeSettings,
    ) -> None:
        """
        Args:
            open_processor: gets a partition, and what to call when that is ready.
            on_assignment: gets the partitions that are assigned to this worker.
        """
        self._consumer = consumer
        self._open_processor = open_processor
        self._to_record = to_record
        self._on_assignment = on_assignment
        self._topic = topic
        self._runtime = runtime
        self.processors: dict[int, PartitionProcessor] = {}
        self._running: dict[PartitionProcessor, asyncio.Task[None]] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._paused: set[int] = set()
        self.draining_since: float | None = None  # monotonic seconds; None: no stop is on its way
        self._unreadable_ahead = False
        self.polled_at = time.monotonic()
        self.assigned = asyncio.Event()

    async def run(self, stop: asyncio.Event) -> None:
        """Consume until `stop` or a failure; then let POSTs that run finish, within DRAIN_SECONDS."""
        self._consumer.subscribe([self._topic], listener=self)
        # Not one loop that looks at `stop`: while the group rebalances aiokafka's getmany does not return.
        tasks = [
            asyncio.create_task(self._poll_for_ever(), name="poll loop"),
            asyncio.create_task(stop.wait(), name="stop"),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
            await self._drain()
        for failure in ends:
            if isinstance(failure, Exception):
                raise failure

    async def _drain(self) -> None:
        """Let running requests finish. One that is late has an unknown outcome for the partition's next owner."""
        self.draining_since = time.monotonic()
        for processor in self.processors.values():
            processor.stop()
        idle = [asyncio.create_task(processor.wait_until_idle()) for processor in self.processors.values()]
        if idle:
            _, late = await asyncio.wait(idle, timeout=self._runtime.drain_seconds)
            if late:
                log.warning("running deployments were cut off", partitions=len(late))
        for processor in [*self.processors.values()]:
            self._close(processor)
        PARTITIONS.set(0)
        await asyncio.gather(*idle, *self._ending, return_exceptions=True)

    def _close(self, processor: PartitionProcessor) -> None:
        del self.processors[processor.partition]
        self._paused.discard(processor.partition)
        task = self._running.pop(processor)
        task.cancel()
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    # ------------------------------------------------------------------------------------------------------- polling

    async def _poll_for_ever(self) -> None:
        while True:
            self._apply_back_pressure()
            try:
                if self._unreadable_ahead:
                    await self._poll_singly()
                else:
                    room = self._runtime.max_buffered_records - self._buffered()
                    limit = max(1, min(room, BATCH_RECORDS))
                    self._take(await self._consumer.getmany(timeout_ms=int(POLL_SECONDS * 1000), max_records=limit))
            except UnicodeDecodeError:
                self._begin_again_singly()
            self._notice_truncated_logs()
            self.polled_at = time.monotonic()

    def _take(self, batches: Mapping[TopicPartition, Sequence[ConsumerRecord]]) -> None:
        for tp, records in batches.items():
            for record in records:
                if processor := self.processors.get(tp.partition):
                    processor.receive(self._to_record(record))

    def _notice_truncated_logs(self) -> None:
        for partition, processor in self.processors.items():
            tp = TopicPartition(self._topic, partition)
            if processor.ready and tp in self._consumer.assignment():
                end = self._consumer.highwater(tp)  # of the last fetch since the assignment
                if end is not None and end < processor.state.offsets.next_offset:
                    log.error("the topic begins anew", topic=self._topic, partition=partition, end_offset=end)
                    processor.take_over_again()

    def unprocessed(self) -> dict[int, float]:
        """Return for how many seconds each assigned partition has not been processed; 0: it is."""
        now = time.monotonic()
        return {
            partition: now - it.unprocessed_since if it.unprocessed_since is not None else 0.0
            for partition, it in self.processors.items()
        }

    def _buffered(self) -> int:
        return sum(processor.state.offsets.open for processor in self.processors.values())

    def _apply_back_pressure(self) -> None:
        """Pause a partition that has its share, or all when the bounds are reached, until half of that is free."""
        records, size = self._runtime.max_buffered_records, self._runtime.max_buffered_bytes
        all_records, all_bytes = (
            self._buffered(),
            sum(processor.state.offsets.open_bytes for processor in self.processors.values()),
        )
        for partition, processor in self.processors.items():
            part = 0.5 if partition in self._paused else 1.0
            full = (
                not processor.ready
                or all_records >= part * records
                or all_bytes >= part * size
                or processor.state.offsets.open >= part * SHARE * records
                or processor.state.offsets.open_bytes >= part * SHARE * size
            )
            if full != (partition in self._paused):
                tp = TopicPartition(self._topic, partition)
                (self._consumer.pause if full else self._consumer.resume)(tp)
                (self._paused.add if full else self._paused.discard)(partition)

    def _begin_again_singly(self) -> None:
        """Read one record at a time from here on.

        aiokafka fails at a header whose name is not UTF-8, does not say where, and drops what it has read.
        """
        for partition, processor in self.processors.items():
            if processor.ready:
                self._consumer.seek(TopicPartition(self._topic, partition), processor.state.offsets.next_offset)
        self._unreadable_ahead = True

    async def _poll_singly(self) -> None:
        """Read one at a time until the one is found that cannot be read, and refuse it as it is."""
        for partition, processor in [*self.processors.items()]:
            tp = TopicPartition(self._topic, partition)
            if partition in self._paused:
                continue
            try:
                self._take(await self._consumer.getmany(tp, timeout_ms=SINGLE_MS, max_records=1))
            except UnicodeDecodeError:
                offset = await self._consumer.position(tp)
                self._consumer.seek(tp, offset + 1)
                self._unreadable_ahead = False
                processor.receive(
                    Record("", self._topic, partition, offset, 0, False, None, None, unreadable=_UNREADABLE)
                )

    # ----------------------------------------------------------------------------------------------------- rebalance

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Every rebalance takes all and gives most of them back: what is really gone is known afterwards."""

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Nothing in here waits, or the whole group would."""
        ours = {tp.partition for tp in assigned}
        for processor in [*self.processors.values()]:
            if processor.partition not in ours:
                self._close(processor)
        self._paused.clear()  # aiokafka has forgotten that any was paused
        for partition in sorted(ours):
            self._consumer.pause(TopicPartition(self._topic, partition))
            self._paused.add(partition)
            if self.draining_since is not None:
                continue
            if (kept := self.processors.get(partition)) is None:
                processor = self.processors[partition] = self._open_processor(partition, self._on_ready)
                self._running[processor] = asyncio.create_task(processor.run(), name=f"partition {partition}")
            else:
                kept.on_assigned()
                if kept.ready:
                    self._on_ready(kept, kept.state.offsets.next_offset)
        self._on_assignment(frozenset(ours))
        self._unreadable_ahead = False
        self.polled_at = time.monotonic()  # no poll returns during a rebalance
        self.assigned.set()
        REBALANCES.inc()
        PARTITIONS.set(len(ours))
        log.info("partitions assigned", partitions=sorted(ours))

    def _on_ready(self, processor: PartitionProcessor, offset: int) -> None:
        """Read from there. At once: as one that is held it would wait until half of the bounds is free."""
        if self.processors.get(processor.partition) is processor:
            tp = TopicPartition(self._topic, processor.partition)
            self._consumer.seek(tp, offset)
            self._consumer.resume(tp)
            self._paused.discard(processor.partition)
