"""The folder the demo leaves behind: a zip per deployed request, the worker's log, and with --keep the way in."""

import os
import shlex
import sys
import zipfile
from collections.abc import Mapping
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import aiohttp

from schemas import DeploymentStatus
from worker.cli.failures import CommandError

INVITATION = """
Everything stays up until Ctrl-C.

  playground  {playground}
              what arrived, file by file
  Graphene    {graphene}
  Kafka       {kafka}

Try in another terminal:

  set -a; . {env}; set +a
  {command} watch --from-beginning
  {command} submit {solution} {revision} \\
      --token-file {token} --wait
  {command} bundle {solution} {revision} \\
      --dir {folder}/unpacked --explain
  {command} check
"""


def command() -> str:
    """How this program was called, for commands to copy."""
    called = Path(sys.argv[0])
    return sys.argv[0] if called.name == "playground-deployer" else "python -m worker"


class Output:
    """One folder, the user's."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.log = folder / "worker.log"
        self._env = folder / "demo.env"
        self._token = folder / "token"

    def prepare(self) -> None:
        """Make it, and remove what an earlier demo left there under our names. Raises OSError."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for old in (*self._folder.glob("*.zip"), self.log):
            old.unlink(missing_ok=True)
        self.forget_access()

    async def fetch(self, label: str, playground: str, status: DeploymentStatus) -> str:
        """Download what the playground received; returns a line about it.

        Raises CommandError when it is not the bundle that the status names.
        """
        if status.deployment is None or status.bundle is None:
            raise CommandError(f"{label}: its status names no deployment.")
        url = f"{playground}/deployments/{status.deployment.id}/solution.zip"
        async with aiohttp.ClientSession(raise_for_status=True) as session, session.get(url) as response:
            data = await response.read()
        if sha256(data).hexdigest() != status.bundle.sha256:
            raise CommandError(f"{label}: the playground has another bundle than the status names.")
        path = self._folder / f"{label}.zip"
        path.write_bytes(data)
        with zipfile.ZipFile(BytesIO(data)) as archive:
            return f"{path}  {len(archive.namelist())} files"

    def write_access(self, environment: Mapping[str, str], token: str) -> None:
        """What other commands need to reach the demo; for this user only. Raises OSError."""
        lines = [f"{name}={shlex.quote(value)}\n" for name, value in environment.items()]
        _write_private(self._env, "".join(lines))
        _write_private(self._token, f"{token}\n")

    def forget_access(self) -> None:
        """It leads nowhere once the demo has ended."""
        self._env.unlink(missing_ok=True)
        self._token.unlink(missing_ok=True)
