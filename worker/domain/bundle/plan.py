"""The plan: every decision that a bundle depends on. Rendering and packing make no decisions.

One function decides every Kubernetes name of a node. The blueprint, dockerinfo, protobufs and manifests all use its
result.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from typing import Any, TypeVar
from uuid import UUID

from schemas import Kind
from worker.domain.bundle.blueprint import Blueprint, Json, Node, SharedFolder, blueprint_invalid, check_image
from worker.domain.bundle.presentation import Shown, Unusable, shown_description, shown_picture
from worker.domain.bundle.protobuf import EDITIONS, PROTO3, Protobuf, ProtobufError, Service
from worker.domain.solution import LeftOut, Solution
from worker.errors import NotDeployable, NotFound

# The ports of Graphene's container specification, and the Service ports that its deployers have always used.
GRPC_PORT = 8061
WEBUI_PORT = 8062
NODE_SERVICE_PORT = 8556
ORCHESTRATOR_SERVICE_PORT = 8061

ORCHESTRATOR = "orchestrator"

# The script on the target appends these to a node's name. Each result must be a DNS label of 63 characters (RFC 1035).
WEBUI = "webui"
WEBUI_INGRESS = "webuiingress"
NODE_NAME_LIMIT = 63 - len(WEBUI_INGRESS)

# The playground server appends "-" and 32 hex digits to form the namespace.
PIPELINE_NAME_LIMIT = 63 - 33

# Namespaces of the cluster and of the software that runs it. The script on the target rejects the same names, and its
# list is fixed: the setting RESERVED_NAMESPACES can only add to this list.
SYSTEM_NAMESPACES = (
    "default,kube,kube-*,kubernetes,kubernetes-*,openshift,openshift-*,argocd,calico-apiserver,calico-system,"
    "cattle-fleet-system,cattle-system,cert-manager,flux-system,gatekeeper-system,ingress-nginx,istio-system,"
    "knative-eventing,knative-serving,kyverno,linkerd,longhorn-system,metallb-system,rook-ceph,tigera-operator,velero"
)

_NODE_NAME = re.compile(r"[a-z]([a-z0-9-]*[a-z0-9])?")
# Windows device names: Windows cannot unpack microservice/con.proto.
_DEVICE = re.compile(r"con|prn|aux|nul|(com|lpt)[0-9]")
_NAMESPACE = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")

T = TypeVar("T", bytes, str)


@dataclass(frozen=True, slots=True)
class Container:
    """One container, with the Deployment and the Service of the same name."""

    name: str
    image: str
    component: str  # app.kubernetes.io/component: model or orchestrator
    service_port: int
    proto_uri: str = ""
    dialled: bool = False  # by the orchestrator or its client, so the container must be listening when it is ready
    folders: tuple[SharedFolder, ...] = ()
    folder_path: str | None = None  # SHARED_FOLDER_PATH


@dataclass(frozen=True, slots=True)
class Plan:
    """What will be deployed."""

    solution_id: UUID
    revision_id: UUID
    kind: Kind
    solution_name: str
    solution_version: str | None  # of the revision
    document: Json  # blueprint.json
    containers: tuple[Container, ...]
    shared_folders: tuple[SharedFolder, ...]
    icon: bytes | None = field(repr=False)
    description: bytes | None = field(repr=False)  # HTML
    warnings: tuple[str, ...]  # sentences for the user about everything that was changed or left out


def plan_pipeline(solution: Solution, blueprint: Blueprint, orchestrator_image: str, reserved: str = "") -> Plan:
    """Plan a pipeline: its nodes and the orchestrator that runs them.

    Raises NotDeployable (name-reserved, name-collision, blueprint-invalid) and NotFound (proto-missing).
    """
    names = _node_names(blueprint.nodes)
    document = _renamed(blueprint.document, names) | {"name": pipeline_name(blueprint.name, reserved)}
    _check_edges(document["nodes"])
    for node in blueprint.nodes:
        if node.dialled and not node.proto_uri:
            raise NotFound("proto-missing", f"Node '{node.name[:60]}' has no protobuf. On-board its model again.")
    folders = blueprint.shared_folders
    containers = (
        *(_model(name, node, folders) for name, node in zip(names.values(), blueprint.nodes, strict=True)),
        orchestrator_container(orchestrator_image),
    )
    warnings = _warnings(blueprint, tuple(names.values()), document["name"])
    return _plan(solution, Kind.PIPELINE, document, containers, folders, warnings)


def orchestrator_container(image: str) -> Container:
    """Return the orchestrator's container. Its client can call it as soon as all pods are ready."""
    return Container(ORCHESTRATOR, image, "orchestrator", ORCHESTRATOR_SERVICE_PORT, dialled=True)


