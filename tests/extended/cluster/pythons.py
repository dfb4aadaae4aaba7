"""Interpreters for the bundle's script: ours with the newest client, the oldest available with the oldest client."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

from tests.support.kept import Unavailable, kept

NEWEST, OLDEST = "kubernetes 37", "kubernetes 21.7"  # the worker's version, and the oldest that the script supports
OLDEST_PYTHON = (3, 8)
OLD_LOCK = Path(__file__).with_name("kubernetes-21.7.lock")
_ASK = "import sys, ensurepip, venv; print('%d.%d.%d' % sys.version_info[:3])"


@dataclass(frozen=True, slots=True)
class Python:
    """An interpreter with the packages of requirements.txt."""

    path: Path
    version: str
    kubernetes: str

    def __str__(self) -> str:
        return f"Python {self.version} with kubernetes {self.kubernetes}"


def running() -> Python:
    """Return the interpreter that runs the tests."""
    return Python(Path(sys.executable), "{}.{}.{}".format(*sys.version_info), version("kubernetes"))


@cache
def oldest() -> Python:
    """Return kubernetes 21.7 on the oldest suitable Python of this machine. Raises Unavailable."""
    for number, interpreter in sorted({_version(it): it for it in _interpreters()}.items()):
        if number < OLDEST_PYTHON:
            continue
        text = ".".join(map(str, number))

        def install(folder: Path, interpreter: Path = interpreter) -> None:
            subprocess.run([interpreter, "-m", "venv", folder], check=True, capture_output=True)
            pip = [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
            subprocess.run([*pip, "--require-hashes", "-r", OLD_LOCK], check=True, capture_output=True)

        try:
            folder = kept("kubernetes-21.7", [OLD_LOCK.read_bytes(), str(interpreter).encode(), text.encode()], install)
        except (OSError, subprocess.CalledProcessError):
            continue
        found = re.search(r"^kubernetes==(\S+)", OLD_LOCK.read_text(), re.MULTILINE)
        return Python(folder / "bin" / "python", text, found[1] if found else "?")
    raise Unavailable(f"kubernetes 21.7 cannot be installed here on any Python; {OLD_LOCK.name} names what it needs.")


def _interpreters() -> Iterator[Path]:
    """Yield the interpreters on PATH, pyenv's, whose names on PATH do not lead to them, and ours."""
    for minor in range(OLDEST_PYTHON[1], sys.version_info.minor):
        if found := shutil.which(f"python3.{minor}"):
            yield Path(found)
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    yield from pyenv.glob("versions/3.*/bin/python3")
    yield Path(sys.base_prefix) / "bin" / "python3"


def _version(interpreter: Path) -> tuple[int, ...]:
    """Return its version, or (0,) if it does not run or cannot make environments."""
    try:
        done = subprocess.run([interpreter, "-I", "-c", _ASK], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return (0,)
    return (0,) if done.returncode else tuple(map(int, done.stdout.strip().split(".")))
