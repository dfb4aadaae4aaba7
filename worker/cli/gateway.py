"""`gateway`: HTTP for Graphene's portal, for browsers and for programs."""

import argparse
import asyncio
import os
from functools import partial

from worker.cli import INTERRUPTED
from worker.concurrency import run_until_signal
from worker.gateway.app import run
from worker.observability import logs
from worker.settings import GatewayProcessSettings, read_settings, secret_values


def execute(arguments: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT; return 0, or 130 when a second signal cut the shutdown short."""
    settings = read_settings(os.environ, GatewayProcessSettings)
    logs.configure(settings.runtime.log_level, settings.runtime.log_format, secrets=secret_values(settings))
    try:
        run_until_signal(partial(run, settings, host=arguments.host))
    except asyncio.CancelledError:
        return INTERRUPTED
    return 0
