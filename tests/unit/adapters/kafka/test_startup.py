"""Startup on Kafka: which failures are waited out, and which stop it."""

import asyncio

import pytest
from aiokafka.errors import InvalidConfigurationError, KafkaConnectionError

from worker.adapters.kafka.startup import prepare_kafka
from worker.errors import ConfigurationError
from worker.settings import KafkaSettings

KAFKA = KafkaSettings(bootstrap_servers="kafka.example:9092")


class Broker:
    """A broker that fails once and then returns its cluster's id."""

    def __init__(self, error: Exception) -> None:
        self.errors = [error]

    async def __call__(self, kafka: KafkaSettings) -> str:
        if self.errors:
            raise self.errors.pop()
        return "cluster"


@pytest.mark.parametrize("error", [KafkaConnectionError(), TimeoutError(), ConnectionResetError()])
async def test_an_unreachable_broker_is_waited_for(error: Exception) -> None:
    """Startup waits for an unreachable broker, and for a broker that accepts the connection and does not answer."""
    assert "cluster" == await prepare_kafka(KAFKA, asyncio.Event(), Broker(error))


@pytest.mark.parametrize("error", [ConfigurationError("no"), InvalidConfigurationError()])
async def test_a_failure_that_waiting_cannot_fix_ends_the_startup(error: Exception) -> None:
    """A failure that waiting cannot fix is raised unchanged."""
    with pytest.raises(type(error)):
        await prepare_kafka(KAFKA, asyncio.Event(), Broker(error))


async def test_a_stop_ends_the_wait() -> None:
    """A stop ends the wait at once, even if the broker never answers."""
    stop = asyncio.Event()
    stop.set()

    async def hang(kafka: KafkaSettings) -> str:
        await asyncio.Event().wait()
        return kafka.bootstrap_servers

    assert await prepare_kafka(KAFKA, stop, hang) is None
