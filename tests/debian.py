"""Tools that are Debian packages: taken from PATH, or unpacked into the user's cache; nothing is installed."""

import shutil
import subprocess
import tempfile
from pathlib import Path

from platformdirs import user_cache_path


def debian_tool(package: str, path: str) -> Path:
    """The program at `path` of a package. Raises RuntimeError, with the way out, where there is no Debian either."""
    found = shutil.which(Path(path).name)
    if found:
        return Path(found)
    kept = user_cache_path("playground-deployer") / "debian" / package
    if not (kept / path).exists():
        if not shutil.which("apt-get"):
            raise RuntimeError(f"{Path(path).name} is needed; install it so that it is on PATH ({package} in Debian)")
        _unpack(package, kept)
    return kept / path


def _unpack(package: str, kept: Path) -> None:
    """Beside its place and then into it, so that nobody finds half of it."""
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
        _run("apt-get", "download", package, cwd=folder) or (
            _run("apt-get", "update") and _run("apt-get", "download", package, cwd=folder)
        )
        archives = list(Path(folder).glob("*.deb"))
        if not archives:
            raise RuntimeError(f"Debian's package {package} cannot be fetched; install it so that it is on PATH")
        unpacked = Path(folder) / "unpacked"
        subprocess.run(["dpkg-deb", "--extract", archives[0], unpacked], check=True)
        shutil.rmtree(kept, ignore_errors=True)
        unpacked.rename(kept)


def _run(*command: str, cwd: str | None = None) -> bool:
    return subprocess.run(command, cwd=cwd, capture_output=True, check=False).returncode == 0
