"""Small bundles, written from scratch in the deployer's layout."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.support.paths import ROOT

ONTARGET = ROOT / "worker" / "ontarget"
SCRIPT = "kubernetes-client-script.py"
SOLUTION = "1e300000-0225-4bf1-a99c-b99638a22232"  # starts like a number, as one UUID in twenty does
REVISION = "0889694e-a908-46df-a58d-bad87bbbad23"
AUTHS = {"auths": {"registry.example": {"auth": "dG9wOnMzY3JldA=="}}}

Json = dict[str, Any]


def labels(name: str, solution: str = SOLUTION) -> dict[str, str]:
    """The labels of every object."""
    return {
        "app": name,
        "app.kubernetes.io/name": name,
        "app.kubernetes.io/instance": solution,
        "app.kubernetes.io/version": REVISION,
        "app.kubernetes.io/component": "model",
        "app.kubernetes.io/part-of": "graphene-playground",
        "app.kubernetes.io/managed-by": "playground-deployer",
    }


def service(name: str, solution: str = SOLUTION) -> Json:
    """A node's Service before the script has run."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "labels": labels(name, solution)},
        "spec": {
            "type": "NodePort",
            "selector": {"app": name},
            "ports": [{"name": "protobuf-api", "port": 8556, "targetPort": 8061}],
        },
    }


def deployment(name: str, solution: str = SOLUTION) -> Json:
    """A node's Deployment."""
    container = {
        "name": name,
        "image": f"registry.example/models/{name}:1.0",
        "ports": [{"name": "protobuf-api", "containerPort": 8061}, {"name": "webui", "containerPort": 8062}],
    }
    pod = {"imagePullSecrets": [{"name": "acumos-registry"}], "containers": [container]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": labels(name, solution)},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": labels(name, solution)}, "spec": pod},
        },
    }


def claim(name: str = "shared-folder") -> Json:
    """The PersistentVolumeClaim of a shared folder."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "labels": labels(name)},
        "spec": {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}},
    }


def write_yaml(path: Path, *documents: Any) -> None:
    """Write the documents as JSON, which is valid YAML."""
    path.write_text("---\n".join(json.dumps(document, indent=2) + "\n" for document in documents))


def single_model(folder: Path, name: str = "entity-recogniser", solution: str = SOLUTION) -> Path:
    """Write one Service and one Deployment, without dockerinfo.json and orchestrator_client/."""
    (folder / "deployments").mkdir(parents=True)
    shutil.copy(ONTARGET / SCRIPT, folder)
    (folder / "blueprint.json").write_text(json.dumps({"name": "Entity Recogniser", "nodes": []}))
    write_yaml(folder / "deployments" / "service.yaml", service(name, solution))
    write_yaml(folder / "deployments" / "deployment.yaml", deployment(name, solution))
    return folder


def pipeline(folder: Path, nodes: Sequence[str] = ("alpha", "beta"), *, shared_folder: bool = False) -> Path:
    """Write nodes and orchestrator; dockerinfo.json has the upper-case names of old blueprints."""
    (folder / "deployments").mkdir(parents=True)
    shutil.copy(ONTARGET / SCRIPT, folder)
    for part in ("orchestrator_client", "protobuf"):
        shutil.copytree(ONTARGET / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "blueprint.json").write_text(json.dumps({"name": "Two Nodes", "nodes": []}))
    (folder / "microservice").mkdir()
    for name in nodes:
        (folder / "microservice" / f"{name}.proto").write_text(f'syntax = "proto3"; // of {name}, größer\n')
    names = [*nodes, "orchestrator"]
    entries = [{"container_name": it.upper(), "ip_address": it.upper(), "port": "8556"} for it in nodes]
    entries.append({"container_name": "orchestrator", "ip_address": "orchestrator", "port": "8061"})
    (folder / "dockerinfo.json").write_text(json.dumps({"docker_info_list": entries}))
    for name in names:
        write_yaml(folder / "deployments" / f"{name}_service.yaml", service(name))
        write_yaml(folder / "deployments" / f"{name}_deployment.yaml", deployment(name))
    if shared_folder:
        write_yaml(folder / "deployments" / "pvc.yaml", claim())
    return folder


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Content and modification time of every file."""
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }
