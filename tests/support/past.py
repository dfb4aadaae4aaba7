"""Requests that ended some time ago: their remains in the status topic."""

from collections.abc import Awaitable, Sequence
from datetime import UTC, datetime
from typing import Any

from aiokafka import AIOKafkaProducer

from schemas import DeploymentStatus, SourceInfo, State
from worker.settings import KafkaSettings

STATES = (State.ACCEPTED, State.BUILDING, State.SUBMITTING, State.DEPLOYED)


async def write_past(
    producer: AIOKafkaProducer, kafka: KafkaSettings, partition: int, number: int, states: Sequence[State] = STATES
) -> Awaitable[Any]:
    """Write the last statuses of the n-th request of a partition; return the awaitable answer to the final status."""
    for sequence, state in enumerate(states, len(STATES) - len(states)):
        status = DeploymentStatus(
            request_id=f"{partition}-{number}-0123456789abcdef-0123456789ab",
            sequence=sequence,
            state=state,
            time=datetime(2026, 1, 1, tzinfo=UTC),
            attempt=1,
            message="Deployed as sudoku-tutorial, and about as long as such a sentence is.",
            fingerprint=f"{number:064x}",
            source=SourceInfo(topic=kafka.requests_topic, partition=partition, offset=number),
        )
        it = status.to_message(kafka.status_topic, "/tests")
        sent: Awaitable[Any] = await producer.send(
            it.topic, it.value, key=it.key, partition=partition, headers=[*it.headers]
        )
    return sent
