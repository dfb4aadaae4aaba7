"""Run a command that ends when whoever started this ends, however that comes about.

    python guard.py FOLDER COMMAND [ARGUMENT…]

Standard input is the tie: each byte that arrives is the number of a signal to pass on, and its end means that
the owner has closed it or is gone, by SIGKILL too. Then the command is killed, and FOLDER removed unless it is "".
A pipe works on every Unix; Linux alone could do it by a setting of the process. Needs nothing but the
standard library, so that it is there within milliseconds.
"""

import os
import shutil
import signal
import subprocess
import sys
import threading


def main(folder: str, *command: str) -> int:
    """The exit code of the command, as a shell gives it."""
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)  # noqa: S603 - what our owner asks for
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    abandoned = threading.Event()

    def obey() -> None:
        while order := os.read(0, 1):  # not sys.stdin: its lock would trouble the interpreter's end
            child.send_signal(order[0])
        abandoned.set()
        child.kill()

    threading.Thread(target=obey, daemon=True).start()
    code = child.wait()
    if abandoned.is_set() and folder:
        shutil.rmtree(folder, ignore_errors=True)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
