"""What a worker is told about the sandbox around it, and the worker itself as a process of its own."""

import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from signal import SIGTERM

import worker
from worker.sandbox.graphene import CCDS_LOGIN, CCDS_PATH, NEXUS_LOGIN, NEXUS_PATH
from worker.sandbox.guarded import GuardedProcess
from worker.sandbox.users import JWT_SECRET
from worker.settings import PREFIX

STOP_SECONDS = 5.0
_PACKAGES = Path(worker.__file__).parents[1]


def graphene_environment(address: str) -> dict[str, str]:
    """The settings with which bundles are built from the sandbox Graphene at this address."""
    return {
        "DEPLOYER_CATALOG__URL": address + CCDS_PATH,
        "DEPLOYER_CATALOG__USERNAME": CCDS_LOGIN[0],
        "DEPLOYER_CATALOG__PASSWORD": CCDS_LOGIN[1],
        "DEPLOYER_ARTIFACTS__URL": address + NEXUS_PATH,
        "DEPLOYER_ARTIFACTS__USERNAME": NEXUS_LOGIN[0],
        "DEPLOYER_ARTIFACTS__PASSWORD": NEXUS_LOGIN[1],
    }


def worker_environment(kafka: str, graphene: str, playground: str, prefix: str = "") -> dict[str, str]:
    """All settings of a worker. With a prefix, topics and group are its own; without, they have their usual names."""
    return {
        "DEPLOYER_KAFKA__BOOTSTRAP_SERVERS": kafka,
        "DEPLOYER_KAFKA__CREATE_TOPICS": "true",
        "DEPLOYER_KAFKA__REPLICATION_FACTOR": "1",
        **(_names(prefix) if prefix else {}),
        "DEPLOYER_AUTH__SECRET": JWT_SECRET,
        **graphene_environment(graphene),
        "DEPLOYER_PLAYGROUND__DEPLOY_URL": f"{playground}/deploy_solution",
        "DEPLOYER_RUNTIME__HTTP_PORT": "0",
    }


def _names(prefix: str) -> dict[str, str]:
    topics = {"REQUESTS": "requests", "STATUS": "status", "SETTLEMENTS": "settlements", "DEAD_LETTER": "dead-letter"}
    names = {f"DEPLOYER_KAFKA__{key}_TOPIC": f"{prefix}.{name}" for key, name in topics.items()}
    return {**names, "DEPLOYER_KAFKA__GROUP_ID": prefix}


@asynccontextmanager
async def running_worker(
    environment: Mapping[str, str], log: Path, remove: Path | None = None
) -> AsyncIterator[GuardedProcess]:
    """`python -m worker run` with these settings and no others. It ends with the block, and with this process.

    `remove` is a folder that goes when this process is killed.
    """
    ours = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    process = GuardedProcess(
        [sys.executable, "-m", "worker", "run"],
        folder=_PACKAGES,  # where `-m` looks first: the same packages as here, whatever the current folder holds
        log=log,
        remove=remove,
        environment={**ours, **environment},
    )
    try:
        yield process
        process.send(SIGTERM)
        if await process.wait(STOP_SECONDS) is None:
            process.send(SIGTERM)  # it waits for a deployment; the second signal means now
            await process.wait(STOP_SECONDS)
    finally:
        process.close()
