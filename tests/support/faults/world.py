"""A world to break: separate topics, dependencies in this process, workers as processes, and a reader of statuses."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaProducer

from schemas import FINAL_STATES, DeploymentSettled, DeploymentStatus, State
from tests.support.builders import blueprint_document, edge, node, operation, protobuf
from tests.support.faults.playground import CountingPlayground
from tests.support.faults.verdict import Verdict, judge
from tests.support.stage import environment
from tests.support.statuses import Statuses, followed_statuses
from tests.support.topics import committed_offsets, create_worker_topics, unique_name
from tests.support.worker_process import WorkerProcess, start_worker
from worker.app import open_builder
from worker.sandbox.graphene import GRAPHENE, graphene_app
from worker.sandbox.graphene_data import Stored, make_model, make_pipeline
from worker.sandbox.http_server import served
from worker.sandbox.users import User, sandbox_token
from worker.settings import BuilderSettings, ClientSettings, KafkaSettings, read_settings

PARTITIONS = 6
USERS = [User(f"user-{number}", f"user{number}", f"user{number}@graphene.example") for number in range(300)]
TIMEOUT_SECONDS = 2  # of the playground

WORKER = (sys.executable, "-m", "tests.support.faults.worker")


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
    followed: Statuses
    asked: dict[str, str] = field(default_factory=dict)  # request id → SHA-256 of its bundle
    workers: list[WorkerProcess] = field(default_factory=list)
    graphene_app: Any = None
    _numbers: Any = field(default_factory=count)
    _tokens: dict[str, bytes] = field(default_factory=dict)

    @property
    def statuses(self) -> dict[str, list[DeploymentStatus]]:
        """Return the statuses by request id."""
        return self.followed.of

    async def start(self, *, kill: str = "", stop: bool = False, ready: bool = True) -> WorkerProcess:
        """Start a worker; `kill` is a point of tests/support/faults/worker.py, where `stop` only stops the worker."""
        env = {**self.env, "FAULTS_KILL": kill, **({"FAULTS_STOP": "1"} if stop else {})}
        log = self.folder / f"worker-{next(self._numbers)}.log"
        worker = await start_worker(env, log, WORKER)
        self.workers.append(worker)
        if ready:
            await worker.is_ready()
        return worker

    async def ask(self, request_id: str, number: int = 0, user: User | None = None, **more: Any) -> None:
        """Publish one request; `number` chooses solution and user."""
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
        self.followed.places[request_id] = await self.publish(
            json.dumps(value).encode(), user.user_id.encode(), [("authorization", self._tokens[user.user_id])], **more
        )

    async def publish(self, value: bytes | None, key: bytes | None, headers: list[Any], **more: Any) -> tuple[int, int]:
        """Publish a record unchanged; return its partition and offset."""
        sent = await self.producer.send_and_wait(self.kafka.requests_topic, value, key=key, headers=headers, **more)
        return sent.partition, sent.offset

    async def until(
        self, ids: Iterable[str], reached: Callable[[DeploymentStatus], bool], seconds: float = 120
    ) -> None:
        """Wait until the last status of each has reached the condition. Raises AssertionError that lists the others."""
        try:
            await self.followed.until(ids, lambda of: reached(of[-1]), seconds)
        except TimeoutError as error:
            for worker in self.workers:
                worker.signal(signal.SIGUSR1)
            await asyncio.sleep(1)
            raise AssertionError(f"{error}, in {self.folder}") from None

    async def until_ended(self, ids: Iterable[str], seconds: float = 120, *, parked: bool = True) -> None:
        """Wait until each has a final status, or is parked."""
        ends = FINAL_STATES | ({State.PARKED} if parked else set())
        await self.until(ids, lambda status: status.state in ends, seconds)

    async def settle_parked(self) -> int:
        """Settle parked requests as an operator does, and return their number.

        The outcome is `deployed` if the playground got the bundle, else `retry`.
        """
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
                "outcome": outcome,
                "reason": "The playground was looked at.",
                "by": "operator",
            }
        )
        message = settled.to_message(
            self.kafka.settlements_topic, "/playground-deployer/resolve", status.source.partition
        )
        await self.producer.send_and_wait(
            message.topic, message.value, key=message.key, partition=message.partition, headers=[*message.headers]
        )

    def judge(self) -> Verdict:
        """Return the verdict on all requests."""
        return judge(self.asked, self.statuses, self.playground, self.asked)

    async def committed(self) -> dict[int, int]:
        """Return the group's committed offsets."""
        return await committed_offsets(self.kafka.bootstrap_servers, self.kafka.group_id)

    async def end_workers(self) -> None:
        """Kill every worker with SIGKILL; a test that needs a graceful shutdown requests it first."""
        for worker in self.workers:
            await worker.kill()


def _goes_on(status: DeploymentStatus, attempt: int) -> bool:
    """Return whether the request ended or was parked again: on a busy machine another POST may time out."""
    return status.state in FINAL_STATES or (status.state is State.PARKED and status.attempt > attempt)


def solutions() -> list[Stored]:
    """Return a circular pipeline, a chain, and a single model."""
    proto = protobuf(operation()) + "// padding\n" * 200
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
    """Yield a world. `env`: more settings, without their prefix. `workers_see`: another address of the brokers."""
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
        await create_worker_topics(kafka)
        async with open_builder(read_settings(variables, BuilderSettings)) as builder:
            bundles = [(await builder.build(it.solution_id, it.revision_id, None))[1].sha256 for it in stored]
        if workers_see:
            variables["DEPLOYER_KAFKA__BOOTSTRAP_SERVERS"] = workers_see
        async with (
            AIOKafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=True) as producer,
            followed_statuses(bootstrap, kafka.status_topic, partitions) as statuses,
        ):
            world = World(variables, kafka, folder, playground, stored, bundles, producer, statuses)
            world.graphene_app = app[GRAPHENE]
            try:
                yield world
            finally:
                await world.end_workers()
