"""`resolve` and `dead-letter` with a real worker and a real Kafka."""

import asyncio
import json
import os
import re
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiohttp import web

from schemas import State
from tests.support.faults.world import USERS, World, open_world
from tests.support.statuses import ended
from tests.support.topics import admin_client, create_worker_topics
from worker.sandbox.users import sandbox_token

pytestmark = pytest.mark.timeout(100)
TOKEN = "eyJ"


@pytest.fixture
async def world(kafka: str, tmp_path: Path) -> AsyncIterator[World]:
    """A world with one worker that has a short request deadline and accepts tokens for two minutes after expiry."""
    deadline, leeway = "1", "120"
    async with open_world(
        kafka, tmp_path, RUNTIME__REQUEST_DEADLINE_SECONDS=deadline, AUTH__LEEWAY_SECONDS=leeway
    ) as world:
        await world.start()
        yield world


async def command(world: World, *arguments: str, code: int = 0) -> str:
    """Return the output of a command; check that its exit code is as expected and that the output shows no token."""
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
    """Answer 502, which leaves the outcome unknown."""
    return web.Response(status=502)


@pytest.mark.parametrize(
    ("outcome", "state", "posts"),
    [("deployed", State.DEPLOYED, 1), ("failed", State.FAILED, 1), ("retry", State.DEPLOYED, 2)],
)
async def test_resolve(outcome: str, state: State, posts: int, world: World) -> None:
    """The worker that parked the request continues it as the operator resolved it; a second `resolve` is refused."""
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


async def no_answer(_: str) -> web.Response:
    """Never answer during the test."""
    await asyncio.Event().wait()
    return web.Response()


@pytest.mark.parametrize("outcome", ["", "deployed", "failed", "retry"])
async def test_a_request_whose_record_kafka_lost(outcome: str, world: World) -> None:
    """A request whose record is lost during its POST ends as the operator resolved it, or is parked.

    The record is lost because the requests topic is recreated.
    """
    world.playground.answer = no_answer
    await world.ask("r-1")
    await world.until(["r-1"], lambda it: it.state is State.SUBMITTING)
    await world.workers[0].kill()
    async with admin_client(world.kafka.bootstrap_servers) as admin:
        await admin.delete_topics([world.kafka.requests_topic])
        while world.kafka.requests_topic in await admin.list_topics():  # noqa: ASYNC110 - the broker does not notify
            await asyncio.sleep(0.05)
    await create_worker_topics(world.kafka)
    world.playground.answer = None
    if outcome:
        await command(world, "resolve", "r-1", "--outcome", outcome, "--by", "ada")
    await world.producer.client.force_metadata_update()
    await world.ask("r-2")  # gets the same offset
    await world.start()
    await world.until_ended(["r-1", "r-2"], parked=not outcome)
    last, other = world.statuses["r-1"][-1], world.statuses["r-2"][-1]
    assert (State.DEPLOYED, last.source.offset) == (other.state, other.source.offset)
    expected = {"": State.PARKED, "deployed": State.DEPLOYED}.get(outcome, State.FAILED)
    assert expected is last.state
    assert world.playground.posts["r-1"] <= 1  # none when the worker was killed before its first byte
    assert (
        last.error is None
        or {"": "outcome-unknown", "retry": "request-gone"}.get(outcome, "resolved-as-failed") == last.error.code
    )
    assert "a request's record is gone" in world.workers[-1].log.read_text()


async def busy(_: str) -> web.Response:
    """Answer 429 every time."""
    return web.Response(status=429)


async def test_dead_letters_are_listed_shown_and_replayed_once(world: World) -> None:
    """A request that ran out of retries is replayed with its own token, and a second replay is harmless."""
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

    said = await command(world, "dead-letter", "replay", letter["place"], "--dry-run")
    assert "Would be replayed: 1." in said
    (new,) = re.findall(r"→ (\S+)", said)
    world.asked[new] = world.asked["r-1"]
    sent = 0  # sent again, unless the first replay has a status by then
    for _ in range(2):
        said = await command(world, "dead-letter", "replay", "--code", "playground-busy")
        sent += f"r-1 → {new}" in said
        assert f"r-1 → {new}" in said or f"already replayed as {new}" in said
    await world.until_ended([new])
    last = world.statuses[new][-1]
    assert ("r-1", State.DEPLOYED) == (last.replay_of, last.state), last.error
    said = await command(world, "dead-letter", "replay", "--all", code=1)
    assert "could not be read (not-json)" in said
    assert f"already replayed as {new}, which is deployed." in said
    async with asyncio.timeout(30):
        while sum((await world.committed()).values()) < 2 + sent:  # noqa: ASYNC110 - the broker does not notify
            await asyncio.sleep(0.1)
    assert 1 == world.playground.posts[new]


async def test_only_an_operators_replay_may_be_old(world: World) -> None:
    """An operator's replay with an expired token is accepted; the sender's own replay is rejected."""
    user, stored = USERS[1], world.solutions[1]
    expired = sandbox_token(datetime.now(UTC) - timedelta(hours=1), timedelta(minutes=59), user)
    headers = [("authorization", f"Bearer {expired}".encode())]

    async def send(request_id: str, **more: str) -> None:
        ids = {"solutionId": str(stored.solution_id), "revisionId": str(stored.revision_id)}
        value = json.dumps({"requestId": request_id, **ids, **more}).encode()
        written = await world.producer.send_and_wait(
            world.kafka.requests_topic, value, key=user.user_id.encode(), headers=headers
        )
        world.followed.places[request_id] = (written.partition, written.offset)

    world.playground.answer = busy
    await send("r-1")
    await world.until_ended(["r-1"])
    world.playground.answer = None
    await world.end_workers()
    world.env["DEPLOYER_AUTH__LEEWAY_SECONDS"] = "0"
    await world.start()
    await send("mine", replayOf="r-1")
    await world.followed.until(["mine"], ended)
    said = world.followed.about("mine")[-1]
    assert (State.REJECTED, "token-expired") == (said.state, said.error and said.error.code)
    (new,) = re.findall(r"r-1 → (\S+)", await command(world, "dead-letter", "replay", "--all"))
    await world.until_ended([new])
    assert State.DEPLOYED is world.statuses[new][-1].state
    await send(new, replayOf="r-1")  # the sender has seen the id by now
    await send("again", replayOf="r-1")
    await world.followed.until(["again"], ended)
    assert (1, "rejected") == (world.playground.posts[new], world.followed.about("again")[-1].state)


async def test_another_secret_ends_nothing_that_was_accepted(world: World) -> None:
    """A worker with only a new secret deploys a request that was accepted earlier, and rejects new requests.

    The accepted request was parked; the new request is signed with the old secret.
    """
    world.playground.answer = bad_gateway
    await world.ask("r-1")
    await world.until_ended(["r-1"])
    world.playground.answer = None
    await world.end_workers()
    world.env["DEPLOYER_AUTH__SECRET"] = "another secret, quite as long " * 4
    await world.start()
    await command(world, "resolve", "r-1", "--outcome", "retry", "--reason", "I looked.", "--by", "ada")
    await world.until_ended(["r-1"], parked=False)
    await world.ask("r-2")
    await world.until_ended(["r-2"])
    ends = [world.followed.about(it)[-1] for it in ("r-1", "r-2")]
    assert [(State.DEPLOYED, None), (State.REJECTED, "token-signature")] == [
        (it.state, it.error and it.error.code) for it in ends
    ]
