"""A whole world for one test: topics of its own, a Graphene, a playground, and workers as processes."""

import asyncio
import json
import os
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from schemas import FINAL_STATES, DeploymentStatus
from worker.adapters.kafka.topics import prepare_topics
from worker.app import open_builder
from worker.domain.bundle.archive import Bundle
from worker.sandbox.graphene import CCDS_LOGIN, CCDS_PATH, GRAPHENE, NEXUS_LOGIN, NEXUS_PATH, Graphene, graphene_app
from worker.sandbox.graphene_data import Stored
from worker.sandbox.http_server import served
from worker.sandbox.playground import PLAYGROUND, Playground, playground_app
from worker.sandbox.users import JWT_SECRET, SANDBOX_USER, User, sandbox_token
from worker.settings import BuilderSettings, ClientSettings, KafkaSettings, read_settings

PARTITIONS = 12


@dataclass(frozen=True, slots=True)
class Sent:
    """A record that was published."""

    request_id: str
    stored: Stored | None = None
    user: User = SANDBOX_USER


@dataclass(slots=True)
class Stage:
    """Everything around the worker. `env` is what a worker is started with; a test may change it before."""

    env: dict[str, str]
    graphene: Graphene
    playground: Playground
    producer: AIOKafkaProducer
    bootstrap: str
    topics: KafkaSettings
    _statuses: dict[str, list[DeploymentStatus]] = field(default_factory=lambda: defaultdict(list))

    async def ask(self, stored: Stored, request_id: str, user: User = SANDBOX_USER, **changes: Any) -> None:
        """Publish one request as a portal would; `changes` go into value, key, headers or token."""
        token = changes.pop("token", None) or sandbox_token(datetime.now(UTC), user=user)
        value = {
            "requestId": request_id,
            "solutionId": str(stored.solution_id),
            "revisionId": str(stored.revision_id),
        } | changes.pop("value", {})
        headers = changes.pop("headers", [("authorization", f"Bearer {token}".encode())])
        await self.publish(json.dumps(value).encode(), changes.pop("key", user.user_id.encode()), headers)

    async def publish(self, value: bytes, key: bytes | None, headers: Sequence[tuple[str, bytes]] = ()) -> None:
        """Publish a record as it is."""
        await self.producer.send_and_wait(self.topics.requests_topic, value, key=key, headers=list(headers))

    async def until_final(self, request_ids: Sequence[str]) -> dict[str, list[DeploymentStatus]]:
        """All statuses by request id, once each of these requests has a final one."""
        return await self.until(request_ids, ended)

    async def until(
        self, request_ids: Sequence[str], reached: Callable[[list[DeploymentStatus]], bool]
    ) -> dict[str, list[DeploymentStatus]]:
        """All statuses by request id, read from the beginning, once each of these requests is so far."""
        statuses: dict[str, list[DeploymentStatus]] = defaultdict(list)
        async with self._reader() as reader:
            while not all(reached(statuses[request_id]) for request_id in request_ids):
                for records in (await reader.getmany(timeout_ms=500)).values():
                    for record in records:
                        status = DeploymentStatus.model_validate_json(record.value)
                        assert f"{status.request_id}:{status.sequence}".encode() == dict(record.headers)["ce_id"]
                        assert status.source.partition == record.partition
                        statuses[status.request_id].append(status)
        return statuses

    @asynccontextmanager
    async def _reader(self) -> AsyncIterator[AIOKafkaConsumer]:
        reader = AIOKafkaConsumer(
            bootstrap_servers=self.bootstrap, auto_offset_reset="earliest", isolation_level="read_committed"
        )
        await reader.start()
        try:
            reader.assign(
                [TopicPartition(self.topics.status_topic, number) for number in range(self.topics.partitions)]
            )
            yield reader
        finally:
            await reader.stop()

    async def committed(self) -> int:
        """How many records of the requests topic the group has committed."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()
        try:
            offsets = await admin.list_consumer_group_offsets(self.topics.group_id)
            return sum(offset.offset for offset in offsets.values())
        finally:
            await admin.close()

    async def bundle_alone(self, stored: Stored) -> Bundle:
        """What `bundle` builds for this solution, with nothing else going on."""
        async with open_builder(read_settings(self.env, BuilderSettings)) as builder:
            _, bundle = await builder.build(stored.solution_id, stored.revision_id, None)
            return bundle

    @asynccontextmanager
    async def worker(self, log: Path) -> AsyncIterator["Worker"]:
        """A worker as a process of its own, ready; it must end well when it is told to stop."""
        port = await free_port()
        env = {**os.environ, **self.env, "DEPLOYER_RUNTIME__HTTP_PORT": str(port)}
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-X", "dev", "-W", "ignore::ResourceWarning", "-m", "worker", "run",
                env=env, stdout=output, stderr=output,
            )  # fmt: skip
        worker = Worker(process, f"http://127.0.0.1:{port}", log)
        try:
            await worker.until_ready()
            yield worker
            if process.returncode is None:
                process.terminate()
            assert 0 == await asyncio.wait_for(process.wait(), 60), log.read_text()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


@dataclass(frozen=True, slots=True)
class Worker:
    """A running worker."""

    process: asyncio.subprocess.Process
    url: str
    log: Path

    async def until_ready(self) -> None:
        """Returns when /ready says so."""
        async with aiohttp.ClientSession() as session:
            while self.process.returncode is None:
                try:
                    async with session.get(f"{self.url}/ready") as response:
                        if response.status == 200:
                            return
                except aiohttp.ClientConnectionError:
                    pass
                await asyncio.sleep(0.05)  # nothing tells us but asking again
        raise AssertionError(self.log.read_text())


def ended(statuses: list[DeploymentStatus]) -> bool:
    """Whether there is a final status among them."""
    return any(status.state in FINAL_STATES for status in statuses)


async def free_port() -> int:
    """A port that was free a moment ago."""
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    async with server:
        return int(server.sockets[0].getsockname()[1])


@asynccontextmanager
async def open_stage(bootstrap: str, prefix: str, folder: Path, partitions: int = PARTITIONS) -> AsyncIterator[Stage]:
    """Serve the dependencies and make the topics, all of them this test's own."""
    graphene, playground = graphene_app(), playground_app(folder / "playground", run_scripts=False)
    async with served(graphene) as graphene_url, served(playground) as playground_url:
        env = environment(bootstrap, prefix, graphene_url, playground_url)
        env["DEPLOYER_KAFKA__PARTITIONS"] = str(partitions)
        kafka = read_settings(env, ClientSettings).kafka
        admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
        await admin.start()
        try:
            await prepare_topics(admin, kafka)
        finally:
            await admin.close()
        async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
            yield Stage(env, graphene[GRAPHENE], playground[PLAYGROUND], producer, bootstrap, kafka)


