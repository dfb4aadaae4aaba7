"""RECEIVE: reads the requests topic and gives each record to the processor of its partition.

The poll loop never waits for a request, so a slow playground cannot push the worker out of its group. After a
rebalance, aiokafka resets the fetch state of every partition. The processors of partitions that stayed assigned
continue where they were.

Every sender chooses how its records are packed. aiokafka would unpack a whole batch at once, whatever its unpacked
size, create an object for each header, and fail the poll at a header that is not text. This module therefore reads such
batches itself.

This long module is one file because memory is bounded by two limits together: the number of records per poll, and the
unpacked size of a batch.
"""

import asyncio
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import cramjam
import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import decode_varint_py as decode_varint  # aiokafka's C version reads beyond the end

from schemas import Message
from worker import settings
from worker.domain.request import MAX_HEADERS, NotUnpacked, Record

if TYPE_CHECKING:  # the commands read batches as the worker does, but need neither metrics nor jobs
    from worker.delivery.partition import PartitionProcessor

POLL_SECONDS = 0.2
POLLED = 50  # records per poll; each may be a batch that blocks the event loop for 1 ms to unpack
MAX_UNPACKED = 512 * 1024  # bytes of a batch after unpacking; the broker accepts 128 KiB of compressed data
# The maximum share of the bounds for one partition: a slow user's partition leaves room for the others.
SHARE = 0.75

_PARTITIONER = DefaultPartitioner()

log = structlog.get_logger()


def partition_of(consumer: AIOKafkaConsumer, topic: str, key: bytes) -> int:
    """Return the partition of this key in Kafka's own clients and in aiokafka: murmur2 of the key."""
    partitions = sorted(consumer.partitions_for_topic(topic) or (0,))
    return int(_PARTITIONER(key, partitions, []))


