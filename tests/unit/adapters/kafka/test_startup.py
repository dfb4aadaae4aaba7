"""The way into Kafka at the start: what is waited for, and what is not."""

import asyncio

import pytest
from aiokafka.errors import InvalidConfigurationError, KafkaConnectionError

from worker.adapters.kafka import startup as entrance
from worker.errors import ConfigurationError
from worker.settings import KafkaSettings

KAFKA = KafkaSettings(bootstrap_servers="kafka.example:9092")


class Broker:
    """Stands for all that is asked at the start: fails, then knows its cluster's id."""

    def __init__(self, error: Exception) -> None:
        self.errors = [error]

    async def __call__(self, kafka: KafkaSettings) -> str:
        if self.errors:
            raise self.errors.pop()
        return "cluster"


@pytest.mark.parametrize("error", [KafkaConnectionError(), TimeoutError(), ConnectionResetError()])
async def test_a_broker_that_hangs_or_is_away_is_waited_for(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that accepts the connection and then falls silent."""
    monkeypatch.setattr(entrance, "_prepared", Broker(error))
    assert "cluster" == await entrance.prepare_kafka(KAFKA, asyncio.Event())


@pytest.mark.parametrize("error", [ConfigurationError("no"), InvalidConfigurationError()])
async def test_what_waiting_does_not_mend_ends_the_start(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is raised as it is."""
    monkeypatch.setattr(entrance, "_prepared", Broker(error))
    with pytest.raises(type(error)):
        await entrance.prepare_kafka(KAFKA, asyncio.Event())
