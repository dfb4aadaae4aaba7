"""Periodic check that Kafka grants the gateway's ACLs and has its topics. /ready reports what is missing."""

import asyncio

import structlog
from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import KafkaError

from worker.adapters.kafka.acls import gateway_acls, notification_acls, verify_acls
from worker.adapters.kafka.diagnosis import connected
from worker.errors import ConfigurationError
from worker.settings import KafkaSettings

CHECK_SECONDS = 5.0
RETRY_SECONDS = 1.0

log = structlog.get_logger()


class Access:
    """The check of the granted ACLs against the ACLs that the gateway needs. Repeats until it is cancelled."""

    def __init__(self, kafka: KafkaSettings, *, notifies: bool = False) -> None:
        self._kafka = kafka
        self._needed = gateway_acls(kafka) + (notification_acls(kafka) if notifies else ())
        self.problem: str | None = None
        """What an operator has to change, with the setting or the command. None: no problem was found. While Kafka is
        unreachable, the last result stays."""

    async def run(self) -> None:
        """Run until it is cancelled. An open connection does not log in again, as with the other clients."""
        while True:
            try:
                async with connected(self._kafka) as connection:
                    while True:
                        await self._verify(connection)
                        self._note(None)
                        await asyncio.sleep(CHECK_SECONDS)
            except ConfigurationError as error:
                self._note(str(error))
            except (KafkaError, OSError, TimeoutError):
                pass  # Kafka is unreachable: the reader detects this, and pages show the time of the last answer
            await asyncio.sleep(RETRY_SECONDS)

    async def _verify(self, connection: AIOKafkaConnection) -> None:
        existing = await verify_acls(connection, self._kafka, self._needed)
        missing = [it for it in (self._kafka.requests_topic, self._kafka.status_topic) if it not in existing]
        if missing:
            raise ConfigurationError(
                f"Kafka: the topic '{missing[0]}' does not exist. Create it, or start a worker that creates it."
            )

    def _note(self, problem: str | None) -> None:
        if problem != self.problem:
            if problem:
                log.error("Kafka denies what the gateway needs", why=problem)
            else:
                log.info("Kafka grants what the gateway needs")
            self.problem = problem
