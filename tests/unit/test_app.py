"""Failures that stop a worker before its first request."""

import asyncio

import pytest

from tests.unit.test_settings import REQUIRED
from worker.app import run
from worker.errors import ConfigurationError
from worker.settings import Settings, read_settings


def settings(**changes: str) -> Settings:
    return read_settings(
        REQUIRED | {"DEPLOYER_AUTH__SECRET": "A" * 88, "DEPLOYER_RUNTIME__HTTP_PORT": "0"} | changes, Settings
    )


async def test_an_orchestrator_image_that_is_none_stops_the_start() -> None:
    """An invalid orchestrator image stops the start and names its variable, so that it never fails a user's request."""
    wrong = settings(DEPLOYER_BUNDLE__ORCHESTRATOR_IMAGE="https://registry.example/orchestrator")
    with pytest.raises(ConfigurationError, match=r"^DEPLOYER_BUNDLE__ORCHESTRATOR_IMAGE .* Correct it\.$"):
        await run(wrong, asyncio.Event())


async def test_a_small_limit_of_nodes_stops_nothing() -> None:
    """A small MAX_NODES never stops the start: the warm-up bundle is not a user's."""
    stop = asyncio.Event()
    stop.set()
    await run(settings(DEPLOYER_BUNDLE__MAX_NODES="1"), stop)
