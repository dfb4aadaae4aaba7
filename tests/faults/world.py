"""A world to break: topics of its own, dependencies in this process, workers as processes, and a reader of statuses."""

import asyncio
import json
import os
import re
import signal
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from schemas import FINAL_STATES, DeploymentSettled, DeploymentStatus, State
from tests.broker import unique_name
from tests.builders import blueprint_document, edge, node, operation
from tests.e2e.stage import environment
from tests.faults.playground import CountingPlayground
from tests.faults.verdict import Verdict, judge
from worker.adapters.kafka.topics import prepare_topics
from worker.app import open_builder
from worker.domain.messages import settlement_message
from worker.sandbox.graphene import GRAPHENE, graphene_app
from worker.sandbox.graphene_data import Stored, make_model, make_pipeline
from worker.sandbox.http_server import served
from worker.sandbox.users import User, sandbox_token
from worker.settings import BuilderSettings, ClientSettings, KafkaSettings, read_settings

PARTITIONS = 6
USERS = [User(f"user-{number}", f"user{number}", f"user{number}@graphene.example") for number in range(300)]
TIMEOUT_SECONDS = 2  # of the playground

Statuses = dict[str, list[DeploymentStatus]]


@dataclass(slots=True)
class Worker:
    """One process."""

    process: asyncio.subprocess.Process
    log: Path

    @property
    def runs(self) -> bool:
        """Whether it has not ended."""
        return self.process.returncode is None

    def signal(self, number: signal.Signals) -> None:
        """Unless it has ended."""
        if self.runs:
            self.process.send_signal(number)

    def _port(self) -> int:
        """Of its health page, as its log says; 1, which nobody serves, until then."""
        found = re.search(r'"port": (\d+), "event": "health is served"', self.log.read_text())
        return int(found[1]) if found else 1

    async def until_ready(self, seconds: float = 60) -> None:
        """Has partitions, or ended."""
        async with asyncio.timeout(seconds), aiohttp.ClientSession() as session:
            while self.runs:
                try:
                    async with session.get(f"http://127.0.0.1:{self._port()}/ready") as response:
                        if response.status == 200:
                            return
                except aiohttp.ClientConnectionError:
                    pass
                await asyncio.sleep(0.05)  # nothing tells us but asking again


