"""`gateway`: HTTP for Graphene's portal, for browsers and for programs."""

import argparse
from functools import partial

from worker.cli.terminal import serve
from worker.gateway.app import run
from worker.settings import GatewayProcessSettings


def execute(arguments: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT; return 0, or 130 when a second signal cut the shutdown short."""
    return serve(GatewayProcessSettings, partial(run, host=arguments.host))
