"""A cache for files that take long to make: each is made once per user and kept in the cache folder."""

import fcntl
import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import pytest
from platformdirs import user_cache_dir

T = TypeVar("T")
Make = Callable[[Path], None]
"""A function that fills the empty folder given. It may raise any exception; nothing is kept then."""


class Unavailable(Exception):
    """What is missing on this machine, and how to get it."""


def needed(get: Callable[[], T], environ: Mapping[str, str] = os.environ) -> T:
    """Skip the test where a resource is unavailable; in CI, fail it."""
    try:
        return get()
    except Unavailable as reason:
        if environ.get("CI", "").lower() in ("", "0", "false"):
            pytest.skip(str(reason))
        pytest.fail(f"CI does not do without. {reason}", pytrace=False)


def kept(name: str, parts: list[bytes], make: Make) -> Path:
    """Return the folder `name` made from exactly these parts. If several processes need it at once, one makes it."""
    key = hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()[:16]
    place = Path(user_cache_dir("playground-deployer")) / f"{name}-{key}"
    place.parent.mkdir(parents=True, exist_ok=True)
    with (place.parent / f".{name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not place.exists():
            with tempfile.TemporaryDirectory(dir=place.parent, prefix=".making-") as beside:
                made = Path(beside) / "it"
                made.mkdir()
                make(made)
                made.rename(place)
    return place


def install_wheels(lock: Path, folder: Path) -> None:
    """Install the packages of a lock, without their dependencies. Raises Unavailable with pip's reason."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
    done = subprocess.run(
        [*pip, "--no-deps", "--require-hashes", "--target", folder, "-r", lock],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise Unavailable(f"The wheels of {lock.name} cannot be installed.\n{done.stderr.strip()}")
