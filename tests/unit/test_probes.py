"""What the probes say of the worker."""

import asyncio
import time
from types import SimpleNamespace

import pytest

from worker.app import STUCK_SECONDS, _Health


@pytest.mark.parametrize(
    ("assigned", "stopping", "silent", "alive"),
    [
        (True, False, 0, True),
        (True, False, STUCK_SECONDS + 1, False),
        (False, False, STUCK_SECONDS + 1, True),
        (True, True, STUCK_SECONDS + 1, True),
    ],
)
def test_only_a_stuck_loop_is_a_reason_to_restart(assigned: bool, stopping: bool, silent: float, alive: bool) -> None:
    """In a rebalance and at a stop, deployments that run are waited for: a restart would cut them off."""
    stop, partitions = asyncio.Event(), asyncio.Event()
    if stopping:
        stop.set()
    if assigned:
        partitions.set()
    health = _Health(stop)
    health.requests = SimpleNamespace(assigned=partitions, polled_at=time.monotonic() - silent)  # type: ignore[assignment]
    assert alive == (health.live() is None)
