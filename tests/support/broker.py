"""The Apache Kafka of the tests: a running broker if one is configured, else a container, else the embedded broker."""

import asyncio
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from aiokafka.errors import KafkaError

from worker.sandbox.kafka import START_SECONDS, EmbeddedKafka
from worker.sandbox.kafka_installation import VERSION
from worker.sandbox.kafka_node import ONE_NODE, free_ports, use_as_client


@dataclass(frozen=True, slots=True)
class Broker:
    """The broker's address, and its kind for the report."""

    kind: str
    bootstrap_servers: str


@contextmanager
def open_broker(environ: Mapping[str, str] = os.environ, *, short_lived: bool = False) -> Iterator[Broker]:
    """Yield the broker. Raises ConfigurationError when the embedded broker cannot start.

    An embedded broker with `short_lived` starts sooner and is slower under load.
    """
    if borrowed := environ.get("KAFKA_BOOTSTRAP"):
        yield Broker("KAFKA_BOOTSTRAP", borrowed)
    elif _docker_answers():
        with _container() as address:
            yield Broker(f"container {VERSION}", address)
    else:
        with _embedded(short_lived=short_lived) as address:
            yield Broker(f"embedded {VERSION}", address)


@contextmanager
def _embedded(*, short_lived: bool) -> Iterator[str]:
    kafka = EmbeddedKafka(short_lived=short_lived)
    try:
        asyncio.run(kafka.start())
    except Exception as error:
        error.add_note("For the tests: KAFKA_BOOTSTRAP=HOST:PORT names a Kafka that runs already.")
        raise
    try:
        yield kafka.bootstrap_servers
    finally:
        asyncio.run(kafka.stop())


def _docker_answers() -> bool:
    """Return whether `docker version` succeeds: only a daemon answers it, and the client may be installed alone."""
    docker = shutil.which("docker")
    if not docker:
        return False
    try:
        return 0 == subprocess.run([docker, "version"], capture_output=True, timeout=20, check=False).returncode
    except subprocess.TimeoutExpired:
        return False


@contextmanager
def _container() -> Iterator[str]:
    """Run Apache's own image with the embedded broker's settings; testcontainers' Kafka module uses another image."""
    from testcontainers.core.container import DockerContainer  # noqa: PLC0415 - slow, and only where Docker is

    container = DockerContainer(f"apache/kafka:{VERSION}")
    port = free_ports().broker  # chosen first, because the broker advertises it to its clients
    address = f"{container.get_docker_client().host()}:{port}"
    settings = ONE_NODE | {
        "listeners": "PLAINTEXT://:9092,CONTROLLER://:9093",
        "advertised.listeners": f"PLAINTEXT://{address}",
        "controller.quorum.voters": "1@localhost:9093",
    }
    for name, value in settings.items():
        container.with_env(f"KAFKA_{name.upper().replace('.', '_')}", value)
    with container.with_bind_ports(9092, port):
        asyncio.run(_until_usable(address))
        yield address


async def _until_usable(address: str) -> None:
    async with asyncio.timeout(START_SECONDS):
        while True:
            try:
                return await use_as_client(address)
            except (OSError, KafkaError):
                await asyncio.sleep(0.1)
