"""A whole world for one test: separate topics, a Graphene, a playground, and workers as processes."""

import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiohttp import web
from aiokafka import AIOKafkaProducer

from schemas import DeploymentStatus
from tests.support.statuses import Reached, Statuses, ended, followed_statuses
from tests.support.topics import committed_offsets, create_worker_topics
from tests.support.worker_process import GATEWAY, WorkerProcess, running_worker
from worker.app import open_builder
from worker.domain.bundle.archive import Bundle
from worker.sandbox.graphene import CCDS_LOGIN, CCDS_PATH, GRAPHENE, NEXUS_LOGIN, NEXUS_PATH, Graphene, graphene_app
from worker.sandbox.graphene_data import Stored
from worker.sandbox.http_server import served
from worker.sandbox.playground import PLAYGROUND, Playground, playground_app
from worker.sandbox.users import JWT_SECRET, SANDBOX_USER, User, sandbox_token
from worker.settings import BuilderSettings, ClientSettings, KafkaSettings, read_settings

PARTITIONS = 12


@dataclass(slots=True)
class Stage:
    """Everything around the worker. `env` holds a worker's settings; a test may change them before the start."""

    env: dict[str, str]
    graphene: Graphene
    playground: Playground
    producer: AIOKafkaProducer
    bootstrap: str
    topics: KafkaSettings
    statuses: Statuses
    graphene_url: str
    playground_url: str

    async def ask(self, stored: Stored, request_id: str, user: User = SANDBOX_USER, **changes: Any) -> None:
        """Publish one request as a portal would; `changes` go into value, key, headers or token."""
        token = changes.pop("token", None) or sandbox_token(datetime.now(UTC), user=user)
        value = {
            "requestId": request_id,
            "solutionId": str(stored.solution_id),
            "revisionId": str(stored.revision_id),
        } | changes.pop("value", {})
        headers = changes.pop("headers", [("authorization", f"Bearer {token}".encode())])
        key = changes.pop("key", user.user_id.encode())
        self.statuses.places[request_id] = await self.publish(json.dumps(value).encode(), key, headers)

    async def publish(
        self, value: bytes, key: bytes | None, headers: Sequence[tuple[str, bytes]] = ()
    ) -> tuple[int, int]:
        """Publish a record unchanged; return its partition and offset."""
        sent = await self.producer.send_and_wait(self.topics.requests_topic, value, key=key, headers=list(headers))
        return sent.partition, sent.offset

    async def until_final(self, request_ids: Sequence[str]) -> dict[str, list[DeploymentStatus]]:
        """Return all statuses by request id, once each of these requests has a final status."""
        return await self.until(request_ids, ended)

    async def until(self, request_ids: Sequence[str], reached: Reached) -> dict[str, list[DeploymentStatus]]:
        """Return all statuses by request id, once each of these requests has reached the condition."""
        await self.statuses.until(request_ids, reached)
        return self.statuses.by_request()

    async def committed(self) -> int:
        """Return the number of records of the requests topic that the group has committed."""
        return sum((await committed_offsets(self.bootstrap, self.topics.group_id)).values())

    async def bundle_alone(self, stored: Stored, **options: str) -> Bundle:
        """Return the bundle that `bundle` builds for the solution alone; `options` are settings of the group BUNDLE."""
        own = {f"DEPLOYER_BUNDLE__{name}": value for name, value in options.items()}
        async with open_builder(read_settings(self.env | own, BuilderSettings)) as builder:
            _, bundle = await builder.build(stored.solution_id, stored.revision_id, None)
            return bundle

    def worker(self, log: Path) -> AbstractAsyncContextManager[WorkerProcess]:
        """Run a worker as a separate process; it is ready inside the block, and must stop cleanly on SIGTERM."""
        return running_worker(self.env, log)

    def gateway(self, log: Path, port: int = 0, **settings: str) -> AbstractAsyncContextManager[WorkerProcess]:
        """Run a gateway as a separate process; it is ready inside the block. `settings` go into its group.

        A given port is part of the gateway's public URL; a browser's forms are accepted only from pages of that URL.
        """
        if port:
            settings["PUBLIC_URL"] = f"http://127.0.0.1:{port}"
        own = {f"DEPLOYER_GATEWAY__{name}": value for name, value in settings.items()}
        env = {**self.env, "DEPLOYER_GATEWAY__SESSION_KEY": "k" * 32, **own}
        return running_worker(env, log, GATEWAY, port)


@asynccontextmanager
async def open_stage(
    bootstrap: str,
    prefix: str,
    folder: Path,
    partitions: int = PARTITIONS,
    make_graphene: Callable[[], web.Application] = graphene_app,
    make_playground: Callable[[Path], web.Application] = playground_app,
    host: str = "127.0.0.1",
) -> AsyncIterator[Stage]:
    """Serve the dependencies at `host` and create the topics, all for this test alone."""
    graphene, playground = make_graphene(), make_playground(folder / "playground")
    async with served(graphene, host) as graphene_url, served(playground, host) as playground_url:
        env = environment(bootstrap, prefix, graphene_url, playground_url)
        env["DEPLOYER_KAFKA__PARTITIONS"] = str(partitions)
        env["DEPLOYER_PLAYGROUND__DEPLOY_URL"] = playground_url + playground[PLAYGROUND].deploy_path
        env["DEPLOYER_PLAYGROUND__PUBLIC_URL"] = playground_url
        kafka = read_settings(env, ClientSettings).kafka
        await create_worker_topics(kafka)
        async with (
            AIOKafkaProducer(bootstrap_servers=bootstrap) as producer,
            followed_statuses(bootstrap, kafka.status_topic, partitions) as statuses,
        ):
            yield Stage(
                env, graphene[GRAPHENE], playground[PLAYGROUND], producer, bootstrap, kafka, statuses,
                graphene_url, playground_url,
            )  # fmt: skip


def environment(bootstrap: str, prefix: str, graphene_url: str, playground_url: str) -> dict[str, str]:
    """Return the settings of a worker on this stage."""
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
