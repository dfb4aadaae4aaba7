"""A process that cannot outlive us: not our end, not Ctrl-C, not SIGKILL."""

import asyncio
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from signal import Signals

GUARD = Path(__file__).with_name("guard.py")


class GuardedProcess:
    """A command that runs under `guard.py`, in a session of its own, so that Ctrl-C reaches us alone.

    Bound to no event loop. `close` has to be called at last. Creating it raises OSError when nothing can be started.
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
        """Start `command` in `folder`; its output is added to `log`. `remove` goes if we end without `close`.

        `environment` is ours unless another one is given.
        """
        guard = [sys.executable, "-I", "-S", str(GUARD), str(remove or "")]
        with log.open("ab") as output:
            self._guard = subprocess.Popen(  # noqa: S603 - ours
                [*guard, *command],
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
        return self._guard.poll() is None

    def send(self, signal: Signals) -> None:
        """Pass a signal on; nothing happens when it has ended."""
        if self._guard.stdin and self.running:
            try:
                self._guard.stdin.write(bytes([signal]))
            except BrokenPipeError:
                return

    async def wait(self, seconds: float) -> int | None:
        """Its exit code, or None when it still runs after that time."""
        try:
            return await asyncio.to_thread(self._guard.wait, seconds)
        except subprocess.TimeoutExpired:
            return None

    def close(self) -> None:
        """End it by SIGKILL, if it has not ended, and wait for that: some milliseconds. May be called again."""
        if self._guard.stdin:
            self._guard.stdin.close()
        self._guard.wait()
