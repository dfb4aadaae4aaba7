"""Ways to spoil a blueprint. The oracle decides the expected outcome of each."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

from tests.component.properties import naughty
from tests.component.properties.choices import Choices, Json
from tests.support.builders import edge, operation, shared_folder
from worker.domain.bundle.plan import node_name
from worker.errors import NotDeployable

Fault = Callable[[Json, Choices], None]


def _set(key: str, *values: Any) -> Fault:
    """Return a fault that sets a field of some node to another value; the value ... removes the field."""

    def fault(document: Json, choose: Choices) -> None:
        node, value = choose.pick(document["nodes"]), choose.pick(values)
        node[key] = value
        if value is ...:
            del node[key]

    return fault


def _set_top(key: str, *values: Any) -> Fault:
    def fault(document: Json, choose: Choices) -> None:
        document[key] = choose.pick(values)

    return fault


def _in_operation(change: Callable[[Json, Choices], None]) -> Fault:
    def fault(document: Json, choose: Choices) -> None:
        node = choose.pick(document["nodes"])
        node["operation_signature_list"] = entries = node.get("operation_signature_list") or [operation("other")]
        change(choose.pick(entries), choose)

    return fault


def _bad_edge(entry: Json, choose: Choices) -> None:
    nameless = {"operation_signature": {"operation_name": "run"}}
    edges = (edge("nowhere"), edge("", "run"), {"container_name": "x"}, nameless)
    entry["connected_to"] = [*(entry.get("connected_to") or []), choose.pick(edges)]


def _bad_signature(entry: Json, choose: Choices) -> None:
    nameless = {"operation_name": "", "input_message_name": "a", "output_message_name": "b"}
    entry["operation_signature"] = choose.pick((None, 5, {}, {"operation_name": "x"}, nameless))


def _bad_connections(entry: Json, choose: Choices) -> None:
    entry["connected_to"] = choose.pick((5, "x", [5], [None], {}))


def _edge_to_empty(document: Json, choose: Choices) -> None:
    """Make every edge of a node point to an operation that takes `Empty`."""
    node = choose.pick(document["nodes"])
    node["operation_signature_list"] = [operation("run", edge(node["container_name"]), takes="Empty")]


def _operation_twice(document: Json, choose: Choices) -> None:
    node = choose.pick(document["nodes"])
    entries = node.get("operation_signature_list") or [operation()]
    node["operation_signature_list"] = [*entries, deepcopy(entries[0])]


def _rename_like(change: Callable[[str], str]) -> Fault:
    """Return a fault that adds a node with nearly the same name."""

    def fault(document: Json, choose: Choices) -> None:
        name = str(choose.pick(document["nodes"])["container_name"])
        other = {"container_name": change(name), "image": "model"}
        document["nodes"].insert(choose.number(len(document["nodes"]) + 1), other)

    return fault


def _known_name(name: str) -> str:
    """Return the deployer's name for a node: another node with exactly this name must not get lost."""
    try:
        return node_name(name)
    except NotDeployable:
        return name


def _no_nodes(document: Json, choose: Choices) -> None:
    document["nodes"] = choose.pick(([], None, [shared_folder("/data")]))
    if choose.chance(30):
        del document["nodes"]


FAULTS: tuple[Fault, ...] = (
    _set("node_type", "Splitter", "collator", "COLLATOR", 5),
    _set("image", "", None, " ", 5, [], ...),
    _set("image", *naughty.BAD_IMAGES),
    _set("image", *naughty.BAD_IMAGES),
    _set("proto_uri", "", None, 5, ...),
    _set("container_name", "", None, 5, ["a"], ...),
    _set("container_name", "orchestrator", "Orchestrator", "ORCHESTRATOR", "orchestratorwebui", "OrchestratorWebui"),
    _set("container_name", *naughty.HOSTILE_NAMES),
    _set("operation_signature_list", 5, "x", [5], {}, [None], [{}]),
    _in_operation(_bad_edge),
    _in_operation(_bad_edge),
    _in_operation(_bad_signature),
    _in_operation(_bad_connections),
    _edge_to_empty,
    _operation_twice,
    _rename_like(str),
    _rename_like(str.upper),
    _rename_like(lambda name: name + "webui"),
    _rename_like(lambda name: name + "WebUI"),
    _rename_like(_known_name),
    _rename_like(lambda name: f"{_known_name(name)}webui"),
    _no_nodes,
    _set_top("nodes", 5, {}, "x", [5], [None]),
    _set_top("name", None, "", 5, [], {}),
    _set_top("name", *naughty.RESERVED_PIPELINES),
    _set_top("name", *naughty.HOSTILE_NAMES, "kube/x", "KUBE.SYSTEM", "openshift+x"),
    lambda document, choose: document["nodes"].insert(0, shared_folder(choose.pick(naughty.BAD_PATHS))),
    lambda document, choose: document["nodes"].insert(0, shared_folder(choose.pick(naughty.BAD_PATHS))),
    lambda document, choose: document["nodes"].insert(0, shared_folder("/data") | {"container_name": None}),
    lambda document, _: document["nodes"].extend({"container_name": f"more-{n}", "image": "m"} for n in range(201)),
)


def _deep(data: bytes) -> bytes:
    return b'{"deep": ' + b"[" * 40 + b"]" * 40 + b"," + data.strip()[1:]


# Bytes that are no strict JSON: each function spoils a readable blueprint, which must then be refused.
SPOILED: tuple[Callable[[bytes], bytes], ...] = (
    lambda data: data[: len(data) // 2],
    lambda data: b"\xef\xbb\xbf" + data,
    lambda data: data + b"\xff",
    lambda data: data + b"{}",
    lambda data: b'{"x": NaN, ' + data.strip()[1:],
    lambda data: b'{"x": 1e999, ' + data.strip()[1:],
    lambda data: b'{"nodes": [], ' + data.strip()[1:-1] + b', "nodes": []}',
    lambda data: b'{"x": "\\ud800", ' + data.strip()[1:],
    lambda data: b'{"x": "' + b"x" * 5000 + b'", ' + data.strip()[1:],
    lambda data: b"[" + data + b"]",
    lambda _: b"",
    lambda data: data + b" " * (1 << 20),
    _deep,
)
