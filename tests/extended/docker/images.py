"""Stand-ins for the base images, which only an image registry has, and the wheels that a build downloads.

Python's image is this machine's Python in /usr/local with a shell, and no Debian around it. Kafka's image is Apache's
own jars, started as the real image starts them. Each is one layer, a tar archive in the cache folder.
"""

import asyncio
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from tests.extended.image.root import BASE_ENV, python_for
from tests.extended.live import images
from tests.extended.live.images import File, shared_libraries, tree, write_layer
from tests.extended.live.machine import ADDRESS
from tests.support.compose import read_compose
from tests.support.dockerfile import read_dockerfile
from tests.support.kept import Unavailable, kept
from tests.support.paths import ROOT
from worker.errors import ConfigurationError
from worker.sandbox.kafka_installation import find_java, kafka_jars

INDEX = (ADDRESS, 8900)  # where the build finds wheels

_LOCKS = (ROOT / "requirements.lock", ROOT / "requirements-build.lock")
_UNUSED = frozenset({"site-packages", "dist-packages", "test", "tests", "idlelib", "tkinter", "__pycache__"})
_PIP = f"""\
[global]
no-index = true
find-links = http://{INDEX[0]}:{INDEX[1]}/
trusted-host = {INDEX[0]}
"""

# Layers are made again when one of these changes.
_SOURCES = [Path(it).read_bytes() for it in (__file__, images.__file__)]

# As the image's own scripts `configure` and `launch` do.
_KAFKA = """\
#!/bin/bash
set -e
cd /etc/kafka/docker
java=(/opt/java/bin/java -cp '/opt/kafka/libs/*')
"${java[@]}" kafka.docker.KafkaDockerWrapper setup --default-configs-dir=/etc/kafka/docker \\
    --mounted-configs-dir=/mnt/shared/config --final-configs-dir=/opt/kafka/config
exec "${java[@]}" $KAFKA_HEAP_OPTS kafka.Kafka /opt/kafka/config/server.properties
"""
_KAFKA_DEFAULTS = ("server.properties", "log4j2.yaml", "tools-log4j2.yaml")


@dataclass(frozen=True, slots=True)
class StandIn:
    """A layer, and the other properties of its image."""

    name: str  # without the digest, which is that of the real image
    layer: Path
    changes: Sequence[str]  # lines of a Dockerfile

    @property
    def tag(self) -> str:
        """Return the value of the Dockerfile's argument."""
        return self.name.partition(":")[2]


@cache
def base_image() -> StandIn:
    """Return the stand-in for the Dockerfile's base image. Raises Unavailable."""
    base, python = _base()
    key = [*_SOURCES, _said(python, "import sys; print(sys.version)").encode()]
    folder = kept("docker-python", key, lambda it: write_layer(it / "layer.tar", _base_files(python)))
    changes = [*(f"ENV {name}={value}" for name, value in BASE_ENV.items()), 'CMD ["python3"]']
    return StandIn(_without_digest(base), folder / "layer.tar", changes)


@cache
def kafka_image() -> StandIn:
    """Return the stand-in for the compose file's Kafka image. Raises Unavailable."""
    try:
        java, jars = find_java(), asyncio.run(kafka_jars())
    except ConfigurationError as error:
        raise Unavailable(str(error)) from error
    home = java.resolve().parents[1]
    key = [*_SOURCES, *(it.name.encode() for it in jars), (home / "release").read_bytes()]
    folder = kept("docker-kafka", key, lambda it: write_layer(it / "layer.tar", _kafka_files(home, jars)))
    name = _without_digest(read_compose()["services"]["kafka"]["image"])
    return StandIn(name, folder / "layer.tar", ["USER 1000:1000", 'CMD ["/etc/kafka/docker/run"]'])


@cache
def wheels() -> Path:
    """Return a folder with the wheels of the two locks for the image's Python. Raises Unavailable."""
    _, python = _base()
    key = [
        *(it.read_bytes() for it in _LOCKS),
        _said(python, "import sys; print(sys.implementation.cache_tag)").encode(),
    ]
    return kept("docker-wheels", key, partial(_download, python))


def _base() -> tuple[str, Path]:
    """Return the image's name in the Dockerfile, and the prefix of the Python that stands in for it."""
    base = read_dockerfile((ROOT / "Dockerfile").read_text(encoding="utf-8"), BASE_ENV)[-1].base
    return base, python_for(base)


def _download(python: Path, folder: Path) -> None:
    pip = [sys.executable, "-m", "pip", "--python", str(python / "bin" / "python3"), "download", "--quiet"]
    for lock in _LOCKS:
        options = ["--require-hashes", "--only-binary", ":all:", "--dest", str(folder), "-r", str(lock)]
        done = subprocess.run([*pip, *options], capture_output=True, text=True, check=False)
        if done.returncode:
            raise Unavailable(f"The wheels of {lock.name} cannot be fetched.\n{done.stderr.strip()}")


def _base_files(python: Path) -> Iterator[File]:
    """Yield the interpreter, its library, the shared libraries of both and of our packages, and pip's index setting."""
    program = Path(_said(python, "import os, sys; print(os.path.realpath(sys.executable))"))
    library = Path(_said(python, "import sysconfig; print(sysconfig.get_path('stdlib'))"))
    files = list(tree(library, f"usr/local/lib/{library.name}", _UNUSED))
    yield "usr/local/bin/python3", program
    yield from files
    yield "etc/pip.conf", _PIP.encode()
    yield from _shell([program, *_modules(it for _, it in files), *Path(sysconfig.get_path("platlib")).rglob("*.so")])


def _kafka_files(home: Path, jars: Sequence[Path]) -> Iterator[File]:
    files = list(tree(home, "opt/java", ()))
    # Debian's Java keeps its settings in /etc, with links to them.
    files = [(name, it.resolve() if isinstance(it, Path) and it.is_file() else it) for name, it in files]
    yield from files
    yield from ((f"opt/kafka/libs/{it.name}", it) for it in jars)
    yield "etc/kafka/docker/run", _KAFKA.encode()
    yield from ((f"etc/kafka/docker/{it}", b"\n") for it in _KAFKA_DEFAULTS)
    # The image's user writes to these.
    yield from ((it, b"") for it in ("mnt/shared/config", "opt/kafka/config", "var/lib/kafka/data"))
    yield from _shell([home / "bin" / "java", *_modules(it for _, it in files)])


def _modules(contents: Iterable[Path | bytes]) -> list[Path]:
    return [it for it in contents if isinstance(it, Path) and ".so" in it.suffixes]


def _shell(programs: Sequence[Path]) -> Iterator[File]:
    """Yield shells, a folder for temporary files, and the libraries that the shells and programs need."""
    yield "tmp", b""
    for name in ("bash", "sh"):
        yield f"bin/{name}", Path("/bin", name).resolve()
    yield from sorted(shared_libraries([Path("/bin/bash"), Path("/bin/sh"), *programs]).items())


def _said(python: Path, program: str) -> str:
    done = subprocess.run([python / "bin" / "python3", "-I", "-c", program], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def _without_digest(name: str) -> str:
    return name.partition("@")[0]
