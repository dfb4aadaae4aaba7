"""R9, R10: dependencies with arbitrary answers, and records of every kind."""

import asyncio
import json
from pathlib import Path

import pytest
from aiohttp import web
from aiokafka import AIOKafkaConsumer, TopicPartition

from schemas import Message, State
from tests.extended.faults.report import Row, size
from tests.support.faults.world import USERS, World, open_world
from worker.domain.dead_letter import CODE, OFFSET, PARTITION, REQUEST_ID, TOPIC

pytestmark = pytest.mark.timeout(1800)

FAILED = "deploy solution failed with: no"
# The playground's behaviour → the last state without an operator, and its error code.
ANSWERS: dict[str, tuple[State, str | None]] = {
    "deployed": (State.DEPLOYED, None),
    "failed": (State.FAILED, "deployment-failed"),
    "redirect": (State.FAILED, "playground-redirected"),
    "garbage": (State.FAILED, "playground-refused"),
    "busy": (State.DEPLOYED, None),  # once, with Retry-After
    "bad-gateway": (State.PARKED, "outcome-unknown"),
    "reset": (State.PARKED, "outcome-unknown"),
    "truncated": (State.PARKED, "outcome-unknown"),
    "hang": (State.PARKED, "outcome-unknown"),
}


async def answer(world: World, request: str) -> web.StreamResponse | None:
    """Answer as the request's id specifies."""
    kind = request.rpartition(".")[2]
    if kind == "busy" and world.playground.posts[request] == 1:
        return web.Response(status=429, headers={"Retry-After": "1"})
    if kind in ("hang", "reset", "truncated"):
        await asyncio.sleep(10 if kind == "hang" else 0)
        raise ConnectionResetError if kind == "reset" else asyncio.CancelledError
    plain = {
        "failed": web.Response(status=500, text=FAILED),
        "redirect": web.Response(status=302, headers={"Location": "/"}),
        "garbage": web.Response(text="hello"),
        "bad-gateway": web.Response(status=502),
    }
    return plain.get(kind)


async def test_answers(kafka: str, tmp_path: Path) -> None:
    """R9: each answer, and each missing answer, has the outcome of the table; an unknown outcome is not sent again."""
    row, count = Row("R9", "a playground that answers anything"), size(90, 2000)
    random = row.random()
    async with open_world(kafka, tmp_path) as world:
        world.playground.latency = 0.01
        world.playground.answer = lambda key: answer(world, key)
        await asyncio.gather(*(world.start() for _ in range(2)))
        for number in range(count):
            kind = list(ANSWERS)[number] if number < len(ANSWERS) else "deployed"
            if number >= len(ANSWERS) and random.random() < 0.2:
                kind = random.choice(list(ANSWERS)[1:])
            await world.ask(f"r-{number}.{kind}", number)
        await world.until_ended(world.asked, seconds=600)
        wrong = [it for it in world.asked if as_expected(world, it)]
        doubled = sum(posts > (2 if it.endswith(".busy") else 1) for it, posts in world.playground.posts.items())
    row.report({"requests": count, "wrong_outcomes": len(wrong), "doubled_posts": doubled}, kept=not (wrong or doubled))
    assert ([], 0) == (wrong, doubled)


def as_expected(world: World, request_id: str) -> bool:
    """Return whether the outcome is NOT the outcome of the table."""
    last = world.statuses[request_id][-1]
    return ANSWERS[request_id.rpartition(".")[2]] != (last.state, last.error.code if last.error else None)


POISON: dict[str, tuple[bytes | None, str]] = {
    "no JSON": (b"{", "not-json"),
    "no UTF-8": (b'{"a": "\xff\xfe"}', "not-json"),
    "NaN": (b'{"solutionId": NaN}', "not-json"),
    "no object": (b"[1]", "invalid-request"),
    "fields missing": (b"{}", "invalid-request"),
    "wrong types": (b'{"solutionId": 5, "revisionId": []}', "invalid-request"),
    "null": (None, "not-json"),
    "deep": (b"[" * 50_000, "not-json"),
    "large": (b" " * (Message.MAX_BYTES - 500), "not-json"),
}


async def test_poison(kafka: str, tmp_path: Path) -> None:
    """R10: with unreadable records among the requests, each record is answered, and no partition stops."""
    row, count = Row("R10", "records that cannot be read, among others"), size(100, 1000)
    kinds = list(POISON)
    async with open_world(kafka, tmp_path) as world:
        world.playground.latency = 0.01
        await world.start()
        for number in range(count):
            await world.publish(POISON[kinds[number % len(kinds)]][0], USERS[number % 300].user_id.encode(), [])
            if number % 5 == 0:
                await world.ask(f"r-{number}", number)
                await world.ask(f"r-{number}", number)  # a duplicate
        await world.until_ended(world.asked, seconds=600)
        ends = count + 2 * len(world.asked)
        letters = await dead_letters(world, count)
        async with asyncio.timeout(60):
            while sum((await world.committed()).values()) < ends:  # noqa: ASYNC110 - the broker tells nobody
                await asyncio.sleep(0.1)
        verdict, rejected = world.judge(), [of for it, of in world.statuses.items() if it not in world.asked]
    codes = sorted(of[-1].error.code for of in rejected if of[-1].error)
    expected = sorted(POISON[kinds[number % len(kinds)]][1] for number in range(count))
    kept = (
        verdict.deployed == len(world.asked)
        and verdict.doubled_posts + verdict.illegal == 0
        and codes == expected == sorted(letters)
    )
    row.report({"records": ends, "poison": count, "dead_letters": len(letters), "stalled": 0}, kept=kept)
    assert kept


async def dead_letters(world: World, count: int) -> list[str]:
    """Return the codes of the dead letters; each names its record and holds none of its content."""
    codes: list[str] = []
    reader = AIOKafkaConsumer(
        bootstrap_servers=world.kafka.bootstrap_servers, auto_offset_reset="earliest", isolation_level="read_committed"
    )
    async with reader, asyncio.timeout(60):
        reader.assign(
            [TopicPartition(world.kafka.dead_letter_topic, number) for number in range(world.kafka.partitions)]
        )
        while len(codes) < count:
            for records in (await reader.getmany(timeout_ms=200)).values():
                for record in records:
                    headers = dict(record.headers)
                    assert {TOPIC, PARTITION, OFFSET, CODE, REQUEST_ID} <= headers.keys()
                    assert {"size", "sha256"} == json.loads(record.value).keys()
                    codes.append(headers[CODE].decode())
    return codes