@dataclass(slots=True)
class World:
    """Everything around the workers."""

    env: dict[str, str]
    kafka: KafkaSettings
    folder: Path
    playground: CountingPlayground
    solutions: list[Stored]
    expected: list[str]  # SHA-256 of each solution's bundle, built alone
    producer: AIOKafkaProducer
    statuses: Statuses = field(default_factory=lambda: defaultdict(list))
    offsets: dict[int, int] = field(default_factory=dict)  # partition → the last status's
    asked: dict[str, str] = field(default_factory=dict)  # request id → SHA-256 of its bundle
    workers: list[Worker] = field(default_factory=list)
    graphene_app: Any = None
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    _numbers: Any = field(default_factory=count)
    _tokens: dict[str, bytes] = field(default_factory=dict)

    async def start(self, *, kill: str = "", stop: bool = False, ready: bool = True) -> Worker:
        """A worker; with `stop` it is only stopped there; `kill`: see tests/faults/worker.py."""
        env = {**os.environ, **self.env, "DEPLOYER_RUNTIME__HTTP_PORT": "0", "FAULTS_KILL": kill}
        env |= {"FAULTS_STOP": "1"} if stop else {}
        log = self.folder / f"worker-{next(self._numbers)}.log"
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tests.faults.worker", env=env, stdout=output, stderr=output
            )
        worker = Worker(process, log)
        self.workers.append(worker)
        if ready:
            await worker.until_ready()
        return worker

    async def ask(self, request_id: str, number: int = 0, user: User | None = None, **more: Any) -> None:
        """One request; `number` chooses solution and user."""
        stored, user = self.solutions[number % len(self.solutions)], user or USERS[number % len(USERS)]
        if user.user_id not in self._tokens:
            token = sandbox_token(datetime.now(UTC), timedelta(hours=3), user)
            self._tokens[user.user_id] = f"Bearer {token}".encode()
        value = {
            "requestId": request_id,
            "solutionId": str(stored.solution_id),
            "revisionId": str(stored.revision_id),
        }
        self.asked[request_id] = self.expected[number % len(self.solutions)]
        await self.publish(
            json.dumps(value).encode(), user.user_id.encode(), [("authorization", self._tokens[user.user_id])], **more
        )

    async def publish(self, value: bytes | None, key: bytes | None, headers: list[Any], **more: Any) -> None:
        """A record as it is."""
        await self.producer.send_and_wait(self.kafka.requests_topic, value, key=key, headers=headers, **more)

    async def until(
        self, ids: Iterable[str], reached: Callable[[DeploymentStatus], bool], seconds: float = 120
    ) -> None:
        """Until the last status of each is so far. Raises AssertionError that says which are not."""
        wanted = list(ids)

        def left() -> list[str]:
            return [it for it in wanted if not self.statuses.get(it) or not reached(self.statuses[it][-1])]

        try:
            async with asyncio.timeout(seconds), self._changed:
                await self._changed.wait_for(lambda: not left())
        except TimeoutError:
            for worker in self.workers:
                worker.signal(signal.SIGUSR1)
            await asyncio.sleep(1)
            where = [(it, [status.state.value for status in self.statuses.get(it, [])]) for it in left()]
            raise AssertionError(f"after {seconds} s in {self.folder}: {where}") from None

    async def until_ended(self, ids: Iterable[str], seconds: float = 120, *, parked: bool = True) -> None:
        """Until each has a final status, or is parked."""
        ends = FINAL_STATES | ({State.PARKED} if parked else set())
        await self.until(ids, lambda status: status.state in ends, seconds)

    async def settle_parked(self) -> int:
        """As an operator does who looks at the playground: deployed when it got the bundle, else again. How many."""
        settled = 0
        while parked := [of[-1] for of in self.statuses.values() if of and of[-1].state is State.PARKED]:
            settled += len(parked)
            for status in parked:
                await self._settle(status)
            attempts = {status.request_id: status.attempt for status in parked}
            await self.until(attempts, lambda it, of=attempts: _goes_on(it, of[it.request_id]))  # type: ignore[misc]
        return settled

    async def _settle(self, status: DeploymentStatus) -> None:
        outcome = "deployed" if self.playground.posts[status.request_id] else "retry"
        settled = DeploymentSettled.model_validate(
            {
                "requestId": status.request_id,
                "attempt": status.attempt,
                "as": outcome,
                "reason": "The playground was looked at.",
                "by": "operator",
            }
        )
        message = settlement_message(
            settled, self.kafka.settlements_topic, status.source.partition, "/playground-deployer/resolve"
        )
        await self.producer.send_and_wait(
            message.topic, message.value, key=message.key, partition=message.partition, headers=[*message.headers]
        )

    def judge(self) -> Verdict:
        """Everything that was asked."""
        return judge(self.asked, self.statuses, self.playground, self.asked)

    async def committed(self) -> dict[int, int]:
        """The group's offsets."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.kafka.bootstrap_servers)
        await admin.start()
        try:
            offsets = await admin.list_consumer_group_offsets(self.kafka.group_id)
            return {place.partition: offset.offset for place, offset in offsets.items()}
        finally:
            await admin.close()

    async def read(self, reader: AIOKafkaConsumer) -> None:
        """Keep up with the status topic, for ever."""
        while True:
            for place, records in (await reader.getmany(timeout_ms=200)).items():
                async with self._changed:
                    for record in records:
                        status = DeploymentStatus.model_validate_json(record.value)
                        self.statuses[status.request_id].append(status)
                        self.offsets[place.partition] = record.offset
                    self._changed.notify_all()

    async def end_workers(self) -> None:
        """Every one, with SIGKILL: whoever wants a good end says so before."""
        for worker in self.workers:
            if worker.runs:
                worker.process.kill()
            await worker.process.wait()


def _goes_on(status: DeploymentStatus, attempt: int) -> bool:
    """Ended, or parked once more: a machine that is busy lets another POST run out of time."""
    return status.state in FINAL_STATES or (status.state is State.PARKED and status.attempt > attempt)


def solutions() -> list[Stored]:
    """A pipeline in a circle, a chain, and a model."""
    proto = 'syntax = "proto3";\nservice Model {}\n' + "// padding\n" * 200
    circle = [node(name, operation("run", edge(to))) for name, to in (("a", "b"), ("b", "c"), ("c", "a"))]
    chain = [node("one", operation("run", edge("two"))), node("two", operation())]
    return [
        make_pipeline("Circle", blueprint_document(*circle), dict.fromkeys("abc", proto)),
        make_pipeline("Chain", blueprint_document(*chain), dict.fromkeys(("one", "two"), proto)),
        make_model("Model", "registry.example/model:1", proto),
    ]


@asynccontextmanager
async def open_world(
    bootstrap: str, folder: Path, *, partitions: int = PARTITIONS, replicas: int = 1, workers_see: str = "", **env: str
) -> AsyncIterator[World]:
    """`env`: further settings, without their prefix. `workers_see`: another address of the brokers."""
    folder.mkdir(parents=True, exist_ok=True)
    playground, app, stored = CountingPlayground(), graphene_app(), solutions()
    for solution in stored:
        app[GRAPHENE].add(solution)
    async with served(app) as graphene_url, served(playground.app()) as playground_url:
        variables = environment(bootstrap, unique_name(), graphene_url, playground_url) | {
            "DEPLOYER_KAFKA__PARTITIONS": str(partitions),
            "DEPLOYER_KAFKA__REPLICATION_FACTOR": str(replicas),
            "DEPLOYER_PLAYGROUND__TIMEOUT_SECONDS": str(TIMEOUT_SECONDS),
            "DEPLOYER_RUNTIME__DRAIN_SECONDS": str(TIMEOUT_SECONDS + 30),
        }
        variables |= {f"DEPLOYER_{name}": value for name, value in env.items()}
        kafka = read_settings(variables, ClientSettings).kafka
        admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
        await admin.start()
        try:
            await prepare_topics(admin, kafka)
        finally:
            await admin.close()
        async with open_builder(read_settings(variables, BuilderSettings)) as builder:
            bundles = [(await builder.build(it.solution_id, it.revision_id, None))[1].sha256 for it in stored]
        if workers_see:
            variables["DEPLOYER_KAFKA__BOOTSTRAP_SERVERS"] = workers_see
        reader = AIOKafkaConsumer(
            bootstrap_servers=bootstrap, auto_offset_reset="earliest", isolation_level="read_committed"
        )
        async with AIOKafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=True) as producer, reader:
            reader.assign([TopicPartition(kafka.status_topic, number) for number in range(partitions)])
            world = World(variables, kafka, folder, playground, stored, bundles, producer)
            world.graphene_app = app[GRAPHENE]
            reading = asyncio.create_task(world.read(reader))
            try:
                yield world
            finally:
                await world.end_workers()
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)
