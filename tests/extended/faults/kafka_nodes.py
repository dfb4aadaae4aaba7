"""Apache Kafka in other setups than the single node: three nodes with replicas, and a node behind a proxy."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from aiokafka.admin import AIOKafkaAdminClient

from tests.support.proxy import Proxy
from worker.adapters.kafka.clients import running_client
from worker.sandbox.kafka import START_SECONDS, STOP_SECONDS
from worker.sandbox.kafka_installation import find_java, kafka_jars
from worker.sandbox.kafka_node import HOST, ONE_NODE, Node, Ports, unused_ports, use_as_client
from worker.sandbox.supervised_process import SupervisedProcess

NODES = 3


@dataclass(frozen=True, slots=True)
class ShapedNode(Node):
    """A node with additional settings."""

    settings: Mapping[str, str]

    def configure(self, ports: Ports) -> None:
        """Configure it as a plain node, then override these settings."""
        Node.configure(self, Ports(0, 0))
        settings = {**ONE_NODE, "log.dirs": "data", **self.settings}
        lines = "".join(f"{name}={value}\n" for name, value in settings.items())
        (self.folder / "server.properties").write_text(lines, encoding="utf-8")


@dataclass(slots=True)
class RunningNode:
    """A node that can be stopped and started again."""

    node: ShapedNode
    process: SupervisedProcess | None = None

    def start(self) -> None:
        """Start the node and return at once."""
        self.process = SupervisedProcess(
            self.node.run_command(), folder=self.node.folder, log=self.node.log, remove=None
        )

    async def kill(self, number: int = 9) -> None:
        """Send SIGKILL, or another signal that ends the node, and wait until it has ended."""
        process, self.process = self.process, None
        if process:
            process.send(number)  # type: ignore[arg-type]
            await process.wait(STOP_SECONDS)
            process.close()


async def until_usable(address: str, use: Callable[[str], Awaitable[None]] = use_as_client) -> None:
    """Wait until clients can use the address; `use` tries it, and raises as long as it fails."""
    async with asyncio.timeout(START_SECONDS):
        while True:
            try:
                async with asyncio.timeout(3):
                    return await use(address)
            except Exception:  # noqa: BLE001 - whatever is not ready yet
                await asyncio.sleep(0.2)


async def use_as_whole(servers: str) -> None:
    """Use the cluster as a client. Raises ConnectionError if a partition has no leader, or not all replicas in sync."""
    async with running_client(AIOKafkaAdminClient(bootstrap_servers=servers)) as admin:
        partitions = [it for topic in await admin.describe_topics() for it in topic["partitions"]]
    if not all(it["leader"] >= 0 and len(it["isr"]) == NODES for it in partitions):
        raise ConnectionError("a partition lacks its leader or a replica")
    await use_as_client(servers.partition(",")[0])


async def format_node(node: ShapedNode, cluster_id: str) -> None:
    """Format the node's data folder."""
    command = [
        f"--cluster-id={cluster_id}" if part.startswith("--cluster-id=") else part for part in node.format_command()
    ]
    process = SupervisedProcess(command, folder=node.folder, log=node.log, remove=None)
    await process.wait(START_SECONDS)
    process.close()


@asynccontextmanager
async def three_nodes(folder: Path) -> AsyncIterator[tuple[str, list[RunningNode]]]:
    """Run three nodes, each broker and controller; everything has three replicas, two of which are enough."""
    java, jars = find_java(), await kafka_jars()
    ports = list(unused_ports(2 * NODES))
    voters = ",".join(f"{number + 1}@{HOST}:{ports[NODES + number]}" for number in range(NODES))
    nodes = []
    for number in range(NODES):
        settings = {
            "node.id": str(number + 1),
            "listeners": f"PLAINTEXT://{HOST}:{ports[number]},CONTROLLER://{HOST}:{ports[NODES + number]}",
            "advertised.listeners": f"PLAINTEXT://{HOST}:{ports[number]}",
            "controller.quorum.voters": voters,
            "offsets.topic.replication.factor": "3",
            "transaction.state.log.replication.factor": "3",
            "transaction.state.log.min.isr": "2",
            "min.insync.replicas": "2",
            "share.coordinator.state.topic.replication.factor": "3",
        }
        node = ShapedNode(folder / str(number), java, jars, settings)
        node.configure(Ports(0, 0))
        nodes.append(RunningNode(node))
    await asyncio.gather(*(format_node(it.node, "AAAAAAAAAAAAAAAAAAAAAA") for it in nodes))
    for it in nodes:
        it.start()
    servers = ",".join(f"{HOST}:{port}" for port in ports[:NODES])
    try:
        await until_usable(f"{HOST}:{ports[0]}")
        yield servers, nodes
    finally:
        await asyncio.gather(*(it.kill() for it in nodes))


@asynccontextmanager
async def behind_a_proxy(folder: Path) -> AsyncIterator[tuple[str, str, Proxy]]:
    """Yield the node's address without the proxy, its address with the proxy, and the proxy."""
    java, jars = find_java(), await kafka_jars()
    plain, proxied, controller, front = unused_ports(4)
    settings = {
        "listeners": f"PLAIN://{HOST}:{plain},PROXIED://{HOST}:{proxied},CONTROLLER://{HOST}:{controller}",
        "advertised.listeners": f"PLAIN://{HOST}:{plain},PROXIED://{HOST}:{front}",
        "listener.security.protocol.map": "PLAIN:PLAINTEXT,PROXIED:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "PLAIN",
        "controller.quorum.voters": f"1@{HOST}:{controller}",
    }
    node = ShapedNode(folder / "proxied", java, jars, settings)
    node.configure(Ports(0, 0))
    await format_node(node, "BBBBBBBBBBBBBBBBBBBBBA")
    running = RunningNode(node)
    running.start()
    try:
        await until_usable(f"{HOST}:{plain}")
        async with Proxy(HOST, proxied).served(HOST, front) as proxy:
            yield f"{HOST}:{plain}", f"{HOST}:{front}", proxy
    finally:
        await running.kill()
