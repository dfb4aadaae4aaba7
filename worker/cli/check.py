"""`check`: are the settings right, and does every dependency answer? Reads only: it makes and deploys nothing."""

import argparse
import os
import sys
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.metadata import MetadataRequest

from worker.adapters.jwks import open_tokens
from worker.adapters.kafka.acls import verify_acls, worker_acls
from worker.adapters.kafka.clients import client_options
from worker.adapters.kafka.diagnosis import connected
from worker.adapters.kafka.topics import prepare_topics, required_topics
from worker.adapters.overrides_file import load_overrides
from worker.cli.client import running
from worker.cli.failures import explain
from worker.cli.pings import ping_artifacts, ping_catalog, ping_catalog_login, ping_playground
from worker.cli.terminal import quiet, run
from worker.concurrency import together
from worker.errors import ConfigurationError
from worker.settings import Settings, read_settings


def execute(_: argparse.Namespace) -> int:
    """One line per dependency; 1 if one of them fails."""
    quiet()
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
        if explain(error) is None:
            raise
        return error


def _line(name: str, result: str | Exception) -> str:
    mark, text = ("FAILED", explain(result) or "") if isinstance(result, Exception) else ("ok", result)
    first, *more = text.splitlines()
    return "\n".join([f"{mark:<7} {name}: {first}", *(f"        {line}" for line in more)])


async def _tokens(settings: Settings) -> str:
    """The secret can be used, or the issuer publishes a key for the algorithm."""
    auth = settings.auth
    async with open_tokens(auth, time.time) as tokens:
        await tokens.refresh()
    keys = f", {auth.jwks_url} has a key for it" if auth.jwks_url else ""
    return "\n".join([f"tokens are verified with {auth.algorithm}{keys}", *tokens.warnings])


async def _kafka(settings: Settings) -> str:
    async with connected(settings.kafka) as connection:
        brokers = (await connection.send(MetadataRequest([]))).brokers
    return f"{settings.kafka.bootstrap_servers} answers, brokers: {len(brokers)}"


async def _topics(settings: Settings) -> str:
    """As the worker verifies them at its start, rights included, without making any."""
    kafka = settings.kafka
    async with connected(kafka) as connection:
        await verify_acls(connection, kafka, worker_acls(kafka))
    async with running(AIOKafkaAdminClient(**client_options(kafka))) as admin:
        present = await admin.list_topics()
        missing = [topic.name for topic in required_topics(kafka) if topic.name not in present]
        if missing and kafka.create_topics:
            return f"the worker will make {', '.join(missing)}"
        warnings = await prepare_topics(admin, kafka.model_copy(update={"create_topics": False}))
    return "\n".join(["as the worker needs them", *warnings])


async def _overrides(settings: Settings) -> str:
    entries = load_overrides(settings.bundle).entries
    return f"{len(entries)}, each fits what it is for" if entries else "none"


Check = Callable[[Settings], Coroutine[Any, Any, str]]
"""A sentence about what is well. Raises what `explain` knows."""

CHECKS: Mapping[str, Check] = {
    "tokens": _tokens,
    "Kafka": _kafka,
    "topics": _topics,
    "CCDS": lambda settings: ping_catalog(settings.catalog),
    "CCDS login": lambda settings: ping_catalog_login(settings.catalog),
    "Nexus": lambda settings: ping_artifacts(settings.artifacts),
    "playground": lambda settings: ping_playground(settings.playground),
    "overrides": _overrides,
}
