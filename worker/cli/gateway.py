"""`gateway`: HTTP for Graphene's portal, for browsers and for programs."""

import argparse
import asyncio
import os
import signal

from worker.cli import INTERRUPTED
from worker.gateway.app import run
from worker.observability import logs
from worker.settings import GatewayProcessSettings, read_settings, secret_values


def execute(arguments: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT; return 0, or 130 when a second signal cut the shutdown short."""
    settings = read_settings(os.environ, GatewayProcessSettings)
    logs.configure(settings.runtime.log_level, settings.runtime.log_format, secrets=secret_values(settings))
    try:
        asyncio.run(_until_signal(settings, arguments.host))
    except asyncio.CancelledError:
        return INTERRUPTED
    return 0


async def _until_signal(settings: GatewayProcessSettings, host: str | None) -> None:
    stop = asyncio.Event()
    work = asyncio.ensure_future(run(settings, stop, host))

    def stop_or_cancel() -> None:
        if stop.is_set():
            work.cancel()
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop_or_cancel)
    await work
