"""Read the pipeline in blueprint.json: the input is read tolerantly, the result is strict.

Unknown keys and explicit nulls are kept unchanged. A node represents either a container or a folder that all
containers share. The `container_name` of a shared folder's node is the path, and its operation `provideFolder` is
connected to an operation `mountVolume` of each node that uses the folder. None of this exists at run time, so the
document loses the node, every `mountVolume`, and every edge that points to either.

Graphene lower-cases the names of nodes, but not the edges that point to them. Names are therefore matched without
regard to case.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from worker.domain import strict_json
from worker.errors import NotDeployable

MAX_BYTES = 1024 * 1024

# Node types that Graphene's editor offers but that have no container. The orchestrator rejects a pipeline with them.
NOT_RUNNABLE = frozenset({"splitter", "collator"})

_PATH = re.compile(r"(/[A-Za-z0-9._-]+)+/?", re.ASCII)
# A mount hides the image's files at its path. These folders hold files that a container needs to start (programs,
# interpreters, libraries, certificates), or the cluster mounts something in them. Other folders in /usr, /var, /opt
# and homes may hold data.
_INTERPRETERS = (
    r"\.?(local|conda|v?env|virtualenvs?|pyenv|nvm|asdf)|(micro)?mamba|((ana|mini)conda|(mini|mamba)forge)[0-9]*"
    r"|(python|pypy|node|jdk|jre|java)[0-9._v-]*"
)
_SYSTEM = re.compile(
    r"|/(bin|sbin|lib(32|64|x32)?|boot|dev|etc|proc|run|sys|var/run|nix)(/.*)?"
    r"|/usr/(local/)?(bin|sbin|lib(exec|32|64|x32)?|cuda[^/]*)(/.*)?|/usr(/local)?|/var(/lib)?"
    r"|/usr/share(/(ca-certificates|zoneinfo|perl5?|python3?|nodejs|java)(/.*)?)?"
    rf"|/(opt|root|home)|/(opt|root|home/[^/]+)/({_INTERPRETERS})(/.*)?|/opt/(bitnami|nvidia|rocm[^/]*|intel)(/.*)?"
)
_EDGE_LISTS = frozenset({"connected_to", "input_ports"})

# Image references: the grammar of distribution/reference 0.6.
_HOST = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN = rf"(?:{_HOST}(?:\.{_HOST})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?"
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
_REFERENCE = re.compile(
    rf"(?:{_DOMAIN}/)?(?P<path>{_PART}(?:/{_PART})*)(?::(?P<tag>{_TAG}))?(?:@(?P<digest>[^@]+))?", re.ASCII
)
_DIGEST = re.compile(r"sha256:[a-f0-9]{64}|sha384:[a-f0-9]{96}|sha512:[a-f0-9]{128}")
_IMAGE_ID = re.compile("[a-f0-9]{64}")
_PATH_LIMIT = 255
_DOCKER_HUB = "docker.io"

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Node:
    """One container of the pipeline."""

    name: str  # container_name as spelled in the blueprint
    node_type: str
    image: str
    image_moves: str | None  # why the reference may point to another image tomorrow
    proto_uri: str  # "" if the node has no protobuf
    dialled: bool  # has operations, so the orchestrator connects to it


@dataclass(frozen=True, slots=True)
class SharedFolder:
    """One path that all nodes of a pipeline share."""

    path: str
    claim: str  # shared-folder, shared-folder-2, …
    users: frozenset[str]  # lower-cased container names that the blueprint connects to the folder

    @property
    def file_name(self) -> str:
        """The file name of the claim's manifest. The playground server recognises a shared folder by `pvc.yaml`."""
        return f"pvc{self.claim.removeprefix('shared-folder')}.yaml"


@dataclass(frozen=True, slots=True)
class Blueprint:
    """A pipeline as its author designed it, without the nodes and edges of shared folders."""

    name: str
    document: Json  # blueprint.json without the shared folders
    nodes: tuple[Node, ...]
    shared_folders: tuple[SharedFolder, ...]
    wants_probe: bool


