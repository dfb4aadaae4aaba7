"""A worker as a process of its own."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

WORKER = (sys.executable, "-m", "worker", "run")
_CHECKED = (sys.executable, "-X", "dev", "-W", "ignore::ResourceWarning", "-m")
CHECKED = (*_CHECKED, "worker", "run")
GATEWAY = (*_CHECKED, "worker", "gateway")
HURRIED = (*_CHECKED, "tests.support.hurried_worker")
STOP_SECONDS = 60
_SERVES = r'"port": (\d+), (?:"public_url": "[^"]*", )?"event": "(?:health is served|the gateway serves)"'


@dataclass(slots=True)
class WorkerProcess:
    """One that was started, and perhaps has ended."""

    process: asyncio.subprocess.Process
    log: Path
    port: int = 0  # of its HTTP server, which its log tells otherwise

    @property
    def runs(self) -> bool:
        """Whether it has not ended."""
        return self.process.returncode is None

    @property
    def url(self) -> str:
        """Of its HTTP server; nobody is there before it serves."""
        if not self.port and (found := re.search(_SERVES, self.log.read_text())):
            self.port = int(found[1])
        return f"http://127.0.0.1:{self.port or 1}"

    def signal(self, number: signal.Signals) -> None:
        """Unless it has ended."""
        if self.runs:
            self.process.send_signal(number)

    async def is_ready(self, seconds: float = 60) -> bool:
        """Wait until it has partitions, which is True, or has ended."""
        async with asyncio.timeout(seconds), aiohttp.ClientSession() as session:
            while self.runs:
                try:
                    async with session.get(f"{self.url}/ready") as response:
                        if response.status == 200:
                            return True
                except aiohttp.ClientConnectionError:
                    pass
                await asyncio.sleep(0.05)  # nothing tells us but asking again
        return False

    async def until_ready(self) -> None:
        """Wait until it has partitions. Raises AssertionError with its log when it ends."""
        assert await self.is_ready(), self.log.read_text()

    async def stop(self) -> None:
        """Tell it to, and wait. Raises AssertionError with its log when it does not end well."""
        self.signal(signal.SIGTERM)
        assert 0 == await asyncio.wait_for(self.process.wait(), STOP_SECONDS), self.log.read_text()

    async def kill(self) -> None:
        """Unless it has ended; then wait until nothing of it is left."""
        if self.runs:
            self.process.kill()
        await self.process.wait()


async def start_worker(
    env: Mapping[str, str], log: Path, command: Sequence[str] = WORKER, port: int = 0
) -> WorkerProcess:
    """Start it with these settings besides the environment; `port` 0 leaves the choice to the system."""
    settings = {**os.environ, **env, "DEPLOYER_RUNTIME__HTTP_PORT": str(port), "DEPLOYER_GATEWAY__HTTP_PORT": str(port)}
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(*command, env=settings, stdout=output, stderr=output)
    return WorkerProcess(process, log, port)


@asynccontextmanager
async def running_worker(
    env: Mapping[str, str], log: Path, command: Sequence[str] = CHECKED, port: int = 0
) -> AsyncIterator[WorkerProcess]:
    """One that is ready, and ends well at the end of the block if it has not before."""
    worker = await start_worker(env, log, command, port)
    try:
        await worker.until_ready()
        yield worker
        await worker.stop()
    finally:
        await worker.kill()
