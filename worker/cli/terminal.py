"""Logging and stop signals of the commands."""

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, TypeVar

import structlog

from worker.cli import INTERRUPTED
from worker.cli.error_messages import error_message
from worker.concurrency import run_until_signal
from worker.observability import logs
from worker.settings import PREFIX, GatewayProcessSettings, Settings, read_settings, secret_values

log = structlog.get_logger()

_Model = TypeVar("_Model", Settings, GatewayProcessSettings)

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def configure_logging() -> None:
    """Log this package's warnings to stderr, and silence Kafka's client, because the commands report its errors."""
    logs.configure("warning", "console")
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL + 1)


def serve(model: type[_Model], work: Callable[[_Model, asyncio.Event], Coroutine[Any, Any, None]]) -> int:
    """Run a process with its settings until SIGTERM or SIGINT, and return the exit code.

    All output is lines of the log, in the format of the settings. The reason why the process cannot start or continue
    is such a line, too.
    """
    console = os.environ.get(f"{PREFIX}RUNTIME__LOG_FORMAT") == "console"
    logs.configure("info", "console" if console else "json")
    try:
        settings = read_settings(os.environ, model)
        logs.configure(settings.runtime.log_level, settings.runtime.log_format, secrets=secret_values(settings))
        run_until_signal(partial(work, settings))
    except asyncio.CancelledError:
        log.info("stopped")
        return INTERRUPTED
    except Exception as error:
        if (sentence := error_message(error)) is None:
            raise
        for problem in sentence.splitlines():
            log.critical("the process cannot continue", problem=problem)
        return 1
    log.info("stopped")
    return 0


def run(command: Coroutine[Any, Any, int]) -> int:
    """Run a command until it completes, and return its exit code.

    The first SIGINT, SIGTERM or SIGHUP cancels the command, so that it closes everything that it has opened. The exit
    code is then 128 + the signal's number, unless the command treats the cancellation as its normal end.
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
    """Wait for a stop signal, as the normal end of the command."""
    try:
        await asyncio.get_running_loop().create_future()
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.uncancel():
            raise
