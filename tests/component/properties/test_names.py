"""Tens of thousands of names alone: no two are mapped to one, and none is mapped to an invalid name."""

import pytest

from tests.component.properties import grammar
from tests.component.properties.strings import corpus
from tests.support.corpus import record
from worker.domain.bundle.plan import node_name, pipeline_name
from worker.errors import NotDeployable

# Look-alikes of every name, and names that a careless change would turn into the cluster's own.
LOOK_ALIKES = ("{}", "{} ", " {}", "{}.", "{}!", "_{}", "{}-", "{}\u0301", "({})", "{}_{}", "{}-{}")
CLUSTER = tuple(
    pattern.format(name, name) for name in sorted(grammar.CLUSTER) for pattern in (*LOOK_ALIKES, "{}x", "{}.x", "{}-x")
)
ORIGINALS = list(
    dict.fromkeys((*corpus(), *CLUSTER, *(pattern.format(it, it) for it in corpus()[:400] for pattern in LOOK_ALIKES)))
)


def test_every_name_of_a_node_becomes_a_valid_one_of_its_own() -> None:
    """A node's valid name is kept byte for byte; an invalid name gets a readable, valid and unique replacement.

    A valid name is also valid with every suffix, and as a file name on Windows.
    """
    names = {original: node_name(original) for original in ORIGINALS if original.lower() != "orchestrator"}
    wrong = [
        original
        for original, name in names.items()
        if not grammar.keeps_its_name(name) or (original == name) != grammar.keeps_its_name(original)
    ]
    record("names of nodes", len(names), len(wrong) + len(names) - len(set(names.values())))
    assert [] == wrong
    assert len(names) == len(set(names.values()))


def test_every_name_of_a_pipeline_becomes_a_namespace_or_is_refused() -> None:
    """A pipeline's usable name is kept, no name becomes the cluster's own, and none is refused needlessly."""
    wrong = []
    for original in ORIGINALS:
        try:
            name = pipeline_name(original)
        except NotDeployable as refusal:
            right = refusal.code == "name-reserved" and grammar.is_reserved(original)
        else:
            right = not grammar.is_reserved(original) and grammar.keeps_its_pipeline_name(name)
            right = right and (original == name) == grammar.keeps_its_pipeline_name(original)
        wrong += [] if right else [original]
    record("names of pipelines", len(ORIGINALS), len(wrong))
    assert [] == wrong


@pytest.mark.parametrize("original", ["orchestrator", "Orchestrator", "ORCHESTRATOR"])
def test_the_orchestrator_keeps_its_name_for_itself(original: str) -> None:
    """A node called `orchestrator` is refused in any mix of cases, as old tools wrote it."""
    with pytest.raises(NotDeployable) as refusal:
        node_name(original)
    assert "name-reserved" == refusal.value.code
