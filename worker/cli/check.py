"""`check`: verify the settings and reach every dependency. The command only reads: it creates and deploys nothing."""

import argparse
import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

from aiokafka.errors import KafkaConnectionError

from worker.cli.error_messages import error_message
from worker.cli.terminal import configure_logging, run
from worker.concurrency import together
from worker.errors import CommandError, ConfigurationError
from worker.settings import Settings, read_settings

if TYPE_CHECKING:
    from worker.cli.connectivity import Check


def execute(_: argparse.Namespace) -> int:
    """Print one line per dependency; return 1 if a check fails."""
    configure_logging()
    return run(_check(os.environ))


async def _check(environ: Mapping[str, str]) -> int:
    try:
        settings = read_settings(environ, Settings)
    except ConfigurationError as error:
        print(_line("settings", error))
        print("Nothing else was checked.", file=sys.stderr)
        return 1
    print(_line("settings", "complete"), flush=True)
    from worker.cli.connectivity import CHECKS  # noqa: PLC0415 - slow to import: Kafka's client, HTTP, Kubernetes' models

    results = await together(_result(check, settings) for check in CHECKS.values())
    by_name = dict(zip(CHECKS, results, strict=True))
    if isinstance(by_name["Kafka"], Exception) and isinstance(by_name["topics"], Exception):
        reason = "cannot be reached" if isinstance(by_name["Kafka"], KafkaConnectionError) else "denies access"
        by_name["topics"] = CommandError(f"not checked: Kafka {reason}")
    for name, result in by_name.items():
        print(_line(name, result))
    return int(any(isinstance(result, Exception) for result in results))


async def _result(check: "Check", settings: Settings) -> str | Exception:
    try:
        return await check(settings)
    except Exception as error:
        if error_message(error) is None:
            raise
        return error


def _line(name: str, result: str | Exception) -> str:
    verdict, text = ("FAILED", error_message(result) or "") if isinstance(result, Exception) else ("ok", result)
    first, *more = text.splitlines()
    return "\n".join([f"{verdict:<7} {name}: {first}", *(f"        {line}" for line in more)])
