"""A child process that never outlives this process, not even after SIGKILL."""

import asyncio
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from signal import Signals

SUPERVISOR = Path(__file__).with_name("supervisor.py")


class SupervisedProcess:
    """A command under `supervisor.py`, in a separate session, so that Ctrl-C reaches only this process.

    Not tied to an event loop. Call `close` at the end. The constructor raises OSError when the process does not start.
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
        """Start `command` in `folder`, and append its output to `log`.

        The folder `remove` is deleted when this process exits without `close`. `environment` None: this process's.
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
        """Whether the process is still running."""
        return self._supervisor.poll() is None

    def send(self, signal: Signals) -> None:
        """Forward a signal; do nothing once the process has exited."""
        if self._supervisor.stdin and self.running:
            try:
                self._supervisor.stdin.write(bytes([signal]))
            except BrokenPipeError:
                return

    async def wait(self, seconds: float) -> int | None:
        """Wait at most `seconds`; return the exit code, or None if the process is still running."""
        try:
            return await asyncio.to_thread(self._supervisor.wait, seconds)
        except subprocess.TimeoutExpired:
            return None

    def close(self) -> None:
        """Kill the process unless it has exited, and wait milliseconds for its exit. Further calls do nothing."""
        if self._supervisor.stdin:
            self._supervisor.stdin.close()
        self._supervisor.wait()
