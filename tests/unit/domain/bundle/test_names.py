import re

import pytest

from worker.domain.bundle.plan import node_name, pipeline_name
from worker.errors import NotDeployable

LABEL = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")


@pytest.mark.parametrize("name", ["a", "sudoku-gui", "x1", "n", "null", "true", "a" * 51])
def test_a_valid_node_name_is_kept(name: str) -> None:
    """A name that Kubernetes accepts with its suffixes is kept byte for byte."""
    assert name == node_name(name)


@pytest.mark.parametrize(
    ("original", "prefix"),
    [
        ("Sudoku Solver", "sudoku-solver-"),
        ("3d-model", "node-3d-model-"),
        ("news_classifier", "news-classifier-"),
        ("Größe", "groe-"),
        ("日本語", "node-"),
        ("", "node-"),
        ("../x", "x-"),
        ("a" * 52, "a" * 40 + "-"),
        ("trailing-", "trailing-"),
        ("x; rm -rf /", "x-rm-rf-"),
        ("con", "con-"),
        ("lpt9", "lpt9-"),
        ("\ud800", "node-"),
    ],
)
def test_an_invalid_node_name_becomes_a_readable_valid_one(original: str, prefix: str) -> None:
    """A name that Kubernetes, or Windows for `con.proto`, would reject keeps a readable start and room for suffixes."""
    name = node_name(original)
    assert prefix == name[: len(prefix)]
    assert LABEL.fullmatch(name + "webuiingress")
    assert len(name + "webuiingress") <= 63


def test_names_that_look_alike_stay_apart() -> None:
    """The hash covers the original name, so equal slugs do not collide."""
    originals = ["a b", "a_b", "a.b", "A-B", "a  b", "ä b", "a-b"]
    assert len(originals) == len({node_name(original) for original in originals})


@pytest.mark.parametrize("name", ["orchestrator", "Orchestrator"])
def test_the_orchestrators_name_is_reserved(name: str) -> None:
    """No node can have the orchestrator's name."""
    with pytest.raises(NotDeployable) as refusal:
        node_name(name)
    assert "name-reserved" == refusal.value.code


@pytest.mark.parametrize("name", ["Sudoku Tutorial", "HelloWorld3Nodes", "news_training", "3d", "a" * 30])
def test_a_pipeline_name_the_playground_can_use_is_kept(name: str) -> None:
    """A pipeline name is kept if it is a valid namespace once lower-cased, with hyphens for space and underscore."""
    assert name == pipeline_name(name)


@pytest.mark.parametrize("name", ["a" * 31, "Straße", "a/b", ".", "-a", "a-", "İ", "x y z!"])
def test_a_pipeline_name_the_playground_cannot_use_is_made_valid(name: str) -> None:
    """Any other pipeline name is made valid, as the playground would answer it with a bare redirect."""
    changed = pipeline_name(name)
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", changed)
    assert len(changed) <= 30


@pytest.mark.parametrize(
    ("name", "reserved"),
    [
        ("Mine", "mine"),
        ("platform", "platform-*"),
        ("Platform X", "a,platform-*"),
        ("my_team", "*-team"),
        ("kube-x", "a"),
    ],
)
def test_further_names_are_refused(name: str, reserved: str) -> None:
    """Names that the setting reserves are rejected, even as the start of the server's namespace, like the cluster's."""
    with pytest.raises(NotDeployable) as refusal:
        pipeline_name(name, reserved)
    assert "name-reserved" == refusal.value.code
    assert "mine-2" == pipeline_name("mine-2", reserved)


@pytest.mark.parametrize(
    "name", ["kube-system", "Kube System", "KUBE_PUBLIC", "default", "Default", "kube", "openshift-x"]
)
def test_names_of_the_cluster_are_refused(name: str) -> None:
    """Names of the cluster are rejected, because in unique mode the playground's script may delete that namespace."""
    with pytest.raises(NotDeployable) as refusal:
        pipeline_name(name)
    assert "name-reserved" == refusal.value.code
