"""Dry runs of a bundle's script: the playground server's command lines with --dry-run added.

The server uses one of two command lines, depending on whether a pull secret is configured. A bundle must pass both,
each in a separate copy, because the script may write into the bundle. The confinement limits everything else.
"""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from worker.concurrency import together
from worker.errors import WorkerError
from worker.sandbox.playground_confinement import Confinement, environment, give, started_as
from worker.sandbox.playground_upload import write_files

SCRIPT = "kubernetes-client-script.py"
PIPE_SECONDS = 1  # for the rest of a killed script's output; a process that left the session may keep the pipe open
MAX_OUTPUT = 1024 * 1024  # the last bytes of each stream

# config.json of a server with every setting, and of one with the required settings only.
_FULL_CONFIG = {
    "allowed_ip_addresses": ["127.0.0.1"],
    "name_kubernetes_pull_secret": "acumos-registry",
    "path_kubernetes_pull_secret": "pull-secret.json",
    "hostname": "playground.example",
    "letsencrypt_ingress": True,
    "environment_variables": [{"docker_image_pattern": ".*", "name": "PLAYGROUND", "value": "sandbox"}],
}
_SMALL_CONFIG = {"allowed_ip_addresses": ["127.0.0.1"]}


class ScriptFailed(WorkerError):
    """The script exited with a code other than 0, or ran too long; the message is that of the real server."""


class DryRuns:
    """A runner of scripts, at most one per processor at a time."""

    def __init__(self, folder: Path, time_limit: float, confinement: Confinement) -> None:
        """Create a runner.

        Args:
            folder: holds the copies of bundles, which are removed after each run.
            time_limit: seconds per run.
            confinement: isolates the scripts.
        """
        self._folder = folder
        self._time_limit = time_limit
        self._confinement = confinement
        self._slots = asyncio.Semaphore(os.cpu_count() or 1)

    async def check(self, files: dict[str, bytes], username: str, namespace: str) -> None:
        """Run the script with both command lines. Raises ScriptFailed."""
        await together([self._run(files, username, namespace, with_secret=secret) for secret in (True, False)])

    async def _run(self, files: dict[str, bytes], username: str, namespace: str, *, with_secret: bool) -> None:
        async with self._slots:
            server = Path(await asyncio.to_thread(tempfile.mkdtemp, dir=self._folder))
            try:
                base = f"solutions/{username.encode().hex()}/{namespace}"
                await asyncio.to_thread(_prepare, server, files, base, with_secret=with_secret)
                await asyncio.to_thread(give, server, self._confinement.user)
                await self._execute(_command(server, base, namespace, with_secret=with_secret), server)
            finally:
                await asyncio.to_thread(shutil.rmtree, server, ignore_errors=True)

    async def _execute(self, command: list[str], server: Path) -> None:
        process = await asyncio.create_subprocess_exec(
            *self._confinement.command(command, server),
            cwd=server,
            env=environment(server),
            **started_as(self._confinement.user),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # so that the script's child processes can be killed with it
        )
        streams = [_end_of(stream) for stream in (process.stdout, process.stderr) if stream]
        reading = asyncio.create_task(together(streams))
        try:
            async with asyncio.timeout(self._time_limit):
                output, errors = await asyncio.shield(reading)
                await process.wait()
        except TimeoutError:
            raise ScriptFailed(str(subprocess.TimeoutExpired(command, self._time_limit))) from None
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)  # including child processes, which may outlive the script
            await process.wait()
            await asyncio.wait((reading,), timeout=PIPE_SECONDS)
            reading.cancel()
            # A process that left the session may hold the pipes open, and nothing else closes this side's ends.
            process._transport.close()  # type: ignore[attr-defined]  # noqa: SLF001
            await asyncio.gather(reading, return_exceptions=True)
        if process.returncode:
            reason = subprocess.CalledProcessError(process.returncode, command)
            text = (output + errors).decode(errors="replace")
            raise ScriptFailed(f"{reason}\n{text}")


async def _end_of(stream: asyncio.StreamReader) -> bytes:
    """Read the whole stream, and return its last MAX_OUTPUT bytes."""
    end = b""
    while piece := await stream.read(64 * 1024):
        end = (end + piece)[-MAX_OUTPUT:]
    return end


def _prepare(server: Path, files: dict[str, bytes], base: str, *, with_secret: bool) -> None:
    """Create the server's folder as the script expects it."""
    write_files(files, server / base)
    config = _FULL_CONFIG if with_secret else _SMALL_CONFIG
    (server / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (server / "pull-secret.json").write_text('{"auths": {"images.graphene.example:7444": {}}}', encoding="utf-8")


def _command(server: Path, base: str, namespace: str, *, with_secret: bool) -> list[str]:
    """Return the server's command line with --dry-run added."""
    secret = ["-sn", "acumos-registry", "-ps", str(server / "pull-secret.json")]
    policy = ["--image_pull_policy", "IfNotPresent"]
    return [
        sys.executable,
        f"{base}/{SCRIPT}",
        *("-n", namespace),
        *("-bp", base),
        *(secret if with_secret else policy),
        *("--config-file", str(server / "config.json")),
        "--dry-run",
    ]
