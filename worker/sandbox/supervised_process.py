"""A child process that never outlives this one, not even after SIGKILL."""

import asyncio
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from signal import Signals

SUPERVISOR = Path(__file__).with_name("supervisor.py")


class SupervisedProcess:
    """A command under `supervisor.py`, in a session of its own, so that Ctrl-C reaches only this process.

    Not tied to an event loop. Call `close` at the end. Creating it raises OSError when the process cannot be started.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        folder: Path,
        log: Path,
        remove: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start `command` in `folder` and append its output to `log`.

        The folder `remove` is deleted when this process ends without `close`. `environment` is inherited unless given.
        """
        supervisor = [sys.executable, "-I", "-S", str(SUPERVISOR), str(remove or "")]
        with log.open("ab") as output:
            self._supervisor = subprocess.Popen(  # noqa: S603 - our own script
                [*supervisor, *command],
                cwd=folder,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                bufsize=0,
                start_new_session=True,
            )

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._supervisor.poll() is None

    def send(self, signal: Signals) -> None:
        """Forward a signal; do nothing once the process has ended."""
        if self._supervisor.stdin and self.running:
            try:
                self._supervisor.stdin.write(bytes([signal]))
            except BrokenPipeError:
                return

    async def wait(self, seconds: float) -> int | None:
        """Wait at most this long; return the exit code, or None if it is still running."""
        try:
            return await asyncio.to_thread(self._supervisor.wait, seconds)
        except subprocess.TimeoutExpired:
            return None

    def close(self) -> None:
        """Kill it unless it has ended, and wait for its end, which takes milliseconds. May be called again."""
        if self._supervisor.stdin:
            self._supervisor.stdin.close()
        self._supervisor.wait()
