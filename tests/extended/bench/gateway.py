"""The gateway with a full view, 500 open event streams and 50 requests a second.

More than half of the streams are those of pages, which are rendered for each status, ten those of lists, and the others
those of programs. A request is four statuses, and one call of the gateway besides: a deployment or a page.
"""

import asyncio
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from statistics import quantiles
from typing import Any
from uuid import UUID

import aiohttp
import psutil
from aiokafka import AIOKafkaProducer

from schemas import BundleInfo, DeploymentInfo, DeploymentStatus, Kind, SourceInfo, State, fingerprint
from tests.extended.bench.results import Row
from tests.support.past import STATES
from tests.support.stage import PARTITIONS, environment
from tests.support.topics import create_worker_topics, unique_name, user_of
from tests.support.worker_process import start_worker
from worker.gateway.sessions import Session, Sessions
from worker.sandbox.kafka_node import unused_ports
from worker.sandbox.users import User, sandbox_token
from worker.settings import ClientSettings, GatewaySettings, KafkaSettings, read_settings

GATEWAY = (sys.executable, "-m", "worker", "gateway")
KNOWN = 100_000  # requests in the view
STREAMS = 500
RATE = 50  # requests a second, four statuses each
SECONDS = 20
MEGABYTE = 1024 * 1024
KEY = "k" * 32
NODES = ("sudoku-gui", "sudoku-design-evaluator", "sudoku-asp-solver", "orchestrator")
WARNINGS = ("Node 'Sudoku GUI' is called sudoku-gui: names in Kubernetes have lower-case letters, digits and hyphens.",)


async def full_view(bootstrap: str, folder: Path) -> list[Row]:
    """Measure the first full read, the memory of it, and how late a browser sees a status."""
    env = environment(bootstrap, unique_name(), "http://127.0.0.1:1", "http://127.0.0.1:1")
    env |= {"DEPLOYER_GATEWAY__SESSION_KEY": KEY, "DEPLOYER_GATEWAY__MAX_STREAMS_PER_USER": str(STREAMS)}
    env |= {"DEPLOYER_GATEWAY__MAX_REQUESTS_PER_MINUTE": "100000", "DEPLOYER_GATEWAY__MAX_OPEN_REQUESTS": "100000"}
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
        process = psutil.Process(gateway.process.pid)
        delays, calls, memory = await followed(bootstrap, kafka, users, gateway.url, process)
    finally:
        await gateway.kill()
    name = f"gateway with {KNOWN:,} requests"
    return [
        Row(f"{name}: start to ready", first, "s", at_most=10),
        Row(f"{name}, {STREAMS} streams, {RATE} requests/s: memory", memory, "MB", at_most=200),
        Row(
            f"{name}, the same: from a status to a browser, p99", quantiles(delays, n=100)[98] * 1000, "ms", at_most=300
        ),
        Row(f"{name}, the same: an answer, p99", quantiles(calls, n=100)[98] * 1000, "ms"),
    ]


async def write(
    producer: AIOKafkaProducer, kafka: KafkaSettings, users: list[User], number: int, states: tuple[State, ...]
) -> None:
    """Write statuses of one request as a worker does, with what a deployed one has."""
    partition, place = number % PARTITIONS, number // PARTITIONS
    solution, revision = solution_of(number), id_of("revision", number)
    for state in states:
        sequence = STATES.index(state)
        more: dict[str, Any] = {}
        if sequence >= STATES.index(State.SUBMITTING):
            bundle = BundleInfo(sha256=sha256(b"%d" % number).hexdigest(), size=64827, nodes=NODES)
            more = {"bundle": bundle, "warnings": WARNINGS, "kind": Kind.PIPELINE}
        if state is State.DEPLOYED:
            deployment_id = f"sudoku-tutorial-{solution.hex}"
            url = f"https://playground.example/dashboard?selected_deployment_id={deployment_id}"
            more["deployment"] = DeploymentInfo(id=deployment_id, url=url)
        status = DeploymentStatus(
            request_id=request_of(number),
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
            **more,
        )
        message = status.to_message(kafka.status_topic, "/bench")
        await producer.send(
            message.topic, message.value, key=message.key, partition=partition, headers=[*message.headers]
        )


class Cookie:
    """Stands for the answer that sets a session's cookie."""

    header: str

    def set_cookie(self, name: str, value: str, **_: object) -> None:
        """Keep it as browsers send it."""
        self.header = f"{name}={value}"


