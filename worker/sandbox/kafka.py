"""Apache Kafka on this machine: one KRaft node from its own jars, no Docker.

`python -m worker.sandbox.kafka` starts one for as long as it runs and prints its address.
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
from worker.sandbox.guarded import GuardedProcess
from worker.sandbox.java import find_java
from worker.sandbox.kafka_jars import VERSION, WAYS_OUT, Progress, kafka_jars
from worker.sandbox.kafka_node import HOST, Node, Ports, free_ports, use_as_client

START_SECONDS = 60
STOP_SECONDS = 10
_STARTS = 3
"""A free port may be taken by somebody else before Kafka opens it."""
_LOG_LINES = 20


class EmbeddedKafka:
    """One Apache Kafka that ends with us.

        async with EmbeddedKafka() as kafka:
            AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers)

    After `stop` or `kill` it can be started again, at the same address. Its data lie in `folder` and stay there;
    without one they lie in a temporary folder, which outlives `kill`, but neither `stop` nor this process.
    Bound to no event loop: `stop` may run in another one than `start`.
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
        """`progress` is told of each jar that has to be fetched. `properties` of the broker go over those it has here;
        the port of `bootstrap_servers` must stay one that anybody may use. A `short_lived` one starts with 2 s of CPU
        less, and is slower under load."""
        self._given = folder
        self._temporary: Path | None = None
        self._progress = progress
        self._pick_ports = pick_ports
        self._properties = properties or {}
        self._short_lived = short_lived
        self._ports: Ports | None = None
        self._process: GuardedProcess | None = None

    @property
    def bootstrap_servers(self) -> str:
        """127.0.0.1:port. Raises RuntimeError before the first start."""
        if self._ports is None:
            raise RuntimeError("the Apache Kafka was not started yet")
        return f"{HOST}:{self._ports.broker}"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Return when clients can use it, groups and transactions too: after about 4 s.

        Raises ConfigurationError when it cannot be fetched, or is not usable within START_SECONDS.
        """
        if self._process:
            raise RuntimeError("the Apache Kafka runs already")
        java = await asyncio.to_thread(find_java)
        jars = await kafka_jars(progress=self._progress)
        try:
            node = Node(self._folder(), java, jars, properties=self._properties, short_lived=self._short_lived)
            await self._run(node)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """SIGTERM, and SIGKILL after STOP_SECONDS. May be called again."""
        try:
            await self._end(signal.SIGTERM)
        finally:
            if self._temporary:
                await asyncio.to_thread(shutil.rmtree, self._temporary, ignore_errors=True)
                self._temporary = None

    async def kill(self) -> None:
        """SIGKILL, as a fault would be. What it had on disk stays; the next start takes about 5 s."""
        await self._end(signal.SIGKILL)

    def _folder(self) -> Path:
        if self._given:
            return self._given.absolute()
        if not self._temporary:
            self._temporary = Path(tempfile.mkdtemp(prefix="playground-kafka-"))
        return self._temporary

    async def _run(self, node: Node) -> None:
        for _ in range(_STARTS):
            ports = self._ports or self._pick_ports()
            node.configure(ports)
            if not node.cluster_id:
                await self._format(node)
            self._process = _guarded(node, node.run_command(), remove=self._temporary)
            with suppress(TimeoutError):
                async with asyncio.timeout(START_SECONDS):
                    if await _becomes_usable(self._process, f"{HOST}:{ports.broker}", node.cluster_id):
                        self._ports = ports
                        return
            await self.kill()
            log = node.log.read_text(encoding="utf-8", errors="replace")
            # Clients know the address since the first start, so a later one cannot take another.
            if self._ports or "Address already in use" not in log:
                break
        tail = "\n".join(log.splitlines()[-_LOG_LINES:])
        raise ConfigurationError(f"Apache Kafka {VERSION} does not start here. {WAYS_OUT}. The end of its log:\n{tail}")

    async def _format(self, node: Node) -> None:
        self._process = _guarded(node, node.format_command(), remove=self._temporary)
        await self._process.wait(START_SECONDS)
        await self.kill()

    async def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process:
            try:
                process.send(how)
                await process.wait(STOP_SECONDS)
            finally:
                process.close()


def _guarded(node: Node, command: Sequence[str], remove: Path | None) -> GuardedProcess:
    return GuardedProcess(command, folder=node.folder, log=node.log, remove=remove)


async def _becomes_usable(process: GuardedProcess, address: str, cluster_id: str | None) -> bool:
    """False when the process ended before."""
    while process.running:
        # Not for ever: whoever took our port may accept connections and never answer.
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


def _show_progress(fetched: int, of: int) -> None:
    sys.stderr.write(f"\rfetching Apache Kafka {VERSION}: {fetched} of {of} jars" + "\n" * (fetched == of))
    sys.stderr.flush()


async def _main() -> None:
    parser = argparse.ArgumentParser(description="Apache Kafka on this machine, until Ctrl-C or SIGTERM.")
    parser.add_argument("folder", nargs="?", type=Path, help="keeps the data; without one they go at the end")
    serving = asyncio.create_task(_serve(parser.parse_args().folder))
    for ending in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(ending, serving.cancel)
    try:
        await serving
    except ConfigurationError as error:
        sys.exit(str(error))
    except asyncio.CancelledError:
        return


if __name__ == "__main__":
    asyncio.run(_main())
