"""Reads all partitions of the status topic into the view, without a consumer group."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from worker.adapters.kafka.acls import Operation
from worker.adapters.kafka.clients import FETCHED, METADATA_MS, POLLED, client_options, running_client
from worker.client.requests import START_SECONDS, partition_count
from worker.errors import ConfigurationError
from worker.gateway.view import View
from worker.settings import KafkaSettings

RETRY_SECONDS = 1.0
CHECK_SECONDS = 2.0  # between two checks that Kafka answers
ANSWER_SECONDS = 2.0  # for an answer; `is_connected` is false after two checks and this time without an answer
FETCH_BYTES = 4 * 1024 * 1024  # per fetch, of all partitions of a broker: the first read covers the whole topic
POLLED_AT_FIRST = 4 * POLLED  # until the first full read is complete
POLL_MS = 500  # maximum wait for records; a poll returns as soon as there are any

log = structlog.get_logger()


class StatusReader:
    """Keeps the view up to date with the topic. Retries until it is cancelled."""

    def __init__(self, kafka: KafkaSettings, view: View, on_status: Callable[[float], None] = lambda _: None) -> None:
        """Create the reader. `on_status` receives the age in seconds of each status read after the first full read."""
        self._kafka = kafka
        self._view = view
        self._on_status = on_status
        self._unread: dict[TopicPartition, int] | None = None  # end offsets of the first full read; 0 when reached
        self.is_complete = False  # whether the first full read is complete
        self.as_of: datetime | None = None  # time of Kafka's last answer

    @property
    def is_connected(self) -> bool:
        """Whether Kafka answers."""
        limit = 2 * CHECK_SECONDS + ANSWER_SECONDS
        return self.as_of is not None and (datetime.now(UTC) - self.as_of).total_seconds() < limit

    async def run(self) -> None:
        """Run until it is cancelled."""
        while True:
            try:
                await self._follow()
            except (KafkaError, ConfigurationError, TimeoutError, OSError) as error:
                log.warning("statuses cannot be read", error=type(error).__name__, why=str(error)[:200])
            await asyncio.sleep(RETRY_SECONDS)

    async def _follow(self) -> None:
        topic = self._kafka.status_topic
        count = await partition_count(self._kafka, "DEPLOYER_KAFKA__STATUS_TOPIC", topic, Operation.READ)
        tps = [TopicPartition(topic, number) for number in range(count)]
        consumer = AIOKafkaConsumer(
            **client_options(self._kafka),
            group_id=None,
            enable_auto_commit=False,
            isolation_level="read_committed",
            auto_offset_reset="earliest",
            metadata_max_age_ms=METADATA_MS,
            **{**FETCHED, "fetch_max_bytes": FETCH_BYTES},
        )
        async with running_client(consumer, start_seconds=START_SECONDS):
            consumer.assign(tps)
            checking = asyncio.create_task(self._check(consumer, tps), name="status topic")
            try:
                while not checking.done():
                    most = POLLED if self.is_complete else POLLED_AT_FIRST
                    self._take(await consumer.getmany(timeout_ms=POLL_MS, max_records=most))
                await checking
            finally:
                checking.cancel()
                await asyncio.gather(checking, return_exceptions=True)

    async def _check(self, consumer: AIOKafkaConsumer, tps: Sequence[TopicPartition]) -> None:
        """Check repeatedly that Kafka answers. Return when the number of partitions changes, so that all are read."""
        while len(consumer.partitions_for_topic(self._kafka.status_topic) or tps) == len(tps):
            async with asyncio.timeout(ANSWER_SECONDS * 5):
                ends = await consumer.end_offsets(tps)
            self.as_of = datetime.now(UTC)
            await self._note(consumer, ends)
            await asyncio.sleep(CHECK_SECONDS if self.is_complete else 0.25)

    async def _note(self, consumer: AIOKafkaConsumer, ends: Mapping[TopicPartition, int]) -> None:
        if self.is_complete:
            return
        if self._unread is None or self._unread.keys() != ends.keys():
            self._unread = dict(ends)
        for tp in list(self._unread):
            if await consumer.position(tp) >= self._unread[tp]:
                self._unread[tp] = 0
        self.is_complete = not any(self._unread.values())

    def _take(self, records: Mapping[TopicPartition, list[object]]) -> None:
        for tp, batch in records.items():
            for record in batch:
                value = getattr(record, "value", None)
                entry = self._view.apply(tp.partition, value) if value else None
                if entry and self.is_complete:
                    self._on_status(max(0.0, time.time() - entry.time_ms / 1000))
