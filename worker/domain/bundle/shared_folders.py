"""Shared folders: out of the blueprint, into volumes.

In a blueprint a shared folder is a node whose `container_name` is the path; its operation `provideFolder` is
connected to an operation `mountVolume` of each node that uses it. None of this exists at run time, so all of it
goes: the node, every `mountVolume` operation, and every edge that points to either.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from worker.errors import NotDeployable

_PATH = re.compile(r"(/[A-Za-z0-9._-]+)+/?", re.ASCII)
_EDGE_LISTS = frozenset({"connected_to", "input_ports"})

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class SharedFolder:
    """One path that all nodes of a pipeline share."""

    path: str
    claim: str  # shared-folder, shared-folder-2, …
    users: frozenset[str]  # lower-cased container names the blueprint connects to it

    @property
    def file_name(self) -> str:
        """The playground server knows a shared folder by `pvc.yaml`."""
        return f"pvc{self.claim.removeprefix('shared-folder')}.yaml"


def find_shared_folders(document: Json) -> tuple[SharedFolder, ...]:
    """The shared folders in the blueprint's order; two nodes with one path are one folder.

    Raises NotDeployable (shared-folder-invalid) when a path cannot be mounted.
    """
    users: dict[str, set[str]] = {}
    paths: dict[str, str] = {}
    for node in filter(_is_shared_folder, document["nodes"]):
        path = paths[_name(node)] = _mount_path(node)
        users.setdefault(path, set()).update(_targets(node))
    for node in document["nodes"]:
        for target in _targets(node):
            if target in paths:
                users[paths[target]].add(_name(node))
    return tuple(
        SharedFolder(path, "shared-folder" if number == 1 else f"shared-folder-{number}", frozenset(connected))
        for number, (path, connected) in enumerate(users.items(), start=1)
    )


def without_shared_folders(document: Json) -> Json:
    """A copy of the blueprint in which no trace of a shared folder is left."""
    names = {_name(node) for node in document["nodes"] if _is_shared_folder(node)}

    def stays(item: Any, inside: str) -> bool:
        if not isinstance(item, dict):
            return True
        to_folder = inside in _EDGE_LISTS and _name(item) in names
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
    if not isinstance(path, str) or not _PATH.fullmatch(path) or {".", ".."} & set(path.split("/")):
        shown = str(path)[:60]
        raise NotDeployable(
            "shared-folder-invalid",
            f"The shared folder '{shown}' is not an absolute path of letters, digits, '.', '_' and '-', "
            "such as /data/shared. Correct its name in the editor.",
        )
    return path.rstrip("/")


def _name(item: Json) -> str:
    return str(item.get("container_name")).lower()


def _targets(node: Json) -> Iterator[str]:
    """The containers a node's operations are connected to; odd shapes are judged by the reader later."""
    for operation in _objects(node.get("operation_signature_list")):
        yield from map(_name, _objects(operation.get("connected_to")))


def _objects(value: Any) -> list[Json]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
