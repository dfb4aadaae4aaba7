"""The expected outcome of a generated input, determined without the code under test.

Only the replacements of invalid names are taken from `worker.domain.bundle.plan`; other tests check that these are
valid, readable and unique.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from tests.component.properties.grammar import ALNUM, is_image, is_reserved
from tests.component.properties.repository import OPERATIONS
from worker.domain.bundle.plan import node_name

Json = dict[str, Any]


def judge_single_model(name: str, image: str | None) -> set[str]:
    """Return the codes with which a single model may be refused; without codes it must be deployed."""
    codes = judge_image(image or "")
    if is_reserved(name) or name.lower() == "orchestrator":
        codes.add("name-reserved")
    return codes


def judge_image(image: str) -> set[str]:
    """Return the codes with which an image may be refused."""
    if not image.strip():
        return {"image-empty"}
    return set() if is_image(image) else {"image-invalid"}


def judge_pipeline(document: Any, max_nodes: int) -> set[str]:
    """Return the codes with which a blueprint.json with this content may be refused."""
    codes: set[str] = set()
    name, nodes = document.get("name"), document.get("nodes")
    if not isinstance(name, str) or not name:
        codes.add("blueprint-invalid")
    elif is_reserved(name):
        codes.add("name-reserved")
    nodes = [] if nodes is None else nodes
    if not _is_objects(nodes):
        return codes | {"blueprint-invalid"}
    if len(nodes) > max_nodes:
        codes.add("too-many-nodes")
    if not all(is_mountable(node.get("container_name")) for node in nodes if is_folder(node)):
        codes.add("shared-folder-invalid")
    if any(is_of_the_system(str(node.get("container_name"))) for node in nodes if is_folder(node)):
        codes.add("shared-folder-reserved")
    models = without_folders(document)["nodes"] if nodes else []
    if not models:
        codes.add("no-nodes")
    for model in models:
        codes |= _judge_model(model)
    names = [name for model in models if _is_text(name := model.get("container_name"))]
    return codes | _judge_names(names) | (set() if "blueprint-invalid" in codes else _judge_edges(models))


def _judge_model(model: Json) -> set[str]:
    codes: set[str] = set()
    image, proto, kind = (model.get(key) or "" for key in ("image", "proto_uri", "node_type"))
    operations = model.get("operation_signature_list") or []
    texts = [model.get(key) is None or isinstance(model.get(key), str) for key in ("image", "proto_uri", "node_type")]
    lists = [model.get("operation_signature_list")]
    if not all(texts) or not _is_text(model.get("container_name")):
        codes.add("blueprint-invalid")
    if isinstance(kind, str) and kind.lower() in ("splitter", "collator"):
        codes.add("node-not-runnable")
    if isinstance(image, str):
        codes |= judge_image(image)
    if operations and not proto:
        codes.add("proto-missing")
    if _is_objects(operations) and not all(map(_is_rpc, operations)):
        codes.add("proto-mismatch")  # and the operation may have a worse fault as well
    if _is_objects(operations):
        lists += [entry.get("connected_to") for entry in operations]
        targets = [it for entry in operations if _is_objects(entry.get("connected_to")) for it in entry["connected_to"]]
        if not all(
            _is_signature(it, "operation_name", "input_message_name", "output_message_name") for it in operations
        ):
            codes.add("blueprint-invalid")
        if not all(_is_text(it.get("container_name")) and _is_signature(it, "operation_name") for it in targets):
            codes.add("blueprint-invalid")
    return codes if all(it is None or _is_objects(it) for it in lists) else codes | {"blueprint-invalid"}


def _is_rpc(entry: Json) -> bool:
    """Return whether the repository's protobufs have this operation."""
    signature = entry.get("operation_signature")
    keys = ("operation_name", "input_message_name", "output_message_name")
    known = [[it["operation_signature"][key] for key in keys] for it in OPERATIONS]
    return isinstance(signature, dict) and [signature.get(key) for key in keys] in known


def _judge_names(names: list[str]) -> set[str]:
    """Return the codes for colliding names, including the second Service for the web page."""
    codes = {"name-reserved" for name in names if name.lower() == "orchestrator"}
    services = [node_name(name) for name in names if name.lower() != "orchestrator"] + ["orchestrator"]
    services += [name + "webui" for name in services]
    if twice(services) or twice([name.lower() for name in names]):
        codes.add("name-collision")
    return codes


