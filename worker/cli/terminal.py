"""How every command logs, and how it stops."""

import asyncio
import logging
import signal
from collections.abc import Coroutine
from typing import Any

from worker.observability import logs

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def configure_logging() -> None:
    """Log our own warnings to stderr and silence Kafka's client, whose errors the commands report themselves."""
    logs.configure("warning", "console")
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL + 1)


def run(command: Coroutine[Any, Any, int]) -> int:
    """Run a command to its end and return its exit code.

    The first SIGINT, SIGTERM or SIGHUP cancels it, so that it closes everything it has opened; the exit code is then
    128 + the signal's number, unless the command takes the cancellation for its normal end.
    """

    async def main() -> int:
        task = asyncio.ensure_future(command)
        received: list[int] = []

        def stop(number: int) -> None:
            if not received:  # a second signal must not interrupt the cleanup
                task.cancel()
            received.append(number)

        for number in STOP_SIGNALS:
            asyncio.get_running_loop().add_signal_handler(number, stop, number)
        try:
            return await task
        except asyncio.CancelledError:
            if not received:
                raise
            return 128 + received[0]

    return asyncio.run(main())


async def until_stopped() -> None:
    """Wait for one of the signals, as the normal end of the command."""
    try:
        await asyncio.get_running_loop().create_future()
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.uncancel():
            raise
