"""`run`: the worker."""

import argparse
import asyncio
import os

from worker.app import run_until_signal
from worker.cli import INTERRUPTED
from worker.observability import logs
from worker.settings import Settings, read_settings, secret_values


def execute(_: argparse.Namespace) -> int:
    """Work until SIGTERM or SIGINT; return 0 after a graceful shutdown, 130 when a second signal cut it short."""
    settings = read_settings(os.environ, Settings)
    logs.configure(settings.runtime.log_level, settings.runtime.log_format, secrets=secret_values(settings))
    try:
        run_until_signal(settings)
    except asyncio.CancelledError:
        return INTERRUPTED
    return 0
