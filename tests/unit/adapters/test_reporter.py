"""The status publisher: what becomes of a status on its way to Kafka."""

from datetime import UTC, datetime
from typing import Any

import pytest

from schemas import DeploymentStatus, SourceInfo, State
from worker.adapters.reporter import StatusPublisher

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class FakeProducer:
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []

    async def send_and_wait(self, topic: str, value: bytes, **more: Any) -> None:
        self.sent.append({"topic": topic, "value": value} | more)


def status(**changes: Any) -> DeploymentStatus:
    values: dict[str, Any] = {
        "request_id": "request-1",
        "sequence": 2,
        "state": State.SUBMITTING,
        "time": datetime(2026, 1, 1, tzinfo=UTC),
        "attempt": 1,
        "message": "It goes on.",
        "source": SourceInfo(topic="requests", partition=7, offset=5),
    }
    return DeploymentStatus(**(values | changes))


async def test_a_status_is_a_cloud_event_in_its_requests_partition() -> None:
    """Key, partition and attributes are those of the contract; the trace goes on."""
    producer = FakeProducer()
    await StatusPublisher(producer, "statuses", "/worker").publish(status(), TRACE)
    [sent] = producer.sent
    headers = dict(sent["headers"])
    assert ("statuses", b"request-1", 7) == (sent["topic"], sent["key"], sent["partition"])
    assert (b"request-1:2", b"request-1") == (headers["ce_id"], headers["ce_subject"])
    assert TRACE.encode() == headers["traceparent"]
    assert status() == DeploymentStatus.model_validate_json(sent["value"])


async def test_a_status_over_the_limit_is_not_sent() -> None:
    """The producer would refuse it too, and leave a gap in its sequence numbers for good."""
    producer = FakeProducer()
    large = status(source=SourceInfo(topic="t" * DeploymentStatus.MAX_BYTES, partition=7, offset=5))
    with pytest.raises(ValueError, match="larger than 65536"):
        await StatusPublisher(producer, "statuses", "/worker").publish(large, None)
    assert [] == producer.sent
