"""Input that is small for whoever sends it and large for a worker: the worker survives it."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import MessageSizeTooLargeError

from schemas import Message, State
from tests.component.bounds.test_memory import described, protobufs
from tests.support.builders import PROTOBUF, blueprint_document, node, operation, protobuf
from tests.support.corpus import say
from tests.support.hostile import BAD, careless_producer
from tests.support.stage import Stage, open_stage
from tests.support.statuses import ended
from tests.support.worker_process import WorkerProcess
from tests.unit.refusals.test_descriptions import COSTLY
from worker.domain.request import MAX_HEADERS
from worker.sandbox.graphene_data import Stored, make_pipeline
from worker.sandbox.users import SANDBOX_USER, User, sandbox_token

STORED = make_pipeline("Hostile", blueprint_document(node("a")), {"a": protobuf(operation())})
MOST_MIB = (200, 300)  # the chart allows 512; large solutions may reserve 160 MiB
OTHER = User("other", "other", "other@graphene.example")
SECONDS = 10  # until the next good request is deployed
EMPTY: tuple[str, bytes | None] = ("", None)
MOST_HEADERS = (Message.MAX_BYTES - 10_000) // 2  # of two bytes each, in addition to a token

Header = tuple[str, bytes | None]


async def produce(
    stage: Stage, value: bytes, headers: Sequence[Header], count: int = 1, compression: str | None = None
) -> None:
    """Send the records in one batch, or in as many as the broker allows, with a client that has no limit of its own."""
    async with AIOKafkaProducer(
        bootstrap_servers=stage.bootstrap,
        compression_type=compression,
        max_batch_size=2**30 if compression else 16_384,
        max_request_size=2**30,
        linger_ms=100,
    ) as producer:
        key = SANDBOX_USER.user_id.encode()
        topic = stage.topics.requests_topic
        sent = [await producer.send(topic, value, key=key, partition=0, headers=headers) for _ in range(count)]
        ends = await asyncio.gather(*sent, return_exceptions=True)
    for end in ends:
        if isinstance(end, BaseException):
            raise end


BOMBS: dict[str, tuple[bytes, list[Header], int]] = {
    "40 records with 480,000 headers each": (b"{}", [EMPTY] * 480_000, 40),
    "100 MB of spaces": (b" " * 100_000_000, [], 1),
    "40 records of a megabyte": (b" " * 1_000_000, [], 40),
}


Attack = Callable[[Stage, WorkerProcess], Awaitable[None]]


async def records(stage: Stage, _: WorkerProcess) -> None:
    """Send gzip bombs, the largest records, and many requests that wait for the first."""
    token = ("authorization", f"Bearer {sandbox_token(datetime.now(UTC))}".encode())
    for value, headers, count in BOMBS.values():
        await produce(stage, value, headers, count, "gzip")
    with pytest.raises(MessageSizeTooLargeError):  # 290 kB of gzip
        await produce(stage, b" " * 300_000_000, [], 1, "gzip")
    many = [EMPTY] * MOST_HEADERS
    await produce(stage, b"{}", many, 200)
    await produce(stage, b" " * (Message.MAX_BYTES - 1000), [], 200)
    ids = f'"solutionId": "{STORED.solution_id}", "revisionId": "{STORED.revision_id}"'
    stage.graphene.latency = 1  # all later requests of the user wait for the first
    few = [EMPTY] * (MAX_HEADERS - 1)
    for number in range(31):
        request = f'{{"requestId": "r-{number}", {ids}, "x": "{"x" * 60_000}"}}'.encode()
        await produce(stage, request, [*few, token])
    await stage.until(["r-30"], lambda of: of[-1].state is State.ACCEPTED)
    stage.graphene.latency = 0


async def values(stage: Stage, _: WorkerProcess) -> None:
    """Send compressed JSON of 64 KiB that is nothing but empty objects, without a token."""
    await produce(stage, b"[" + b"{}," * 21_000 + b"{}]", [], 500, "gzip")


async def of_many_users(stage: Stage, stored: Stored) -> None:
    """Let twelve users deploy the solution at once, and wait until each request has begun."""
    stage.graphene.add(stored)
    users = [User(f"greedy-{number}", f"greedy{number}", f"greedy{number}@graphene.example") for number in range(12)]
    await asyncio.gather(*(stage.ask(stored, user.user_id, user) for user in users))
    await stage.until([user.user_id for user in users], lambda of: of[-1].state is not State.ACCEPTED)


async def large_protobufs(stage: Stage, _: WorkerProcess) -> None:
    """Let twelve users deploy a solution with 15 MiB of protobufs."""
    await of_many_users(stage, protobufs(15))


async def large_descriptions(stage: Stage, _: WorkerProcess) -> None:
    """Let twelve users deploy a solution with 32 descriptions of 4 MB."""
    await of_many_users(stage, described(32))


async def attributes(stage: Stage, _: WorkerProcess) -> None:
    """Let twelve users deploy a solution whose description has thousands of different attributes."""
    html = COSTLY["attributes of one letter"]
    await of_many_users(
        stage, make_pipeline("attributes", blueprint_document(node("a")), {"a": PROTOBUF}, description=html)
    )


async def header_names(stage: Stage, _: WorkerProcess) -> None:
    """Send 2,000 records, one in a hundred with a header name that is not UTF-8."""
    async with careless_producer(stage.bootstrap) as producer:
        topic, key = stage.topics.requests_topic, SANDBOX_USER.user_id.encode()
        for number in range(2000):
            await producer.send(topic, b"{}", key=key, partition=0, headers=[] if number % 100 else BAD)
        await producer.flush()


async def connections(_: Stage, worker: WorkerProcess) -> None:
    """Open 1,100 connections to the health port, none of which finishes its request."""
    url = urlsplit(worker.url)
    for _number in range(1100):
        _reader, writer = await asyncio.open_connection(url.hostname, url.port)
        writer.write(b"GET /live HTTP/1.1\r\n")
        OPENED.append(writer)


OPENED: list[asyncio.StreamWriter] = []
ATTACKS: dict[str, Attack] = {
    "records": records,
    "values": values,
    "large protobufs": large_protobufs,
    "large descriptions": large_descriptions,
    "attributes": attributes,
    "header names": header_names,
    "connections": connections,
}


@pytest.mark.parametrize("name", ATTACKS)
async def test_a_worker_lives_with_hostile_input(kafka: str, unique: str, tmp_path: Path, name: str) -> None:
    """A worker survives each kind of hostile input in bounded memory, and serves a good request within `SECONDS`."""
    async with open_stage(kafka, unique, tmp_path, partitions=1) as stage, stage.worker(tmp_path / "log") as worker:
        stage.graphene.add(STORED)
        await ATTACKS[name](stage, worker)
        async with asyncio.timeout(SECONDS):
            await stage.ask(STORED, "good", OTHER)
            await stage.until(["good"], ended)
        while OPENED:
            OPENED.pop().close()
        peak = int(re.findall(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{worker.process.pid}/status").read_text())[0]) / 1024
        say(f"peak of a worker, {name}: {peak:.0f} MiB")
        assert peak < MOST_MIB[name in ("large protobufs", "large descriptions")]
