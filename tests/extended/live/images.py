"""The images of the sandbox cases, of the orchestrator and of the pause container, written without a builder.

They form an OCI image layout (opencontainers/image-spec, image-layout.md) in the cache folder: a layer with this Python
and the libraries it needs, a layer with wheels, and a layer with the programs of containers/.
"""

import hashlib
import json
import platform
import re
import subprocess
import sys
import tarfile
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import cache
from io import BytesIO
from os.path import normpath
from pathlib import Path
from typing import Any

from tests.extended.live.packages import LOCK, busybox, wheels
from tests.support.kept import kept

PROGRAMS = Path(__file__).with_name("containers")
PAUSE = "pause:1"
ORCHESTRATOR = "generic-parallel-orchestrator/orchestrator_container:1.8"
INDEX, MANIFEST = "application/vnd.oci.image.index.v1+json", "application/vnd.oci.image.manifest.v1+json"
CONFIG, LAYER = "application/vnd.oci.image.config.v1+json", "application/vnd.oci.image.layer.v1.tar"
NAME = "org.opencontainers.image.ref.name"  # annotation: repository:tag
USER = "1000:1000"  # as well-built containers have a user; Pod Security `restricted` rejects root

_PYTHON = "/opt/python"
_ENV = {
    "PATH": f"{_PYTHON}/bin:/bin",
    "PYTHONPATH": "/opt/wheels",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONUNBUFFERED": "1",
}
_UNUSED = frozenset(
    {"site-packages", "dist-packages", "test", "tests", "idlelib", "tkinter", "ensurepip", "__pycache__"}
)

# repository:tag → the module that runs, and its arguments
_COMMANDS: dict[str, Sequence[str]] = {
    ORCHESTRATOR: ("containers.orchestrator",),
    "tutorials/sudoku-gui:1.2.0": ("containers.sudoku", "gui"),
    "tutorials/sudoku-design-evaluator:1.2.0": ("containers.sudoku", "evaluator"),
    "tutorials/sudoku-asp-solver:1.1.3": ("containers.sudoku", "solver"),
    "news/databroker:2.0.1": ("containers.news", "databroker"),
    "news/classifier:2.1.0": ("containers.news", "classifier"),
    "news/tensorboard:1.0.4": ("containers.news", "tensorboard"),
    "language/entity-recogniser:1.0.0": ("containers.recogniser",),
}

File = tuple[str, Path | bytes]
"""A path in the layer and its content; without content, a folder that all users may write to."""


@cache
def oci_layout() -> Path:
    """Return the layout's folder: index.json and blobs/. Raises Unavailable."""
    programs = [*sorted(PROGRAMS.glob("*.*")), *_protobufs()]
    key = [LOCK.read_bytes(), Path(__file__).read_bytes(), sys.version.encode(), *(it.read_bytes() for it in programs)]
    return kept("live-images", key, _write)


def _protobufs() -> list[Path]:
    root = Path(__file__).parents[3] / "worker"
    return [*sorted(root.glob("sandbox/data/*/*.proto")), root / "ontarget" / "protobuf" / "orchestrator.proto"]


def _write(folder: Path) -> None:
    layout = Layout(folder)
    base = layout.layer(python_files(Path(sys.base_prefix), _PYTHON[1:], [*wheels().rglob("*.so*")]))
    packages = layout.layer(tree(wheels(), "opt/wheels"))
    # grpc generates modules from protobufs, and module names have no hyphens.
    protobufs = [(f"app/{it.name.replace('-', '_')}", it) for it in _protobufs()]
    own = [*((f"app/containers/{it.name}", it) for it in sorted(PROGRAMS.glob("*.*"))), *protobufs]
    app = layout.layer([("tmp", b""), *own])
    for name, arguments in _COMMANDS.items():
        variables = [f"{key}={value}" for key, value in _ENV.items()]
        command = {"Cmd": ["python3", "-m", *arguments], "Env": variables, "WorkingDir": "/app", "User": USER}
        layout.add(name, [base, packages, app], command)
    pause = [layout.layer([("bin/sleep", busybox())])]
    layout.add(PAUSE, pause, {"Cmd": ["/bin/sleep", "2147483647"], "User": USER})
    layout.close()


