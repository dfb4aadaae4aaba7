"""Records that are small for Kafka and large in memory: a worker survives them."""

import asyncio
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import MessageSizeTooLargeError

from schemas import Message, State
from tests.support.builders import blueprint_document, node, operation, protobuf
from tests.support.corpus import say
from tests.support.stage import Stage, open_stage
from tests.support.statuses import ended
from worker.domain.request import MAX_HEADERS
from worker.sandbox.graphene_data import make_pipeline
from worker.sandbox.users import SANDBOX_USER, sandbox_token

STORED = make_pipeline("Hostile", blueprint_document(node("a")), {"a": protobuf(operation())})
MOST_MIB = 200
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


async def test_a_worker_lives_with_hostile_records(kafka: str, unique: str, tmp_path: Path) -> None:
    """A worker survives gzip bombs, the largest records and many waiting requests, and still serves a good request.

    Its memory stays below `MOST_MIB`.
    """
    async with open_stage(kafka, unique, tmp_path, partitions=1) as stage, stage.worker(tmp_path / "log") as worker:
        token = ("authorization", f"Bearer {sandbox_token(datetime.now(UTC))}".encode())
        for value, headers, count in BOMBS.values():
            await produce(stage, value, headers, count, "gzip")
        with pytest.raises(MessageSizeTooLargeError):  # 290 kB of gzip
            await produce(stage, b" " * 300_000_000, [], 1, "gzip")
        many = [EMPTY] * MOST_HEADERS
        await produce(stage, b"{}", many, 200)
        await produce(stage, b" " * (Message.MAX_BYTES - 1000), [], 200)
        ids = f'"solutionId": "{STORED.solution_id}", "revisionId": "{STORED.revision_id}"'
        stage.graphene.add(STORED)
        stage.graphene.latency = 1  # all later requests of the user wait for the first
        few = [EMPTY] * (MAX_HEADERS - 1)
        for number in range(31):
            request = f'{{"requestId": "r-{number}", {ids}, "x": "{"x" * 60_000}"}}'.encode()
            await produce(stage, request, [*few, token])
        await stage.until(["r-30"], lambda of: of[-1].state is State.ACCEPTED)
        stage.graphene.latency = 0
        async with asyncio.timeout(SECONDS):
            await stage.ask(STORED, "good")
            await stage.until(["good"], ended)
        peak = int(re.findall(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{worker.process.pid}/status").read_text())[0]) / 1024
        say(f"peak of a worker among hostile records: {peak:.0f} MiB")
        assert peak < MOST_MIB
