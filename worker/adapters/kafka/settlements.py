"""The settlements topic: sends the outcomes that this worker hands over, and reads settlements of its partitions."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from schemas import DeploymentSettled
from worker.adapters.kafka.clients import POLLED, client_options, running_client, send
from worker.adapters.kafka.partition_store import settlement_of
from worker.settings import KafkaSettings

SEND_SECONDS = 10
RETRY_SECONDS = 0.5

log = structlog.get_logger()


class SettlementSender:
    """Publishes the outcomes of attempts whose partition was lost.

    Each settlement is retried until the broker has it, or until the worker stops.
    """

    def __init__(self, kafka: KafkaSettings, source: str) -> None:
        self._kafka = kafka
        self._source = source
        self._tasks: set[asyncio.Task[None]] = set()

    def hand_over(self, partition: int, outcome: Coroutine[Any, Any, DeploymentSettled | None]) -> None:
        """Publish the outcome as soon as it is known. The POST may still be running."""
        task = asyncio.create_task(self._hand_over(partition, outcome), name=f"hand over {partition}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def finished(self, seconds: float) -> None:
        """Wait up to `seconds` until all outcomes are handed over. Abandon the rest, or on cancellation all of them."""
        tasks = [*self._tasks]
        try:
            if tasks:
                await asyncio.wait(tasks, timeout=seconds)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _hand_over(self, partition: int, outcome: Coroutine[Any, Any, DeploymentSettled | None]) -> None:
        try:
            settled = await outcome
        except Exception as error:  # noqa: BLE001 - the outcome stays unknown, as without an answer
            log.warning("an outcome could not be handed over", error=type(error).__name__, why=str(error)[:200])
            return
        while settled is not None:
            try:
                await self._send(settled, partition)
            except (KafkaError, TimeoutError) as error:
                log.warning("settlement not published", error=type(error).__name__, why=str(error)[:200])
                await asyncio.sleep(RETRY_SECONDS)
            else:
                log.info("outcome handed over", request_id=settled.request_id, outcome=settled.outcome)
                return

    async def _send(self, settled: DeploymentSettled, partition: int) -> None:
        """Send one settlement with a new producer: hand-overs are rare, and a failed producer cannot be reused."""
        message = settled.to_message(self._kafka.settlements_topic, self._source, partition)
        producer = AIOKafkaProducer(**client_options(self._kafka), enable_idempotence=True)
        async with asyncio.timeout(SEND_SECONDS), running_client(producer):
            await send(producer, message)


class SettlementReader:
    """Reads new settlements of owned partitions. A partition processor has read the earlier settlements itself."""

    def __init__(
        self, consumer: AIOKafkaConsumer, topic: str, on_settlement: Callable[[int, DeploymentSettled], None]
    ) -> None:
        """`consumer` has no group, and starts at the earliest offset. `on_settlement` gets partition and settlement."""
        self._consumer = consumer
        self._topic = topic
        self._on_settlement = on_settlement
        self._wanted: frozenset[int] = frozenset()
        self._changed = asyncio.Event()

    def watch(self, partitions: frozenset[int]) -> None:
        """Watch these partitions. A new partition is read from its beginning, and the others continue.

        Reading from the beginning ensures that no settlement is missed between the processor's reading and this one.
        """
        self._wanted = partitions
        self._changed.set()

    async def run(self) -> None:
        """Read settlements until cancelled."""
        positions: dict[int, int] = {}
        while True:
            await self._changed.wait()
            self._changed.clear()
            positions = {partition: positions.get(partition, 0) for partition in self._wanted}
            if not positions:
                continue
            self._consumer.assign([TopicPartition(self._topic, partition) for partition in positions])
            for partition, position in positions.items():
                self._consumer.seek(TopicPartition(self._topic, partition), position)
            try:
                await self._follow(positions)
            except Exception as error:  # noqa: BLE001 - a record that fails is skipped, and the records after it are read
                log.warning("settlements cannot be read", error=type(error).__name__, why=str(error)[:200])
                await asyncio.sleep(RETRY_SECONDS)
                self._changed.set()

    async def _follow(self, positions: dict[int, int]) -> None:
        while not self._changed.is_set():
            for tp, records in (await self._consumer.getmany(timeout_ms=1000, max_records=POLLED)).items():
                for record in records:
                    positions[tp.partition] = record.offset + 1
                    if (settled := settlement_of(record)) is not None:
                        self._on_settlement(tp.partition, settled)