def read_blueprint(data: bytes, max_nodes: int, max_shared_folders: int = 10) -> Blueprint:
    """Read blueprint.json.

    Raises NotDeployable: blueprint-invalid, no-nodes, too-many-nodes, node-not-runnable, image-empty, image-invalid,
    shared-folder-invalid, shared-folder-reserved, too-many-shared-folders.
    """
    try:
        document = strict_json.loads(data, max_bytes=MAX_BYTES)
    except strict_json.JsonError as error:
        raise blueprint_invalid(str(error)) from error
    if not isinstance(document, dict):
        raise blueprint_invalid("it is not a JSON object")
    name = _text(document, "name", "the blueprint")
    if len(_objects(document, "nodes", "the blueprint")) > max_nodes:
        raise NotDeployable("too-many-nodes", f"The pipeline has more than {max_nodes} nodes. Split it.")
    folders = _shared_folders(document)
    if len(folders) > max_shared_folders:
        problem = f"The pipeline has more than {max_shared_folders} shared folders. Use fewer."
        raise NotDeployable("too-many-shared-folders", problem)
    document = _without_shared_folders(document)
    nodes = tuple(_node(node) for node in _objects(document, "nodes", "the blueprint"))
    if not nodes:
        raise NotDeployable("no-nodes", "The pipeline has no node that can be deployed. Add one.")
    return Blueprint(name, document, nodes, folders, _wants_probe(document))


def is_blueprint(data: bytes) -> bool:
    """Return whether the data is a blueprint, valid or not, rather than another text or part of a blueprint."""
    try:
        document = strict_json.loads(data, max_bytes=MAX_BYTES)
    except strict_json.NotJson:
        return False
    except strict_json.JsonError:
        return True
    return isinstance(document, dict) and "nodes" in document


def blueprint_invalid(problem: str) -> NotDeployable:
    """Return the error for a blueprint that the editor could not have written."""
    return NotDeployable(
        "blueprint-invalid",
        f"The blueprint cannot be used: {problem}. Correct the pipeline in the editor and save it again.",
    )


def _node(node: Json) -> Node:
    """Read one node, and add the lists that the orchestrator requires."""
    name = _text(node, "container_name", "a node")
    where = f"node '{name[:60]}'"
    node_type = _text(node, "node_type", where, default="")
    if node_type.lower() in NOT_RUNNABLE:
        raise NotDeployable(
            "node-not-runnable",
            f"Node '{name[:60]}' is a {node_type}, which has no container. Replace it.",
        )
    operations = _objects(node, "operation_signature_list", where)
    for operation in operations:
        signature = _signature(operation, where)
        for key in ("input_message_name", "output_message_name"):
            _text(signature, key, where)
        for key in ("input_message_stream", "output_message_stream"):
            _flag(signature, key, where)
        for target in _objects(operation, "connected_to", where):
            _text(target, "container_name", f"an edge of {where}")
            _signature(target, f"an edge of {where}")
    image = _text(node, "image", where, default="")
    proto_uri = _text(node, "proto_uri", where, default="")
    return Node(name, node_type, image, check_image(image, f"Node '{name[:60]}'"), proto_uri, bool(operations))


def check_image(image: str, owner: str) -> str | None:
    """Reject a reference that no container runtime can pull, and return why it may point to another image tomorrow.

    `owner` names the node in the error message. The result is half a sentence such as "has no tag", or None for a
    reference that is pinned to one version. Raises NotDeployable: image-empty, image-invalid.
    """
    if not image.strip():
        raise NotDeployable("image-empty", f"{owner} has no container image. On-board its model again.")
    match = _REFERENCE.fullmatch(_with_registry(image))
    scheme, separator, _ = image.partition("://")
    if separator:
        problem = f"starts with '{scheme[:20]}://': a reference begins with the registry's host, leave the scheme out"
    elif _IMAGE_ID.fullmatch(image):
        problem = "is a bare image id, which a registry cannot serve"
    elif match is None:
        problem = "is not of the form [registry/]path[:tag][@digest] with a path in lower case"
    elif len(match["path"]) > _PATH_LIMIT:
        problem = f"has a path longer than {_PATH_LIMIT} characters"
    elif match["digest"] is not None and not _DIGEST.fullmatch(match["digest"]):
        problem = "has a digest that is not sha256, sha384 or sha512 in lower-case hex"
    else:
        return None if match["digest"] else {None: "has no tag", "latest": "has the tag latest"}.get(match["tag"])
    raise NotDeployable("image-invalid", f"{owner} has the image '{image[:200]}', which {problem}. Correct it.")


def _with_registry(image: str) -> str:
    """Add the registry as Docker does for short names: a first part that cannot be a host begins a Docker Hub path."""
    first, slash, rest = image.partition("/")
    if not slash or not (set(first) & set(".:") or first == "localhost" or first != first.lower()):
        first, rest = _DOCKER_HUB, image
    if first in (_DOCKER_HUB, "index.docker.io") and "/" not in rest:
        rest = f"library/{rest}"
    return f"{first}/{rest}"


