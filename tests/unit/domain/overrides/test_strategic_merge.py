"""Strategic merge, compared with Kubernetes' own."""

import copy
import json
from typing import Any

import pytest

from tests.support import corpus
from tests.support.upstream_patches import FOLDER, whole
from worker.domain.overrides.patching import MERGE_KEYS, PatchError, merge


def comparable(value: Any, field: str = "") -> Any:
    """Return the value without nulls, which mean absent in a manifest, and with merged lists in one order."""
    if isinstance(value, dict):
        return {key: comparable(inner, key) for key, inner in value.items() if inner is not None}
    if not isinstance(value, list):
        return value
    elements = [comparable(element) for element in value]
    key = MERGE_KEYS.get(field)
    return sorted(elements, key=lambda element: str(element[key])) if key else elements


def test_as_kubernetes_merges() -> None:
    """150 patches of all kinds of fields give the same result as Kubernetes' own code."""
    merges = json.loads((FOLDER / "merges.json").read_text(encoding="utf-8"))
    wrong = [
        patch
        for patch, expected in merges
        if comparable(expected) != comparable(merge(*whole("pod", patch))["spec"]["template"]["spec"])
    ]
    corpus.record("patches merged as Kubernetes merges them", len(merges), len(wrong))
    assert [] == wrong


BEFORE: dict[str, Any] = {
    "kept": 1,
    "labels": {"a": "1", "b": "2"},
    "args": ["x", "y"],
    "containers": [{"name": "own", "image": "i"}, {"name": "other"}],
    "readinessProbe": {"tcpSocket": {"port": 1}, "periodSeconds": 5},
    "env": [{"name": "A", "value": "x"}],
    "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "v"}}],
    "tolerations": [{"operator": "Exists"}],
}


@pytest.mark.parametrize(
    ("patch", "changed"),
    [
        ({}, {}),
        ({"labels": {"b": "3", "c": "4"}}, {"labels": {"a": "1", "b": "3", "c": "4"}}),
        ({"labels": {"b": None, "nothing": None}}, {"labels": {"a": "1"}}),
        ({"labels": {"$patch": "replace", "c": "4"}}, {"labels": {"c": "4"}}),
        ({"new": {"a": None, "b": {"c": 1}}}, {"new": {"b": {"c": 1}}}),
        ({"args": ["z"]}, {"args": ["z"]}),
        (
            {"containers": [{"name": "other", "image": "o"}, {"name": "new"}]},
            {"containers": [{"name": "own", "image": "i"}, {"name": "other", "image": "o"}, {"name": "new"}]},
        ),
        ({"containers": [{"name": "other", "$patch": "delete"}]}, {"containers": [{"name": "own", "image": "i"}]}),
        ({"containers": [{"name": "own", "$patch": "replace"}]}, {"containers": [{"name": "own"}, {"name": "other"}]}),
        ({"containers": [{"$patch": "replace"}, {"name": "new"}]}, {"containers": [{"name": "new"}]}),
        (
            {"readinessProbe": {"httpGet": {"port": 2}}},
            {"readinessProbe": {"httpGet": {"port": 2}, "periodSeconds": 5}},
        ),
        (
            {"readinessProbe": {"periodSeconds": 9, "grpc": None}},
            {"readinessProbe": {"tcpSocket": {"port": 1}, "periodSeconds": 9}},
        ),
        ({"readinessProbe": {"tcpSocket": None}}, {"readinessProbe": {"periodSeconds": 5}}),
        (
            {"env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}]},
            {"env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}]},
        ),
        ({"volumes": [{"name": "v", "emptyDir": {}}]}, {"volumes": [{"name": "v", "emptyDir": {}}]}),
        (
            {"tolerations": [{"key": "gpu"}, {"operator": "Exists"}]},
            {"tolerations": [{"operator": "Exists"}, {"key": "gpu"}]},
        ),
        ({"tolerations": None}, {"tolerations": None}),
    ],
)
def test_what_a_patch_does(patch: dict[str, Any], changed: dict[str, Any]) -> None:
    """Each rule of the merge holds, including our three additions, and neither document nor patch is modified."""
    before, given = copy.deepcopy(BEFORE), copy.deepcopy(patch)
    expected = {key: value for key, value in (BEFORE | changed).items() if value is not None}
    assert expected == merge(before, given)
    assert (BEFORE, patch) == (before, given)


@pytest.mark.parametrize(
    ("patch", "problem"),
    [
        ({"labels": {"$patch": "delete"}}, "labels: '$patch' is 'replace' here; null deletes a field."),
        ({"env": [{"value": "x"}]}, "env: every element is an object with its 'name', by which it is found."),
        ({"containers": {"name": "own"}}, "containers: must be a list."),
        ({"args": "x"}, "args: must be a list."),
        ({"labels": ["a"]}, "labels: must be an object."),
        ({"readinessProbe": {"tcpSocket": 1}}, "readinessProbe.tcpSocket: must be an object."),
        ({"env": ["A"]}, "env: every element is an object with its 'name', by which it is found."),
        ({"env": [{"name": "A"}, {"name": "A"}]}, "env: 'A' occurs twice; write one element for it."),
        (
            {"containers": [{"name": "own", "env": [{"name": ["A"]}]}]},
            "containers[own].env: every element is an object with its 'name', by which it is found.",
        ),
    ],
)
def test_a_patch_that_says_nothing_clear_is_refused(patch: dict[str, Any], problem: str) -> None:
    """An ambiguous patch is rejected with the path of the problem."""
    with pytest.raises(PatchError) as refusal:
        merge(BEFORE, patch)
    assert (problem,) == refusal.value.problems
