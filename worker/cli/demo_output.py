"""The folder the demo leaves behind: a zip per deployed request, the worker's log, and with --keep the way in."""

import os
import shlex
import sys
import zipfile
from collections.abc import Mapping, Sequence
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import aiohttp

from schemas import DeploymentStatus
from worker.cli.failures import CommandError
from worker.sandbox.graphene_data import Case

INVITATION = """
Everything stays up until Ctrl-C.

  playground  {playground}
              what arrived, file by file
  Graphene    {graphene}
  Kafka       {kafka}

Try in another terminal:

  set -a; . {env}; set +a
  {command} watch --from-beginning
  {command} submit --wait --token-file {token} \\
      {solution} {revision}
  {command} bundle --explain --dir {folder}/unpacked \\
      {solution} {revision}
  {command} check
"""


def command() -> str:
    """How this program was called, for commands to copy."""
    called = Path(sys.argv[0])
    return sys.argv[0] if called.name == "playground-deployer" else "python -m worker"


class Output:
    """One folder. It is the user's: nothing is removed from it that is not ours by its name."""

    def __init__(self, folder: Path, labels: Sequence[str]) -> None:
        """`labels` name the zips."""
        self._folder = folder
        self._zips = {label: folder / f"{label}.zip" for label in labels}
        self.log = folder / "worker.log"
        self._env = folder / "demo.env"
        self._token = folder / "demo.token"

    def prepare(self) -> None:
        """Make it, and remove what an earlier demo left there. Raises OSError."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for old in (*self._zips.values(), self.log):
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
        self._zips[label].write_bytes(data)
        with zipfile.ZipFile(BytesIO(data)) as archive:
            return f"{self._zips[label]}, {len(archive.namelist())} files"

    def write_access(self, environment: Mapping[str, str], token: str) -> None:
        """What other commands need to reach the demo; for this user only. Raises OSError."""
        lines = [f"{name}={shlex.quote(value)}\n" for name, value in environment.items()]
        _write_private(self._env, "".join(lines))
        _write_private(self._token, f"{token}\n")

    def forget_access(self) -> None:
        """It leads nowhere once the demo has ended."""
        self._env.unlink(missing_ok=True)
        self._token.unlink(missing_ok=True)

    def invitation(self, places: Mapping[str, str], case: Case) -> str:
        """What to try while everything is up, with commands to copy."""
        shown = {"env": self._env, "token": self._token, "folder": self._folder}
        quoted = {name: shlex.quote(str(path)) for name, path in shown.items()}
        ids = {"solution": case.solution_id, "revision": case.revision_id}
        return INVITATION.format(**places, **quoted, **ids, command=command())


def _write_private(path: Path, text: str) -> None:
    """New, so that it has this mode from the beginning."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
