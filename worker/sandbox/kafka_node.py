"""One node of Apache Kafka: ports, folder and commands, and a check that the node serves clients."""

import asyncio
import base64
import os
import re
import socket
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from random import SystemRandom

from aiokafka.admin import AIOKafkaAdminClient

from worker.adapters.kafka.clients import running_client

HOST = "127.0.0.1"

ONE_NODE = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "group.initial.rebalance.delay.ms": "0",
    "auto.create.topics.enable": "false",
    # After SIGKILL, the controller refuses the broker until the old session times out; the default is 9 s.
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
}
"""Settings of a broker that is its own controller. `Node.configure` adds the addresses."""

_LOG4J2 = """\
status = error
appender.out.type = Console
appender.out.name = OUT
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d{ISO8601} %p %c: %m%n
rootLogger.level = warn
rootLogger.appenderRef.out.ref = OUT
"""

_COMPILE_ONCE = "-XX:TieredStopAtLevel=1"
"""Skip the second, optimising compiler, which costs more CPU in the first seconds than it saves in a minute."""

_PORTS = range(20_000, 30_000)
"""Below the ephemeral ports, so that no outgoing connection takes a broker's port while the broker restarts."""


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports on which the node listens as broker and as controller."""

    broker: int
    controller: int


def free_ports() -> Ports:
    """Return two ports that are not in use."""
    return Ports(*unused_ports(2))


def unused_ports(count: int) -> Iterator[int]:
    """Yield different ports that are not in use."""
    shuffled = SystemRandom().sample(_PORTS, len(_PORTS))
    return islice(filter(_is_free, shuffled), count)


def _is_free(port: int) -> bool:
    with socket.socket() as candidate:
        candidate.setsockopt(
            socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
        )  # as in Java, so that connections in TIME_WAIT do not matter
        try:
            candidate.bind((HOST, port))
        except OSError:
            return False
        return True


@dataclass(frozen=True, slots=True)
class Node:
    """One node and its folder. The commands run in the folder, so that no path in its files needs escaping."""

    folder: Path
    java: Path
    jars: Sequence[Path]
    properties: Mapping[str, str] = field(default_factory=dict, kw_only=True)
    """Broker properties that override `configure`'s."""
    short_lived: bool = field(default=False, kw_only=True)
    """Whether a fast start matters more than throughput."""

    @property
    def log(self) -> Path:
        """The file with the output of the commands since `configure`, which every start calls."""
        return self.folder / "server.log"

    @property
    def cluster_id(self) -> str | None:
        """The id of the node's cluster; None until `format_command` has run."""
        try:
            text = (self.folder / "data" / "meta.properties").read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        match = re.search(r"^cluster\.id=(\S+)", text, re.MULTILINE)
        return match[1] if match else None

    def configure(self, ports: Ports) -> None:
        """Write the node's configuration files, and empty the log. Raises OSError."""
        settings = ONE_NODE | {
            "log.dirs": "data",
            "listeners": f"PLAINTEXT://{HOST}:{ports.broker},CONTROLLER://{HOST}:{ports.controller}",
            "advertised.listeners": f"PLAINTEXT://{HOST}:{ports.broker}",
            "controller.quorum.voters": f"1@{HOST}:{ports.controller}",
        }
        settings |= self.properties
        lines = "".join(f"{name}={value}\n" for name, value in settings.items())
        (self.folder / "tmp").mkdir(parents=True, exist_ok=True)
        (self.folder / "server.properties").write_text(lines, encoding="utf-8")
        (self.folder / "log4j2.properties").write_text(_LOG4J2, encoding="utf-8")
        self.log.write_bytes(b"")

    def format_command(self) -> list[str]:
        """Return the command that creates the data folder of a new cluster; the command takes about 0.8 s."""
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        # `--cluster-id=`, because an id may start with a hyphen.
        arguments = ["format", f"--cluster-id={cluster_id}", "-c", "server.properties"]
        return self._java(_COMPILE_ONCE, main="kafka.tools.StorageTool") + arguments

    def run_command(self) -> list[str]:
        """Return the command that runs the node until SIGTERM; the node needs about 300 MB of memory."""
        options = ["-Xms128m", "-Xmx384m", *([_COMPILE_ONCE] if self.short_lived else [])]
        return [*self._java(*options, main="kafka.Kafka"), "server.properties"]

    def _java(self, *options: str, main: str) -> list[str]:
        return [
            str(self.java),
            *options,
            "-XX:+UseSerialGC",
            "-XX:-UsePerfData",  # after SIGKILL, the file would stay in the system's temporary folder
            f"-Djava.io.tmpdir={self.folder / 'tmp'}",  # for the compression codecs' native code, for the same reason
            "-Dlog4j2.configurationFile=log4j2.properties",
            "-cp",
            os.pathsep.join(str(jar) for jar in self.jars),
            main,
        ]


async def use_as_client(address: str, cluster_id: str | None = None) -> None:
    """Call the broker and its group and transaction coordinators.

    Raises OSError or KafkaError when any of the three does not answer, or when the address belongs to another cluster.
    """
    host, _, port = address.rpartition(":")
    _, writer = await asyncio.open_connection(host, int(port))  # aiokafka logs each refusal as an error
    writer.close()
    await writer.wait_closed()
    async with running_client(AIOKafkaAdminClient(bootstrap_servers=address)) as admin:
        actual = (await admin.describe_cluster())["cluster_id"]
        if cluster_id not in (None, actual):
            raise ConnectionError(f"{address} belongs to another cluster")
        for coordinator in (0, 1):  # of groups, of transactions
            await admin.find_coordinator("playground-deployer", coordinator)
