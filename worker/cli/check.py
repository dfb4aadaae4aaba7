"""`check`: verifies the settings and reaches every dependency. Only reads: it creates and deploys nothing."""

import argparse
import os
import sys
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from aiokafka.protocol.metadata import MetadataRequest

from worker.adapters.jwks import open_tokens
from worker.adapters.kafka.acls import verify_acls, worker_acls
from worker.adapters.kafka.diagnosis import connected
from worker.adapters.kafka.topics import required_topics, verify_topics
from worker.adapters.overrides_file import load_overrides
from worker.cli.connectivity import check_artifacts, check_catalog, check_catalog_login, check_playground
from worker.cli.error_messages import error_message
from worker.cli.terminal import configure_logging, run
from worker.client.requests import open_admin
from worker.concurrency import together
from worker.errors import ConfigurationError
from worker.settings import Settings, read_settings


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
    print(_line("settings", "complete"))
    results = await together(_result(check, settings) for check in CHECKS.values())
    for name, result in zip(CHECKS, results, strict=True):
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


async def _check_tokens(settings: Settings) -> str:
    """Verify that the secret can be used, or that the issuer publishes a key for the algorithm."""
    auth = settings.auth
    async with open_tokens(auth, time.time) as tokens:
        await tokens.refresh()
    keys = f", {auth.jwks_url} has a key for it" if auth.jwks_url else ""
    return "\n".join([f"tokens are verified with {auth.algorithm}{keys}", *tokens.warnings])


async def _check_kafka(settings: Settings) -> str:
    async with connected(settings.kafka) as connection:
        brokers = (await connection.send(MetadataRequest([]))).brokers
    return f"{settings.kafka.bootstrap_servers} answers, brokers: {len(brokers)}"


async def _check_topics(settings: Settings) -> str:
    """Verify topics and ACLs as the worker does at startup, but create no topic."""
    kafka = settings.kafka
    async with connected(kafka) as connection:
        await verify_acls(connection, kafka, worker_acls(kafka))
    async with open_admin(kafka) as admin:
        present = await admin.list_topics()
        missing = [topic.name for topic in required_topics(kafka) if topic.name not in present]
        if missing and kafka.create_topics:
            return f"the worker will create {', '.join(missing)}"
        found = await verify_topics(admin, kafka)
    remarks = found.remarks(kafka, settings.playground.park_max_seconds)
    return "\n".join(["configured as the worker needs them", *remarks])


async def _check_overrides(settings: Settings) -> str:
    entries = load_overrides(settings.bundle).entries
    return f"{len(entries)}, all valid" if entries else "none"


Check = Callable[[Settings], Coroutine[Any, Any, str]]
"""Returns a sentence about what works. Raises an error that `error_message` knows."""

CHECKS: Mapping[str, Check] = {
    "tokens": _check_tokens,
    "Kafka": _check_kafka,
    "topics": _check_topics,
    "CCDS": lambda settings: check_catalog(settings.catalog),
    "CCDS login": lambda settings: check_catalog_login(settings.catalog),
    "Nexus": lambda settings: check_artifacts(settings.artifacts),
    "playground": lambda settings: check_playground(settings.playground),
    "overrides": _check_overrides,
}
