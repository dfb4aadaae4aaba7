"""The poll loop shares the event loop with everything else."""

import asyncio
from typing import Any

import pytest

from worker import settings
from worker.delivery.consumer import RequestConsumer


class FullConsumer:
    """Has records at every poll, as behind a flood, and so never suspends; its connection breaks after 1000 polls."""

    def __init__(self) -> None:
        self.polls = 0

    def subscribe(self, _topics: list[str], **_more: Any) -> None:
        """Join the group."""

    async def getmany(self, **_options: int) -> dict[Any, Any]:
        """Return at once."""
        self.polls += 1
        if self.polls > 1000:
            raise ConnectionError
        return {}


async def test_others_run_between_two_polls() -> None:
    """aiokafka returns at once while it has records: without a turn for others, a flood would stop all of them."""
    full: Any = FullConsumer()
    runtime = settings.RuntimeSettings()
    consumer = RequestConsumer(full, lambda *_: pytest.fail("no partition"), lambda _: None, "c", "requests", runtime)
    stop = asyncio.Event()
    running = asyncio.create_task(consumer.run(stop))
    while full.polls < 3:  # noqa: ASYNC110 - this is what is tested: that it gets a turn
        await asyncio.sleep(0)
    stop.set()
    await running
    assert full.polls < 100
