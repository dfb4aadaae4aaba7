"""What blueprint.json says a pipeline is: tolerant reading, strict result.

Unknown keys and explicit nulls are kept as they are. Shared folders go out of the document, and every node is
called by its Kubernetes name in it. Graphene writes node names in lower case but not the edges that point to
them, so names are matched regardless of case, and two that differ only by case are refused.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from worker.domain import strict_json
from worker.domain.bundle.names import ORCHESTRATOR, WEBUI, node_name, pipeline_name
from worker.domain.bundle.shared_folders import SharedFolder, find_shared_folders, without_shared_folders
from worker.errors import NotDeployable

MAX_BYTES = 1024 * 1024

# Node types Graphene's editor offers but no container stands behind: the orchestrator refuses such a pipeline.
NOT_RUNNABLE = frozenset({"splitter", "collator"})

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Node:
    """One container of the pipeline."""

    original: str  # container_name as the blueprint has it
    name: str  # its Kubernetes name, everywhere
    node_type: str
    image: str
    proto_uri: str  # "" when there is none
    dialled: bool  # has operations, so the orchestrator connects to it


@dataclass(frozen=True, slots=True)
class Blueprint:
    """A pipeline as it will be deployed."""

    document: Json  # blueprint.json of the bundle
    original_name: str
    nodes: tuple[Node, ...]
    shared_folders: tuple[SharedFolder, ...]
    wants_probe: bool


def read_blueprint(data: bytes, max_nodes: int) -> Blueprint:
    """Read blueprint.json.

    Raises NotDeployable: blueprint-invalid, no-nodes, too-many-nodes, node-not-runnable, name-reserved,
    name-collision, shared-folder-invalid.
    """
    try:
        document = strict_json.loads(data, max_bytes=MAX_BYTES)
    except strict_json.JsonError as error:
        raise _invalid(str(error)) from error
    if not isinstance(document, dict):
        raise _invalid("it is not a JSON object")
    original_name = _text(document, "name", "the blueprint")
    if len(_objects(document, "nodes", "the blueprint")) > max_nodes:
        raise NotDeployable("too-many-nodes", f"The pipeline has more than {max_nodes} nodes. Split it.")
    folders = find_shared_folders(document)
    document = without_shared_folders(document)
    nodes = tuple(_node(node) for node in _objects(document, "nodes", "the blueprint"))
    if not nodes:
        raise NotDeployable("no-nodes", "The pipeline has no node that can be deployed. Add one.")
    names = _names(nodes)
    document = _renamed(document, names) | {"name": pipeline_name(original_name)}
    _check_edges(document["nodes"])
    return Blueprint(document, original_name, nodes, folders, _wants_probe(document))


def _node(node: Json) -> Node:
    """Read one node; fills in the lists the orchestrator cannot do without."""
    original = _text(node, "container_name", "a node")
    where = f"node '{original[:60]}'"
    node_type = _text(node, "node_type", where, default="")
    if node_type.lower() in NOT_RUNNABLE:
        raise NotDeployable(
            "node-not-runnable",
            f"Node '{original[:60]}' is a {node_type}, which no container stands behind. Replace it.",
        )
    operations = _objects(node, "operation_signature_list", where)
    for operation in operations:
        signature = _signature(operation, where)
        for key in ("input_message_name", "output_message_name"):
            _text(signature, key, where)
        for target in _objects(operation, "connected_to", where):
            _text(target, "container_name", f"an edge of {where}")
            _signature(target, f"an edge of {where}")
    return Node(
        original=original,
        name=node_name(original),
        node_type=node_type,
        image=_text(node, "image", where, default=""),
        proto_uri=_text(node, "proto_uri", where, default=""),
        dialled=bool(operations),
    )


def _names(nodes: tuple[Node, ...]) -> dict[str, str]:
    """Lower-cased original name → Kubernetes name, with nothing lost on the way."""
    names: dict[str, str] = {}
    spelled: dict[str, str] = {}  # lower-cased → as the blueprint has it
    # Service name → who has it; every node brings a second Service for its web page.
    taken = {ORCHESTRATOR: "the orchestrator", ORCHESTRATOR + WEBUI: "the orchestrator"}
    for node in nodes:
        key = node.original.lower()
        for owners, name in ((spelled, key), (taken, node.name), (taken, node.name + WEBUI)):
            if name in owners:
                raise NotDeployable(
                    "name-collision",
                    f"'{node.original[:60]}' and '{owners[name][:60]}' would both be called '{name[:63]}'. Rename one.",
                )
        names[key] = node.name
        spelled[key] = node.original
        taken |= dict.fromkeys((node.name, node.name + WEBUI), node.original)
    return names


def _renamed(value: Any, names: dict[str, str]) -> Any:
    """A copy in which every `container_name` that names a node is its Kubernetes name."""
    if isinstance(value, dict):
        return {
            key: names.get(inner.lower(), inner)
            if key == "container_name" and isinstance(inner, str)
            else _renamed(inner, names)
            for key, inner in value.items()
        }
    return [_renamed(item, names) for item in value] if isinstance(value, list) else value


def _check_edges(nodes: list[Json]) -> None:
    """What the orchestrator refuses at initialisation: unknown targets, doubled operations, fed `Empty` inputs."""
    inputs: dict[tuple[str, str], str] = {}
    for node, signature, _ in _operations(nodes):
        operation = (node, signature["operation_name"])
        if operation in inputs:
            raise _invalid(f"node '{node}' has the operation '{operation[1][:60]}' twice")
        inputs[operation] = signature["input_message_name"]
    for node, _, targets in _operations(nodes):
        for target in targets:
            operation = (target["container_name"], target["operation_signature"]["operation_name"])
            if operation not in inputs:
                raise _invalid(
                    f"node '{node}' connects to '{operation[0][:60]}', operation '{operation[1][:60]}', "
                    "which is not in the pipeline"
                )
            if inputs[operation] == "Empty":
                raise _invalid(f"node '{node}' connects to '{operation[0]}', whose input is Empty")


def _operations(nodes: list[Json]) -> Iterator[tuple[str, Json, list[Json]]]:
    for node in nodes:
        for operation in node["operation_signature_list"]:
            yield node["container_name"], operation["operation_signature"], operation["connected_to"]


def _wants_probe(document: Json) -> bool:
    """The last `value` counts; the misspelt key is in real files too."""
    for key in ("probeIndicator", "probeIndocator"):
        values = document.get(key)
        entries = [entry for entry in values if isinstance(entry, dict)] if isinstance(values, list) else []
        if entries and str(entries[-1].get("value")).lower() == "true":
            return True
    return False


def _signature(entry: Json, where: str) -> Json:
    signature = entry.get("operation_signature")
    if not isinstance(signature, dict):
        raise _invalid(f"{where} has an entry without operation_signature")
    _text(signature, "operation_name", where)
    return signature


def _objects(parent: Json, key: str, where: str) -> list[Json]:
    """A list of objects; a missing or null one becomes an empty list in the document too."""
    items = parent.get(key)
    if items is None:
        items = parent[key] = []
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise _invalid(f"{key} of {where} is not a list of objects")
    return items


def _text(parent: Json, key: str, where: str, default: str | None = None) -> str:
    value = parent.get(key)
    if value is None:
        value = default
    if not isinstance(value, str) or (default is None and not value):
        raise _invalid(f"{key} of {where} is missing or not a text")
    return value


def _invalid(problem: str) -> NotDeployable:
    return NotDeployable(
        "blueprint-invalid",
        f"The blueprint cannot be used: {problem}. Correct the pipeline in the editor and save it again.",
    )
