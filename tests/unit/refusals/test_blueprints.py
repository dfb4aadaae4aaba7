"""Blueprints with a wrong type at every position, and with each key missing."""

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

from tests.support.builders import (
    OPTIONS,
    blueprint_document,
    edge,
    mount_volume,
    node,
    operation,
    shared_folder,
    solution,
)
from tests.support.corpus import record
from tests.support.ways_out import tells_what_to_do
from worker.domain.bundle.blueprint import read_blueprint
from worker.domain.bundle.plan import plan_pipeline
from worker.errors import CODES, DeploymentError

Path = tuple[str | int, ...]

GOOD = blueprint_document(
    node("gui", operation("ask", edge("solver", "solve"), takes="Empty"), mount_volume()),
    node("solver", operation("solve", edge("gui", "show")), operation("check"), extra={"a": [1, None], "b": "c"}),
    node("board", operation_signature_list=[], data_broker_map={"map_inputs": [{"input_field": {"name": "x"}}]}),
    shared_folder("/data/shared", "gui"),
    name="Demo",
    version="1.0",
    input_ports=[edge("gui", "ask")],
    probeIndicator=[{"value": "false"}],
    training_clients=[{"container_name": "gui", "image": "x", "ml_models": [{"name": "solver"}]}],
    pipeline_id="graphene:1:2",
    unknown={"deep": [{"er": None}]},
)
GOOD["nodes"][0]["operation_signature_list"].append(operation("show"))

DEEP: Any = "x"
for _ in range(20):
    DEEP = [DEEP]

VALUES: list[Any] = [
    None, True, False, 0, -1, 1.5, 1e300, 10**25, "", " ", "x", "X", "\0", "é" * 100, "x" * 4096, "SharedFolder",
    "mountVolume", "/data/shared", "gui", "Empty", "orchestrator", [], [[]], ["x"], [None], [{}],
    [{"container_name": "gui"}], {}, {"a": 1}, {"operation_name": "ask"}, {"container_name": None}, {"nodes": []},
    DEEP, {"value": "true"}, [{"value": "true"}],
]  # fmt: skip

# The parts of a blueprint that are read, with their types. `*` is any index of a list.
OPERATION = ("nodes", "*", "operation_signature_list", "*")
READ: dict[Path, type] = {
    (): dict,
    ("name",): str,
    ("nodes",): list,
    ("nodes", "*"): dict,
    **{("nodes", "*", key): str for key in ("container_name", "node_type", "image", "proto_uri")},
    ("nodes", "*", "operation_signature_list"): list,
    OPERATION: dict,
    (*OPERATION, "operation_signature"): dict,
    **{
        (*OPERATION, "operation_signature", key): str
        for key in ("operation_name", "input_message_name", "output_message_name")
    },
    (*OPERATION, "connected_to"): list,
    (*OPERATION, "connected_to", "*"): dict,
    (*OPERATION, "connected_to", "*", "container_name"): str,
    (*OPERATION, "connected_to", "*", "operation_signature"): dict,
    (*OPERATION, "connected_to", "*", "operation_signature", "operation_name"): str,
}
# Of a node that represents a shared folder only these parts are read, and nothing is passed on.
FOLDER = ("nodes", 3)
MOUNT = ("nodes", 0, "operation_signature_list", 1)
OF_THE_FOLDER = {(), ("container_name",), ("node_type",)}
OF_THE_MOUNT = {(), ("operation_signature",), ("operation_signature", "operation_name")}
SAYS_FOLDER = ("/data/shared", "mountVolume", "SharedFolder")  # makes its parent a part of the shared folder
REFUSED = {code for code in CODES if code.startswith(("blueprint-", "image-", "name-", "shared-folder-"))} | {
    "no-nodes", "proto-missing",
}  # fmt: skip


def places(value: Any, path: Path = ()) -> Iterator[Path]:
    """Yield the path of every value in a document."""
    yield path
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(inner, (*path, key))


def changed(path: Path, change: Callable[[Any, Any], None], whole: Any) -> Any:
    """Return a copy of GOOD with the value at the path changed; `whole` replaces the whole document."""
    document = copy.deepcopy(GOOD)
    inner: Any = document
    if not path:
        return whole
    for key in path[:-1]:
        inner = inner[key]
    change(inner, path[-1])
    return document


def at(document: Any, path: Path) -> Any:
    for key in path:
        document = document[key]
    return document


def outcome(document: Any) -> tuple[str, Any]:
    """Return `planned` with the bundle's blueprint, or the error code; any other exception fails the test."""
    try:
        blueprint = read_blueprint(json.dumps(document).encode(), 10)
        plan = plan_pipeline(solution(), blueprint, OPTIONS.orchestrator_image)
    except DeploymentError as error:
        return error.code if tells_what_to_do(error.message) else "no way out", None
    return "planned", plan.document


def expected_type(path: Path) -> type | None:
    """Return the type that a value must have; None for a value that is not read."""
    if path[:2] == FOLDER and path[2:] not in OF_THE_FOLDER:
        return None
    if path[:4] == MOUNT and path[4:] not in OF_THE_MOUNT:
        return None
    return READ.get(tuple("*" if isinstance(key, int) else key for key in path))


def test_a_wrong_type_is_refused_where_it_is_read() -> None:
    """A wrong type is rejected wherever the value is read; a value that is not read is passed on unchanged."""
    cases, wrong = 0, []
    for path in places(GOOD):
        wanted = expected_type(path)
        for value in VALUES:
            cases += 1

            def put(parent: Any, key: Any, value: Any = value) -> None:
                parent[key] = value

            said, planned = outcome(changed(path, put, whole=value))
            if wanted is None:
                gone = path[:2] == FOLDER or path[:4] == MOUNT or value in SAYS_FOLDER
                well = said == "planned" and (gone or at(planned, path) == value)
            elif value is None or type(value) is wanted:
                well = said == "planned" or said in REFUSED
            else:
                well = said in ("blueprint-invalid", "shared-folder-invalid")
            if not well:
                wrong.append((path, value, said))
    record("blueprints with a wrong type", cases, len(wrong))
    assert [] == wrong
    assert cases >= 3000


def test_what_is_missing_is_refused_or_not_needed() -> None:
    """Without any one key, the bundle is either planned or rejected because that key is required."""
    cases, wrong = 0, []
    needed = {"name", "container_name", "operation_signature", "operation_name"} | {
        f"{way}_message_name" for way in ("input", "output")
    }
    for path in places(GOOD):
        if not path or isinstance(path[-1], int) or path[-1] == "operation_signature_list":
            continue  # other nodes connect to these operations
        cases += 1
        said, _ = outcome(changed(path, lambda parent, key: parent.pop(key), whole=None))
        if bool(path[-1] in needed and expected_type(path)) != (said in ("blueprint-invalid", "shared-folder-invalid")):
            wrong.append((path, said))
    record("blueprints with something missing", cases, len(wrong))
    assert [] == wrong


def test_the_good_one_is_good() -> None:
    """The original blueprint is valid; otherwise the corpus would prove nothing."""
    said, planned = outcome(GOOD)
    assert (said, GOOD["unknown"]) == ("planned", planned["unknown"])