class RequestConsumer(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """Reads requests until the worker stops, or until Kafka's client fails permanently."""

    def __init__(
        self,
        consumer: AIOKafkaConsumer,
        open_processor: "Callable[[int, Callable[[PartitionProcessor, int], None]], PartitionProcessor]",
        on_assignment: Callable[[frozenset[int]], None],
        cluster_id: str,
        topic: str,
        runtime: settings.RuntimeSettings,
    ) -> None:
        """
        Args:
            open_processor: creates a partition's processor, which calls the second argument when ready.
            on_assignment: receives the partitions that are assigned to this worker, after each rebalance.
        """
        self._consumer = consumer
        self._open_processor = open_processor
        self._on_assignment = on_assignment
        self._cluster_id = cluster_id
        self._topic = topic
        self._runtime = runtime
        self.processors: dict[int, PartitionProcessor] = {}
        self._running: dict[PartitionProcessor, asyncio.Task[None]] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._paused: set[int] = set()
        self.draining_since: float | None = None  # monotonic seconds; None: the worker is not stopping
        self.polled_at = time.monotonic()
        self.assigned = asyncio.Event()

    async def run(self, stop: asyncio.Event) -> None:
        """Consume until `stop` or a failure. Then wait for POSTs up to DRAIN_SECONDS, or not at all if cancelled."""
        self._consumer.subscribe([self._topic], listener=self)
        # Two tasks, and not one loop that checks `stop`: aiokafka's getmany does not return during a rebalance.
        tasks = [
            asyncio.create_task(self._poll_loop(), name="poll loop"),
            asyncio.create_task(stop.wait(), name="stop"),
        ]
        seconds = self._runtime.drain_seconds
        try:
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in tasks:
                    task.cancel()
                ends = await asyncio.gather(*tasks, return_exceptions=True)
        except asyncio.CancelledError:
            seconds = 0  # the second signal came right after the first
            raise
        finally:
            await self._drain(seconds)
        for failure in ends:
            if isinstance(failure, Exception):
                raise failure

    async def _drain(self, seconds: float) -> None:
        """Wait for running requests. If a request is cut off, its outcome is unknown to the partition's next owner."""
        self.draining_since = time.monotonic()
        posts = sum(job.posting for processor in self.processors.values() for job in processor.jobs)
        log.info("finishing running deployments", posts=posts, at_most_seconds=seconds)
        for processor in self.processors.values():
            processor.stop()
        idle = [asyncio.create_task(processor.wait_until_idle()) for processor in self.processors.values()]
        try:
            if idle:
                _, late = await asyncio.wait(idle, timeout=seconds)
                if late:
                    log.warning("running deployments were cut off", partitions=len(late))
        finally:  # also after a second signal: jobs must hand over their outcomes before the sender closes
            working = [job.task for processor in self.processors.values() for job in processor.jobs if job.task]
            for processor in [*self.processors.values()]:
                self._close(processor)
            await asyncio.gather(*idle, *working, *self._ending, return_exceptions=True)

    def _close(self, processor: "PartitionProcessor") -> None:
        del self.processors[processor.partition]
        self._paused.discard(processor.partition)
        task = self._running.pop(processor)
        task.cancel()
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    # ------------------------------------------------------------------------------------------------------- polling

    async def _poll_loop(self) -> None:
        while True:
            self._apply_back_pressure()
            room = self._runtime.max_buffered_records - self._buffered()
            limit = max(1, min(room, POLLED))
            self._take(await self._consumer.getmany(timeout_ms=int(POLL_SECONDS * 1000), max_records=limit))
            await asyncio.sleep(0)  # getmany returns immediately while it has records: let other tasks run
            self._notice_truncated_logs()
            self.polled_at = time.monotonic()

    def _take(self, batches: Mapping[TopicPartition, Sequence[ConsumerRecord]]) -> None:
        for tp, records in batches.items():
            for record in records:
                if processor := self.processors.get(tp.partition):
                    there = record.key is None or partition_of(self._consumer, self._topic, record.key) == tp.partition
                    processor.receive(Record.of(self._cluster_id, record, misplaced=not there))

    def _notice_truncated_logs(self) -> None:
        for partition, processor in self.processors.items():
            tp = TopicPartition(self._topic, partition)
            if processor.ready and tp in self._consumer.assignment():
                end = self._consumer.highwater(tp)  # from the last fetch since the assignment
                if end is not None and end < processor.state.offsets.next_offset:
                    log.error("the topic begins anew", topic=self._topic, partition=partition, end_offset=end)
                    processor.take_over_again()

    def unprocessed(self) -> dict[int, float]:
        """Return for how many seconds each assigned partition has not been processed; 0 if it is processed."""
        now = time.monotonic()
        return {
            partition: now - it.unprocessed_since if it.unprocessed_since is not None else 0.0
            for partition, it in self.processors.items()
        }

    def _buffered(self) -> int:
        return sum(processor.state.offsets.buffered for processor in self.processors.values())

    def _apply_back_pressure(self) -> None:
        """Pause a partition at its share of the bounds, all partitions at the bounds, until half of that is free."""
        records, size = self._runtime.max_buffered_records, self._runtime.max_buffered_bytes
        all_records, all_bytes = (
            self._buffered(),
            sum(processor.state.offsets.buffered_bytes for processor in self.processors.values()),
        )
        for partition, processor in self.processors.items():
            part = 0.5 if partition in self._paused else 1.0
            full = (
                not processor.ready
                or all_records >= part * records
                or all_bytes >= part * size
                or processor.state.offsets.buffered >= part * SHARE * records
                or processor.state.offsets.buffered_bytes >= part * SHARE * size
            )
            if full != (partition in self._paused):
                tp = TopicPartition(self._topic, partition)
                (self._consumer.pause if full else self._consumer.resume)(tp)
                (self._paused.add if full else self._paused.discard)(partition)

    # ----------------------------------------------------------------------------------------------------- rebalance

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Do nothing: a rebalance revokes all partitions, and the next assignment shows which partitions are lost."""

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Start, keep and close processors. Nothing is awaited here, because the whole group would wait."""
        ours = {tp.partition for tp in assigned}
        for processor in [*self.processors.values()]:
            if processor.partition not in ours:
                self._close(processor)
        self._paused.clear()  # aiokafka forgets paused partitions in a rebalance
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
        self.polled_at = time.monotonic()  # polls cannot return during a rebalance
        self.assigned.set()
        log.info("partitions assigned", partitions=sorted(ours))

    def _on_ready(self, processor: "PartitionProcessor", offset: int) -> None:
        """Read from `offset`. Resume now: back-pressure would keep it paused until half of the bounds is free."""
        if self.processors.get(processor.partition) is processor:
            tp = TopicPartition(self._topic, processor.partition)
            self._consumer.seek(tp, offset)
            self._consumer.resume(tp)
            self._paused.discard(processor.partition)


# ------------------------------------------------------------------------------------------------ record batches


class _Record(NamedTuple):
    """A record in the form that aiokafka's fetcher accepts."""

    offset: int
    timestamp: int
    timestamp_type: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]
    checksum: None = None


class Batches:
    """The record batches of one partition in a fetch response; replaces aiokafka's MemoryRecords.

    `worker/adapters/kafka/clients.py` installs this class for all consumers of the worker, gateway and commands.
    """

    def __init__(self, data: bytes) -> None:
        self._batches = MemoryRecords(data)
        self._rest = memoryview(data)

    def size_in_bytes(self) -> int:
        """Return the size of all batches, including a batch that is cut off."""
        return int(self._batches.size_in_bytes())

    def has_next(self) -> bool:
        """Return whether a complete batch is left."""
        return bool(self._batches.has_next())

    def next_batch(self) -> "Batch":
        """Return the next batch. Raises CorruptRecordException."""
        size = 12 + int.from_bytes(self._rest[8:12])  # the batch's length follows its base offset
        raw, self._rest = self._rest[:size], self._rest[size:]
        return Batch(self._batches.next_batch(), raw)