def cookie_of(user: User) -> str:
    """Return the header `Cookie` of a user's session."""
    sessions = Sessions(GatewaySettings.model_validate({"session_key": KEY}), time.time)
    answer: Any = Cookie()
    sessions.write(answer, Session(user.user_id, user.email, int(time.time()) + 3600))
    return str(answer.header)


async def followed(
    bootstrap: str, kafka: KafkaSettings, users: list[User], url: str, process: psutil.Process
) -> tuple[list[float], list[float], float]:
    """Return the seconds from each status to its arrival, those of each call, and the memory in MB meanwhile."""
    delays: list[float] = []
    calls: list[float] = []
    sent: dict[str, float] = {}
    tokens = [sandbox_token(datetime.now(UTC), timedelta(hours=1), user=user) for user in users]
    cookies = [cookie_of(user) for user in users]
    connector = aiohttp.TCPConnector(limit=0)
    async with (
        AIOKafkaProducer(bootstrap_servers=bootstrap) as producer,
        aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None)) as session,
    ):
        numbers = range(KNOWN, KNOWN + RATE * SECONDS)
        for number in numbers:
            await write(producer, kafka, users, number, STATES[:1])
        await producer.flush()
        await asyncio.sleep(1)  # so that the streams begin with something known
        opened = asyncio.Semaphore(0)
        streams = []
        for at, number in enumerate(numbers[:: RATE * SECONDS // STREAMS][:STREAMS]):
            user, request = number % PARTITIONS, request_of(number)
            path, headers = f"/v1/deployments/{request}/events", {"Authorization": f"Bearer {tokens[user]}"}
            if at % 10 < 6:
                path, headers = f"/requests/{request}/events", {"Cookie": cookies[user]}
            if at % 50 == 0:
                path = "/requests/events"
            streams.append(asyncio.create_task(read(session, url + path, headers, sent, delays, opened)))
        for _ in streams:
            await opened.acquire()
        working = []
        for number in numbers:
            for state in STATES[1:]:
                sent[f"{request_of(number)}:{STATES.index(state)}"] = time.monotonic()
                await write(producer, kafka, users, number, (state,))
            user = number % PARTITIONS
            working.append(asyncio.create_task(call(session, url, number, tokens[user], cookies[user], calls)))
            await asyncio.sleep(1 / RATE)
        memory = process.memory_info().rss / MEGABYTE
        await asyncio.gather(*working)
        await asyncio.wait(streams, timeout=5)
        for stream in streams:
            stream.cancel()
        await asyncio.gather(*streams, return_exceptions=True)
    return delays, calls, memory


def request_of(number: int) -> str:
    """Return the id of a request."""
    return str(id_of("request", number))


def solution_of(number: int) -> UUID:
    """Return the id of a request's solution."""
    return id_of("solution", number)


def id_of(what: str, number: int) -> UUID:
    """Return an id as random as real ids, because the gateway compresses statuses."""
    return UUID(bytes=sha256(f"{what} {number}".encode()).digest()[:16], version=4)


async def call(
    session: aiohttp.ClientSession, url: str, number: int, token: str, cookie: str, seconds: list[float]
) -> None:
    """Deploy something, or look at a page, in turns."""
    began = time.monotonic()
    if number % 2:
        body = {"solutionId": str(solution_of(10_000_000 + number)), "revisionId": str(id_of("revision", number))}
        headers = {"Authorization": f"Bearer {token}", "Prefer": "wait=0"}
        asked = session.post(f"{url}/v1/deployments", json=body, headers=headers)
    else:
        asked = session.get(f"{url}/requests/{request_of(number)}", headers={"Cookie": cookie, "Accept": "text/html"})
    async with asked as response:
        await response.read()
        assert response.status in (200, 202), await response.text()
    seconds.append(time.monotonic() - began)


async def read(
    session: aiohttp.ClientSession,
    url: str,
    headers: Mapping[str, str],
    sent: Mapping[str, float],
    delays: list[float],
    opened: asyncio.Semaphore,
) -> None:
    """Follow one request, or a list, to its end."""
    async with session.get(url, headers=headers) as response:
        assert response.status == 200, await response.text()
        opened.release()
        async for line in response.content:
            text = line.decode().strip()
            if text.startswith("id: ") and (at := sent.get(text.removeprefix("id: "))):
                delays.append(time.monotonic() - at)
            if text == "event: over":
                return
