"""`python -m tests.extended.bench.plain`: the same worker without transactions, to measure their cost.

Statuses are sent by an idempotent producer as they occur, and the offset by a separate commit afterwards. None of the
promises of docs/guarantees.md hold for it.
"""

import asyncio
import os
from collections.abc import Sequence

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from schemas import Message
from worker.adapters.kafka.clients import stop_client
from worker.adapters.kafka.partition_store import KafkaPartitionStore
from worker.app import run
from worker.concurrency import new_event_loop
from worker.domain.partition_state import Checkpoint
from worker.observability import logs
from worker.settings import KafkaSettings, Settings, read_settings, secret_values


class PlainWriter:
    """One producer per partition, as in the worker, but without transactions."""

    def __init__(self, producer: AIOKafkaProducer, consumer: AIOKafkaConsumer, requests: TopicPartition) -> None:
        self._producer = producer
        self._consumer = consumer
        self._requests = requests

    async def commit(self, messages: Sequence[Message], checkpoint: Checkpoint | None) -> Sequence[int]:
        """Send the statuses, then commit the offset."""
        sent = [
            await self._producer.send(it.topic, it.value, key=it.key, partition=it.partition, headers=list(it.headers))
            for it in messages
        ]
        places = [it.offset for it in await asyncio.gather(*sent)]
        if checkpoint is not None:
            await self._consumer.commit({self._requests: (checkpoint.offset, checkpoint.metadata)})
        return places

    async def close(self) -> None:
        """Stop the producer, as the worker's writer does."""
        await stop_client(self._producer.stop, 2)


class PlainStore(KafkaPartitionStore):
    """A partition store that does not fence."""

    async def fence(self, partition: int) -> PlainWriter:  # type: ignore[override]
        """Return a writer without fencing earlier producers."""
        producer = AIOKafkaProducer(**self._options, enable_idempotence=True)
        await producer.start()
        return PlainWriter(producer, self._consumer, TopicPartition(self._kafka.requests_topic, partition))


def open_plain(kafka: KafkaSettings, consumer: AIOKafkaConsumer, cluster_id: str) -> PlainStore:
    """Open a PlainStore in place of a KafkaPartitionStore."""
    return PlainStore(kafka, consumer, cluster_id)


async def main() -> None:
    """Run until killed."""
    settings = read_settings(os.environ, Settings)
    logs.configure(settings.runtime.log_level, settings.runtime.log_format, secrets=secret_values(settings))
    await run(settings, asyncio.Event(), open_plain)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=new_event_loop) as runner:  # as in the worker
        runner.run(main())
