"""The poll loop shares the event loop with all other tasks."""

import asyncio
from typing import Any

import pytest

from worker import settings
from worker.delivery.consumer import RequestConsumer


class FullConsumer:
    """A consumer whose polls never suspend, as if flooded with records; its connection breaks after 1000 polls."""

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
    """Other tasks run between two polls, or a flood would stop them: aiokafka returns at once while it has records."""
    full: Any = FullConsumer()
    runtime = settings.RuntimeSettings()
    consumer = RequestConsumer(full, lambda *_: pytest.fail("no partition"), lambda _: None, "c", "requests", runtime)
    stop = asyncio.Event()
    running = asyncio.create_task(consumer.run(stop))
    while full.polls < 3:  # noqa: ASYNC110 - this is what is tested: that it gets to run
        await asyncio.sleep(0)
    stop.set()
    await running
    assert full.polls < 100