def environment(bootstrap: str, prefix: str, graphene_url: str, playground_url: str) -> dict[str, str]:
    """The settings of a worker on this stage."""
    return {
        "DEPLOYER_KAFKA__BOOTSTRAP_SERVERS": bootstrap,
        "DEPLOYER_KAFKA__REQUESTS_TOPIC": f"{prefix}.requests",
        "DEPLOYER_KAFKA__STATUS_TOPIC": f"{prefix}.status",
        "DEPLOYER_KAFKA__SETTLEMENTS_TOPIC": f"{prefix}.settlements",
        "DEPLOYER_KAFKA__DEAD_LETTER_TOPIC": f"{prefix}.dead-letter",
        "DEPLOYER_KAFKA__GROUP_ID": prefix,
        "DEPLOYER_KAFKA__CREATE_TOPICS": "true",
        "DEPLOYER_KAFKA__PARTITIONS": str(PARTITIONS),
        "DEPLOYER_KAFKA__REPLICATION_FACTOR": "1",
        "DEPLOYER_AUTH__SECRET": JWT_SECRET,
        "DEPLOYER_CATALOG__URL": graphene_url + CCDS_PATH,
        "DEPLOYER_CATALOG__USERNAME": CCDS_LOGIN[0],
        "DEPLOYER_CATALOG__PASSWORD": CCDS_LOGIN[1],
        "DEPLOYER_ARTIFACTS__URL": graphene_url + NEXUS_PATH,
        "DEPLOYER_ARTIFACTS__USERNAME": NEXUS_LOGIN[0],
        "DEPLOYER_ARTIFACTS__PASSWORD": NEXUS_LOGIN[1],
        "DEPLOYER_PLAYGROUND__DEPLOY_URL": f"{playground_url}/deploy_solution",
    }
