"""Strategies for blueprints as Graphene's editor writes them, as old tools wrote them, and as an attacker would.

Nearly all decisions of a blueprint come from one byte string, which hypothesis draws and shrinks at once; drawing each
decision separately takes ten times as long. Byte 0 is always the simplest choice.
"""

import json
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

from hypothesis import strategies as st

from schemas import Kind
from tests.component.properties import naughty, repository
from tests.component.properties.choices import Case, Choices, Json
from tests.component.properties.faults import FAULTS, SPOILED
from tests.support.builders import OPTIONS, edge, mount_volume, operation, shared_folder, solution
from worker import settings

# The number of nodes: most pipelines are small, a few are as large as allowed.
SIZES = (*(1, 2, 3, 4) * 40, *range(1, 13), 16, 20, 35, 60, 120, 200)
PROTOTYPES = 12  # larger pipelines repeat their first nodes under other names
DECISIONS = 60 + 20 * PROTOTYPES  # bytes; a constant number, so that shrinking the size leaves the rest unchanged
FOLDERS = (0, 0, 0, 0, 1, 1, 2, 3)
NODE_TYPES = ("MLModel", "MLModel", "MLModel", "DataBroker", "DataMapper", "DataSource", "TrainingClient", "", None)
FOLDER_TYPES = ("SharedFolder", "sharedfolder", "SHAREDFOLDER")

