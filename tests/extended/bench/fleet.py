"""Several workers of one group on topics with any number of partitions: under a backlog, or under a steady load."""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import psutil
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from schemas import FINAL_STATES
from tests.extended.bench.dependencies import REVISION_ID, served_apart, solution_id
from tests.support.stage import environment
from tests.support.topics import create_worker_topics, unique_name
from tests.support.worker_process import WORKER, WorkerProcess, start_worker
from worker.sandbox.kafka_node import unused_ports
from worker.sandbox.users import User, sandbox_token
from worker.settings import ClientSettings, read_settings

NODES = 3
# Enough that none has more than 50 open requests of a backlog of 100,000, and that each partition has some.
USERS = [User(f"user-{number}", f"user{number}", f"user{number}@graphene.example") for number in range(2000)]
SHARED_SECONDS = 120
ENDED_SECONDS = 1800
_PROCESSED = re.compile(r'_partition_unprocessed_seconds\{partition="(\d+)"\} 0\.0$', re.MULTILINE)
_TRANSACTIONS = re.compile(r"_transaction_duration_seconds_(count|sum) (\S+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Answered:
    """A request of a steady load: its partition, when it was due to be sent, and how long its final status took."""

    partition: int
    due: float
    seconds: float


@dataclass
class Fleet:
    """The running workers, and the outcomes of requests. `broker` is None if it is not a process of this machine."""

    env: Mapping[str, str]
    folder: Path
    partitions: int
    producer: AIOKafkaProducer
    statuses: AIOKafkaConsumer
    tokens: Sequence[bytes]
    dependencies: psutil.Process
    broker: psutil.Process | None
    workers: list[WorkerProcess] = field(default_factory=list)
    answered: list[Answered] = field(default_factory=list)
    _due: dict[str, float] = field(default_factory=dict)
    _sent: int = 0
    _ended: int = 0

    async def add(self) -> WorkerProcess:
        """Start another worker; it has no partitions yet."""
        (port,) = unused_ports(1)
        worker = await start_worker(self.env, self.folder / f"fleet-{port}.log", WORKER, port)
        self.workers.append(worker)
        return worker

    async def remove(self, worker: WorkerProcess) -> None:
        """Stop a worker as an operator does."""
        self.workers.remove(worker)
        try:
            await worker.stop()
        finally:
            await worker.kill()

    async def until_shared(self) -> None:
        """Wait until each partition is processed by one worker, and each worker processes at least one."""
        async with asyncio.timeout(SHARED_SECONDS):
            while True:
                shares = [_PROCESSED.findall(metrics) for metrics in await self._metrics()]
                if all(shares) and sorted(int(it) for share in shares for it in share) == [*range(self.partitions)]:
                    return
                await asyncio.sleep(0.1)

    def taken_over(self, since: float) -> dict[int, float]:
        """Return when each partition was last taken over, for the partitions that were taken over since then."""
        found: dict[int, float] = {}
        for worker in self.workers:
            for line in worker.log.read_text(encoding="utf-8").splitlines():
                if '"partition taken over"' in line:
                    entry = json.loads(line)
                    at = datetime.fromisoformat(entry["timestamp"]).timestamp()
                    if at >= since:
                        found[entry["partition"]] = max(at, found.get(entry["partition"], at))
        return found

    async def transactions(self) -> tuple[float, float]:
        """Return the number of transactions that all workers have committed so far, and their total seconds."""
        found = [dict(_TRANSACTIONS.findall(metrics)) for metrics in await self._metrics()]
        return sum(float(it["count"]) for it in found), sum(float(it["sum"]) for it in found)

    async def _metrics(self) -> list[str]:
        async with aiohttp.ClientSession() as session:
            return [await _shown(session, worker) for worker in self.workers]

    def cpu_seconds(self) -> dict[str, float]:
        """Return the user and system time so far, by group of processes."""
        groups: dict[str, Sequence[psutil.Process]] = {
            "workers": [psutil.Process(it.process.pid) for it in self.workers],
            "broker": [self.broker] if self.broker else [],
            "dependencies": [self.dependencies],
            "bench": [psutil.Process()],
        }
        times = {name: [it.cpu_times() for it in group] for name, group in groups.items() if group}
        return {name: sum(it.user + it.system for it in group) for name, group in times.items()}

    # ---------------------------------------------------------------------------------------------------- requests

    async def backlog(self, count: int) -> None:
        """Send this many requests at once, and wait until they have ended."""
        for _ in range(count):
            await self._send()
        await self.producer.flush()
        await self._until_all_ended()

    async def steady(self, rate: float, count: int, stop: asyncio.Event | None = None) -> None:
        """Send `count` requests at this rate, regardless of answers, or until `stop`; then wait for their ends."""
        async with asyncio.TaskGroup() as together:
            reading = together.create_task(self._read_for_ever())
            began = time.time()
            for number in range(count):
                if stop and stop.is_set():
                    break
                due = began + number / rate
                await asyncio.sleep(max(0.0, due - time.time()))
                # Not the time of sending: a delayed sender would hide how long the requests took.
                self._due[f"r-{self._sent}"] = due
                await self._send()
            reading.cancel()
        await self._until_all_ended()

    async def _send(self) -> None:
        user = self._sent % len(USERS)
        value = {"requestId": f"r-{self._sent}", "solutionId": solution_id(self._sent), "revisionId": str(REVISION_ID)}
        await self.producer.send(
            self.env["DEPLOYER_KAFKA__REQUESTS_TOPIC"],
            json.dumps(value).encode(),
            key=USERS[user].user_id.encode(),
            headers=[("authorization", self.tokens[user])],
        )
        self._sent += 1

    async def _until_all_ended(self) -> None:
        async with asyncio.timeout(ENDED_SECONDS):
            while self._ended < self._sent:
                await self._read()

    async def _read_for_ever(self) -> None:
        while True:
            await self._read()

    async def _read(self) -> None:
        """Count the final statuses; any outcome except `deployed` is a defect of the bench."""
        for records in (await self.statuses.getmany(timeout_ms=500)).values():
            now = time.time()
            for record in records:
                status = json.loads(record.value)
                assert status["state"] not in {"failed", "rejected"}, status
                if status["state"] in FINAL_STATES:
                    self._ended += 1
                    if due := self._due.pop(status["requestId"], None):
                        self.answered.append(Answered(record.partition, due, now - due))


async def _shown(session: aiohttp.ClientSession, worker: WorkerProcess) -> str:
    assert worker.runs, worker.log.read_text(encoding="utf-8")
    try:
        async with session.get(f"{worker.url}/metrics") as response:
            return await response.text()
    except aiohttp.ClientConnectionError:
        return ""  # the worker does not serve yet


def listening(port: int) -> psutil.Process | None:
    """Return the process of this machine that listens on the port."""
    for it in psutil.net_connections("tcp"):
        if it.status == psutil.CONN_LISTEN and it.laddr.port == port and it.pid:
            return psutil.Process(it.pid)
    return None


def port_of(address: str) -> int:
    """Return the port of `host:port`, or of a URL without a path."""
    return int(address.rpartition(":")[2])


@asynccontextmanager
async def running_fleet(bootstrap: str, folder: Path, partitions: int, workers: int) -> AsyncIterator[Fleet]:
    """Run this many workers that share the partitions; dependencies answer at once."""
    async with served_apart(NODES, 0.0) as url:
        env = environment(bootstrap, unique_name(), url, url) | {"DEPLOYER_KAFKA__PARTITIONS": str(partitions)}
        kafka = read_settings(env, ClientSettings).kafka
        await create_worker_topics(kafka)
        dependencies = listening(port_of(url))
        assert dependencies
        tokens = [sandbox_token(datetime.now(UTC), timedelta(hours=4), user).encode() for user in USERS]
        statuses = AIOKafkaConsumer(
            kafka.status_topic,
            bootstrap_servers=bootstrap,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
        )
        async with AIOKafkaProducer(bootstrap_servers=bootstrap, linger_ms=5) as producer, statuses:
            broker = listening(port_of(bootstrap))
            fleet = Fleet(env, folder, partitions, producer, statuses, tokens, dependencies, broker)
            try:
                for _ in range(workers):
                    await fleet.add()
                await fleet.until_shared()
                yield fleet
            finally:
                for worker in fleet.workers:
                    await worker.kill()
