"""Tools from Debian packages: found on PATH, or unpacked into the user's cache; nothing is installed."""

import re
import shutil
import subprocess
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.support.kept import Unavailable, kept

_KEYRING = (
    "/usr/share/keyrings/debian-archive-keyring.gpg"  # holds the keys of releases that are newer than this machine's
)


def debian_tool(package: str, path: str) -> Path:
    """Return the program at `path` of a package. Raises Unavailable if it is missing and this is not Debian."""
    if found := shutil.which(Path(path).name):
        return Path(found)
    return debian_folder(package, Path(path).name) / path


def debian_folder(package: str, name: str, *others: str, with_dependencies: bool = False) -> Path:
    """Return a folder with the files of these packages; programs with libraries also need the dependencies.

    Raises Unavailable, which calls the missing program `name`, if this is not Debian.
    """
    if not shutil.which("apt-get"):
        raise Unavailable(f"{name} is needed; install it so that it is on PATH ({package} in Debian)")
    parts = [" ".join(others).encode()] if others else []
    return kept(f"debian-{package}", parts, partial(_unpack, [package, *others], with_dependencies=with_dependencies))


def debian_root(release: str, *packages: str) -> Path:
    """Return a root folder with packages of a release and all their dependencies, in which their programs can run.

    apt keeps its state in a separate folder: this machine's release is unchanged, and no package script runs. Raises
    Unavailable if this is not Debian.
    """
    if not shutil.which("apt-get"):
        raise Unavailable(f"{packages[0]} of Debian {release} is needed, which only a Debian can fetch.")
    return kept(f"debian-{release}", [" ".join(packages).encode()], partial(_unpack_root, release, packages))


def _unpack_root(release: str, packages: Sequence[str], folder: Path) -> None:
    with TemporaryDirectory() as beside:
        state = Path(beside)
        for name in ("lists/partial", "archives/partial"):
            (state / name).mkdir(parents=True)
        (state / "status").touch()  # nothing is installed in the new root
        (state / "sources.list").write_text(f"deb [signed-by={_KEYRING} target=Packages] {_archive()} {release} main\n")
        options = {
            "Dir::State": state,
            "Dir::State::status": state / "status",
            "Dir::Cache": state,
            "Dir::Etc::sourcelist": state / "sources.list",
            "Dir::Etc::sourceparts": "-",
            "Dir::Etc::preferences": "-",
            "Dir::Etc::preferencesparts": "-",
            "APT::Sandbox::User": "root",  # another user cannot read the folder
        }
        apt = ["apt-get", "--quiet=2", *(word for it in options.items() for word in ("--option", "{}={}".format(*it)))]
        for command in ("update",), ("install", "--yes", "--download-only", "--no-install-recommends", *packages):
            done = subprocess.run([*apt, *command], capture_output=True, text=True, check=False)
            if done.returncode:
                raise Unavailable(f"{packages[0]} of Debian {release} cannot be fetched. {done.stderr.strip()}")
        for archive in sorted((state / "archives").glob("*.deb")):
            subprocess.run(["dpkg-deb", "--extract", archive, folder], check=True)


def _archive() -> str:
    """Return the archive from which this machine gets Debian."""
    ask = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Label: Debian"]
    found = _run(*ask)
    if not found:
        _run("apt-get", "update")  # a new machine has no package lists
        found = _run(*ask)
    if not found:
        raise Unavailable("Packages of Debian are needed, and this machine does not know where they are.")
    return found.split()[0]


def _unpack(packages: list[str], folder: Path, *, with_dependencies: bool) -> None:
    if not _download(packages, folder, with_dependencies=with_dependencies):
        _run("apt-get", "update")  # a new machine has no package lists
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
    """Return the names of the packages that installing these would add to this system, themselves included."""
    said = _run("apt-get", "install", "--simulate", "--no-install-recommends", *packages) or ""
    return re.findall(r"^Inst (\S+) ", said, re.MULTILINE)


def _run(*command: str, cwd: Path | None = None) -> str | None:
    """Return the command's output, or None if it fails."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else None
