"""Other users' request ids on Apache Kafka: a record without a valid token affects no request, status or replay."""

import json
import re
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import jwt
import pytest

from schemas import DeploymentStatus, State
from tests.component.delivery.test_settling import busy, command
from tests.support.faults.world import USERS, World, open_world
from tests.support.statuses import ended
from worker.domain.tokens import jjwt_key
from worker.sandbox.users import JWT_SECRET, sandbox_token

pytestmark = pytest.mark.timeout(100)


@pytest.fixture
async def world(kafka: str, tmp_path: Path) -> AsyncIterator[World]:
    """A world with one worker and a short request deadline."""
    async with open_world(kafka, tmp_path, RUNTIME__REQUEST_DEADLINE_SECONDS="1") as world:
        await world.start()
        yield world


async def send(world: World, name: str, value: dict[str, Any], key: bytes, token: str | None, partition: int) -> None:
    """Publish a stranger's record, which the test refers to by this name."""
    headers = [("authorization", f"Bearer {token}".encode())] if token else []
    headers.append(("ce_id", str(value["requestId"]).encode()))
    place = await world.publish(json.dumps(value).encode(), key, headers, partition=partition)
    world.followed.places[name] = place


async def end_of(world: World, name: str) -> DeploymentStatus:
    """Return the final status of the record with this name."""
    await world.followed.until([name], ended)
    (last,) = [it for it in world.followed.about(name) if ended([it])]
    return last


def body(world: World, request_id: str, number: int, **more: str) -> dict[str, Any]:
    """Return a request for the solution with this number."""
    stored = world.solutions[number]
    ids = {"solutionId": str(stored.solution_id), "revisionId": str(stored.revision_id)}
    return {"requestId": request_id, **ids, **more}


@pytest.mark.parametrize("before", [True, False], ids=["before", "behind"])
async def test_an_id_is_nobodys_without_a_token(before: bool, world: World) -> None:
    """Records that reuse a user's request id without a valid token are rejected under their own record ids.

    They arrive in the user's partition and in another, before or after the user's request.
    """
    key = USERS[1].user_id.encode()
    await world.ask("probe", 1)
    home, _ = world.followed.places["probe"]
    await world.until_ended(["probe"])
    if not before:
        await world.ask("x", 1)
    for partition in (home, (home + 1) % 6):
        await send(world, f"bare {partition}", {"requestId": "x"}, key, None, partition)
        await send(world, f"whole {partition}", body(world, "x", 1), key, "no.valid.token", partition)
        await send(world, f"mallory's {partition}", body(world, "x", 1), b"mallory", None, partition)
    if before:
        await world.ask("x", 1)
    await world.until_ended(["x"])
    mine = world.statuses["x"]
    assert (State.DEPLOYED, {world.followed.places["x"]}) == (
        mine[-1].state, {(it.source.partition, it.source.offset) for it in mine}
    )  # fmt: skip
    for name in [it for it in world.followed.places if " " in it]:
        it = await end_of(world, name)
        assert (State.REJECTED, True) == (it.state, it.request_id.startswith("record-")), name
    assert 1 == world.playground.posts["x"]


async def test_the_id_of_a_replay_cannot_be_taken(world: World) -> None:
    """A sender who knows the original id cannot guess the id of its replay, with or without a valid token."""
    mallory = USERS[2]
    token = sandbox_token(datetime.now(UTC), user=mallory)
    await world.ask("probe", 2)
    await world.until_ended(["probe"])
    partition, _ = world.followed.places["probe"]
    world.playground.answer = busy
    await world.ask("r-1", 1)
    await world.until_ended(["r-1"])
    world.playground.answer = None
    guessed = [f"replay-1-{sha256(it.encode()).hexdigest()[:32]}" for it in ("r-1", "", "replay-1-r-1")]
    guessed.append("replay-1-r-1")
    for number, request_id in enumerate(guessed):
        for token_or_none in (token, None):
            name = f"guess {number} {token_or_none is None}"
            value = body(world, request_id, 2, replayOf="r-1")
            await send(world, name, value, mallory.user_id.encode(), token_or_none, partition)
            await end_of(world, name)
    said = await command(world, "dead-letter", "replay", "--code", "playground-busy")
    (new,) = re.findall(r"r-1 → (\S+)", said)
    world.asked[new] = world.asked["r-1"]
    await world.until_ended([new])
    last = world.statuses[new][-1]
    assert (State.DEPLOYED, "r-1", 1) == (last.state, last.replay_of, world.playground.posts[new])
    assert new not in guessed


FORGED: dict[str, tuple[dict[str, Any], str]] = {
    "expired": ({"exp": -3600}, "token-expired"),
    "not valid yet": ({"nbf": 3600}, "token-not-yet-valid"),
    "without an end": ({"exp": None}, "token-"),
    "expired, with another e-mail": ({"exp": -3600}, "token-expired"),
}


@pytest.mark.parametrize("name", FORGED)
async def test_no_sender_makes_a_replay(name: str, world: World) -> None:
    """An invalid token is also rejected when its record claims to replay the user's own request."""
    await world.ask("r-1", 1)
    await world.until_ended(["r-1"])
    home, _ = world.followed.places["r-1"]
    changes, code = FORGED[name]
    claims = jwt.decode(sandbox_token(datetime.now(UTC), user=USERS[1]), options={"verify_signature": False})
    for claim, value in changes.items():
        claims[claim] = None if value is None else int(time.time()) + value
    if "e-mail" in name:
        claims["mlpuser"]["email"] = "mallory@example.org"
    token = jwt.encode({k: v for k, v in claims.items() if v is not None}, jjwt_key(JWT_SECRET), algorithm="HS512")
    for number, replay_of in enumerate(("r-1", "unknown", "mine-0")):
        value = body(world, f"mine-{number}", 1, replayOf=replay_of)
        await send(world, f"mine-{number}", value, USERS[1].user_id.encode(), token, home)
        last = await end_of(world, f"mine-{number}")
        assert State.REJECTED is last.state
        assert last.error is not None
        assert last.error.code.startswith(code)
    assert {"r-1"} == {it for it, posts in world.playground.posts.items() if posts}
