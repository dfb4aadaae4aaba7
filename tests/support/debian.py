"""Tools that are Debian packages: taken from PATH, or unpacked into the user's cache; nothing is installed."""

import re
import shutil
import subprocess
from functools import partial
from pathlib import Path

from tests.support.kept import Unavailable, kept


def debian_tool(package: str, path: str) -> Path:
    """The program at `path` of a package. Raises Unavailable where there is no Debian either."""
    if found := shutil.which(Path(path).name):
        return Path(found)
    return debian_folder(package, Path(path).name) / path


def debian_folder(package: str, name: str, *others: str, with_dependencies: bool = False) -> Path:
    """A folder with the files of a package and others; those that it depends on are wanted by programs with libraries.

    Raises Unavailable, which calls what is missing `name`, where there is no Debian.
    """
    if not shutil.which("apt-get"):
        raise Unavailable(f"{name} is needed; install it so that it is on PATH ({package} in Debian)")
    parts = [" ".join(others).encode()] if others else []
    return kept(f"debian-{package}", parts, partial(_unpack, [package, *others], with_dependencies=with_dependencies))


def _unpack(packages: list[str], folder: Path, *, with_dependencies: bool) -> None:
    if not _download(packages, folder, with_dependencies=with_dependencies):
        _run("apt-get", "update")  # a new machine has no list of packages
        _download(packages, folder, with_dependencies=with_dependencies)
    archives = list(folder.glob("*.deb"))
    if not archives:
        raise Unavailable(f"Debian's package {packages[0]} cannot be fetched; install it so that it is on PATH")
    for archive in archives:
        subprocess.run(["dpkg-deb", "--extract", archive, folder], check=True)
        archive.unlink()


def _download(packages: list[str], folder: Path, *, with_dependencies: bool) -> bool:
    wanted = _missing(packages) if with_dependencies else packages
    return bool(wanted) and _run("apt-get", "download", *wanted, cwd=folder) is not None


def _missing(packages: list[str]) -> list[str]:
    """Name what an installation of these packages would add to this system, themselves included."""
    said = _run("apt-get", "install", "--simulate", "--no-install-recommends", *packages) or ""
    return re.findall(r"^Inst (\S+) ", said, re.MULTILINE)


def _run(*command: str, cwd: Path | None = None) -> str | None:
    """What it prints; None when it fails."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else None
