"""Reads what is in partitions now, outside of any group, and only what is committed."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from worker.adapters.kafka import stop_client

STOP_SECONDS = 2


@asynccontextmanager
async def open_reader(
    options: Mapping[str, Any], partitions: Sequence[TopicPartition]
) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer of these partitions. `options`: of `client_options`. Raises KafkaError."""
    reader = AIOKafkaConsumer(
        **options,
        group_id=None,
        enable_auto_commit=False,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        fetch_max_wait_ms=50,
    )
    try:
        await reader.start()
        reader.assign(partitions)
        yield reader
    finally:
        await stop_client(reader.stop, STOP_SECONDS)


async def read_all(options: Mapping[str, Any], partitions: Sequence[TopicPartition]) -> AsyncIterator[ConsumerRecord]:
    """Every record up to now; control records move the position and are not given. Raises KafkaError."""
    if not partitions:
        return
    async with open_reader(options, partitions) as reader:
        ends = await reader.end_offsets(partitions)
        # Not seek_to_beginning: the answer to the reader's own first reset may arrive after it and undo it.
        for place, first in (await reader.beginning_offsets(partitions)).items():
            reader.seek(place, first)
        waiting = {it for it in partitions if await reader.position(it) < ends[it]}
        while waiting:
            for records in (await reader.getmany(*waiting, timeout_ms=100)).values():
                for record in records:
                    yield record
            waiting = {it for it in waiting if await reader.position(it) < ends[it]}
