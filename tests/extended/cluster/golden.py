"""The API server's objects of a deployment, without what differs from run to run.

tests/data/cluster/CASE.yaml holds all of them, with a host name and a pull secret; `WRITE_GOLDEN=1 make test-cluster`
writes the files again. Read the diff line by line before you commit it.
"""

import copy
import os
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.extended.cluster.api import Api, Json, until
from tests.extended.cluster.server import FULL, Configuration, Deployment
from tests.support.paths import DATA

GOLDEN = DATA / "cluster"

_CHANGING = ("uid", "resourceVersion", "creationTimestamp", "managedFields", "generation", "namespace")
_REVISION = "deployment.kubernetes.io/revision"  # set by a controller, some time later

Key = tuple[str, str]  # kind, name


def ours(api: Api, deployment: Deployment) -> dict[Key, Json]:
    """Return every object in the namespace that no controller has made for another object."""
    found = [it for it in api.everything(deployment.namespace) if "ownerReferences" not in it["metadata"]]
    return {(it["kind"], it["metadata"]["name"]): it for it in found}


def settle(api: Api, deployment: Deployment) -> None:
    """Wait until the controllers have done what they can."""
    assert until(lambda: all(map(_is_settled, api.find("Deployment", deployment.namespace))))


def _is_settled(deployment: Json) -> bool:
    """Return whether the Deployment is in its last state without a kubelet."""
    status = deployment.get("status", {})
    return bool(1 == status.get("updatedReplicas") == status.get("unavailableReplicas"))


def versions(objects: dict[Key, Json]) -> dict[Key, Any]:
    """Return what changes with every change.

    Claims are included as a whole instead of by resourceVersion: the API server shows `phase: Pending` from the start,
    but stores it only with the first apply after the apply that made the claim.
    """
    return {
        key: {**it, "metadata": {**it["metadata"], "resourceVersion": None}}
        if it["kind"] == "PersistentVolumeClaim"
        else it["metadata"]["resourceVersion"]
        for key, it in objects.items()
    }


def normalised(objects: dict[Key, Json], namespace: str) -> list[Json]:
    """Return the objects without varying fields, sorted by kind and name."""
    return [_normalised(copy.deepcopy(objects[key]), namespace) for key in sorted(objects)]


def _normalised(document: Json, namespace: str) -> Json:
    metadata, spec = document["metadata"], document.get("spec", {})
    for key in _CHANGING:
        metadata.pop(key, None)
    metadata.get("annotations", {}).pop(_REVISION, None)
    if not metadata.get("annotations", True):
        del metadata["annotations"]
    document.pop("status", None)
    for key in ("clusterIP", "clusterIPs"):
        spec.pop(key, None)
    for port in spec.get("ports", []):
        for key in ("port", "nodePort"):
            port[key] = "NODEPORT" if port["nodePort"] >= 30000 else port[key]
    for rule in spec.get("rules", []):
        rule["host"] = rule["host"].replace(namespace, "NAMESPACE")
    return document


def expected(case: str, configuration: Configuration, found: list[Json]) -> list[Json]:
    """Return the golden objects with the changes of this server configuration."""
    path = GOLDEN / f"{case}.yaml"
    if os.environ.get("WRITE_GOLDEN") == "1" and configuration == FULL:
        path.parent.mkdir(exist_ok=True)
        path.write_text(yaml.safe_dump_all(found, explicit_start=True, width=120))
    documents = copy.deepcopy(_read(path))
    kinds = {"Ingress": configuration.hostname, "Secret": configuration.pull_secret}
    documents = [it for it in documents if kinds.get(it["kind"], True)]
    for document in documents:
        if document["kind"] == "Deployment" and not configuration.pull_secret:
            for container in document["spec"]["template"]["spec"]["containers"]:
                container["imagePullPolicy"] = "IfNotPresent"
    return documents


@cache
def _read(path: Path) -> list[Json]:
    return list(yaml.safe_load_all(path.read_text()))
