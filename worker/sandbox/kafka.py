"""Apache Kafka on this machine: one KRaft node from its own jars, without Docker.

`python -m worker.sandbox.kafka` runs a node until Ctrl-C or SIGTERM, and prints its address.
"""

import argparse
import asyncio
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from aiokafka.errors import KafkaError

from worker.errors import ConfigurationError
from worker.sandbox.kafka_installation import ALTERNATIVES, VERSION, Progress, find_java, kafka_jars
from worker.sandbox.kafka_node import HOST, Node, Ports, free_ports, use_as_client
from worker.sandbox.supervised_process import SupervisedProcess

START_SECONDS = 60
STOP_SECONDS = 10
_START_ATTEMPTS = 3
"""More than one, because another process may take a free port before Kafka opens it."""
_LOG_TAIL_LINES = 20


class EmbeddedKafka:
    """One Apache Kafka, which stops with this process.

        async with EmbeddedKafka() as kafka:
            AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers)

    After `stop` or `kill` it can be started again, at the same address. Its data is in `folder`, or else in a temporary
    folder, which survives `kill` but neither `stop` nor this process.
    Not tied to an event loop: `stop` may run in a different event loop than `start`.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        progress: Progress | None = None,
        pick_ports: Callable[[], Ports] = free_ports,
        properties: Mapping[str, str] | None = None,
        short_lived: bool = False,
    ) -> None:
        """Keep the options for the first start.

        Args:
            folder: where the data is kept; None: a temporary folder.
            progress: called after each download.
            pick_ports: returns the ports of the first start.
            properties: override the broker's properties. The listener of `bootstrap_servers` must not need a login.
            short_lived: whether to start with 2 s less CPU time, and to be slower under load.
        """
        self._user_folder = folder
        self._temporary_folder: Path | None = None
        self._progress = progress
        self._pick_ports = pick_ports
        self._properties = properties or {}
        self._short_lived = short_lived
        self._ports: Ports | None = None
        self._process: SupervisedProcess | None = None

    @property
    def bootstrap_servers(self) -> str:
        """The broker's address, 127.0.0.1:port. Raises RuntimeError before the first start."""
        if self._ports is None:
            raise RuntimeError("Apache Kafka has not been started yet")
        return f"{HOST}:{self._ports.broker}"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start, and return when clients can use groups and transactions, after about 4 s.

        Raises ConfigurationError when Kafka cannot be downloaded, or is not usable within START_SECONDS.
        """
        if self._process:
            raise RuntimeError("Apache Kafka is already running")
        java = await asyncio.to_thread(find_java)
        jars = await kafka_jars(progress=self._progress)
        try:
            node = Node(self._folder(), java, jars, properties=self._properties, short_lived=self._short_lived)
            await self._run(node)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Send SIGTERM, and SIGKILL after STOP_SECONDS. Further calls do nothing."""
        try:
            await self._end(signal.SIGTERM)
        finally:
            if self._temporary_folder:
                await asyncio.to_thread(shutil.rmtree, self._temporary_folder, ignore_errors=True)
                self._temporary_folder = None

    async def kill(self) -> None:
        """Send SIGKILL, like a crash. The files stay; the next start takes about 5 s."""
        await self._end(signal.SIGKILL)

    def _folder(self) -> Path:
        if self._user_folder:
            return self._user_folder.absolute()
        if not self._temporary_folder:
            self._temporary_folder = Path(tempfile.mkdtemp(prefix="playground-kafka-"))
        return self._temporary_folder

    async def _run(self, node: Node) -> None:
        for _ in range(_START_ATTEMPTS):
            ports = self._ports or self._pick_ports()
            node.configure(ports)
            if not node.cluster_id:
                await self._format(node)
            self._process = self._supervised(node, node.run_command())
            with suppress(TimeoutError):
                async with asyncio.timeout(START_SECONDS):
                    if await _wait_until_usable(self._process, f"{HOST}:{ports.broker}", node.cluster_id):
                        self._ports = ports
                        return
            await self.kill()
            log = node.log.read_text(encoding="utf-8", errors="replace")
            # Clients know the address since the first start, so a later start cannot change it.
            if self._ports or "Address already in use" not in log:
                break
        tail = "\n".join(log.splitlines()[-_LOG_TAIL_LINES:])
        raise ConfigurationError(
            f"Apache Kafka {VERSION} does not start here. {ALTERNATIVES}. The end of its log:\n{tail}"
        )

    async def _format(self, node: Node) -> None:
        self._process = self._supervised(node, node.format_command())
        await self._process.wait(START_SECONDS)
        await self.kill()

    def _supervised(self, node: Node, command: Sequence[str]) -> SupervisedProcess:
        return SupervisedProcess(command, folder=node.folder, log=node.log, remove=self._temporary_folder)

    async def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process:
            try:
                process.send(number)
                await process.wait(STOP_SECONDS)
            finally:
                process.close()


async def _wait_until_usable(process: SupervisedProcess, address: str, cluster_id: str | None) -> bool:
    """Wait until the broker answers clients; return False when the process exits first."""
    while process.running:
        # With a time limit, because another process on this port may accept connections and never answer.
        with suppress(OSError, KafkaError):
            async with asyncio.timeout(2):
                await use_as_client(address, cluster_id)
                return True
        await asyncio.sleep(0.05)
    return False


async def _serve(folder: Path | None) -> None:
    async with EmbeddedKafka(folder, progress=_show_progress) as kafka:
        sys.stdout.write(f"export KAFKA_BOOTSTRAP={kafka.bootstrap_servers}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


def _show_progress(done: int, total: int) -> None:
    sys.stderr.write(f"\rdownloading Apache Kafka {VERSION}: {done} of {total} jars" + "\n" * (done == total))
    sys.stderr.flush()


async def _main() -> None:
    parser = argparse.ArgumentParser(description="Apache Kafka on this machine, until Ctrl-C or SIGTERM.")
    parser.add_argument("folder", nargs="?", type=Path, help="folder for the data (default: a temporary folder)")
    serving = asyncio.create_task(_serve(parser.parse_args().folder))
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, serving.cancel)
    try:
        await serving
    except ConfigurationError as error:
        sys.exit(str(error))
    except asyncio.CancelledError:
        return


if __name__ == "__main__":
    asyncio.run(_main())
