"""The image's root folder without a container engine: the Dockerfile's commands, each in a separate namespace.

This machine's /usr, read-only, with a Python at /usr/local, stands in for the base image. Everything else in the root
comes from the Dockerfile.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

from tests.support.dockerfile import Copy, Run, Stage

BASE_ENV = {"PATH": "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}

# The network settings that a daemon would get here: certificates, proxies, another index.
_NETWORK = re.compile(
    r"(PIP_(CERT|INDEX_URL|EXTRA_INDEX_URL|TRUSTED_HOST)|SSL_CERT_FILE|(https?|no)_proxy)", re.IGNORECASE
)
_NETWORK_FILES = ("/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/ssl", "/etc/pip.conf")
_FOLDERS = ("dev", "etc/ssl", "proc", "tmp", "usr")
_LINKS = {"bin": "usr/bin", "lib": "usr/lib", "lib64": "usr/lib64", "sbin": "usr/sbin"}


def build(stages: Sequence[Stage], context: Path, folder: Path) -> Path:
    """Build every stage; return the root of the last."""
    roots: dict[str, Path] = {}
    for number, stage in enumerate(stages):
        root = roots[stage.name] = folder / f"stage-{number}"
        _lay(root, python_for(stage.base))
        for step in stage.steps:
            if isinstance(step, Run):
                _run(step, root, python_for(stage.base))
            else:
                _copy(step, roots[step.stage] if step.stage is not None else context, root)
    return root


def isolated(root: Path, python: Path, *options: str) -> list[str]:
    """Return the start of a command that runs in this root as its process 1; append `--` and the command.

    There is no user namespace: in a user namespace, root's files would belong to the user that runs there.
    """
    prefix = ["--tmpfs", "/usr/local"] if python == Path("/usr") else ["--ro-bind", str(python), "/usr/local"]
    network = [word for file in _NETWORK_FILES if Path(file).exists() for word in ("--ro-bind", file, file)]
    namespaces = ["--unshare-pid", "--as-pid-1", "--unshare-ipc", "--unshare-uts", "--die-with-parent", "--new-session"]
    base = ["--ro-bind", "/usr", "/usr", *prefix, *network, "--proc", "/proc", "--dev", "/dev"]
    empty = ["--perms", "1777", "--tmpfs", "/tmp"]
    return ["bwrap", *namespaces, *options, "--bind", str(root), "/", *base, *empty, "--clearenv"]


def variables(env: Mapping[str, str]) -> list[str]:
    """Return bwrap's options for exactly these variables."""
    return [word for name, value in env.items() for word in ("--setenv", name, value)]


def sent(context: Path) -> list[str]:
    """Return the files that .dockerignore lets through; the last matching line decides, as in Docker."""
    lines = [it for it in (context / ".dockerignore").read_text().splitlines() if it and not it.startswith("#")]

    def passes(path: str) -> bool:
        verdict = True
        for line in lines:
            pattern = f"/{line.removeprefix('!')}"
            if fnmatch(f"/{path}", pattern) or fnmatch(f"/{path}", f"{pattern}/*"):
                verdict = line.startswith("!")
        return verdict

    paths = [
        Path(folder, name).relative_to(context).as_posix() for folder, _, names in os.walk(context) for name in names
    ]
    return sorted(filter(passes, paths))


@cache
def python_for(base: str) -> Path:
    """Return the prefix of a Python of the image's version if this machine has it, else of the running Python."""
    wanted = re.fullmatch(r"python:(3\.\d+)(?:\.\d+)?-slim-\w+(?:@sha256:[0-9a-f]{64})?", base)
    if not wanted:
        raise ValueError(f"{base}: not one of Python's slim images")
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    found = [shutil.which(f"python{wanted[1]}"), *pyenv.glob(f"versions/{wanted[1]}.*/bin/python3")]
    for interpreter in (it for it in found if it):
        ask = "import sys, ensurepip, venv; print(sys.base_prefix)"
        done = subprocess.run([interpreter, "-I", "-c", ask], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return Path(done.stdout.strip())
    return Path(sys.base_prefix)


def _lay(root: Path, python: Path) -> None:
    for name in _FOLDERS:
        (root / name).mkdir(parents=True)
    for name, target in _LINKS.items():
        (root / name).symlink_to(target)
    for file in _NETWORK_FILES:
        if not Path(file).is_dir():
            (root / file[1:]).touch()
    # Python's images configure their linker the same way.
    (root / "etc" / "ld.so.conf").write_text("/usr/local/lib\n")
    _execute([*isolated(root, python), "--", "/usr/sbin/ldconfig"])


def _run(step: Run, root: Path, python: Path) -> None:
    network = {name: value for name, value in os.environ.items() if _NETWORK.fullmatch(name)}
    (root / step.folder[1:]).mkdir(parents=True, exist_ok=True)
    env = variables({**network, **step.env})
    _execute([*isolated(root, python), *env, "--chdir", step.folder, "--", "/bin/sh", "-c", step.command])


def _execute(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stdout + done.stderr


def _copy(step: Copy, origin: Path, root: Path) -> None:
    target = root / step.target[1:]
    if step.stage is not None:
        for source in step.sources:
            shutil.copytree(origin / source[1:], target, symlinks=True, dirs_exist_ok=True)
        return
    for source in step.sources:
        files = [name for name in sent(origin) if name == source or name.startswith(f"{source}/")]
        assert files, f"COPY {source}: .dockerignore lets nothing of it through"
        for name in files:
            # Into the folder under its own name, or as the folder itself: as COPY does with files and folders.
            place = target / (name if name == source else name.removeprefix(f"{source}/"))
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(origin / name, place)
