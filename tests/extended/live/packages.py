"""What makes a machine a node besides Kubernetes itself: containerd, runc, network plugins and iptables, of Debian."""

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
    """The folder with Debian's packages, downloading 36 MB if needed. Raises Unavailable."""
    return debian_folder("containerd", "containerd", "containerd", *_OTHERS, with_dependencies=True)


@cache
def wheels() -> Path:
    """The folder with what the containers import. Raises Unavailable."""
    key = [LOCK.read_bytes(), f"{sys.implementation.cache_tag}".encode()]
    return kept("live-wheels", key, partial(install_wheels, LOCK))


def busybox() -> Path:
    """The static one."""
    [found] = (it for it in packages().rglob("busybox") if it.is_file() and it.parent.name == "bin")
    return found


def environment(*folders: Path) -> dict[str, str]:
    """This process's, so that it finds the packages' programs and libraries, and the programs in these folders."""
    root = packages()
    [plugins] = root.rglob("xtables")
    programs = [*folders, *(root / it for it in ("usr/sbin", "usr/bin", "sbin", "bin"))]
    return os.environ | {
        "PATH": os.pathsep.join([*map(str, programs), os.environ["PATH"]]),
        "LD_LIBRARY_PATH": os.pathsep.join(map(str, (plugins.parent, root / "lib" / plugins.parent.name))),
        "XTABLES_LIBDIR": str(plugins),
    }


def link_iptables(folder: Path) -> None:
    """Make the links in `folder` that Debian makes when it installs the package."""
    for family in ("iptables", "ip6tables"):
        for program in ("", "-save", "-restore"):
            (folder / f"{family}{program}").symlink_to(packages() / "usr" / "sbin" / "xtables-nft-multi")


def network_plugins() -> Path:
    """The folder of the CNI's programs."""
    return packages() / "usr" / "lib" / "cni"
