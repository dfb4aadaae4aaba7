"""The gateway's own reads on Apache Kafka: whose record is sent again, and which statuses count."""

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from schemas import DeploymentStatus, SourceInfo, State, fingerprint
from tests.support.builders import REVISION_ID, SOLUTION_ID
from tests.support.topics import create_worker_topics, unique_name
from worker.errors import CommandError
from worker.gateway.operations import Operations
from worker.gateway.reader import StatusReader
from worker.gateway.view import View
from worker.settings import KafkaSettings

NONCE = "n" * 16


class FakePublisher:
    """Keeps what would be published."""

    def __init__(self) -> None:
        self.published: list[tuple[str, bytes]] = []

    async def permit(self, permit: Any, key: bytes) -> None:
        self.published.append((permit.replay_of, key))

    async def publish(self, request: Any, *, key: bytes) -> int:
        self.published.append((request.token, key))
        return 0


@pytest.fixture
async def settings(kafka: str) -> KafkaSettings:
    name = unique_name()
    topics = {f"{it}_topic": f"{name}.{it}" for it in ("requests", "status", "settlements", "dead_letter")}
    options = {
        "bootstrap_servers": kafka,
        "create_topics": True,
        "partitions": 1,
        "replication_factor": 1,
        "group_id": name,
    }
    found = KafkaSettings.model_validate(options | topics)
    await create_worker_topics(found)
    return found


def deployed(request_id: str, kafka: KafkaSettings) -> DeploymentStatus:
    """Return the final status of user-1's request, whose record is the first of its topic."""
    return DeploymentStatus(
        request_id=request_id,
        sequence=0,
        state=State.DEPLOYED,
        time=datetime.now(UTC),
        attempt=1,
        message="Deployed.",
        solution_id=SOLUTION_ID,
        revision_id=REVISION_ID,
        fingerprint=fingerprint("user-1", SOLUTION_ID, REVISION_ID),
        source=SourceInfo(topic=kafka.requests_topic, partition=0, offset=0),
    )


async def test_only_the_owners_record_is_sent_again(settings: KafkaSettings) -> None:
    """The record carries its sender's token: another user's key sends nothing, and the owner's sends it once."""
    value = {"requestId": "r-1", "solutionId": str(SOLUTION_ID), "revisionId": str(REVISION_ID)}
    async with AIOKafkaProducer(bootstrap_servers=settings.bootstrap_servers) as producer:
        headers = [("authorization", b"Bearer a.b.c")]
        await producer.send_and_wait(
            settings.requests_topic, json.dumps(value).encode(), key=b"user-1", headers=headers
        )
    last, publisher = deployed("r-1", settings), FakePublisher()
    sender: Any = publisher
    with pytest.raises(CommandError):
        await Operations(settings).deploy_again(sender, last, b"user-2", NONCE)
    assert [] == publisher.published
    await Operations(settings).deploy_again(sender, last, b"user-1", NONCE)
    assert [("r-1", b"user-1"), ("a.b.c", b"user-1")] == publisher.published


async def test_the_view_has_only_what_is_committed(settings: KafkaSettings) -> None:
    """A status of a transaction that was aborted was never published, and no page shows it."""
    producer = AIOKafkaProducer(bootstrap_servers=settings.bootstrap_servers, transactional_id=unique_name())
    async with producer:
        for request_id, is_committed in (("aborted", False), ("committed", True)):
            await producer.begin_transaction()
            message = deployed(request_id, settings).to_message(settings.status_topic, "/tests")
            await producer.send_and_wait(
                message.topic, message.value, key=message.key, partition=0, headers=[*message.headers]
            )
            await (producer.commit_transaction() if is_committed else producer.abort_transaction())
    view = View(100, 1_000_000)
    reader = StatusReader(settings, view, lambda _: None)
    reading = asyncio.create_task(reader.run())
    try:
        async with asyncio.timeout(30):
            while not reader.is_complete:  # noqa: ASYNC110 - no event tells that the topic's end was reached
                await asyncio.sleep(0.05)
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
    assert (0, 1) == (len(view.find("aborted")), len(view.find("committed")))
