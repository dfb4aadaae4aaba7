"""The demo's progress on the console, and its output folder."""

import os
import shlex
import sys
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import aiohttp
from rich.console import Console
from rich.live import Live
from rich.status import Status
from rich.text import Text

from schemas import DeploymentStatus
from worker.cli.status_line import STATE_WIDTH, status_line
from worker.cli.status_table import PUBLISHED, StatusTable, can_redraw, duration
from worker.errors import CommandError
from worker.sandbox.graphene_data import Case

NAME_WIDTH = 22
KEPT = """
Everything keeps running until Ctrl-C.

  playground  {playground}
              shows the bundles that it received, file by file
  Graphene    {graphene}
              logs you in; Deploy for Execution opens a page like sudoku's:
    {page}
  Kafka       {kafka}

Try these commands in another terminal. Names like sudoku above are labels of
the demo; commands need a request id, which watch prints:

  set -a; . {env}; set +a
  {command} watch --from-beginning
  {command} status {request}
  {command} submit --wait --token-file {token} \\
      {solution} {revision}
  {command} bundle --explain --dir {folder}/unpacked \\
      {solution} {revision}
  {command} check

To see a request parked, and resolve it as an operator does:

  {command} sandbox token --parked \\
    | {command} submit --token-stdin \\
      {solution} {revision}
  {command} status --open
  {command} resolve REQUEST --outcome failed --wait
"""


def called_command() -> str:
    """Return the command that started this program, for commands to copy."""
    program = Path(sys.argv[0])
    return sys.argv[0] if program.name == "playground-deployer" else "python -m worker"


# ---------------------------------------------------------------------------------------------------------- console


class StartupStep:
    """The start of one service."""

    def __init__(self, name: str, say: Callable[[str], None], spinner: Status | None) -> None:
        self._name = name
        self._say = say
        self._spinner = spinner
        self._downloading = False
        self.location = ""  # the service's address, once it has started

    def downloaded(self, done: int, total: int) -> None:
        """Report that `done` of the `total` files for the first start have been downloaded."""
        if self._spinner:
            self._spinner.update(f"{self._name}: {done} of {total} files downloaded; they are cached for later runs")
        elif not self._downloading:
            self._say(f"  {self._name:<{NAME_WIDTH}}downloading {total} files, which are cached for later runs")
        self._downloading = True


class DemoConsole:
    """The demo's progress: plain lines, and on a terminal a spinner and a live table. `clock` returns seconds."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._began = clock()
        self._redraw = can_redraw(console)

    @property
    def duration(self) -> str:
        """The time since the start of the demo, in a short form."""
        return duration(self._clock() - self._began)

    def say(self, text: str = "", style: str = "") -> None:
        """Print `text` unchanged, without wrapping its lines."""
        self._console.print(Text(text, style), soft_wrap=True)

    @contextmanager
    def starting(self, name: str) -> Iterator[StartupStep]:
        """Show a spinner during the block, then one line with the service's address and the duration of its start."""
        began = self._clock()
        spinner = self._console.status(f"{name} …") if self._redraw else None
        if spinner:
            spinner.start()
        try:
            step = StartupStep(name, self.say, spinner)
            yield step
        finally:
            if spinner:
                spinner.stop()
        self.say(f"  {name:<{NAME_WIDTH}}{step.location}  ({duration(self._clock() - began)})")

    @contextmanager
    def requests(
        self, labels: Mapping[str, str], titles: Mapping[str, str]
    ) -> Iterator[Callable[[DeploymentStatus], object]]:
        """Yield a function that shows a status: in the request's row on a terminal, otherwise as a line."""
        width = max(map(len, labels.values()))
        if not self._redraw:
            for request_id, label in labels.items():
                self.say(f"  {label:<{width}}  {PUBLISHED:<{STATE_WIDTH}}  {titles[request_id]}")
            yield lambda status: self.say(f"  {status_line(status, f'{labels[status.request_id]:<{width}}')}")
            return
        table = StatusTable(lambda: datetime.now(UTC), labels, titles)
        for request_id in labels:
            table.publish(request_id)
        with Live(table, console=self._console, refresh_per_second=8):
            yield table.update


# ----------------------------------------------------------------------------------------------------------- folder


class OutputFolder:
    """A zip per deployed request, a log per process, and with --keep the credentials of the running demo.

    The folder belongs to the user, so the demo removes only files with its own names.
    """

    def __init__(self, folder: Path, labels: Sequence[str]) -> None:
        """Describe the folder; `labels` are the names of the zips."""
        self._folder = folder
        self._zips = {label: folder / f"{label}.zip" for label in labels}
        self.log = folder / "worker.log"
        self.gateway_log = folder / "gateway.log"
        self._env = folder / "demo.env"
        self._token = folder / "demo.token"

    def prepare(self) -> None:
        """Create the folder, and remove the files of an earlier demo. Raises OSError."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for old in (*self._zips.values(), self.log, self.gateway_log):
            old.unlink(missing_ok=True)
        self.remove_access()

    async def download(self, label: str, playground: str, status: DeploymentStatus) -> str:
        """Download the bundle that the playground received; return a line about it.

        Raises CommandError when its SHA-256 is not the one in the status.
        """
        if status.deployment is None or status.bundle is None:
            raise CommandError(f"{label}: the status names no deployment.")
        url = f"{playground}/deployments/{status.deployment.id}/solution.zip"
        async with aiohttp.ClientSession(raise_for_status=True) as session, session.get(url) as response:
            data = await response.read()
        if sha256(data).hexdigest() != status.bundle.sha256:
            raise CommandError(f"{label}: the playground's bundle is not the bundle in the status.")
        self._zips[label].write_bytes(data)
        with zipfile.ZipFile(BytesIO(data)) as archive:
            return f"{self._zips[label]}, {len(archive.namelist())} files"

    def write_access(self, environment: Mapping[str, str], token: str) -> None:
        """Write the settings and the token for other commands, readable by this user only. Raises OSError."""
        lines = [f"{name}={shlex.quote(value)}\n" for name, value in environment.items()]
        _write_private(self._env, "".join(lines))
        _write_private(self._token, f"{token}\n")

    def remove_access(self) -> None:
        """Remove the files of `write_access`, which are useless once the demo has stopped."""
        self._env.unlink(missing_ok=True)
        self._token.unlink(missing_ok=True)

    def kept_message(self, addresses: Mapping[str, str], case: Case) -> str:
        """Return what to try while everything is running, with commands to copy."""
        paths = {"env": self._env, "token": self._token, "folder": self._folder}
        quoted = {name: shlex.quote(str(path)) for name, path in paths.items()}
        request = addresses["page"].rpartition("/")[2]
        ids = {"solution": case.solution_id, "revision": case.revision_id, "request": request}
        return KEPT.format(**addresses, **quoted, **ids, command=called_command())


def _write_private(path: Path, text: str) -> None:
    """Write a new file that only this user can read. A new file has this mode from its creation."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
