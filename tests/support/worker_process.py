"""A worker as a separate process."""

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
    """A started process, which may have ended."""

    process: asyncio.subprocess.Process
    log: Path
    port: int = 0  # of its HTTP server; 0: read from its log

    @property
    def runs(self) -> bool:
        """Return whether the process is running."""
        return self.process.returncode is None

    @property
    def url(self) -> str:
        """Return the URL of its HTTP server; until the server is up, no connection succeeds."""
        if not self.port and (found := re.search(_SERVES, self.log.read_text())):
            self.port = int(found[1])
        return f"http://127.0.0.1:{self.port or 1}"

    def signal(self, number: signal.Signals) -> None:
        """Send a signal unless the process has ended."""
        if self.runs:
            self.process.send_signal(number)

    async def is_ready(self, seconds: float = 60) -> bool:
        """Wait until the worker has partitions and return True, or until it has ended and return False."""
        async with asyncio.timeout(seconds), aiohttp.ClientSession() as session:
            while self.runs:
                try:
                    async with session.get(f"{self.url}/ready") as response:
                        if response.status == 200:
                            return True
                except aiohttp.ClientConnectionError:
                    pass
                await asyncio.sleep(0.05)  # polling is the only way to find out
        return False

    async def until_ready(self) -> None:
        """Wait until the worker has partitions. Raises AssertionError with its log if it ends first."""
        assert await self.is_ready(), self.log.read_text()

    async def stop(self) -> None:
        """Stop it with SIGTERM and wait. Raises AssertionError with its log if it does not stop cleanly."""
        self.signal(signal.SIGTERM)
        assert 0 == await asyncio.wait_for(self.process.wait(), STOP_SECONDS), self.log.read_text()

    async def kill(self) -> None:
        """Kill the process unless it has ended; then wait until all of it is gone."""
        if self.runs:
            self.process.kill()
        await self.process.wait()


async def start_worker(
    env: Mapping[str, str], log: Path, command: Sequence[str] = WORKER, port: int = 0
) -> WorkerProcess:
    """Start it with these settings in addition to the environment; with `port` 0 the system chooses."""
    settings = {**os.environ, **env, "DEPLOYER_RUNTIME__HTTP_PORT": str(port), "DEPLOYER_GATEWAY__HTTP_PORT": str(port)}
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(*command, env=settings, stdout=output, stderr=output)
    return WorkerProcess(process, log, port)


@asynccontextmanager
async def running_worker(
    env: Mapping[str, str], log: Path, command: Sequence[str] = CHECKED, port: int = 0
) -> AsyncIterator[WorkerProcess]:
    """Yield a ready worker; at the end of the block, stop it if it still runs, and require a clean stop."""
    worker = await start_worker(env, log, command, port)
    try:
        await worker.until_ready()
        yield worker
        await worker.stop()
    finally:
        await worker.kill()
