"""Confinements, which isolate the script of an uploaded bundle from this machine.

Bubblewrap where it works, else another user if this process is root. Without a confinement, scripts are not run.
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
NOT_RUN = f"Scripts in bundles are not run: {WITHOUT_BUBBLEWRAP}, and only root can run them as another user."

_PROBE = [sys.executable, "-c", "import yaml"]  # a script needs Python and this package
_PROBE_SECONDS = 20
_OTHER_USER = 65533  # usually an unused id; `nobody` (65534) may own services
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc/ld.so.cache")


class Confinement(Protocol):
    """A way to run a program that can write to one folder only."""

    @property
    def about(self) -> str:
        """One sentence for the person who starts the playground."""

    @property
    def user(self) -> int | None:
        """The id of the user who owns the folder and runs the program; None: this process's user."""

    def command(self, command: list[str], folder: Path, /) -> list[str]:
        """Return the command line that runs `command` in the folder."""


class Bubblewrap:
    """Separate namespaces: no network, no other processes, and only the files of the system, Python and the folder."""

    about = "Scripts in bundles run in bubblewrap: without network, and each can only write to a copy of its bundle."
    user = None

    def __init__(self, program: str) -> None:
        """Use the bwrap at the path `program`."""
        self._program = program

    def command(self, command: list[str], folder: Path) -> list[str]:
        """Return the command line that runs `command` in the folder."""
        prefixes = [Path(sys.prefix), Path(sys.base_prefix)]
        sealed = ("/proc", "/dev", "/")  # /proc has the kernel's settings, which root may write without capabilities
        readable = [*_SYSTEM, *map(str, prefixes), *(str(prefix.resolve()) for prefix in prefixes)]
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
    """A user who owns only the folder."""

    about = f"Scripts in bundles run as user {_OTHER_USER}, and reach the network: {WITHOUT_BUBBLEWRAP}."
    user = _OTHER_USER

    def command(self, command: list[str], _: Path) -> list[str]:
        """Return the command line unchanged, because `started_as` sets the user."""
        return command


def environment(folder: Path) -> dict[str, str]:
    """Return an environment without the worker's settings, and without access to any cluster of this user."""
    return {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(folder), "LANG": "C.UTF-8"}


def started_as(user: int | None) -> dict[str, Any]:
    """Return the options of `subprocess` that start a process as this user, in none of this process's groups."""
    return {} if user is None else {"user": user, "group": user, "extra_groups": ()}


def give(folder: Path, user: int | None) -> None:
    """Make the user the owner of the folder and its content, and let the user traverse the parent folder."""
    if user is not None:
        folder.parent.chmod(0o711)
        for path in (folder, *folder.rglob("*")):
            os.chown(path, user, user)


def works(confinement: Confinement) -> bool:
    """Return whether a program with a script's needs runs in this confinement."""
    with tempfile.TemporaryDirectory(prefix="playground-") as parent:
        folder = Path(parent) / "copy"
        folder.mkdir()
        try:
            give(folder, confinement.user)
            probe = subprocess.run(  # noqa: S603 - a fixed program
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
    return probe.returncode == 0


def find_confinement(
    bubblewrap: str | None = shutil.which("bwrap"),
    works: Callable[[Confinement], bool] = works,
    *,
    is_root: bool = os.geteuid() == 0,
) -> Confinement | None:
    """Return the first confinement that works on this machine; None: scripts must not be run."""
    candidates: list[Confinement] = [Bubblewrap(bubblewrap)] if bubblewrap else []
    candidates += [AnotherUser()] if is_root else []
    return next((candidate for candidate in candidates if works(candidate)), None)