class Batch:
    """One batch. aiokafka parses it, unless the batch is compressed or the name of a header is not UTF-8."""

    def __init__(self, batch: Any, raw: memoryview) -> None:
        self._batch = batch
        self._raw = raw

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __next__(self) -> Any:
        return next(self._batch)  # the only record of a control batch

    def __iter__(self) -> Iterator[Any]:
        if not self._batch.compression_type:
            try:
                yield from self._batch
            except UnicodeDecodeError:
                pass  # parse the batch from its start; the fetcher skips records that it already has
            else:
                return
        yield from self._read()

    def _read(self) -> Iterator[_Record]:
        """Yield a record for each offset. The value of a record that cannot be unpacked is the reason (NotUnpacked)."""
        packed, count = bytes(self._raw[_HEAD:]), int.from_bytes(self._raw[_HEAD - 4 : _HEAD])
        place, why = self._batch.base_offset, f"its batch has more than {MAX_UNPACKED} bytes when it is unpacked"
        try:
            data, position = _UNPACK[self._batch.compression_type](packed), 0
            if len(data) <= MAX_UNPACKED:
                for _ in range(count):
                    record, position = self._record(data, position)
                    yield record
                    place = record.offset + 1
        except (*_BROKEN, cramjam.DecompressionError):
            why = f"its batch cannot be unpacked, or has more than {MAX_UNPACKED} bytes then"
        while place < self._batch.next_offset:
            yield self._refused(place, why)
            place += 1

    def _record(self, data: bytes, position: int) -> tuple[_Record, int]:
        length, position = decode_varint(data, position)
        end = position + length
        if end > len(data):
            raise ValueError
        after_base, position = decode_varint(data, position + 1)  # after the attributes
        number, position = decode_varint(data, position)
        offset = self._batch.base_offset + number
        if length > Message.MAX_BYTES:
            return self._refused(offset, f"it has more than {Message.MAX_BYTES} bytes"), end
        key, position = _bytes(data, position)
        value, position = _bytes(data, position)
        count, position = decode_varint(data, position)
        if count > MAX_HEADERS:
            return self._refused(offset, f"it has more than {MAX_HEADERS} headers"), end
        headers = []
        for _ in range(count):
            name, position = _bytes(data, position)
            content, position = _bytes(data, position)
            headers.append(((name or b"").decode(errors="replace"), content))
        return _Record(offset, self._timestamp(after_base), self._batch.timestamp_type, key, value, headers), end

    def _refused(self, offset: int, why: str) -> _Record:
        return _Record(offset, self._timestamp(0), self._batch.timestamp_type, None, NotUnpacked(why.encode()), ())

    def _timestamp(self, after_base: int) -> int:
        batch = self._batch
        return int(batch.max_timestamp if batch.timestamp_type else batch.first_timestamp + after_base)


def _bytes(data: bytes, position: int) -> tuple[bytes | None, int]:
    """Read a length and that number of bytes; a negative length is Kafka's null."""
    length, position = decode_varint(data, position)
    return (None, position) if length < 0 else (data[position : position + length], position + length)


def _unpack_gzip(packed: bytes) -> bytes:
    """Unpack one gzip member, as every client writes; thousands of empty members would take 20 ms."""
    unpacker = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    data = unpacker.decompress(packed, MAX_UNPACKED + 1)
    if len(data) <= MAX_UNPACKED and (not unpacker.eof or unpacker.unused_data):
        raise ValueError
    return data


def _unpack_snappy(packed: bytes) -> bytes:
    """Unpack one block, or the Java client's frame: 16 bytes, then blocks that are each preceded by their length."""
    blocks, position = ([packed], 0) if not packed.startswith(_FRAMED) else ([], 16)
    while position and position < len(packed):
        start = position + 4
        position = start + int.from_bytes(packed[position:start])
        blocks.append(packed[start:position])
    if sum(map(cramjam.snappy.decompress_raw_len, blocks)) > MAX_UNPACKED:
        raise ValueError
    return b"".join(bytes(cramjam.snappy.decompress_raw(block)) for block in blocks)


def _unpack_into(unpack: Callable[[bytes, bytearray], int]) -> Callable[[bytes], bytes]:
    """Return a function that unpacks at most MAX_UNPACKED bytes, and raises when the data has more."""

    def unpacked(packed: bytes) -> bytes:
        room = bytearray(MAX_UNPACKED)
        size = unpack(packed, room)
        return bytes(memoryview(room)[:size])

    return unpacked


_HEAD = 61  # bytes of a batch before its records; the last four bytes are the number of records
_FRAMED = b"\x82SNAPPY\x00"
_BROKEN = (ValueError, IndexError, KeyError, OSError, EOFError, zlib.error)
_UNPACK: Mapping[int, Callable[[bytes], bytes]] = {  # by the compression type in a batch's attributes
    0: bytes,
    1: _unpack_gzip,
    2: _unpack_snappy,
    3: _unpack_into(cramjam.lz4.decompress_into),
    4: _unpack_into(cramjam.zstd.decompress_into),
}
