"""The modules that the commands have imported when they print what they read from Apache Kafka."""

import asyncio

import pytest

from schemas import State
from tests.component.cli.test_commands import IDS, Desk, token
from tests.component.cli.test_dead_letter import Box
from tests.component.cli.test_resolve import publish
from tests.support.first_line import DRAWS, WORKS, first_line


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["status", "r-1"], "parked"),
        (["resolve", "r-1", "--outcome", "failed", "--by", "ada"], "is settled as failed"),
        (["dead-letter", "list"], "playground-busy"),
        (["dead-letter", "show", "{place}"], "{"),
        (["dead-letter", "replay", "--all", "--dry-run"], " → "),
        (["submit", *IDS, "--request-id", "r-2"], "r-2"),
    ],
)
async def test_a_command_on_kafka_loads_only_what_it_needs(arguments: list[str], said: str, desk: Desk) -> None:
    """An operator's commands import only Kafka's client and the events: no server, no builder, no metrics."""
    place = await Box(desk, []).give_up("r-0")
    await publish(desk, [State.PARKED])
    environment = {**desk.environment, "DEPLOYER_TOKEN": token()}
    shown = await asyncio.to_thread(first_line, [it.format(place=place) for it in arguments], environment)
    assert said in shown.text
    assert [] == shown.imported((*DRAWS, *WORKS))
