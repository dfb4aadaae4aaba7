"""Kafka's records as the domain knows them, for the worker and for the commands, which have no metrics."""

from collections.abc import Callable

from aiokafka import AIOKafkaConsumer, ConsumerRecord
from aiokafka.partitioner import DefaultPartitioner

from worker.domain.request import Record

LOG_APPEND_TIME = 1

_PARTITIONER = DefaultPartitioner()


def record_of(cluster_id: str, record: ConsumerRecord, partition_of: Callable[[bytes], int] | None = None) -> Record:
    """Return the record as the domain knows it, which keeps only what it reads of the headers.

    `partition_of` tells where a key leads; None: it does not matter any more.
    """
    return Record(
        cluster_id,
        record.topic,
        record.partition,
        record.offset,
        record.timestamp,
        record.timestamp_type == LOG_APPEND_TIME,
        record.key,
        record.value,
        record.headers,
        misplaced=bool(partition_of and record.key is not None and partition_of(record.key) != record.partition),
    )


def partition_of(consumer: AIOKafkaConsumer, topic: str, key: bytes) -> int:
    """Return where Kafka's own clients put a record with this key, and aiokafka's: murmur2 of it."""
    partitions = sorted(consumer.partitions_for_topic(topic) or (0,))
    return int(_PARTITIONER(key, partitions, []))
