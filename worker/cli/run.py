"""`run`: the worker."""

import argparse
import asyncio
import os
from base64 import b64encode

from pydantic import SecretStr

from worker.app import run_until_signal
from worker.cli import INTERRUPTED
from worker.observability import logs
from worker.settings import GatewayProcessSettings, Settings, read_settings


def execute(_: argparse.Namespace) -> int:
    """Work until SIGTERM or SIGINT; return 0 after a graceful shutdown, 130 when a second signal cut it short."""
    settings = read_settings(os.environ, Settings)
    logs.configure(settings.runtime.log_level, settings.runtime.log_format, secrets=secret_values(settings))
    try:
        run_until_signal(settings)
    except asyncio.CancelledError:
        return INTERRUPTED
    return 0


def secret_values(settings: Settings | GatewayProcessSettings) -> list[str]:
    """Return every secret in the settings, and each login in its HTTP Basic form."""
    found: list[str] = []
    for _, group in settings:
        secrets = {name: value.get_secret_value() for name, value in group if isinstance(value, SecretStr)}
        found += secrets.values()
        if "password" in secrets:
            found.append(b64encode(f"{group.username}:{secrets['password']}".encode()).decode())
    return found
