"""Tools that are Debian packages: taken from PATH, or unpacked into the user's cache; nothing is installed."""

import shutil
import subprocess
from functools import partial
from pathlib import Path

from tests.support.kept import Unavailable, kept


def debian_tool(package: str, path: str) -> Path:
    """The program at `path` of a package. Raises Unavailable where there is no Debian either."""
    if found := shutil.which(Path(path).name):
        return Path(found)
    if not shutil.which("apt-get"):
        raise Unavailable(f"{Path(path).name} is needed; install it so that it is on PATH ({package} in Debian)")
    return kept(f"debian-{package}", [], partial(_unpack, package)) / path


def _unpack(package: str, folder: Path) -> None:
    download = ("apt-get", "download", package)
    if not _run(*download, cwd=folder):
        _run("apt-get", "update")  # a new machine has no list of packages
        _run(*download, cwd=folder)
    archives = list(folder.glob("*.deb"))
    if not archives:
        raise Unavailable(f"Debian's package {package} cannot be fetched; install it so that it is on PATH")
    subprocess.run(["dpkg-deb", "--extract", archives[0], folder], check=True)
    archives[0].unlink()


def _run(*command: str, cwd: Path | None = None) -> bool:
    return subprocess.run(command, cwd=cwd, capture_output=True, check=False).returncode == 0
