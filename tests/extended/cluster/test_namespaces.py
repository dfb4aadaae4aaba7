"""Namespaces that belong to others, are being deleted, or grant only narrow rights."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.extended.cluster import pythons
from tests.extended.cluster.api import Api, Json, until
from tests.extended.cluster.control_plane import NOBODY, ControlPlane
from tests.extended.cluster.golden import ours
from tests.extended.cluster.pythons import Python
from tests.extended.cluster.server import BARE, FULL, Configuration, Deployment, Server

Playground = Callable[[Python, Configuration], Server]
Zips = Callable[..., bytes]


def test_of_another_deployment(api: Api, build_zip: Zips, server: Playground) -> None:
    """A second solution is rejected before anything is written, and the first can still be run again."""
    playground = server(pythons.running(), BARE)
    first = playground.unpack(build_zip("entity-recogniser"))
    second = Deployment(first.namespace, playground.unpack(build_zip("sudoku")).folder)
    assert 0 == playground.run(first).code
    before = ours(api, first)

    refused = playground.run(second)

    assert 1 == refused.code
    assert f"The namespace {first.namespace} belongs to another deployment (entity-recogniser)." in refused.err
    assert before.keys() == ours(api, first).keys()
    assert 0 == playground.run(first).code


def of_kind(kind: str) -> Json:
    """Return a workload called `stranger` without our labels."""
    labels = {"app": "stranger"}
    pod: Json = {"containers": [{"name": "it", "image": "it"}]}
    spec: Json = {"template": {"metadata": {"labels": labels}, "spec": pod}}
    if kind.endswith("Job"):
        pod["restartPolicy"] = "Never"
    if kind == "CronJob":
        spec = {"schedule": "0 0 1 1 *", "suspend": True, "jobTemplate": {"spec": spec}}
    elif kind != "Job":
        spec["selector"] = {"matchLabels": labels}
    return {"kind": kind, "metadata": {"name": "stranger"}, "spec": spec}


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob"])
def test_of_somebody_else(kind: str, api: Api, build_zip: Zips, server: Playground) -> None:
    """Workloads of any kind without our labels cause a rejection, and --delete leaves them alone."""
    playground = server(pythons.running(), BARE)
    deployment = playground.unpack(build_zip("entity-recogniser"))
    api.make_namespace(deployment.namespace)
    api.create(of_kind(kind), deployment.namespace)

    refused, deleted = playground.run(deployment), playground.run(deployment, "--delete")

    assert (1, 0) == (refused.code, deleted.code)
    assert "belongs to another deployment (stranger)" in refused.err
    assert ["stranger"] == [it["metadata"]["name"] for it in api.find(kind, deployment.namespace)]
    assert [] == api.find("Service", deployment.namespace)


def test_being_deleted(api: Api, build_zip: Zips, server: Playground) -> None:
    """A namespace that is being deleted is rejected with a sentence; when it is gone, the same command succeeds."""
    playground = server(pythons.running(), BARE)
    deployment = playground.unpack(build_zip("entity-recogniser"))
    api.make_namespace(deployment.namespace)
    held = {"name": "held", "finalizers": ["playground.example/hold"]}
    api.create({"kind": "ConfigMap", "metadata": held}, deployment.namespace)
    api.call("DELETE", f"api/v1/namespaces/{deployment.namespace}")

    refused = playground.run(deployment)

    assert 1 == refused.code
    assert refused.err.endswith("is being deleted. Wait until it is gone, or take another.\n")
    api.patch("ConfigMap", deployment.namespace, "held", {"metadata": {"finalizers": None}})
    assert until(lambda: not api.has_namespace(deployment.namespace))
    assert 0 == playground.run(deployment).code
    assert 2 == len(api.find("Service", deployment.namespace))


def test_claim_being_deleted(api: Api, build_zip: Zips, server: Playground) -> None:
    """A deployment is rejected while its deleted claim is still held by a pod, and succeeds when the claim is gone."""
    playground = server(pythons.running(), BARE)
    deployment = playground.unpack(build_zip("news-training"))
    assert 0 == playground.run(deployment).code
    claim = ("PersistentVolumeClaim", deployment.namespace, "shared-folder")
    api.patch(*claim, {"metadata": {"finalizers": ["playground.example/hold"]}})
    assert 0 == playground.run(deployment, "--delete").code

    refused = playground.run(deployment)

    assert 1 == refused.code
    assert "PersistentVolumeClaim shared-folder is still being deleted. Run this again when it is gone." in refused.err
    api.patch(*claim, {"metadata": {"finalizers": None}})
    assert until(lambda: not api.find("PersistentVolumeClaim", deployment.namespace))
    assert 0 == playground.run(deployment).code


def test_with_the_rights_of_an_editor(cluster: ControlPlane, api: Api, build_zip: Zips, tmp_path: Path) -> None:
    """In an existing namespace, Kubernetes' role `edit` is sufficient from the first run to --delete."""
    playground = Server(tmp_path, cluster.kubeconfig_of(NOBODY), pythons.running(), FULL)
    deployment = playground.unpack(build_zip("news-training"))

    refused = playground.run(deployment)

    assert 1 == refused.code
    assert f"The cluster refused GET Namespace {deployment.namespace} with 403" in refused.err
    api.make_namespace(deployment.namespace)
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"}
    subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": NOBODY}
    binding = {"kind": "RoleBinding", "metadata": {"name": "editor"}, "roleRef": role, "subjects": [subject]}
    api.create(binding, deployment.namespace)
    assert until(lambda: 0 == playground.run(deployment).code)
    assert 0 == playground.run(deployment, "--delete").code
    assert until(lambda: [] == api.find("Pod", deployment.namespace))
    assert ["RoleBinding"] == [it["kind"] for it in api.everything(deployment.namespace)]
