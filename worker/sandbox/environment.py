"""Environment variables that connect worker and gateway to the sandbox, and both as child processes."""

import os
import secrets
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from signal import SIGTERM
from urllib.parse import urlsplit

import worker
from worker.sandbox.graphene import CCDS_LOGIN, CCDS_PATH, NEXUS_LOGIN, NEXUS_PATH
from worker.sandbox.supervised_process import SupervisedProcess
from worker.sandbox.users import JWT_SECRET
from worker.settings import PREFIX

GRACE_SECONDS = 5.0
_SITE_PACKAGES = Path(worker.__file__).parents[1]


def graphene_environment(address: str) -> dict[str, str]:
    """Return the settings of `bundle` for the sandbox Graphene at this address."""
    return {
        "DEPLOYER_CATALOG__URL": address + CCDS_PATH,
        "DEPLOYER_CATALOG__USERNAME": CCDS_LOGIN[0],
        "DEPLOYER_CATALOG__PASSWORD": CCDS_LOGIN[1],
        "DEPLOYER_ARTIFACTS__URL": address + NEXUS_PATH,
        "DEPLOYER_ARTIFACTS__USERNAME": NEXUS_LOGIN[0],
        "DEPLOYER_ARTIFACTS__PASSWORD": NEXUS_LOGIN[1],
    }


def worker_environment(
    kafka: str, graphene: str, playground: str, deploy_path: str, prefix: str = ""
) -> dict[str, str]:
    """Return all settings of a worker. With a `prefix`, topics and group have names that begin with it.

    PUBLIC_URL keeps the secret in the playground's `deploy_path` out of links, because every client of Kafka can read
    statuses.
    """
    return {
        "DEPLOYER_KAFKA__BOOTSTRAP_SERVERS": kafka,
        "DEPLOYER_KAFKA__CREATE_TOPICS": "true",
        "DEPLOYER_KAFKA__REPLICATION_FACTOR": "1",
        **(_prefixed_names(prefix) if prefix else {}),
        "DEPLOYER_AUTH__SECRET": JWT_SECRET,
        **graphene_environment(graphene),
        "DEPLOYER_PLAYGROUND__DEPLOY_URL": playground + deploy_path,
        "DEPLOYER_PLAYGROUND__PUBLIC_URL": playground,
        "DEPLOYER_RUNTIME__HTTP_PORT": "0",
    }


def gateway_environment(worker: Mapping[str, str], url: str, portal: str) -> dict[str, str]:
    """Return all settings of a gateway at this URL, for the worker with those settings."""
    return {
        **worker,
        "DEPLOYER_GATEWAY__SESSION_KEY": secrets.token_urlsafe(32),
        "DEPLOYER_GATEWAY__HTTP_PORT": str(urlsplit(url).port),
        "DEPLOYER_GATEWAY__PUBLIC_URL": url,
        "DEPLOYER_GATEWAY__PORTAL_URL": portal,
        "DEPLOYER_GATEWAY__WAIT_SECONDS": "0",  # so that /deploy shows the request before its deployment
    }


def _prefixed_names(prefix: str) -> dict[str, str]:
    topics = {"REQUESTS": "requests", "STATUS": "status", "SETTLEMENTS": "settlements", "DEAD_LETTER": "dead-letter"}
    names = {f"DEPLOYER_KAFKA__{key}_TOPIC": f"{prefix}.{name}" for key, name in topics.items()}
    return {**names, "DEPLOYER_KAFKA__GROUP_ID": prefix}


@asynccontextmanager
async def running(
    command: Sequence[str], environment: Mapping[str, str], log: Path, remove: Path | None = None
) -> AsyncIterator[SupervisedProcess]:
    """Run `python -m worker …` with these settings alone, during the block, and never longer than this process.

    The folder `remove` is deleted when this process is killed.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    process = SupervisedProcess(
        [sys.executable, "-m", "worker", *command],
        folder=_SITE_PACKAGES,  # `-m` searches the working folder first, so the child uses this process's packages
        log=log,
        remove=remove,
        environment={**inherited, **environment},
    )
    try:
        yield process
        process.send(SIGTERM)
        if await process.wait(GRACE_SECONDS) is None:
            process.send(SIGTERM)  # the process waits for a deployment; a second signal stops it immediately
            await process.wait(GRACE_SECONDS)
    finally:
        process.close()
