"""The sandbox's commands run on asyncio's own event loop: uvloop's cannot start a process as another user."""

import asyncio
from collections.abc import Callable


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run these tests on asyncio's own event loop as well."""
    return {"loop": asyncio.new_event_loop}
