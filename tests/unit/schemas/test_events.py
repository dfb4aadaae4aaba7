from datetime import UTC, datetime
from typing import Any

import pytest

from schemas import DeploymentSettled, DeploymentStatus, SourceInfo, State

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
    """A status has the contract's key, partition and attributes, and passes the trace on."""
    sent = status().to_message("statuses", "/worker", TRACE)
    headers = dict(sent.headers)
    assert ("statuses", b"request-1", 7) == (sent.topic, sent.key, sent.partition)
    assert (b"request-1:2", b"request-1") == (headers["ce_id"], headers["ce_subject"])
    assert TRACE.encode() == headers["traceparent"]
    assert status() == DeploymentStatus.model_validate_json(sent.value)


def test_a_status_over_the_limit_is_not_sent() -> None:
    """A status over the limit is rejected before it is sent.

    The producer would reject it as well, and leave a permanent gap in its sequence numbers.
    """
    large = status(source=SourceInfo(topic="t" * DeploymentStatus.MAX_BYTES, partition=7, offset=5))
    with pytest.raises(ValueError, match="larger than 65536"):
        large.to_message("statuses", "/worker")


def test_a_settlement_goes_to_the_requests_partition() -> None:
    """A settlement is written to its request's partition, the only partition that the owner reads."""
    settled = DeploymentSettled.model_validate(
        {"requestId": "request-1", "attempt": 2, "outcome": "retry", "reason": "Nothing was sent.", "by": "worker"}
    )
    sent = settled.to_message("settlements", "/worker", 7)
    assert ("settlements", 7, b"request-1") == (sent.topic, sent.partition, sent.key)
    assert settled == DeploymentSettled.model_validate_json(sent.value)
    assert DeploymentSettled.TYPE.encode() == dict(sent.headers)["ce_type"]