UNKNOWN_VALUES: tuple[Any, ...] = (
    *(None, {}, [], True, 0, -0.0, 1.0, 1e300, 5e-324, 2**63, -(10**298), "", "\u0000\u2028é😀", [[[[]]]]),
    {"": {"": None}, "container_name": "nobody", "node_type": "SharedFolder"},
    {"list": [{"node_type": "sharedFOLDER"}, {"operation_signature": {"operation_name": "MountVolume"}}, 1, "a"]},
    {"ключ": [1, 1.5, None, {"a b": "\ud7ff\ue000"}], "container_name": 5, "operation_signature": []},
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def pipelines(draw: st.DrawFn) -> Case:
    """Draw a pipeline."""
    size = draw(st.sampled_from(SIZES))
    choose = Choices(draw(st.binary(min_size=DECISIONS, max_size=DECISIONS)))
    hostile = choose.chance(45)
    texts = draw(st.lists(st.text(min_size=1, max_size=60), max_size=3)) if hostile and choose.chance(40) else []
    unknown = draw(JSON) if choose.chance(15) else choose.pick(UNKNOWN_VALUES)
    names = (*naughty.HOSTILE_NAMES, *texts * 60) if hostile else None
    nodes = _with_folders(choose, _nodes(choose, size, names))
    document: Json = {
        "name": choose.pick(names if names and choose.chance(40) else naughty.GOOD_PIPELINES),
        "nodes": nodes,
    }
    _decorate(choose, document, unknown)
    if choose.chance(20):
        choose.pick(FAULTS)(document, choose)
    data = _wire(choose, document)
    if choose.chance(3):
        return Case(solution(), None, choose.pick(SPOILED)(data), _options(choose))
    return Case(solution(), document, data, _options(choose))


@st.composite
def single_models(draw: st.DrawFn) -> Case:
    """Draw a single model, named like its solution."""
    choose = Choices(draw(st.binary(min_size=16, max_size=16)))
    names = naughty.HOSTILE_NAMES if choose.chance(60) else naughty.GOOD_NAMES
    name = choose.pick((*names, *naughty.RESERVED_PIPELINES, "Orchestrator", "ORCHESTRATOR"))
    if choose.chance(30):
        name = draw(st.text(max_size=100))  # the width of CCDS's column
    image = choose.pick((*naughty.GOOD_IMAGES, *naughty.ODD_IMAGES, None, "", " "))
    if choose.chance(15):
        image = choose.pick(naughty.BAD_IMAGES)
    model = solution(kind=Kind.SINGLE_MODEL, name=name, image=image, proto_uri=choose.pick(("org/a.proto", None, "")))
    return Case(model, None, b"", _options(choose))


# --------------------------------------------------------------------------------------------------------- nodes


def _nodes(choose: Choices, size: int, hostile: Sequence[str] | None) -> list[Json]:
    """Return nodes with different names, connected in any direction."""
    names: list[str] = []
    for _ in range(min(size, PROTOTYPES)):
        name = choose.pick(hostile if hostile and choose.chance(60) else naughty.GOOD_NAMES)
        names.append(_distinct(name, names))
    nodes = [_node(choose, name) for name in names]
    for node in nodes:
        _connect(choose, node, nodes)
    for number in range(len(nodes), size):
        twin = deepcopy(nodes[number % PROTOTYPES])
        name = str(twin["container_name"])
        twin["container_name"] = f"{name} {number}" if hostile else f"{name[:40]}-{number}"
        nodes.append(twin)
    return nodes


def _distinct(name: str, names: Sequence[str]) -> str:
    taken = {it.lower() for it in names}
    while name.lower() in taken or not name:
        name += str(len(names))
    return name


def _node(choose: Choices, name: str) -> Json:
    """Return a model with up to three operations; lists may be missing or null."""
    image = choose.pick(naughty.ODD_IMAGES if choose.chance(25) else naughty.GOOD_IMAGES)
    if choose.chance(2):
        image = choose.pick(naughty.BAD_IMAGES)
    node: Json = {"container_name": name, "image": image}
    node_type = choose.pick(NODE_TYPES)
    if node_type is not None:
        node["node_type"] = node_type
    operations = []
    for verb in ("run", "train", "mount")[: choose.pick((1, 1, 1, 2, 3, 0))]:
        takes, gives = choose.pick(("In", *repository.TAKEN)), choose.pick(repository.GIVEN)
        operations.append(operation(f"{verb}{takes}{gives}", takes=takes, gives=gives))
    node["proto_uri"] = choose.pick(("org/a/a.proto", "org/b.proto", "org/shared.proto"))
    if operations:
        node["operation_signature_list"] = operations
    else:
        node |= choose.pick(({}, {"operation_signature_list": []}, {"operation_signature_list": None}))
        node |= choose.pick(({}, {"proto_uri": ""}, {"proto_uri": None}))
    return node


def _connect(choose: Choices, node: Json, nodes: Sequence[Json]) -> None:
    """Add edges to callable operations, in some editor's spelling; cycles and self-edges are included."""
    targets = [(it["container_name"], name) for it in nodes for name in _callable(it)]
    for entry in node.get("operation_signature_list") or []:
        edges = [edge(*choose.pick(targets)) for _ in range(choose.pick((1, 1, 0, 2, 3)) if targets else 0)]
        for it in edges:
            it["container_name"] = _spelled(choose, it["container_name"])
        if edges:
            entry["connected_to"] = edges
        elif choose.chance(50):
            del entry["connected_to"]
        else:
            entry["connected_to"] = choose.pick(([], None))


def _callable(node: Json) -> list[str]:
    """Return the operations that may be the target of an edge."""
    signatures = [entry["operation_signature"] for entry in node.get("operation_signature_list") or []]
    return [it["operation_name"] for it in signatures if it["input_message_name"] != "Empty"]


def _spelled(choose: Choices, name: str) -> str:
    """Return the name in another case, if lower-casing leads back to it."""
    other = choose.pick((name, name, name.upper(), name.lower(), name.title()))
    return other if other.lower() == name.lower() else name


# ------------------------------------------------------------------------------------------------------- folders


def _with_folders(choose: Choices, nodes: list[Json]) -> list[Json]:
    """Add WorkerContext folders among the nodes, connected from either side."""
    result = list(nodes)
    for _ in range(choose.pick(FOLDERS)):
        path = choose.pick(naughty.GOOD_PATHS)
        users = [node for node in nodes[:PROTOTYPES] if choose.chance(50)]
        folder = shared_folder(path, *(_spelled(choose, user["container_name"]) for user in users))
        folder["node_type"] = choose.pick(FOLDER_TYPES)
        if choose.chance(20):
            folder["container_name"] = path + "/"
        folder |= choose.pick(({}, {}, {"image": None}, {"operation_signature_list": None}, {"proto_uri": 5}))
        for user in users:
            _mount(choose, user, folder["container_name"])
        result.insert(choose.number(len(result) + 1), folder)
    return result


def _mount(choose: Choices, user: Json, path: str) -> None:
    """Add the operation that the editor adds to a node that uses a folder."""
    operations = user["operation_signature_list"] = user.get("operation_signature_list") or []
    mount = mount_volume()
    mount["operation_signature"]["operation_name"] = choose.pick(("mountVolume", "mountvolume", "MOUNTVOLUME"))
    if choose.chance(30) and operations:
        operations[0]["connected_to"] = [*(operations[0].get("connected_to") or []), edge(path, "provideFolder")]
    operations.insert(choose.number(len(operations) + 1), mount)


# ---------------------------------------------------------------------------------------- the rest of a document


def _decorate(choose: Choices, document: Json, unknown: Any) -> None:
    """Add unknown keys, and the keys of old files."""
    first = document["nodes"][0]
    operations = first.get("operation_signature_list") or []
    places = [document, first, *operations, *((operations[0].get("connected_to") or []) if operations else [])]
    for key in ("pipeline_id", "x" * 200, "ключ", "")[: choose.pick((0, 1, 1, 2, 4))]:
        choose.pick(places)[key] = unknown
    ports = [edge(_spelled(choose, node["container_name"])) for node in document["nodes"][: choose.pick((0, 0, 2))]]
    document |= choose.pick(
        ({}, {"input_ports": ports}, {"input_ports": None, "version": None}, {"input_ports": ports})
    )
    probes: Json = {"probeIndocator": None, "probeIndicator": [{}]}
    document |= choose.pick(({}, {}, {"probeIndicator": [{"value": "true"}]}, probes))
    clients = [{"container_name": _spelled(choose, first["container_name"]), "image": 5, "ml_models": None}]
    document |= choose.pick(({}, {}, {}, {"training_clients": clients}))


def _wire(choose: Choices, document: Json) -> bytes:
    """Return the document in some writer's style."""
    ascii_only, indent = choose.chance(50), choose.pick((None, None, 2, "\t"))
    text = json.dumps(document, ensure_ascii=ascii_only, indent=indent)
    return (text.replace("/", "\\/") if choose.chance(20) else text).encode()


def _options(choose: Choices) -> settings.BundleSettings:
    """Return settings that an operator may choose."""
    changes: Json = choose.pick(({}, {}, {"security_profile": "restricted"}, {"image_pull_secret": ""}))
    changes = changes | choose.pick(({}, {}, {"storage_class": "1e3", "storage_size": "500M"}, {"storage_class": ""}))
    return OPTIONS.model_copy(update=changes | choose.pick(({},) * 31 + ({"max_nodes": 3},)))