class Layout:
    """A folder that becomes an OCI image layout."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._blobs = folder / "blobs" / "sha256"
        self._blobs.mkdir(parents=True)
        self._manifests: list[dict[str, Any]] = []

    def layer(self, files: Iterable[File]) -> dict[str, Any]:
        """Write a layer and return its descriptor."""
        beside = self._folder / "layer"
        write_layer(beside, files)
        return self._blob(beside, LAYER)

    def add(self, name: str, layers: Sequence[dict[str, Any]], config: dict[str, Any]) -> None:
        """Make an image from layers; `config` sets its command and its user."""
        document = {
            "architecture": {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine()),
            "os": "linux",
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [it["digest"] for it in layers]},
        }
        manifest = {
            "schemaVersion": 2, "mediaType": MANIFEST, "config": self._json(document, CONFIG), "layers": list(layers)
        }  # fmt: skip
        self._manifests.append(self._json(manifest, MANIFEST) | {"annotations": {NAME: name}})

    def close(self) -> None:
        """Write the index of the images."""
        (self._folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": self._manifests}
        (self._folder / "index.json").write_text(json.dumps(index))

    def _json(self, document: Any, kind: str) -> dict[str, Any]:
        beside = self._folder / "document"
        beside.write_text(json.dumps(document))
        return self._blob(beside, kind)

    def _blob(self, file: Path, kind: str) -> dict[str, Any]:
        with file.open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
        size = file.stat().st_size
        file.rename(self._blobs / digest)
        return {"mediaType": kind, "digest": f"sha256:{digest}", "size": size}


def write_layer(file: Path, files: Iterable[File]) -> None:
    """Write a tar archive that is identical for identical files."""
    with tarfile.open(file, "w", format=tarfile.PAX_FORMAT) as tar:
        folders: set[str] = set()
        for name, content in files:
            for parent in reversed(Path(name).parents[:-1]):
                if str(parent) not in folders:
                    folders.add(str(parent))
                    tar.addfile(_entry(str(parent), tarfile.DIRTYPE))
            _append(tar, name, content)


def _entry(name: str, kind: bytes, mode: int = 0o755, size: int = 0) -> tarfile.TarInfo:
    """Return an entry that belongs to root and has no time, so that identical files make an identical layer."""
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode, entry.size = kind, mode, size
    return entry


def _append(tar: tarfile.TarFile, name: str, content: Path | bytes) -> None:
    if not content:  # an empty folder that all users may write to
        tar.addfile(_entry(name, tarfile.DIRTYPE, 0o1777))
    elif isinstance(content, Path) and content.is_symlink():
        link = _entry(name, tarfile.SYMTYPE, 0o777)
        link.linkname = str(content.readlink())
        tar.addfile(link)
    else:
        data = content if isinstance(content, bytes) else content.read_bytes()
        mode = 0o755 if isinstance(content, bytes) else 0o644 | content.stat().st_mode & 0o111
        tar.addfile(_entry(name, tarfile.REGTYPE, mode, len(data)), BytesIO(data))


def python_files(prefix: Path, place: str, modules: Sequence[Path]) -> Iterator[File]:
    """Yield the Python of a prefix under another path, with the shared libraries of it and of extension modules."""
    ask = "import sys, sysconfig; print(sys.executable, sysconfig.get_path('stdlib'), sep='\\n')"
    said = subprocess.run([prefix / "bin" / "python3", "-I", "-c", ask], capture_output=True, text=True, check=True)
    program, library = (Path(it).resolve() for it in said.stdout.split())
    files = list(tree(library, f"{place}/lib/{library.name}"))
    yield f"{place}/bin/python3", program
    yield from files
    own = [it for _, it in files if isinstance(it, Path) and ".so" in it.suffixes]
    yield from sorted(shared_libraries([program, *own, *modules]).items())


def tree(folder: Path, name: str, unused: Collection[str] = _UNUSED) -> Iterator[File]:
    """Yield the files of a folder under another name, links unchanged, without folders with `unused` names."""
    for path in sorted(folder.rglob("*")):
        inner = path.relative_to(folder)
        if (path.is_file() or path.is_symlink()) and not set(inner.parts).intersection(unused):
            yield f"{name}/{inner}", path


def shared_libraries(programs: Sequence[Path]) -> dict[str, Path]:
    """Return path in the image → library, for all libraries that this machine's linker finds for these programs."""
    said = subprocess.run(["ldd", *programs], capture_output=True, text=True, check=False).stdout
    found = re.findall(r"^\s+(?:\S+ => )?(/\S+) \(0x", said, re.MULTILINE)
    # A library may be found relative to its program; Docker refuses a layer that has one path twice.
    return {normpath(it)[1:]: Path(it).resolve() for it in found}
