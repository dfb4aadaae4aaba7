"""The gateway with a full view, 500 open event streams and 50 requests per second."""

import asyncio
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import quantiles
from uuid import UUID

import aiohttp
import psutil
from aiokafka import AIOKafkaProducer

from schemas import DeploymentStatus, SourceInfo, State, fingerprint
from tests.extended.bench.results import Row
from tests.support.past import STATES
from tests.support.stage import PARTITIONS, environment
from tests.support.topics import create_worker_topics, unique_name, user_of
from tests.support.worker_process import start_worker
from worker.sandbox.kafka_node import unused_ports
from worker.sandbox.users import User, sandbox_token
from worker.settings import ClientSettings, KafkaSettings, read_settings

GATEWAY = (sys.executable, "-m", "worker", "gateway")
KNOWN = 100_000  # requests in the view
STREAMS = 500
RATE = 50  # requests per second, four statuses each
SECONDS = 20
MEGABYTE = 1024 * 1024


async def full_view(bootstrap: str, folder: Path) -> list[Row]:
    """Measure the first full read, its memory, and the delay with which a browser sees a status."""
    env = environment(bootstrap, unique_name(), "http://127.0.0.1:1", "http://127.0.0.1:1")
    env |= {"DEPLOYER_GATEWAY__SESSION_KEY": "k" * 32, "DEPLOYER_GATEWAY__MAX_STREAMS_PER_USER": str(STREAMS)}
    env |= {"DEPLOYER_GATEWAY__MAX_REQUESTS_PER_MINUTE": "100000"}
    kafka = read_settings(env, ClientSettings).kafka
    await create_worker_topics(kafka)
    users = [user_of(number, PARTITIONS) for number in range(PARTITIONS)]
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, linger_ms=20, max_batch_size=64 * 1024) as producer:
        for number in range(KNOWN):
            await write(producer, kafka, users, number, STATES)
        await producer.flush()
    (port,) = unused_ports(1)
    began = time.monotonic()
    gateway = await start_worker(env, folder / "gateway.log", GATEWAY, port)
    try:
        await gateway.until_ready()
        first = time.monotonic() - began
        delays = await followed(bootstrap, kafka, users, gateway.url)
        memory = psutil.Process(gateway.process.pid).memory_info().rss / MEGABYTE
    finally:
        await gateway.kill()
    name = f"gateway with {KNOWN:,} requests"
    return [
        Row(f"{name}: start to ready", first, "s", at_most=10),
        Row(f"{name}, {STREAMS} streams, {RATE} requests/s: memory", memory, "MB", at_most=200),
        Row(
            f"{name}, the same: from a status to a browser, p99", quantiles(delays, n=100)[98] * 1000, "ms", at_most=300
        ),
    ]


async def write(
    producer: AIOKafkaProducer, kafka: KafkaSettings, users: list[User], number: int, states: tuple[State, ...]
) -> None:
    """Write statuses of one request as a worker does, with the fields of a deployed request."""
    partition, place = number % PARTITIONS, number // PARTITIONS
    solution, revision = UUID(int=number), UUID(int=place)
    for state in states:
        sequence = STATES.index(state)
        status = DeploymentStatus(
            request_id=f"{partition}-{place}-0123456789abcdef-0123456789ab",
            sequence=sequence,
            state=state,
            time=datetime.now(UTC),
            attempt=1,
            solution_id=solution,
            revision_id=revision,
            solution_name="Sudoku Tutorial",
            message="Deployed as sudoku-tutorial, and about as long as such a sentence is.",
            fingerprint=fingerprint(users[partition].user_id, solution, revision),
            source=SourceInfo(topic=kafka.requests_topic, partition=partition, offset=place),
        )
        message = status.to_message(kafka.status_topic, "/bench")
        await producer.send(
            message.topic, message.value, key=message.key, partition=partition, headers=[*message.headers]
        )


async def followed(bootstrap: str, kafka: KafkaSettings, users: list[User], url: str) -> list[float]:
    """Return the seconds from each status to its arrival in a stream."""
    delays: list[float] = []
    sent: dict[str, float] = {}
    tokens = [sandbox_token(datetime.now(UTC), timedelta(hours=1), user=user) for user in users]
    connector = aiohttp.TCPConnector(limit=0)
    async with (
        AIOKafkaProducer(bootstrap_servers=bootstrap) as producer,
        aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None)) as session,
    ):
        numbers = range(KNOWN, KNOWN + RATE * SECONDS)
        for number in numbers:
            await write(producer, kafka, users, number, STATES[:1])
        await producer.flush()
        await asyncio.sleep(1)  # so that the streams start with known requests
        opened = asyncio.Semaphore(0)
        streams = [
            asyncio.create_task(read(session, url, number, tokens[number % PARTITIONS], sent, delays, opened))
            for number in numbers[:: RATE * SECONDS // STREAMS][:STREAMS]
        ]
        for _ in streams:
            await opened.acquire()
        for number in numbers:
            for state in STATES[1:]:
                name = (
                    f"{number % PARTITIONS}-{number // PARTITIONS}-0123456789abcdef-0123456789ab:{STATES.index(state)}"
                )
                sent[name] = time.monotonic()
                await write(producer, kafka, users, number, (state,))
            await asyncio.sleep(1 / RATE)
        await asyncio.wait(streams, timeout=30)
        for stream in streams:
            stream.cancel()
        await asyncio.gather(*streams, return_exceptions=True)
    return delays


async def read(
    session: aiohttp.ClientSession,
    url: str,
    number: int,
    token: str,
    sent: Mapping[str, float],
    delays: list[float],
    opened: asyncio.Semaphore,
) -> None:
    """Follow one request to its end."""
    path = f"/v1/deployments/{number % PARTITIONS}-{number // PARTITIONS}-0123456789abcdef-0123456789ab/events"
    async with session.get(url + path, headers={"Authorization": f"Bearer {token}"}) as response:
        assert response.status == 200, await response.text()
        opened.release()
        async for line in response.content:
            text = line.decode().strip()
            if text.startswith("id: ") and (at := sent.get(text.removeprefix("id: "))):
                delays.append(time.monotonic() - at)
            if text == "event: over":
                return
