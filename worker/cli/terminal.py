"""What the commands share in how they speak and how they stop."""

import asyncio
import logging
import signal
from collections.abc import Coroutine
from typing import Any

from worker.observability import logs

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def quiet() -> None:
    """Our own warnings go to stderr; Kafka's client is silent, because we say ourselves what it meets."""
    logs.configure("warning", "console")
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL + 1)


def run(work: Coroutine[Any, Any, int]) -> int:
    """Run to the end and return its exit code.

    The first SIGINT, SIGTERM or SIGHUP cancels it, so that everything it opened is closed; the code is then
    128 + the signal's number, unless the work takes the cancellation for its ordinary end.
    """

    async def main() -> int:
        task = asyncio.ensure_future(work)
        caught: list[int] = []

        def stop(number: int) -> None:
            if not caught:  # a second one must not interrupt the closing
                task.cancel()
            caught.append(number)

        for number in STOPS:
            asyncio.get_running_loop().add_signal_handler(number, stop, number)
        try:
            return await task
        except asyncio.CancelledError:
            if not caught:
                raise
            return 128 + caught[0]

    return asyncio.run(main())


async def until_stopped() -> None:
    """Wait for one of the signals; to the work this is its ordinary end."""
    try:
        await asyncio.get_running_loop().create_future()
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.uncancel():
            raise