def plan_single_model(solution: Solution, reserved: str = "") -> Plan:
    """Plan a single model, named after its solution.

    Raises NotDeployable (image-empty, image-invalid, name-reserved).
    """
    image = solution.image or ""
    moving = check_image(image, f"The model '{solution.name[:60]}'")
    name, pipeline = node_name(solution.name), pipeline_name(solution.name, reserved)
    node = {
        "container_name": name,
        "node_type": "MLModel",
        "image": image,
        "proto_uri": solution.proto_uri or "",
        "operation_signature_list": [],
    }
    container = Container(name, image, "model", NODE_SERVICE_PORT, solution.proto_uri or "")
    warnings = [
        *_about_name("The model", solution.name, name),
        *_about_name("The solution", solution.name, pipeline),
        *_about_image("The model", moving),
    ]
    return _plan(solution, Kind.SINGLE_MODEL, {"name": pipeline, "nodes": [node]}, (container,), (), warnings)


def _plan(
    solution: Solution,
    kind: Kind,
    document: Json,
    containers: tuple[Container, ...],
    folders: tuple[SharedFolder, ...],
    warnings: Iterable[str],
) -> Plan:
    icon, about_icon = _shown("picture", solution.icon, shown_picture)
    description, about_description = _shown("description", solution.description, shown_description)
    return Plan(
        solution.solution_id,
        solution.revision_id,
        kind,
        solution.name,
        solution.version,
        document,
        containers,
        folders,
        icon,
        description,
        (*solution.remarks, *warnings, *about_icon, *about_description),
    )


def _shown(what: str, given: T | LeftOut | None, shown: Callable[[T], Shown]) -> Shown:
    """Return the picture or the description if it may be shown. Both are decoration, and never stop a deployment."""
    if given is None:
        return None, (f"The solution has no {what}, so none is shown.",)
    try:
        return (None, (f"The {what} is left out: {given.reason}",)) if isinstance(given, LeftOut) else shown(given)
    except Unusable as problem:
        return None, (f"The {what} is left out: {problem}",)


def _model(name: str, node: Node, folders: tuple[SharedFolder, ...]) -> Container:
    """Mount every shared folder in every node, connected or not: all nodes of a pipeline need the same access."""
    connected = [folder.path for folder in folders if node.name.lower() in folder.users]
    paths = connected or [folder.path for folder in folders]
    path = paths[0] if paths else None
    return Container(name, node.image, "model", NODE_SERVICE_PORT, node.proto_uri, node.dialled, folders, path)


def _warnings(blueprint: Blueprint, names: tuple[str, ...], pipeline: str) -> Iterator[str]:
    """Yield a sentence for each difference between the deployment and the pipeline as its author wrote it."""
    yield from _about_name("The pipeline", blueprint.name, pipeline)
    for name, node in zip(names, blueprint.nodes, strict=True):
        yield from _about_name("Node", node.name, name)
        if node.node_type.lower() == "databroker":
            yield f"Node '{name}' is a data broker; it is deployed as an ordinary node."
        yield from _about_image(f"Node '{name}'", node.image_moves)
    if len(blueprint.shared_folders) > 1:
        yield (
            f"The pipeline has {len(blueprint.shared_folders)} shared folders, all mounted in every node; "
            "SHARED_FOLDER_PATH names the one the node is connected to, else the first."
        )
    if blueprint.wants_probe:
        yield "The pipeline asks for a probe, which is not deployed."


def _about_name(what: str, original: str, name: str) -> tuple[str, ...]:
    return () if original == name else (f"{what} '{original[:60]}' is called '{name}' in the cluster.",)


def _about_image(what: str, moving: str | None) -> tuple[str, ...]:
    return (f"{what}: its image {moving}, so another version of it may run next time.",) if moving else ()


def node_name(original: str) -> str:
    """Return a node's Kubernetes name: its own name if that is valid, else a readable slug and a short hash.

    A valid name is an RFC 1035 label of at most 51 characters, which leaves room for `webuiingress`, and is not the
    name of a Windows device. Raises NotDeployable (name-reserved) for the orchestrator's name.
    """
    if original.lower() == ORCHESTRATOR:
        raise NotDeployable("name-reserved", f"A node is called '{original}', the orchestrator's own name. Rename it.")
    if len(original) <= NODE_NAME_LIMIT and _NODE_NAME.fullmatch(original) and not _DEVICE.fullmatch(original):
        return original
    return _slug(original, limit=40, prefix="node")


