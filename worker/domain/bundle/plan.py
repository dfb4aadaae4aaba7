"""Plan: everything the bundle depends on, decided; rendering and packing only write it down."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from schemas import Kind
from worker.domain.bundle.blueprint import Blueprint, Node
from worker.domain.bundle.images import check_image, moving_version
from worker.domain.bundle.names import ORCHESTRATOR, node_name, pipeline_name
from worker.domain.bundle.presentation import Presentation, present
from worker.domain.bundle.shared_folders import SharedFolder
from worker.domain.solution import Solution
from worker.errors import NotFound

# Ports of Graphene's container specification, and the Service ports its deployers have always used.
GRPC_PORT = 8061
WEBUI_PORT = 8062
NODE_SERVICE_PORT = 8556
ORCHESTRATOR_SERVICE_PORT = 8061


@dataclass(frozen=True, slots=True)
class Container:
    """One Deployment with its Service, all three of one name."""

    name: str
    image: str
    component: str  # app.kubernetes.io/component: model or orchestrator
    service_port: int
    proto_uri: str = ""
    dialled: bool = False  # by the orchestrator, which must find it listening
    folders: tuple[SharedFolder, ...] = ()
    folder_path: str | None = None  # SHARED_FOLDER_PATH


@dataclass(frozen=True, slots=True)
class Plan:
    """What will be deployed."""

    solution_id: UUID
    revision_id: UUID
    kind: Kind
    solution_name: str
    document: dict[str, Any]  # blueprint.json
    containers: tuple[Container, ...]
    shared_folders: tuple[SharedFolder, ...]
    presentation: Presentation
    warnings: tuple[str, ...]  # all that was changed or left out on the way


def plan_pipeline(solution: Solution, blueprint: Blueprint, orchestrator_image: str) -> Plan:
    """A pipeline: its nodes and the orchestrator that runs them.

    Raises NotDeployable (image-empty, image-invalid) and NotFound (proto-missing).
    """
    for node in blueprint.nodes:
        check_image(node.image, f"Node '{node.original[:60]}'")
        if node.dialled and not node.proto_uri:
            raise NotFound("proto-missing", f"Node '{node.original[:60]}' has no protobuf. On-board its model again.")
    check_image(orchestrator_image, "DEPLOYER_BUNDLE__ORCHESTRATOR_IMAGE")
    containers = (
        *(_model(node, blueprint.shared_folders) for node in blueprint.nodes),
        _orchestrator(orchestrator_image),
    )
    presentation = present(solution)
    return Plan(
        solution.solution_id,
        solution.revision_id,
        Kind.PIPELINE,
        solution.name,
        blueprint.document,
        containers,
        blueprint.shared_folders,
        presentation,
        (*solution.remarks, *_warnings(blueprint), *presentation.warnings),
    )


def plan_single_model(solution: Solution) -> Plan:
    """One model on its own, called by its solution's name.

    Raises NotDeployable (image-empty, image-invalid, name-reserved).
    """
    image = solution.image or ""
    check_image(image, f"The model '{solution.name[:60]}'")
    name = node_name(solution.name)
    pipeline = pipeline_name(solution.name)
    document = {
        "name": pipeline,
        "nodes": [
            {
                "container_name": name,
                "node_type": "MLModel",
                "image": image,
                "proto_uri": solution.proto_uri or "",
                "operation_signature_list": [],
            }
        ],
    }
    container = Container(name, image, "model", NODE_SERVICE_PORT, solution.proto_uri or "")
    presentation = present(solution)
    warnings = _renamed("The model", solution.name, name) + _renamed("The solution", solution.name, pipeline)
    warnings += _moving("The model", image)
    return Plan(
        solution.solution_id,
        solution.revision_id,
        Kind.SINGLE_MODEL,
        solution.name,
        document,
        (container,),
        (),
        presentation,
        (*solution.remarks, *warnings, *presentation.warnings),
    )


def _model(node: Node, folders: tuple[SharedFolder, ...]) -> Container:
    """Every node mounts every folder, connected or not: all nodes of a pipeline need the same access."""
    connected = [folder.path for folder in folders if node.original.lower() in folder.users]
    paths = connected or [folder.path for folder in folders]
    return Container(
        node.name,
        node.image,
        "model",
        NODE_SERVICE_PORT,
        node.proto_uri,
        node.dialled,
        folders,
        paths[0] if paths else None,
    )


def _orchestrator(image: str) -> Container:
    return Container(ORCHESTRATOR, image, "orchestrator", ORCHESTRATOR_SERVICE_PORT)


def _warnings(blueprint: Blueprint) -> tuple[str, ...]:
    """Everything that will not be as its author wrote it."""
    warnings = _renamed("The pipeline", blueprint.original_name, str(blueprint.document["name"]))
    for node in blueprint.nodes:
        warnings += _renamed("Node", node.original, node.name)
        if node.node_type.lower() == "databroker":
            warnings += (f"Node '{node.name}' is a data broker; it is deployed as an ordinary node.",)
        warnings += _moving(f"Node '{node.name}'", node.image)
    if len(blueprint.shared_folders) > 1:
        several = f"The pipeline has {len(blueprint.shared_folders)} shared folders, all mounted in every node; "
        warnings += (several + "SHARED_FOLDER_PATH names the one the node is connected to, else the first.",)
    if blueprint.wants_probe:
        warnings += ("The pipeline asks for a probe, which is not deployed.",)
    return warnings


def _renamed(what: str, original: str, name: str) -> tuple[str, ...]:
    return () if original == name else (f"{what} '{original[:60]}' is called '{name}' in the cluster.",)


def _moving(what: str, image: str) -> tuple[str, ...]:
    why = moving_version(image)
    return (f"{what}: its image {why}, so another version of it may run next time.",) if why else ()
