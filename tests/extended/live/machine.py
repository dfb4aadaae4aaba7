"""A machine of its own for a command: mounts, network, processes and host name that end with it.

    python -m tests.extended.live.machine COMMAND …

Outside, it fetches and builds what a node consists of, which needs the network, and goes on inside, as process 1 of new
namespaces, which have none. What the command writes to /run, /var and its temporary folder is in memory; other folders
are this machine's own.
"""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from tests.extended.cluster.binary import hyperkube_binary
from tests.extended.live.images import oci_layout
from tests.extended.live.packages import environment, packages
from tests.extended.live.worker_image import worker_layout
from tests.support.kept import Unavailable

NAME = "node"  # of the machine
ADDRESS = "10.200.0.1"  # of the machine, on the bridge that its pods see
STATE = Path("/mnt")  # in memory
CGROUPS = Path("/sys/fs/cgroup")
CGROUP = "playground-live-"
INSIDE = "PLAYGROUND_LIVE"  # variable: a name for a cgroup of this machine

_NAMESPACES = ("--mount", "--net", "--pid", "--ipc", "--uts")
# The kubelet sets these for the whole machine. It sees them as it wants them, and this machine's stay as they are.
_SYSCTLS = {
    "vm/overcommit_memory": 1,
    "vm/panic_on_oom": 0,
    "kernel/panic": 10,
    "kernel/panic_on_oops": 1,
    "kernel/keys/root_maxkeys": 1_000_000,
    "kernel/keys/root_maxbytes": 25_000_000,
}


def prepare() -> None:
    """Fetch and build what a node and the sandbox's pipelines need, once. Raises Unavailable."""
    look()
    hyperkube_binary(say)
    packages()
    oci_layout()


def look() -> None:
    """Check whether a separate machine is possible here. Raises Unavailable."""
    if os.geteuid():
        raise Unavailable("A machine of its own needs root: run it in a container, or with sudo.")
    if not shutil.which("unshare"):
        raise Unavailable("A machine of its own needs unshare, of the package util-linux.")
    done = subprocess.run(
        ["unshare", *_NAMESPACES, "--fork", "mount", "-t", "tmpfs", "tmpfs", STATE],
        capture_output=True,
        text=True,
        check=False,
    )
    if not shutil.which("ip"):
        packages()
    if done.returncode:
        raise Unavailable(f"No namespaces can be made here: run it outside of this container. {done.stderr.strip()}")


def machine_command(command: list[str]) -> tuple[list[str], dict[str, str]]:
    """Return the command that runs another command inside, and its environment."""
    inside = [sys.executable, "-m", "tests.extended.live.machine", *command]
    environment = {**os.environ, INSIDE: CGROUP + secrets.token_hex(4)}
    return ["unshare", *_NAMESPACES, "--fork", "--mount-proc", "--kill-child", *inside], environment


def enter(command: list[str]) -> NoReturn:
    """Continue inside with a command."""
    program, environment = machine_command(command)
    os.execvpe(program[0], program, environment)


def is_inside() -> bool:
    """Return whether this process is on a separate machine."""
    return INSIDE in os.environ


def run_inside(command: list[str]) -> int:
    """Set the machine up as process 1, run the command, kill all other processes, return the command's exit code."""
    for number in (signal.SIGINT, signal.SIGTERM):  # they are meant for the command, which decides how to react
        signal.signal(number, lambda *_: None)
    _mount()
    _connect()
    process = subprocess.Popen(command, env={**os.environ, "TMPDIR": str(STATE / "tmp")})
    code = _reap(process.pid)
    with suppress(ProcessLookupError):
        os.kill(-1, signal.SIGKILL)  # all except this process
    _reap(None)
    _remove_cgroups()
    return code


def _mount() -> None:
    _run("mount", "--make-rprivate", "/")
    _run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", STATE)
    _run("mount", "--make-rshared", STATE)  # pods see what the kubelet mounts
    (STATE / "tmp").mkdir(mode=0o1777)
    for name in ("run", "var"):  # containerd, runc and the network plugins write there, whatever their configuration
        upper, work = (STATE / f"{name}-{kind}" for kind in ("upper", "work"))
        upper.mkdir()
        work.mkdir()
        _run("mount", "-t", "overlay", "-o", f"lowerdir=/{name},upperdir={upper},workdir={work}", "overlay", f"/{name}")
    for name, value in _SYSCTLS.items():
        _replace(f"/proc/sys/{name}", f"{value}\n")
    # There is no name server, and a query would wait for seconds.
    _replace("/etc/hosts", f"127.0.0.1 localhost\n{ADDRESS} {NAME}\n")
    _replace("/etc/resolv.conf", "nameserver 127.0.0.1\n")


def _replace(path: str, content: str) -> None:
    """Replace the content of a file inside the machine."""
    file = STATE / path.strip("/").replace("/", ".")
    file.write_text(content)
    _run("mount", "--bind", file, path)


def _connect() -> None:
    """Set up loopback, and a bridge with a default route, without which the API server does not start."""
    socket.sethostname(NAME)
    variables = None if shutil.which("ip") else environment()
    for words in (
        "link set lo up",
        "link add node0 type bridge",
        f"address add {ADDRESS}/24 dev node0",
        "link set node0 up",
        f"route add default via {ADDRESS} dev node0",
    ):
        subprocess.run(["ip", *words.split()], env=variables, check=True)


def _reap(wanted: int | None) -> int:
    """Wait for the end of `wanted`, or of all processes; process 1 inherits orphans."""
    while True:
        try:
            pid, status = os.wait()
        except ChildProcessError:
            return 0
        if pid == wanted:
            return os.waitstatus_to_exitcode(status)


def _remove_cgroups() -> None:
    """Remove the cgroups of containers, of this machine and of killed machines; a cgroup with processes stays.

    containerd names the parent of Kubernetes' containers k8s.io, because the kubelet sets no name.
    """
    parents = [it for name in (f"{CGROUP}*", "k8s.io") for it in (*CGROUPS.glob(name), *CGROUPS.glob(f"*/{name}"))]
    for parent in parents:
        for folder in (*sorted((it for it in parent.rglob("*") if it.is_dir()), reverse=True), parent):
            with suppress(OSError):
                folder.rmdir()


def _run(*command: str | Path) -> None:
    subprocess.run(command, check=True)


def say(line: str) -> None:
    """Print a line for the person who waits."""
    sys.stderr.write(f"{line}\n")


def main() -> int:
    """Return the command's exit code, or 1 with a sentence if there can be no machine."""
    command = sys.argv[1:]
    if is_inside():
        return run_inside(command)
    try:
        prepare()
        worker_layout()
    except Unavailable as reason:
        say(str(reason))
        return 1
    return enter(command)


if __name__ == "__main__":
    sys.exit(main())