def pipeline_name(original: str, reserved: str = "") -> str:
    """Return a pipeline's `name` in blueprint.json, from which the playground server derives the namespace.

    The pipeline keeps its own name if the server's rule (lower case, and `-` for space and `_`) turns it into a valid
    namespace. Otherwise, the name is a slug and a short hash.
    Raises NotDeployable (name-reserved) for SYSTEM_NAMESPACES and `reserved`, with or without the server's suffix: in
    unique mode, the server's namespace is the name without a suffix, and the script there may delete that namespace.
    """
    namespace = _namespace(original)
    fits = len(namespace) <= PIPELINE_NAME_LIMIT and _NAMESPACE.fullmatch(namespace) and original.isascii()
    name = original if fits else _slug(original, limit=PIPELINE_NAME_LIMIT - 9, prefix="pipeline")
    # Check the original and the new name, because `kube.system` is not a namespace and becomes kube-system-1a2b3c4d.
    namespaces = [_namespace(one) + ending for one in (original, name) for ending in ("", "-" + "0" * 32)]
    if any(map(_patterns(reserved).fullmatch, namespaces)):
        raise NotDeployable(
            "name-reserved",
            f"The name '{original[:60]}' is reserved for the cluster itself. Rename the solution.",
        )
    return name


@cache
def _patterns(reserved: str) -> re.Pattern[str]:
    """Compile SYSTEM_NAMESPACES and the names that RESERVED_NAMESPACES adds."""
    names = filter(None, f"{SYSTEM_NAMESPACES},{reserved}".split(","))
    return re.compile("|".join(re.escape(it).replace(r"\*", ".*") for it in names))


def _namespace(name: str) -> str:
    return re.sub("[ _]", "-", name.lower())


def _slug(original: str, limit: int, prefix: str) -> str:
    ascii_only = unicodedata.normalize("NFKD", original).encode("ascii", "ignore").decode().lower()
    words = re.sub("[^a-z0-9]+", "-", ascii_only).strip("-")
    if not words[:1].isalpha():
        words = f"{prefix}-{words}" if words else prefix
    return f"{words[:limit].rstrip('-')}-{sha256(original.encode(errors='surrogatepass')).hexdigest()[:8]}"


def _node_names(nodes: tuple[Node, ...]) -> dict[str, str]:
    """Return the name of every node, in order: lower-cased original → Kubernetes name. Raises NotDeployable."""
    names: dict[str, str] = {}
    spelled: dict[str, str] = {}  # lower-cased name → name as spelled in the blueprint
    # Service name → its owner. Every node has a second Service for its web page.
    taken = {ORCHESTRATOR: "the orchestrator", ORCHESTRATOR + WEBUI: "the orchestrator"}
    for node in nodes:
        key, name = node.name.lower(), node_name(node.name)
        for owners, wanted in ((spelled, key), (taken, name), (taken, name + WEBUI)):
            if wanted in owners:
                raise NotDeployable(
                    "name-collision",
                    f"'{node.name[:60]}' and '{owners[wanted][:60]}' would both be called '{wanted[:63]}'. Rename one.",
                )
        names[key], spelled[key] = name, node.name
        taken |= dict.fromkeys((name, name + WEBUI), node.name)
    return names


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    """Copy a document, and replace every `container_name` that names a node with the node's Kubernetes name."""
    if isinstance(value, dict):
        return {
            key: names.get(inner.lower(), inner)
            if key == "container_name" and isinstance(inner, str)
            else _renamed(inner, names)
            for key, inner in value.items()
        }
    return [_renamed(item, names) for item in value] if isinstance(value, list) else value


def _check_edges(nodes: list[Json]) -> None:
    """Reject what the orchestrator rejects: unknown targets, duplicate operations, and edges to an `Empty` input."""
    operations = [
        (node["container_name"], operation["operation_signature"], operation["connected_to"])
        for node in nodes
        for operation in node["operation_signature_list"]
    ]
    inputs: dict[tuple[str, str], str] = {}
    for node, signature, _ in operations:
        operation = (node, signature["operation_name"])
        if operation in inputs:
            raise blueprint_invalid(f"node '{node}' has the operation '{operation[1][:60]}' twice")
        inputs[operation] = signature["input_message_name"]
    for node, _, targets in operations:
        for target in targets:
            operation = (target["container_name"], target["operation_signature"]["operation_name"])
            if operation not in inputs:
                raise blueprint_invalid(
                    f"node '{node}' connects to '{operation[0][:60]}', operation '{operation[1][:60]}', "
                    "which is not in the pipeline"
                )
            if inputs[operation] == "Empty":
                raise blueprint_invalid(f"node '{node}' connects to '{operation[0]}', whose input is Empty")


