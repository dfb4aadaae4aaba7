"""What becomes of a status, a settlement and a dead letter on their way to Kafka."""

from datetime import UTC, datetime
from typing import Any

import pytest
from worker.domain.messages import Addresses, settlement_message, status_message

from schemas import DeploymentSettled, DeploymentStatus, SourceInfo, State
from worker.domain.dead_letter import DeadLetter

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


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


def test_a_status_is_a_cloud_event_in_its_requests_partition() -> None:
    """Key, partition and attributes are those of the contract; the trace goes on."""
    sent = status_message(status(), TRACE, "statuses", "/worker")
    headers = dict(sent.headers)
    assert ("statuses", b"request-1", 7) == (sent.topic, sent.key, sent.partition)
    assert (b"request-1:2", b"request-1") == (headers["ce_id"], headers["ce_subject"])
    assert TRACE.encode() == headers["traceparent"]
    assert status() == DeploymentStatus.model_validate_json(sent.value)


def test_a_status_over_the_limit_is_not_sent() -> None:
    """The producer would refuse it too, and leave a gap in its sequence numbers for good."""
    large = status(source=SourceInfo(topic="t" * DeploymentStatus.MAX_BYTES, partition=7, offset=5))
    with pytest.raises(ValueError, match="larger than 65536"):
        status_message(large, None, "statuses", "/worker")


def test_a_dead_letter_goes_with_its_status() -> None:
    """In one transaction: the status in its partition, the letter wherever its key leads."""
    letter = DeadLetter(b"user-1", b"{}", (("dlt-error-code", b"not-json"),))
    first, second = Addresses("statuses", "dead", "/worker")(status(), letter, None)
    assert ("statuses", 7) == (first.topic, first.partition)
    assert ("dead", None, b"user-1", b"{}", letter.headers) == (
        second.topic, second.partition, second.key, second.value, second.headers
    )  # fmt: skip


def test_a_settlement_goes_to_the_requests_partition() -> None:
    """The lane that owns it reads no other."""
    settled = DeploymentSettled.model_validate(
        {"requestId": "request-1", "attempt": 2, "as": "retry", "reason": "Nothing was sent.", "by": "worker"}
    )
    sent = settlement_message(settled, "settlements", 7, "/worker")
    assert ("settlements", 7, b"request-1") == (sent.topic, sent.partition, sent.key)
    assert settled == DeploymentSettled.model_validate_json(sent.value)
    assert DeploymentSettled.TYPE.encode() == dict(sent.headers)["ce_type"]
