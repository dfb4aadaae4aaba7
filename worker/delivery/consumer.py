"""RECEIVE: reads the requests topic and gives each record to the lane of its partition.

The poll loop never waits for a request, so a slow playground cannot push the worker out of its group. After a
rebalance aiokafka starts every partition afresh: lanes of partitions that stayed go on where they were.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition

from worker import settings
from worker.delivery.partition import Lane
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
    """Runs until it is stopped, or until Kafka's client fails for good."""

    def __init__(
        self,
        consumer: AIOKafkaConsumer,
        open_lane: Callable[[int, Callable[[Lane, int], None]], Lane],
        to_record: Callable[[ConsumerRecord], Record],
        watch: Callable[[frozenset[int]], None],
        topic: str,
        runtime: settings.RuntimeSettings,
    ) -> None:
        """`open_lane`: partition, and what is told when it is live. `watch`: is told which partitions are ours."""
        self._consumer = consumer
        self._open_lane = open_lane
        self._to_record = to_record
        self._watch = watch
        self._topic = topic
        self._runtime = runtime
        self.lanes: dict[int, Lane] = {}
        self._running: dict[Lane, asyncio.Task[None]] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._held: set[int] = set()
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
        """What does not finish in time has an unknown outcome for the partition's next owner."""
        self.draining_since = time.monotonic()
        for lane in self.lanes.values():
            lane.stop()
        idle = [asyncio.create_task(lane.idle()) for lane in self.lanes.values()]
        if idle:
            _, late = await asyncio.wait(idle, timeout=self._runtime.drain_seconds)
            if late:
                log.warning("running deployments were cut off", partitions=len(late))
        for lane in [*self.lanes.values()]:
            self._retire(lane)
        PARTITIONS.set(0)
        await asyncio.gather(*idle, *self._ending, return_exceptions=True)

    def _retire(self, lane: Lane) -> None:
        del self.lanes[lane.partition]
        self._held.discard(lane.partition)
        task = self._running.pop(lane)
        task.cancel()
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    # ------------------------------------------------------------------------------------------------------- polling

    async def _poll_for_ever(self) -> None:
        while True:
            self._hold()
            try:
                if self._unreadable_ahead:
                    await self._poll_singly()
                else:
                    room = self._runtime.max_buffered_records - self._buffered()
                    limit = max(1, min(room, BATCH_RECORDS))
                    self._take(await self._consumer.getmany(timeout_ms=int(POLL_SECONDS * 1000), max_records=limit))
            except UnicodeDecodeError:
                self._begin_again_singly()
            self.polled_at = time.monotonic()

    def _take(self, batches: Mapping[TopicPartition, Sequence[ConsumerRecord]]) -> None:
        for place, records in batches.items():
            for record in records:
                if lane := self.lanes.get(place.partition):
                    lane.start(self._to_record(record))

    def _buffered(self) -> int:
        return sum(lane.buffered for lane in self.lanes.values())

    def _hold(self) -> None:
        """A partition that has its share, or every one when the bounds are reached, until half of that is free."""
        records, size = self._runtime.max_buffered_records, self._runtime.max_buffered_bytes
        all_records, all_bytes = self._buffered(), sum(lane.bytes for lane in self.lanes.values())
        for partition, lane in self.lanes.items():
            part = 0.5 if partition in self._held else 1.0
            full = (
                not lane.alive
                or all_records >= part * records
                or all_bytes >= part * size
                or lane.buffered >= part * SHARE * records
                or lane.bytes >= part * SHARE * size
            )
            if full != (partition in self._held):
                place = TopicPartition(self._topic, partition)
                (self._consumer.pause if full else self._consumer.resume)(place)
                (self._held.add if full else self._held.discard)(partition)

    def _begin_again_singly(self) -> None:
        """aiokafka fails at a header whose name is no UTF-8, does not say where, and drops what it has read."""
        for partition, lane in self.lanes.items():
            if lane.alive:
                self._consumer.seek(TopicPartition(self._topic, partition), lane.tracker.following)
        self._unreadable_ahead = True

    async def _poll_singly(self) -> None:
        """Read one at a time until the one is found that cannot be read, and refuse it as it is."""
        for partition, lane in [*self.lanes.items()]:
            place = TopicPartition(self._topic, partition)
            if partition in self._held:
                continue
            try:
                self._take(await self._consumer.getmany(place, timeout_ms=SINGLE_MS, max_records=1))
            except UnicodeDecodeError:
                offset = await self._consumer.position(place)
                self._consumer.seek(place, offset + 1)
                self._unreadable_ahead = False
                lane.start(Record("", self._topic, partition, offset, 0, False, None, None, unreadable=_UNREADABLE))

    # ----------------------------------------------------------------------------------------------------- rebalance

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Every rebalance takes all and gives most of them back: what is really gone is known afterwards."""

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Nothing in here waits, or the whole group would."""
        ours = {place.partition for place in assigned}
        for lane in [*self.lanes.values()]:
            if lane.partition not in ours:
                self._retire(lane)
        self._held.clear()  # aiokafka has forgotten that any was paused
        for partition in sorted(ours):
            self._consumer.pause(TopicPartition(self._topic, partition))
            self._held.add(partition)
            if self.draining_since is not None:
                continue
            if (kept := self.lanes.get(partition)) is None:
                lane = self.lanes[partition] = self._open_lane(partition, self._on_live)
                self._running[lane] = asyncio.create_task(lane.run(), name=f"lane {partition}")
            else:
                kept.given()
                if kept.alive:
                    self._on_live(kept, kept.tracker.following)
        self._watch(frozenset(ours))
        self._unreadable_ahead = False
        self.polled_at = time.monotonic()  # no poll returns during a rebalance
        self.assigned.set()
        REBALANCES.inc()
        PARTITIONS.set(len(ours))
        log.info("partitions assigned", partitions=sorted(ours))

    def _on_live(self, lane: Lane, offset: int) -> None:
        """Read from there. At once: as one that is held it would wait until half of the bounds is free."""
        if self.lanes.get(lane.partition) is lane:
            place = TopicPartition(self._topic, lane.partition)
            self._consumer.seek(place, offset)
            self._consumer.resume(place)
            self._held.discard(lane.partition)
