"""What a node needs in addition to Kubernetes: containerd, runc, network plugins and iptables, from Debian."""

import os
import sys
from functools import cache, partial
from pathlib import Path

from tests.support.debian import debian_folder
from tests.support.kept import install_wheels, kept

LOCK = Path(__file__).with_name("requirements.lock")
_OTHERS = ("runc", "containernetworking-plugins", "iptables", "iproute2", "busybox-static")


@cache
def packages() -> Path:
    """Return the folder with Debian's packages, downloading 36 MB if needed. Raises Unavailable."""
    return debian_folder("containerd", "containerd", "containerd", *_OTHERS, with_dependencies=True)


@cache
def wheels() -> Path:
    """Return the folder with the packages that the containers import. Raises Unavailable."""
    key = [LOCK.read_bytes(), f"{sys.implementation.cache_tag}".encode()]
    return kept("live-wheels", key, partial(install_wheels, LOCK))


def busybox() -> Path:
    """Return the static busybox."""
    [found] = (it for it in packages().rglob("busybox") if it.is_file() and it.parent.name == "bin")
    return found


def environment(*folders: Path) -> dict[str, str]:
    """Return this process's environment, with the packages' programs and libraries and these folders' programs."""
    root = packages()
    [plugins] = root.rglob("xtables")
    programs = [*folders, *(root / it for it in ("usr/sbin", "usr/bin", "sbin", "bin"))]
    return os.environ | {
        "PATH": os.pathsep.join([*map(str, programs), os.environ["PATH"]]),
        "LD_LIBRARY_PATH": os.pathsep.join(map(str, (plugins.parent, root / "lib" / plugins.parent.name))),
        "XTABLES_LIBDIR": str(plugins),
    }


def link_iptables(folder: Path) -> None:
    """Make the links in `folder` that Debian makes on installation."""
    for family in ("iptables", "ip6tables"):
        for program in ("", "-save", "-restore"):
            (folder / f"{family}{program}").symlink_to(packages() / "usr" / "sbin" / "xtables-nft-multi")


def network_plugins() -> Path:
    """Return the folder of the CNI's programs."""
    return packages() / "usr" / "lib" / "cni"
