"""Patched manifests: what is rejected, compared with Kubernetes' own verdicts."""

import json
from typing import Any

import pytest
from kubernetes.client.models import V1Deployment, V1PersistentVolumeClaim

from tests.support import corpus
from tests.support.upstream_patches import CLAIM, DEPLOYMENT, FOLDER, cases, whole
from worker.domain.overrides.field_checks import with_quantities
from worker.domain.overrides.patching import PatchError, patched

Json = dict[str, Any]

# Rejected here although API servers accept it, and why.
STRICTER = (
    {"env": [{"name": "2LOG", "value": "x"}]},  # only since Kubernetes 1.32
    {"env": [{"name": "LOG LEVEL", "value": "x"}]},  # likewise
    {"volumes": [{"name": "cache", "emptyDir": None}]},  # silently becomes an emptyDir
    {"volumes": [{"name": "cache"}]},  # likewise
    {"terminationGracePeriodSeconds": -60},  # is read as 1
    {"volumeMode": "Block"},  # the claim is mounted as a folder
    {"hostPID": True, "hostUsers": True},  # the playground's script rejects it
)


def problems(place: str, patch: Json) -> tuple[str, ...]:
    """Return why the patch is rejected, or nothing if it is accepted."""
    document, complete = whole(place, patch)
    kind = V1Deployment if document["kind"] == "Deployment" else V1PersistentVolumeClaim
    try:
        patched(kind.model_validate(document), [with_quantities(complete)])
    except PatchError as error:
        return error.problems
    return ()


def test_no_patch_is_taken_that_kubernetes_refuses() -> None:
    """Of 254 patches that Kubernetes validated, none more is accepted and 7 more are rejected, each with its reason."""
    verdicts = json.loads((FOLDER / "verdicts.json").read_text(encoding="utf-8"))
    assert [[place, patch] for place, patch, _ in verdicts] == [[place, patch] for place, patch in cases()]
    wrong = [
        (place, patch, verdict)
        for place, patch, verdict in verdicts
        if bool(verdict) != bool(problems(place, patch)) and patch not in STRICTER
    ]
    corpus.record("patches judged as Kubernetes judges them", len(verdicts), len(wrong))
    assert [] == wrong
    assert [] == [
        patch for patch in STRICTER if not any(problems(place, patch) for place in ("container", "pod", "claim"))
    ]


@pytest.mark.parametrize(
    ("place", "patch", "problem"),
    [
        ("container", {"volume_mounts": []}, "spec.template.spec.containers[node].volume_mounts: no such field."),
        (
            "container",
            {"image_pull_policy": "Always"},
            "spec.template.spec.containers[node].image_pull_policy: no such",
        ),
        ("container", {"resource": {}}, "spec.template.spec.containers[node].resource: no such field."),
        ("container", {"env": [{"name": "A", "value": 1}]}, "containers[node].env[A].value: must be text; put it in q"),
        ("container", {"args": [1]}, "spec.template.spec.containers[node].args[0]: must be text; put it in quotes."),
        ("container", {"ports": [{"containerPort": "9090"}]}, "ports[9090].containerPort: must be a whole number"),
        ("container", {"ports": [{"containerPort": True}]}, "ports[True].containerPort: must be a whole number"),
        ("pod", {"hostNetwork": "no"}, "spec.template.spec.hostNetwork: must be true or false, without quotes."),
        ("pod", {"hostNetwork": True}, "spec.template.spec.hostNetwork: the script on the playground refuses pods"),
        ("pod", {"hostPID": True}, "spec.template.spec.hostPID: the script on the playground refuses pods that share"),
        ("pod", {"hostIPC": True}, "spec.template.spec.hostIPC: the script on the playground refuses pods that share"),
        ("pod", {"tolerations": [{"kee": "a"}]}, "spec.template.spec.tolerations[0].kee: no such field."),
        ("spec", {"replicas": "2"}, "spec.replicas: must be a whole number, without quotes."),
        ("spec", {"replicas": True}, "spec.replicas: must be a whole number, without quotes."),
        ("spec", {"strategy": "Recreate"}, "spec.strategy: must be an object."),
        (
            "spec",
            {"strategy": {"rollingUpdate": {"maxSurge": [1]}}},
            "rollingUpdate.maxSurge: must be a number or text.",
        ),
        (
            "pod",
            {"envFrom": None, "readinessGates": [{"conditionType": "a", "x": None}]},
            "spec.template.spec.readinessGates[0].x: no such field.",
        ),
        (
            "container",
            {"envFrom": [{"prefix": None, "secretRef": {"name": "s"}}]},
            "containers[node].envFrom[0].prefix: null deletes nothing here.",
        ),
        ("claim", {"storage_class_name": "nfs"}, "spec.storage_class_name: no such field."),
    ],
)
def test_a_wrong_field_is_named(place: str, patch: Json, problem: str) -> None:
    """The error names the path of the field; Python's field names are rejected like any other unknown field."""
    (found,) = problems(place, patch)
    assert problem in found


