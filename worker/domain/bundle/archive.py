"""solution.zip: which files are in it, and the same bytes for the same input on every machine.

The zip depends on nothing but its files: sorted, stored, with one date and one mode. Deflate differs from one zlib to
the next, and the standard library's writer spends most of its time on what a fixed layout does not need. The layout is
PKWARE's APPNOTE 4.3, without extra fields.
"""

import json
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any
from zlib import crc32

from schemas import Kind
from worker import __version__, settings
from worker.domain.bundle.manifests import manifest_files
from worker.domain.bundle.plan import Container, Plan
from worker.domain.overrides.overrides import NO_OVERRIDES, Overrides
from worker.errors import NotDeployable

GENERATOR = "playground-deployer"
MAX_PROTOS_BYTES = 16 * 1024 * 1024

Files = dict[str, bytes]


@dataclass(frozen=True, slots=True)
class Bundle:
    """A finished solution.zip."""

    data: bytes = field(repr=False)
    sha256: str
    nodes: tuple[str, ...]
    files: Mapping[str, bytes] = field(repr=False)
    overridden: Mapping[str, tuple[int, ...]] = field(default_factory=dict)  # file → the operator's entries in it


def build_bundle(
    plan: Plan,
    protos: Mapping[str, bytes],
    shipped: Mapping[str, bytes],
    options: settings.BundleSettings,
    overrides: Overrides = NO_OVERRIDES,
) -> Bundle:
    """Render and pack.

    protos: container name → protobuf text. shipped: what comes with the deployer (worker/ontarget), by path.
    Raises NotDeployable (bundle-too-large), OverridesInvalid.
    """
    if sum(map(len, protos.values())) > MAX_PROTOS_BYTES:
        raise protos_too_large()
    files, overridden = manifest_files(plan, options, overrides.apply if overrides.entries else None)
    files |= _descriptions(plan, options) | _shipped(plan, shipped)
    files |= {f"microservice/{name}.proto": text for name, text in protos.items()}
    files["MANIFEST.json"] = _manifest(plan, files)
    data = stored_zip(files)
    nodes = tuple(container.name for container in plan.containers)
    return Bundle(data, sha256(data).hexdigest(), nodes, files, overridden)


def protos_too_large() -> NotDeployable:
    """Make the error for protobufs that have more than MAX_PROTOS_BYTES together."""
    return NotDeployable(
        "bundle-too-large", f"The protobufs have more than {MAX_PROTOS_BYTES >> 20} MiB in all. Make them smaller."
    )


def _descriptions(plan: Plan, options: settings.BundleSettings) -> Files:
    """Describe the solution, each file on its own: a missing icon drops nothing else."""
    files = {
        "blueprint.json": _json(plan.document),
        "source_system_url.txt": options.source_system_url.encode(),
        "federation-endpoint.url": options.source_system_url.encode(),
    }
    if plan.icon is not None:
        files["solution_icon.png"] = plan.icon
    if plan.description is not None:
        files["solution_description.html"] = plan.description
    if plan.kind is Kind.PIPELINE:
        files["dockerinfo.json"] = _docker_info(plan.containers)
    else:
        # Older playground servers make the namespace from it.
        files["modelname.txt"] = plan.containers[0].name.encode()
    return files


def _docker_info(containers: tuple[Container, ...]) -> bytes:
    """List the Services' ports as strings; the script on the target puts NodePorts in their place."""
    entries = [{"container_name": it.name, "ip_address": it.name, "port": str(it.service_port)} for it in containers]
    return _json({"docker_info_list": entries})


def _shipped(plan: Plan, shipped: Mapping[str, bytes]) -> Files:
    """Choose what comes along; orchestrator_client/, which brings a Run button, only with pipelines."""
    if plan.kind is Kind.PIPELINE:
        return {name: data for name, data in shipped.items() if name != "requirements-single.txt"}
    return {
        "kubernetes-client-script.py": shipped["kubernetes-client-script.py"],
        "deployment-readme.txt": shipped["deployment-readme.txt"],
        "requirements.txt": shipped["requirements-single.txt"],
    }


def _manifest(plan: Plan, files: Files) -> bytes:
    """Say what the zip was made of and by; nothing of the request, so the same solution gives the same bytes."""
    return _json(
        {
            "generator": {"name": GENERATOR, "version": __version__},
            "solutionId": str(plan.solution_id),
            "revisionId": str(plan.revision_id),
            "entries": {name: {"sha256": sha256(files[name]).hexdigest()} for name in sorted(files)},
        }
    )


def _json(document: Mapping[str, Any]) -> bytes:
    # On one line, as in today's bundles: indenting takes the encoder's slow path.
    return (json.dumps(document, ensure_ascii=False, separators=(",", ":")) + "\n").encode()


# Entry names are made of node names and fixed words; anything else is a defect.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*", re.ASCII)

_VERSION = 20  # 2.0, which every reader understands
_UNIX = 3
_STORED = 0
_TIME, _DATE = 0, 33  # 1980-01-01 00:00:00, the earliest a zip can hold
_MODE = 0o100644 << 16

_LOCAL = struct.Struct("<4s5H3L2H")
_CENTRAL = struct.Struct("<4s2B5H3L5H2L")
_END = struct.Struct("<4s4H2LH")
_MAX_BYTES, _MAX_ENTRIES = 0xFFFFFFFF, 0xFFFF


def stored_zip(files: Mapping[str, bytes]) -> bytes:
    """Pack files, by their path.

    Raises ValueError for a path outside the closed alphabet, or more than 4 GiB or 65,535 files.
    """
    entries: list[bytes] = []
    directory: list[bytes] = []
    offset = 0
    for path in sorted(files):
        if not _NAME.fullmatch(path):
            raise ValueError(f"not an entry name: {path!r}")
        name, data = path.encode(), files[path]
        common = (_STORED, _TIME, _DATE, crc32(data), len(data), len(data), len(name), 0)
        local = _LOCAL.pack(b"PK\x03\x04", _VERSION, 0, *common)
        directory.append(_CENTRAL.pack(b"PK\x01\x02", _VERSION, _UNIX, _VERSION, 0, *common, 0, 0, 0, _MODE, offset))
        directory.append(name)
        entries += (local, name, data)
        offset += len(local) + len(name) + len(data)
    size = sum(map(len, directory))
    if offset + size > _MAX_BYTES or len(files) > _MAX_ENTRIES:
        raise ValueError(f"{len(files)} files of {offset} bytes are too many for a zip")
    end = _END.pack(b"PK\x05\x06", 0, 0, len(files), len(files), size, offset, 0)
    return b"".join((*entries, *directory, end))
