"""The contents of solution.zip, and its layout: the same input gives the same bytes on every machine.

The zip depends only on its files. They are sorted and stored uncompressed, with one date and one mode. Deflate output
differs between zlib versions, and the standard library's writer spends most of its time on features that a fixed
layout does not need. The layout is that of PKWARE's APPNOTE 4.3, without extra fields.
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
    overridden: Mapping[str, tuple[int, ...]] = field(default_factory=dict)  # file → numbers of the override entries


def build_bundle(
    plan: Plan,
    protos: Mapping[str, bytes],
    shipped: Mapping[str, bytes],
    options: settings.BundleSettings,
    overrides: Overrides = NO_OVERRIDES,
) -> Bundle:
    """Render the plan and pack the bundle.

    protos: container name → protobuf text. shipped: path → file that comes with the deployer (worker/ontarget).
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
    """Return the error for protobufs that exceed MAX_PROTOS_BYTES in total."""
    return NotDeployable(
        "bundle-too-large", f"The protobufs have more than {MAX_PROTOS_BYTES >> 20} MiB in all. Make them smaller."
    )


def _descriptions(plan: Plan, options: settings.BundleSettings) -> Files:
    """Return the files that describe the solution. A missing icon or description omits only its own file."""
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
        # Older playground servers derive the namespace from modelname.txt.
        files["modelname.txt"] = plan.containers[0].name.encode()
    return files


def _docker_info(containers: tuple[Container, ...]) -> bytes:
    """List the Services' ports as strings. The script on the target replaces them with the NodePorts."""
    entries = [{"container_name": it.name, "ip_address": it.name, "port": str(it.service_port)} for it in containers]
    return _json({"docker_info_list": entries})


def _shipped(plan: Plan, shipped: Mapping[str, bytes]) -> Files:
    """Choose the shipped files. Only pipelines get orchestrator_client/, which provides a Run button."""
    if plan.kind is Kind.PIPELINE:
        return {name: data for name, data in shipped.items() if name != "requirements-single.txt"}
    return {
        "kubernetes-client-script.py": shipped["kubernetes-client-script.py"],
        "deployment-readme.txt": shipped["deployment-readme.txt"],
        "requirements.txt": shipped["requirements-single.txt"],
    }


def _manifest(plan: Plan, files: Files) -> bytes:
    """List the generator, the solution and the hashes, and nothing of the request: a solution gives the same bytes."""
    return _json(
        {
            "generator": {"name": GENERATOR, "version": __version__},
            "solutionId": str(plan.solution_id),
            "revisionId": str(plan.revision_id),
            "entries": {name: {"sha256": sha256(files[name]).hexdigest()} for name in sorted(files)},
        }
    )


def _json(document: Mapping[str, Any]) -> bytes:
    # One line, as in today's bundles: indentation takes the encoder's slow path.
    return (json.dumps(document, ensure_ascii=False, separators=(",", ":")) + "\n").encode()


# Entry names consist of node names and fixed words. Any other name is a bug.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*", re.ASCII)

_VERSION = 20  # 2.0, which every zip reader supports
_UNIX = 3
_STORED = 0
_TIME, _DATE = 0, 33  # 1980-01-01 00:00:00, the earliest time that a zip can store
_MODE = 0o100644 << 16

_LOCAL = struct.Struct("<4s5H3L2H")
_CENTRAL = struct.Struct("<4s2B5H3L5H2L")
_END = struct.Struct("<4s4H2LH")
_MAX_BYTES, _MAX_ENTRIES = 0xFFFFFFFF, 0xFFFF


def stored_zip(files: Mapping[str, bytes]) -> bytes:
    """Pack files into a zip. `files`: path → content.

    Raises ValueError if a path has a character outside the allowed alphabet, or for more than 4 GiB or 65,535 files.
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
