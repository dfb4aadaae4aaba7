"""`run`: the worker."""

import argparse

from worker.app import run
from worker.cli.terminal import serve
from worker.settings import Settings


def execute(_: argparse.Namespace) -> int:
    """Run until SIGTERM or SIGINT; return 0 after a graceful shutdown, 130 when a second signal cut it short."""
    return serve(Settings, run)