def check_protobufs(plan: Plan, protobufs: Mapping[str, Protobuf]) -> list[str]:
    """Reject protobufs that no orchestrator loads, and return warnings about those that some orchestrators reject.

    The orchestrator merges all files of a pipeline into one.
    protobufs: container name → declarations in its file.
    Raises NotDeployable: proto-without-service, proto-conflict, proto-mismatch.
    """
    declared: dict[tuple[str, str], tuple[bytes, str]] = {}  # package and name → digest, and the node of the file
    packages: dict[str, tuple[str, str]] = {}  # name → the first package that declares it, and the node of the file
    doubled: set[str] = set()
    warnings: list[str] = []
    for node, protobuf in protobufs.items():
        for name, digest in _declarations(protobuf):
            known, other = declared.setdefault((protobuf.package, name), (digest, node))
            if known != digest:
                raise NotDeployable(
                    "proto-conflict",
                    f"The protobufs of '{other}' and '{node}' both declare '{name[:60]}', each with another content, "
                    "and the orchestrator loads all into one. Make them the same, or rename one.",
                )
            package, other = packages.setdefault(name, (protobuf.package, node))
            if package != protobuf.package and name not in doubled:
                doubled.add(name)
                warnings.append(
                    f"The protobufs of '{other}' and '{node}' declare '{name[:60]}' in different packages; "
                    "some orchestrators refuse that."
                )
        warnings += (
            f"Node '{node}' has a protobuf with {it}; some orchestrators refuse it." for it in _habits(protobuf)
        )
    for node in plan.document["nodes"]:
        if node["container_name"] in protobufs:
            service = _service(node["container_name"], protobufs[node["container_name"]])
            warnings += _check_operations(node, service)
    return warnings


def _declarations(protobuf: Protobuf) -> Iterator[tuple[str, bytes]]:
    """Yield the name and the digest of each message, enum and service: each name has one meaning in a package."""
    yield from protobuf.messages.items()
    yield from protobuf.enums.items()
    yield from ((name, service.digest) for name, service in protobuf.services.items())


def protobuf_invalid(container: Container, error: ProtobufError) -> NotDeployable:
    """Return the error for a protobuf that no orchestrator can load."""
    file = container.proto_uri.rpartition("/")[2]
    return NotDeployable(
        "proto-invalid",
        f"The protobuf of '{container.name}' cannot be loaded: {file[:60]}, line {error.line}: {error}. Correct it and "
        "on-board the model again.",
    )


def _habits(protobuf: Protobuf) -> Iterator[str]:
    """Yield the features that some versions of the orchestrator reject and others load."""
    if protobuf.syntax in EDITIONS:
        yield f"the edition {protobuf.syntax}"
    elif protobuf.syntax != PROTO3:
        yield f"the syntax {protobuf.syntax}"
    if protobuf.package:
        yield "a package"
    if protobuf.enums:
        yield f"an enum at the top level ({next(iter(protobuf.enums))[:40]})"
    if protobuf.imports:
        yield "imports of protobuf's own types"
    if protobuf.extensions:
        yield "extensions"


def _service(node: str, protobuf: Protobuf) -> Service:
    """Find the service as the orchestrator does: by the first line that begins with the keyword `service`."""
    first = next(iter(protobuf.services.values()), None)
    if first is None:
        problem = "declares no service"
    elif protobuf.called is None:
        problem = f"has its service in line {first.line}, and not at the beginning of that line"
    elif (service := protobuf.services.get(protobuf.called[0])) is None:
        problem = f"has a line {protobuf.called[1]} that begins with the word service and does not declare one"
    else:
        return service
    raise proto_without_service(node, problem)


def proto_without_service(node: str, problem: str) -> NotDeployable:
    """Return the error for a protobuf in which the orchestrator finds no service."""
    return NotDeployable(
        "proto-without-service",
        f"The protobuf of node '{node}' {problem}: the orchestrator would not find it. Correct it and on-board the "
        "model again.",
    )


def _check_operations(node: Json, service: Service) -> Iterator[str]:
    """Compare the blueprint's operations with the service's, and yield warnings. Raises NotDeployable."""
    for operation in node["operation_signature_list"]:
        signature = operation["operation_signature"]
        name, rpc = signature["operation_name"], service.rpcs.get(signature["operation_name"])
        where = f"operation '{name[:60]}' of node '{node['container_name']}'"
        wanted = signature["input_message_name"], signature["output_message_name"]
        if rpc is None:
            problem = f"The {where} is not in its protobuf"
        elif (rpc.request, rpc.response) != wanted:
            problem = (
                f"The {where} takes '{wanted[0][:40]}' and gives '{wanted[1][:40]}', and its protobuf says "
                f"'{rpc.request[:40]}' and '{rpc.response[:40]}'"
            )
        else:
            streams = signature.get("input_message_stream"), signature.get("output_message_stream")
            if tuple(map(bool, streams)) != rpc.streams:
                yield f"The {where} streams differently from its protobuf: it may fail when it is called."
            continue
        raise NotDeployable("proto-mismatch", f"{problem}. Save the pipeline again with the model as it is now.")
