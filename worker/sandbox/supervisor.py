"""Run a command, and kill it when its owner exits in any way.

    python supervisor.py FOLDER COMMAND [ARGUMENT…]

Standard input connects the owner: each byte is the number of a signal to forward. End of file means that the owner has
closed the pipe or is gone, even by SIGKILL. The command is then killed, and FOLDER is removed unless it is "".
A pipe works on every Unix; a parent-death signal works on Linux only. This script needs only the standard library, so
that it starts within milliseconds.
"""

import os
import shutil
import signal
import subprocess
import sys
import threading


def main(folder: str, *command: str) -> int:
    """Run the command; return its exit code as a shell reports it."""
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)  # noqa: S603 - the owner's command
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    owner_gone = threading.Event()

    def forward_signals() -> None:
        while received := os.read(0, 1):  # not sys.stdin: its lock would block the interpreter's exit
            child.send_signal(received[0])
        owner_gone.set()
        child.kill()

    threading.Thread(target=forward_signals, daemon=True).start()
    code = child.wait()
    if owner_gone.is_set() and folder:
        shutil.rmtree(folder, ignore_errors=True)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
