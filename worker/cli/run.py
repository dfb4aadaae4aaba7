"""`run`: the worker."""

import argparse
import asyncio
import os

from worker import logs
from worker.app import run_until_signal
from worker.cli import INTERRUPTED
from worker.settings import Settings, read_settings


def execute(_: argparse.Namespace) -> int:
    """Work until SIGTERM or SIGINT; 0 after a stop in good order, 130 when a second signal cut it short."""
    settings = read_settings(os.environ, Settings)
    logs.configure(settings.runtime.log_level, settings.runtime.log_format)
    try:
        run_until_signal(settings)
    except asyncio.CancelledError:
        return INTERRUPTED
    return 0