def _wants_probe(document: Json) -> bool:
    """Return whether the last `value` requests a probe. Real files also contain the misspelt key."""
    for key in ("probeIndicator", "probeIndocator"):
        entries = _dicts(document.get(key))
        if entries and str(entries[-1].get("value")).lower() == "true":
            return True
    return False


def _shared_folders(document: Json) -> tuple[SharedFolder, ...]:
    """Find the shared folders, in the blueprint's order. Two nodes with the same path are one folder.

    Raises NotDeployable (shared-folder-invalid, shared-folder-reserved) if a path cannot be mounted.
    """
    users: dict[str, set[str]] = {}
    paths: dict[str, str] = {}
    for node in filter(_is_shared_folder, document["nodes"]):
        path = paths[_key(node)] = _mount_path(node)
        users.setdefault(path, set()).update(_targets(node))
    if paths:
        for node in document["nodes"]:
            for target in _targets(node):
                if target in paths:
                    users[paths[target]].add(_key(node))
    return tuple(
        SharedFolder(path, "shared-folder" if number == 1 else f"shared-folder-{number}", frozenset(connected))
        for number, (path, connected) in enumerate(users.items(), start=1)
    )


def _without_shared_folders(document: Json) -> Json:
    """Copy the blueprint without any trace of a shared folder."""
    names = {_key(node) for node in document["nodes"] if _is_shared_folder(node)}

    def stays(item: Any, inside: str) -> bool:
        if not isinstance(item, dict):
            return True
        to_folder = inside in _EDGE_LISTS and _key(item) in names
        return not (_is_shared_folder(item) or _is_mount_volume(item) or to_folder)

    def copy(value: Any, inside: str = "") -> Any:
        if isinstance(value, dict):
            return {key: copy(inner, key) for key, inner in value.items()}
        return [copy(item, inside) for item in value if stays(item, inside)] if isinstance(value, list) else value

    result: Json = copy(document)
    return result


def _is_shared_folder(item: Json) -> bool:
    return str(item.get("node_type")).lower() == "sharedfolder"


def _is_mount_volume(item: Json) -> bool:
    signature = item.get("operation_signature")
    return isinstance(signature, dict) and str(signature.get("operation_name")).lower() == "mountvolume"


def _mount_path(node: Json) -> str:
    path = node.get("container_name")
    if not isinstance(path, str) or not (_PATH.fullmatch(path) or path == "/") or {".", ".."} & set(path.split("/")):
        shown = str(path)[:60]
        raise NotDeployable(
            "shared-folder-invalid",
            f"The shared folder '{shown}' is not an absolute path of letters, digits, '.', '_' and '-', "
            "such as /data/shared. Correct its name in the editor.",
        )
    path = path.rstrip("/")
    if _SYSTEM.fullmatch(path):
        raise NotDeployable(
            "shared-folder-reserved",
            f"The shared folder '{path[:60]}' would hide a folder of the system or of an interpreter in every node. "
            "Choose another path in the editor, such as /data/shared.",
        )
    return path


def _targets(node: Json) -> Iterator[str]:
    """Yield the containers that a node's operations are connected to. Malformed entries are rejected later."""
    for operation in _dicts(node.get("operation_signature_list")):
        yield from map(_key, _dicts(operation.get("connected_to")))


def _key(item: Json) -> str:
    return str(item.get("container_name")).lower()


def _dicts(value: Any) -> list[Json]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _objects(parent: Json, key: str, where: str) -> list[Json]:
    """Read a list of objects. A missing or null list also becomes an empty list in the document."""
    items = parent.get(key)
    if items is None:
        items = parent[key] = []
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise blueprint_invalid(f"{key} of {where} is not a list of objects")
    return items


def _signature(entry: Json, where: str) -> Json:
    signature = entry.get("operation_signature")
    if not isinstance(signature, dict):
        raise blueprint_invalid(f"{where} has an entry without operation_signature")
    _text(signature, "operation_name", where)
    return signature


def _flag(parent: Json, key: str, where: str) -> None:
    """Convert a value that is present to a boolean, because the orchestrator rejects null."""
    if key in parent:
        value = parent[key]
        given = value.lower() if isinstance(value, str) else value
        if given not in (None, False, True, "false", "true") or type(given) in (int, float):
            raise blueprint_invalid(f"{key} of {where} is neither true nor false")
        parent[key] = given in (True, "true")


def _text(parent: Json, key: str, where: str, default: str | None = None) -> str:
    value = parent.get(key)
    if value is None:
        value = default
    if not isinstance(value, str) or (default is None and not value):
        raise blueprint_invalid(f"{key} of {where} is missing or not a text")
    return value
