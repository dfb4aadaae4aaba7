"""What keeps the script of an uploaded bundle from the rest of this machine.

Bubblewrap where it works, else another user if we are root; with neither, scripts are not run.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

WITHOUT_BUBBLEWRAP = "bubblewrap (bwrap) is missing or does not work here"
NOT_RUN = f"Scripts in bundles are not run: {WITHOUT_BUBBLEWRAP}, and nobody else can run them."

_PROBE = [sys.executable, "-c", "import yaml"]  # what a script needs
_PROBE_SECONDS = 20
_OTHER_USER = 65533  # usually nobody's, not even `nobody`'s, to whom services may belong
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc/ld.so.cache")


class Confinement(Protocol):
    """A way to run a program with one folder to write to."""

    @property
    def about(self) -> str:
        """One sentence for the person who starts the playground."""

    @property
    def user(self) -> int | None:
        """Whom the folder has to belong to and the program to run as; None: ourselves."""

    def command(self, command: list[str], folder: Path, /) -> list[str]:
        """Return the command line that runs the program in the folder."""


class Bubblewrap:
    """Namespaces of its own: no network, no other processes, no files but the system's, Python's and its own."""

    about = "Scripts in bundles run in bubblewrap: without network, and each can write to a copy of its bundle alone."
    user = None

    def __init__(self, program: str) -> None:
        """Use this bwrap."""
        self._program = program

    def command(self, command: list[str], folder: Path) -> list[str]:
        """Return the command line that runs the program in the folder."""
        prefixes = [Path(sys.prefix), Path(sys.base_prefix)]
        sealed = ("/proc", "/dev", "/")  # in /proc are the kernel's settings, which root may write without capabilities
        readable = [*_SYSTEM, *map(str, prefixes), *(str(it.resolve()) for it in prefixes)]
        return [
            self._program,
            *("--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL"),
            *(word for path in readable for word in ("--ro-bind-try", path, path)),
            *("--proc", "/proc", "--dev", "/dev", "--bind", str(folder), str(folder)),
            *(word for path in sealed for word in ("--remount-ro", path)),
            *("--chdir", str(folder), "--"),
            *command,
        ]


class AnotherUser:
    """A user who owns nothing but the folder."""

    about = f"Scripts in bundles run as user {_OTHER_USER}, and reach the network: {WITHOUT_BUBBLEWRAP}."
    user = _OTHER_USER

    def command(self, command: list[str], _: Path) -> list[str]:
        """Return the command line as it is: the user is whom the process is started as."""
        return command


def environment(folder: Path) -> dict[str, str]:
    """Return an environment without the worker's settings, and without access to any cluster of this user."""
    return {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(folder), "LANG": "C.UTF-8"}


def started_as(user: int | None) -> dict[str, Any]:
    """Return the options with which a process starts as this user, in no group of ours."""
    return {} if user is None else {"user": user, "group": user, "extra_groups": ()}


def give(folder: Path, user: int | None) -> None:
    """Make the folder and all in it the user's, who may pass through the folder around it."""
    if user is not None:
        folder.parent.chmod(0o711)
        for path in (folder, *folder.rglob("*")):
            os.chown(path, user, user)


def works(confinement: Confinement) -> bool:
    """Try it with what a script needs."""
    with tempfile.TemporaryDirectory(prefix="playground-") as around:
        folder = Path(around) / "copy"
        folder.mkdir()
        try:
            give(folder, confinement.user)
            tried = subprocess.run(  # noqa: S603 - our own program
                confinement.command(_PROBE, folder),
                cwd=folder,
                env=environment(folder),
                **started_as(confinement.user),
                capture_output=True,
                timeout=_PROBE_SECONDS,
                check=False,
            )
        except (OSError, subprocess.SubprocessError):
            return False
    return tried.returncode == 0


def find_confinement(
    bubblewrap: str | None = shutil.which("bwrap"),
    works: Callable[[Confinement], bool] = works,
    *,
    is_root: bool = os.geteuid() == 0,
) -> Confinement | None:
    """Return the first that works on this machine; None: a script cannot be confined, and must not be run."""
    found: list[Confinement] = [Bubblewrap(bubblewrap)] if bubblewrap else []
    found += [AnotherUser()] if is_root else []
    return next((it for it in found if works(it)), None)