OWN = {"containers": [{"name": "node", "$patch": "delete"}]}


@pytest.mark.parametrize(
    ("document", "patch", "place"),
    [
        (DEPLOYMENT, {"apiVersion": "apps/v2"}, "apiVersion"),
        (DEPLOYMENT, {"kind": "StatefulSet"}, "kind"),
        (DEPLOYMENT, {"metadata": None}, "metadata.name"),
        (DEPLOYMENT, {"metadata": {"name": "other"}}, "metadata.name"),
        (DEPLOYMENT, {"metadata": {"namespace": "default"}}, "metadata.namespace"),
        (DEPLOYMENT, {"metadata": {"finalizers": ["a/b"]}}, "metadata.finalizers"),
        (DEPLOYMENT, {"metadata": {"labels": {"app": "other"}}}, "metadata.labels.app"),
        (DEPLOYMENT, {"metadata": {"labels": None}}, "metadata.labels.app"),
        (DEPLOYMENT, {"spec": None}, "spec.selector"),
        (DEPLOYMENT, {"spec": {"selector": {"matchLabels": {"a": "b"}}}}, "spec.selector"),
        (DEPLOYMENT, {"spec": {"selector": None}}, "spec.selector"),
        (
            DEPLOYMENT,
            {"spec": {"template": {"metadata": {"labels": {"app": None}}}}},
            "spec.template.metadata.labels.app",
        ),
        (DEPLOYMENT, {"spec": {"template": {"metadata": {"name": "x"}}}}, "spec.template.metadata.name"),
        (DEPLOYMENT, {"spec": {"template": {"metadata": {"namespace": "x"}}}}, "spec.template.metadata.namespace"),
        (DEPLOYMENT, {"spec": {"template": {"spec": None}}}, "spec.template.spec.containers[node].name"),
        (DEPLOYMENT, whole("pod", OWN)[1], "spec.template.spec.containers[node].name"),
        (DEPLOYMENT, whole("pod", {"containers": []} | OWN)[1], "spec.template.spec.containers[node].name"),
        (DEPLOYMENT, whole("container", {"image": "r.example/other:1"})[1], "containers[node].image"),
        (DEPLOYMENT, whole("container", {"ports": None})[1], "containers[node].ports[8061]"),
        (DEPLOYMENT, whole("container", {"ports": [{"containerPort": 8061, "name": "g"}]})[1], "[node].ports[8061]"),
        (
            DEPLOYMENT,
            whole("container", {"ports": [{"containerPort": 8062, "$patch": "delete"}]})[1],
            "containers[node].ports[8062]",
        ),
        (DEPLOYMENT, {"status": {"replicas": 1}}, "status"),
        (CLAIM, {"metadata": {"name": "other"}}, "metadata.name"),
        (CLAIM, {"metadata": {"labels": {"app": None}}}, "metadata.labels.app"),
        (CLAIM, {"status": {"phase": "Bound"}}, "status"),
    ],
)
def test_what_the_playground_relies_on_is_refused(document: Json, patch: Json, place: str) -> None:
    """A patch cannot change names, labels, selector, the container, its image or its ports."""
    kind = V1Deployment if document is DEPLOYMENT else V1PersistentVolumeClaim
    with pytest.raises(PatchError) as refusal:
        patched(kind.model_validate(document), [patch])
    (problem,) = refusal.value.problems
    assert f"{place}: " in problem
    assert "fixed" in problem or "no part of a patch" in problem


def test_the_star_is_the_nodes_own_container() -> None:
    """`*` is the node's own container; other containers may be added and come after it."""
    patch = {"containers": [{"name": "proxy", "image": "r.example/proxy:1"}, {"name": "*", "args": ["x"]}]}
    deployment = patched(V1Deployment.model_validate(DEPLOYMENT), [whole("pod", patch)[1]])
    containers = deployment.model_dump()["spec"]["template"]["spec"]["containers"]
    assert [("node", ["x"]), ("proxy", None)] == [(it["name"], it["args"]) for it in containers]


def test_no_value_of_a_variable_is_shown() -> None:
    """No error shows the value of a variable, which may be a misplaced secret."""
    canary = "canary-9137"
    for variable in (
        {"name": "A B", "value": canary},
        {"name": "A", "value": [canary]},
        {"name": "A", "value": canary, "valu": canary},
        {"name": "A", "value": canary, "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
    ):
        found = problems("container", {"env": [variable]})
        assert found
        assert canary not in "".join(found)
