"""Docker's engine with Compose and Buildx from Debian, in its own root on a separate machine."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path

from tests.extended.docker.images import INDEX, StandIn, wheels
from tests.extended.live.machine import INSIDE, STATE
from tests.support.debian import debian_root
from tests.support.paths import ROOT
from worker.sandbox.supervised_process import SupervisedProcess

RELEASE = "trixie"  # the first release whose Compose supports `pull_policy: build` and `start_interval`
START_SECONDS = 60

_PACKAGES = ("docker.io", "docker-cli", "docker-compose", "docker-buildx", "iptables", "mount", "base-files")
_HOME = STATE / "engine"

# The root is that of its mount namespace: after a mere chroot, `docker exec` would run in this machine's root.
_DOCKERD = 'cd "$0" && pivot_root . mnt && umount --lazy mnt && exec dockerd "$@"'


@cache
def engine_root() -> Path:
    """Return the folder with the engine's files, downloading 110 MB if needed. Raises Unavailable."""
    return debian_root(RELEASE, *_PACKAGES)


@contextmanager
def running_engine(images: Sequence[StandIn]) -> Iterator[None]:
    """Run the engine: `docker` is on PATH, the images are there, and builds find wheels.

    Raises RuntimeError with the end of its log.
    """
    _lay()
    _put_on_path()
    address, port = map(str, INDEX)
    server = [sys.executable, "-m", "http.server", "--bind", address, "--directory", str(wheels()), port]
    dockerd = ["unshare", "--mount", "sh", "-c", _DOCKERD, str(_HOME), f"--cgroup-parent=/{os.environ[INSIDE]}"]
    with ExitStack() as stack:
        stack.enter_context(_process("wheels", server))
        _wait(stack.enter_context(_process("dockerd", dockerd)))
        for it in images:
            _import(it)
        yield


def engine_log() -> str:
    """Return the engine's log, which includes warnings about our files."""
    return (STATE / "dockerd.log").read_text(errors="replace")


@contextmanager
def _process(name: str, command: Sequence[str]) -> Iterator[SupervisedProcess]:
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}
    process = SupervisedProcess(command, folder=STATE, log=STATE / f"{name}.log", environment=environment)
    try:
        yield process
    finally:
        process.close()


def _import(image: StandIn) -> None:
    changes = [word for line in image.changes for word in ("--change", line)]
    with image.layer.open("rb") as layer:
        command = ["docker", "import", *changes, "-", image.name]
        subprocess.run(command, stdin=layer, stdout=subprocess.DEVNULL, check=True)


def _lay() -> None:
    """Prepare the root with this machine's processes, devices, cgroups, the project, and our temporary folder."""
    for name in ("engine", "engine-upper", "engine-work"):
        (STATE / name).mkdir()
    layers = f"lowerdir={engine_root()},upperdir={_HOME}-upper,workdir={_HOME}-work"
    _mount("-t", "overlay", "-o", layers, "overlay", _HOME)
    for name in ("iptables", "ip6tables", "iptables-save", "iptables-restore", "ip6tables-save", "ip6tables-restore"):
        (_HOME / "usr" / "sbin" / name).symlink_to("xtables-nft-multi")
    for folder in (Path("/proc"), Path("/dev"), Path("/sys"), ROOT, STATE / "tmp"):
        inside = _HOME / folder.relative_to("/")
        inside.mkdir(parents=True, exist_ok=True)
        _mount("--rbind", folder, inside)
    data = _HOME / "var" / "lib" / "docker"  # an overlay cannot use folders of another overlay
    data.mkdir(parents=True)
    _mount("-t", "tmpfs", "tmpfs", data)


def _put_on_path() -> None:
    programs = STATE / "programs"
    programs.mkdir()
    docker = programs / "docker"
    docker.write_text(f'#!/bin/sh\nexec unshare --root={_HOME} --wd="$PWD" docker "$@"\n')
    docker.chmod(0o755)
    os.environ["PATH"] = f"{programs}:{os.environ['PATH']}"


def _wait(dockerd: SupervisedProcess) -> None:
    deadline = time.monotonic() + START_SECONDS
    while subprocess.run(["docker", "version"], capture_output=True, check=False).returncode:
        if not dockerd.running or time.monotonic() > deadline:
            raise RuntimeError(f"Docker's engine does not start:\n{engine_log()[-4000:]}")
        time.sleep(0.1)  # polling is the only way to find out


def _mount(*words: str | Path) -> None:
    subprocess.run(["mount", *words], check=True)
