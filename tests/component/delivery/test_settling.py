"""`resolve` and `dead-letter` between a real worker and a real Kafka."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from schemas import State
from tests.support.faults.world import World, open_world
from worker.domain.dead_letter import replay_id

pytestmark = pytest.mark.timeout(100)
TOKEN = "eyJ"


@pytest.fixture
async def world(kafka: str, tmp_path: Path) -> AsyncIterator[World]:
    """With one worker that gives up soon."""
    async with open_world(kafka, tmp_path, RUNTIME__REQUEST_DEADLINE_SECONDS="1") as world:
        await world.start()
        yield world


async def command(world: World, *arguments: str, code: int = 0) -> str:
    """What it prints; its exit code is as expected, and it shows no token."""
    env = {**os.environ, **world.env}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "worker", *arguments,
        env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, errors = (it.decode() for it in await process.communicate())
    assert code == process.returncode, output + errors
    assert TOKEN not in output + errors
    assert "Traceback" not in errors
    return output + errors


async def bad_gateway(_: str) -> web.Response:
    """An answer that tells nothing."""
    return web.Response(status=502)


@pytest.mark.parametrize(
    ("outcome", "state", "posts"),
    [("deployed", State.DEPLOYED, 1), ("failed", State.FAILED, 1), ("retry", State.DEPLOYED, 2)],
)
async def test_resolve(outcome: str, state: State, posts: int, world: World) -> None:
    """The worker that parked the request goes on as the operator says; twice is refused."""
    world.playground.answer = bad_gateway
    await world.ask("r-1")
    await world.until_ended(["r-1"])
    world.playground.answer = None
    said = await command(
        world, "resolve", "r-1", "--outcome", outcome, "--reason", "I looked.", "--by", "ada", "--wait"
    )
    assert "r-1: attempt 1 is settled as" in said
    await world.until_ended(["r-1"], parked=False)
    last = world.statuses["r-1"][-1]
    assert (state, posts) == (last.state, world.playground.posts["r-1"])
    if outcome != "retry":
        assert "by ada: I looked." in last.message
    said = await command(world, "resolve", "r-1", "--outcome", "failed", code=1)
    assert f"r-1 is {state}, and only a parked request can be resolved." in said


async def busy(_: str) -> web.Response:
    """For good."""
    return web.Response(status=429)


async def test_dead_letters_are_listed_shown_and_replayed_once(world: World) -> None:
    """What ran out of retries is sent again with its own token, under an id that makes a second replay harmless."""
    world.playground.answer = busy
    await world.ask("r-1", 1)
    await world.publish(b"{", b"somebody", [])
    await world.until_ended(["r-1"])
    world.playground.answer = None
    assert "playground-busy" in await command(world, "dead-letter", "list")
    lines = (await command(world, "dead-letter", "list", "--json")).splitlines()
    by_code = {it["code"]: it for it in map(json.loads, lines)}
    assert {"playground-busy", "not-json"} == by_code.keys()
    letter = by_code["playground-busy"]
    assert "user-1" == letter["key"]
    assert {"requestId", "solutionId", "revisionId"} == letter["value"].keys()
    shown = json.loads(await command(world, "dead-letter", "show", letter["place"]))
    assert letter == shown

    new = replay_id("r-1", 1)
    world.asked[new] = world.asked["r-1"]
    assert "1 would be replayed" in await command(world, "dead-letter", "replay", letter["place"], "--dry-run")
    for _ in range(2):
        assert f"r-1 → {new}" in await command(world, "dead-letter", "replay", "--code", "playground-busy")
    await world.until_ended([new])
    last = world.statuses[new][-1]
    assert ("r-1", State.DEPLOYED) == (last.replay_of, last.state), last.error
    said = await command(world, "dead-letter", "replay", "--all", code=1)
    assert "could not be read (not-json)" in said
    async with asyncio.timeout(30):
        while sum((await world.committed()).values()) < 5:  # noqa: ASYNC110 - the broker tells nobody
            await asyncio.sleep(0.1)
    assert 1 == world.playground.posts[new]