def _judge_edges(models: list[Json]) -> set[str]:
    """Return the codes for edges that the orchestrator refuses when it is initialised."""
    inputs = {
        (model["container_name"].lower(), signature["operation_name"]): signature["input_message_name"]
        for model in models
        for entry in model.get("operation_signature_list") or []
        for signature in [entry["operation_signature"]]
    }
    operations = [entry for model in models for entry in model.get("operation_signature_list") or []]
    wrong = len(inputs) != len(operations)
    for entry in operations:
        for target in entry.get("connected_to") or []:
            key = (target["container_name"].lower(), target["operation_signature"]["operation_name"])
            wrong = wrong or inputs.get(key, "Empty") == "Empty"
    return {"blueprint-invalid"} if wrong else set()


def twice(names: list[str]) -> list[str]:
    """Return the names that occur more than once."""
    return [name for name, count in Counter(names).items() if count > 1]


def _is_objects(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _is_signature(entry: Json, *keys: str) -> bool:
    signature = entry.get("operation_signature")
    return isinstance(signature, dict) and all(_is_text(signature.get(key)) for key in keys)


# ------------------------------------------------------------------------------- the blueprint that must come out


def is_folder(item: Any) -> bool:
    """Return whether a node represents a shared folder."""
    return isinstance(item, dict) and str(item.get("node_type")).lower() == "sharedfolder"


def is_mountable(path: Any) -> bool:
    """Return whether a path is absolute, with plain segments."""
    if not isinstance(path, str) or not path.startswith("/"):
        return False
    segments = path.removesuffix("/")[1:].split("/")
    return all(set(it) <= ALNUM | set("._-") and it not in ("", ".", "..") for it in segments)


SYSTEM = ("bin", "boot", "dev", "etc", "lib", "lib32", "lib64", "libx32", "proc", "run", "sbin", "sys")
PROGRAMS = ("bin", "sbin", "lib", "lib32", "lib64", "libx32", "libexec")


def is_of_the_system(path: str) -> bool:
    """Return whether a container fails when a volume is mounted at this path."""
    match path.removesuffix("/").split("/")[1:]:
        case [] | [""] | ["usr"] | ["var"] | ["usr", "local"] | ["var", "lib"] | ["var", "run", *_]:
            return True
        case ["usr", "local", one, *_] | ["usr", one, *_]:
            return one in PROGRAMS
        case [one, *_]:
            return one in SYSTEM
    return False


def folder_paths(document: Json) -> list[str]:
    """Return the paths to mount, each once, in order."""
    paths = [str(node["container_name"]).removesuffix("/") for node in document["nodes"] if is_folder(node)]
    return list(dict.fromkeys(paths))


def without_folders(document: Json) -> Json:
    """Return the document without shared folders, the operations that mount them, and edges to either."""
    folders = {str(node.get("container_name")).lower() for node in document["nodes"] if is_folder(node)}

    def is_trace(item: Any, key: str | None) -> bool:
        if not isinstance(item, dict):
            return False
        signature = item.get("operation_signature")
        mounts = isinstance(signature, dict) and str(signature.get("operation_name")).lower() == "mountvolume"
        leads_there = key in ("connected_to", "input_ports") and str(item.get("container_name")).lower() in folders
        return is_folder(item) or mounts or leads_there

    def visit(value: Any, key: str | None = None) -> Any:
        match value:
            case dict():
                return {inner: visit(it, inner) for inner, it in value.items()}
            case list():
                return [visit(it) for it in value if not is_trace(it, key)]
        return value

    result: Json = visit(document)
    return result


def expected_blueprint(document: Json) -> Json:
    """Return the expected blueprint.json of the bundle, except for the pipeline's own name."""
    result = without_folders(document)
    for node in result["nodes"]:
        node["operation_signature_list"] = node.get("operation_signature_list") or []
        for entry in node["operation_signature_list"]:
            entry["connected_to"] = entry.get("connected_to") or []
    names = {node["container_name"].lower(): node_name(node["container_name"]) for node in result["nodes"]}
    for holder in _dicts(result):
        name = holder.get("container_name")
        if isinstance(name, str):
            holder["container_name"] = names.get(name.lower(), name)
    return result


def _dicts(value: Any) -> Iterator[Json]:
    """Yield every object, at any depth."""
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _dicts(inner)
