"""The startup on Kafka: which failures are waited out, and which end it."""

import asyncio

import pytest
from aiokafka.errors import InvalidConfigurationError, KafkaConnectionError

from worker.adapters.kafka.startup import prepare_kafka
from worker.errors import ConfigurationError
from worker.settings import KafkaSettings

KAFKA = KafkaSettings(bootstrap_servers="kafka.example:9092")


class Broker:
    """Fails once, then tells its cluster's id."""

    def __init__(self, error: Exception) -> None:
        self.errors = [error]

    async def __call__(self, kafka: KafkaSettings) -> str:
        if self.errors:
            raise self.errors.pop()
        return "cluster"


@pytest.mark.parametrize("error", [KafkaConnectionError(), TimeoutError(), ConnectionResetError()])
async def test_an_unreachable_broker_is_waited_for(error: Exception) -> None:
    """Also one that accepts the connection and then does not answer."""
    assert "cluster" == await prepare_kafka(KAFKA, asyncio.Event(), Broker(error))


@pytest.mark.parametrize("error", [ConfigurationError("no"), InvalidConfigurationError()])
async def test_a_failure_that_waiting_cannot_fix_ends_the_startup(error: Exception) -> None:
    """It is raised as it is."""
    with pytest.raises(type(error)):
        await prepare_kafka(KAFKA, asyncio.Event(), Broker(error))


async def test_a_stop_ends_the_wait() -> None:
    """A broker that never answers delays it by nothing."""
    stop = asyncio.Event()
    stop.set()

    async def hang(kafka: KafkaSettings) -> str:
        await asyncio.Event().wait()
        return kafka.bootstrap_servers

    assert await prepare_kafka(KAFKA, stop, hang) is None
