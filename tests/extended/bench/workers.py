"""The whole worker as a separate process, between an Apache Kafka and dependencies that answer at once."""

import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

import psutil
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from schemas import FINAL_STATES
from tests.extended.bench.dependencies import REVISION_ID, SOLUTION_ID, served_apart, solution_id
from tests.extended.bench.results import Row
from tests.support.stage import environment
from tests.support.topics import create_worker_topics, unique_name
from tests.support.worker_process import start_worker
from worker.sandbox.kafka_node import unused_ports
from worker.sandbox.users import User, sandbox_token
from worker.settings import ClientSettings, read_settings

USERS = [User(f"user-{number}", f"user{number}", f"user{number}@graphene.example") for number in range(200)]
MEGABYTE = 1024 * 1024
WORKER = ("-m", "worker", "run")
IO_ONLY = ("-m", "tests.extended.bench.io_only")


@dataclass
class Run:
    """One worker under measurement."""

    process: psutil.Process
    producer: AIOKafkaProducer
    statuses: AIOKafkaConsumer
    topic: str
    ready_seconds: float
    tokens: list[bytes]
    different: bool
    sent: int = 0

    async def publish(self, count: int) -> None:
        """Publish this many requests, cycling through the users."""
        for _ in range(count):
            user = self.sent % len(USERS)
            value = {
                "requestId": f"r-{self.sent}",
                "solutionId": solution_id(self.sent) if self.different else str(SOLUTION_ID),
                "revisionId": str(REVISION_ID),
            }
            await self.producer.send(
                self.topic,
                json.dumps(value).encode(),
                key=USERS[user].user_id.encode(),
                headers=[("authorization", self.tokens[user])],
            )
            self.sent += 1
        await self.producer.flush()

    async def until_final(self, count: int) -> None:
        """Wait for this many more final statuses; any outcome except `deployed` is a defect of the bench."""
        while count > 0:
            for records in (await self.statuses.getmany(timeout_ms=500)).values():
                states = [json.loads(record.value)["state"] for record in records]
                assert "failed" not in states and "rejected" not in states
                count -= sum(state in FINAL_STATES for state in states)

    def cpu_seconds(self) -> float:
        """Return the worker's user and system time so far."""
        times = self.process.cpu_times()
        return float(times.user + times.system)

    def megabytes(self) -> float:
        """Return the worker's resident memory in MB."""
        return float(self.process.memory_info().rss) / MEGABYTE


@asynccontextmanager
async def running(
    bootstrap: str,
    folder: Path,
    nodes: int,
    latency: float,
    command: tuple[str, ...] = WORKER,
    *,
    different: bool = True,
) -> AsyncIterator[Run]:
    """Run a worker with separate topics until it is ready. `different`: each request is for another solution."""
    async with served_apart(nodes, latency) as url:
        env = environment(bootstrap, unique_name(), url, url)
        if command is IO_ONLY:
            await create_worker_topics(read_settings(env, ClientSettings).kafka)
        (port,) = unused_ports(1)
        started = time.monotonic()
        worker = await start_worker(
            {**env, "BENCH_NODES": str(nodes)}, folder / "bench-worker.log", (sys.executable, *command), port
        )
        try:
            await worker.until_ready()
            ready = time.monotonic() - started
            tokens = [sandbox_token(datetime.now(UTC), timedelta(hours=2), user).encode() for user in USERS]
            statuses = AIOKafkaConsumer(
                env["DEPLOYER_KAFKA__STATUS_TOPIC"],
                bootstrap_servers=bootstrap,
                auto_offset_reset="earliest",
                isolation_level="read_committed",
            )
            async with AIOKafkaProducer(bootstrap_servers=bootstrap, linger_ms=5) as producer, statuses:
                topic = env["DEPLOYER_KAFKA__REQUESTS_TOPIC"]
                yield Run(psutil.Process(worker.process.pid), producer, statuses, topic, ready, tokens, different)
        finally:
            await worker.kill()


async def latency(bootstrap: str, folder: Path) -> list[Row]:
    """Measure one request after the other: 20 nodes, dependencies that take 20 ms for each answer."""
    async with running(bootstrap, folder, nodes=20, latency=0.02) as run:
        times = []
        for _ in range(30):
            start = time.monotonic()
            await run.publish(1)
            await run.until_final(1)
            times.append((time.monotonic() - start) * 1000)
    return [Row("request → deployed, 20 nodes, dependencies at 20 ms, median", median(times), "ms", at_most=190)]


async def throughput(bootstrap: str, folder: Path, count: int) -> list[Row]:
    """Measure a backlog of 3-node pipelines, dependencies at 0 ms: all different, or all the same, as in a class.

    Then measure the same input and output without the work.
    """
    rates: dict[tuple[tuple[str, ...], bool], tuple[float, float]] = {}
    for command, different in ((WORKER, True), (WORKER, False), (IO_ONLY, True)):
        async with running(bootstrap, folder, nodes=3, latency=0.0, command=command, different=different) as run:
            await run.publish(300)
            await run.until_final(300)
            start, cpu = time.monotonic(), run.cpu_seconds()
            await run.publish(count)
            await run.until_final(count)
            seconds = time.monotonic() - start
            rates[command, different] = (count / seconds, (run.cpu_seconds() - cpu) / count * 1000)
    (rate, cpu_ms), (class_rate, class_cpu_ms), (io_rate, io_cpu_ms) = rates.values()
    return [
        Row("requests per second, 3 nodes, dependencies at 0 ms", rate, "/s", at_least=275),
        Row("CPU per request of the worker", cpu_ms, "ms", at_most=3.5),
        Row("requests per second of a class that deploys one tutorial", class_rate, "/s"),
        Row("CPU per request of the worker then", class_cpu_ms, "ms"),
        Row("requests per second of a worker that does only the I/O", io_rate, "/s"),
        Row("CPU per request of that", io_cpu_ms, "ms"),
        Row("share of the I/O-only rate", rate / io_rate * 100, "%", at_least=60),
    ]


async def start_and_memory(bootstrap: str, folder: Path, count: int) -> list[Row]:
    """Measure start to ready, memory with 1,000 requests waiting, and memory over many requests."""
    ready = []
    for _ in range(3):
        async with running(bootstrap, folder, nodes=3, latency=0.0) as run:
            ready.append(run.ready_seconds)
    async with running(bootstrap, folder, nodes=3, latency=60.0) as run:
        await run.publish(1000)
        accepted = 0
        while accepted < 1000:
            for records in (await run.statuses.getmany(timeout_ms=500)).values():
                accepted += sum(json.loads(record.value)["state"] == "accepted" for record in records)
        waiting = run.megabytes()
    samples = []
    async with running(bootstrap, folder, nodes=3, latency=0.0) as run:
        for _ in range(10):
            await run.publish(count // 10)
            await run.until_final(count // 10)
            samples.append(run.megabytes())
    return [
        Row("start to ready, median of 3", median(ready), "s", at_most=1),
        Row("memory with 1,000 requests waiting", waiting, "MB", at_most=150),
        Row(f"memory growth from {count // 5:,} to {count:,} requests", samples[-1] - samples[1], "MB", at_most=5),
        *(
            Row(f"memory after {count * tenth // 10:,} requests", megabytes, "MB")
            for tenth, megabytes in enumerate(samples, 1)
        ),
    ]
