"""Builders with defaults: a test names only the values that matter to it."""

import json
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any
from uuid import UUID

from schemas import DeploymentStatus, Kind, fingerprint
from worker import settings
from worker.domain.request import Record
from worker.domain.solution import Caller, Solution
from worker.errors import DeploymentError, Unreadable

SOLUTION_ID = UUID("11111111-1111-4111-8111-111111111111")
REVISION_ID = UUID("22222222-2222-4222-8222-222222222222")
CALLER = Caller("user-1", "ada@example.org")
FINGERPRINT = fingerprint(CALLER.user_id, SOLUTION_ID, REVISION_ID)
OPTIONS = settings.BundleSettings(orchestrator_image="registry.example/orchestrator:1.8")
SHIPPED = {
    "kubernetes-client-script.py": b"print('script')\n",
    "deployment-readme.txt": b"read me\n",
    "requirements.txt": b"kubernetes\n",
    "requirements-single.txt": b"kubernetes\n",
    "protobuf/orchestrator.proto": b'syntax = "proto3";\n',
    "orchestrator_client/orchestrator_client.py": b"print('client')\n",
}
PNG = b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR"

Json = dict[str, Any]


def edge(container: str, operation: str = "run") -> Json:
    """Return an entry of `connected_to`."""
    return {"container_name": container, "operation_signature": {"operation_name": operation}}


def operation(name: str = "run", *edges: Json, takes: str = "In", gives: str = "Out") -> Json:
    """Return an entry of `operation_signature_list`."""
    signature = {"operation_name": name, "input_message_name": takes, "output_message_name": gives}
    return {"operation_signature": signature, "connected_to": list(edges)}


def node(name: str, *operations: Json, **more: Any) -> Json:
    """Return a model node with an image and a protobuf."""
    return {
        "container_name": name,
        "node_type": "MLModel",
        "image": f"registry.example/models/{name.lower().strip('/.') or 'x'}:1.0".replace(" ", "-"),
        "proto_uri": f"org/{name.replace(' ', '-')}.proto",
        "operation_signature_list": list(operations) or [operation()],
    } | more


def shared_folder(path: str, *users: str) -> Json:
    """Return a SharedFolder node, connected to `mountVolume` of its users."""
    edges = [edge(user, "mountVolume") for user in users]
    return node(path, operation("provideFolder", *edges, takes="Empty"), node_type="SharedFolder", image="virtual:v1")


def mount_volume() -> Json:
    """Return the operation by which a node uses a shared folder."""
    return operation("mountVolume", takes="SharedFolderRequest", gives="SharedFolderStatus")


def blueprint_document(*nodes: Json, **more: Any) -> Json:
    """Return a blueprint as an object."""
    return {"name": "Demo Pipeline", "version": "1", "nodes": list(nodes), "input_ports": []} | more


def blueprint(*nodes: Json, **more: Any) -> bytes:
    """Return the content of blueprint.json."""
    return json.dumps(blueprint_document(*nodes, **more)).encode()


def protobuf(*operations: Json) -> str:
    """Return a .proto file with the messages and the service of these operations."""
    signatures = [it["operation_signature"] for it in operations]
    messages = sorted({it[f"{side}_message_name"] for it in signatures for side in ("input", "output")})
    rpcs = (
        f"  rpc {it['operation_name']}({it['input_message_name']}) returns ({it['output_message_name']});\n"
        for it in signatures
    )
    declared = "".join(f"message {name} {{}}\n" for name in messages)
    # The name encodes the content: services of the same name must be identical in all files of a pipeline.
    service = "".join(it["operation_name"].title() for it in signatures)
    service = service if len(service) < 100 else sha256(service.encode()).hexdigest()
    return f'syntax = "proto3";\n{declared}service Model{service} {{\n{"".join(rpcs)}}}\n'


PROTOBUF = protobuf(operation()).encode()


def protobufs(document: Json) -> dict[str, str]:
    """Return the .proto file of each node of a blueprint, by node name."""
    return {it["container_name"]: protobuf(*it["operation_signature_list"]) for it in document["nodes"]}


def solution(**changes: Any) -> Solution:
    """Return a pipeline; change `kind` and `image` for a single model."""
    values: Json = {
        "solution_id": SOLUTION_ID,
        "revision_id": REVISION_ID,
        "name": "Demo Pipeline",
        "kind": Kind.PIPELINE,
        "blueprint_uri": "org/blueprint.json",
    }
    return Solution(**(values | changes))


def record(value: Any = None, *, headers: tuple[tuple[str, bytes], ...] = (), **changes: Any) -> Record:
    """Return a record with a request in it; `value` may be any JSON value, or bytes, which are used unchanged."""
    if value is None:
        value = {"solutionId": str(SOLUTION_ID), "revisionId": str(REVISION_ID), "jwtToken": "token"}
    values: Json = {
        "cluster_id": "cluster",
        "topic": "requests",
        "partition": 3,
        "offset": 7,
        "timestamp_ms": 1_700_000_000_000,
        "appended_by_broker": True,
        "key": b"user-1",
        "value": value if isinstance(value, bytes) else json.dumps(value).encode(),
        "headers": headers,
    }
    return Record(**(values | changes))


def final_status(given: Record, request_id: str, error: DeploymentError, attempt: int = 4) -> DeploymentStatus:
    """Return the last status of a request that was accepted once and failed with this error."""
    return DeploymentStatus(
        request_id=request_id,
        sequence=2,
        state=error.state,
        time=datetime(2026, 1, 1, tzinfo=UTC),
        attempt=attempt,
        message=error.message,
        error=error.info(),
        fingerprint=None if isinstance(error, Unreadable) else FINGERPRINT,
        source=given.source,
    )
