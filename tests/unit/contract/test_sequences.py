"""The sequences in schemas/examples/sequences are what a worker would write, and follow the contract."""

import json
import re
from itertools import pairwise
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from schemas import FINAL_STATES, SUCCESSORS, DeploymentStatus, State
from schemas.export import GENERATED
from tests.support.paths import ROOT
from tests.support.sequences import FOLDER, SEQUENCES, files

NAMES = pytest.mark.parametrize("name", SEQUENCES)


def values(name: str) -> list[dict[str, Any]]:
    """Return the committed values of the records."""
    found: list[dict[str, Any]] = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return found


def statuses(name: str) -> list[DeploymentStatus]:
    """Return the same values as the class reads them."""
    return [DeploymentStatus.model_validate(it) for it in values(name)]


def test_committed_files_are_what_the_lifecycle_makes() -> None:
    """The committed files are what the lifecycle produces; `make schemas` rewrites them."""
    assert files() == {it.name: it.read_text(encoding="utf-8") for it in FOLDER.iterdir()}


@NAMES
def test_each_status_fits_the_published_schema(name: str) -> None:
    """Each status fits the published schema and survives the round trip."""
    validator = Draft202012Validator(json.loads((GENERATED / "status.schema.json").read_text(encoding="utf-8")))
    for value, status in zip(values(name), statuses(name), strict=True):
        validator.validate(value)
        assert value == json.loads(status.to_json())


@NAMES
def test_a_sequence_keeps_the_contract(name: str) -> None:
    """A sequence has no gaps, only allowed steps, one record, one end, and times that never go back."""
    found = statuses(name)
    assert [*range(len(found))] == [it.sequence for it in found]
    assert all(after in SUCCESSORS[before] for before, after in pairwise([None, *(it.state for it in found)]))
    assert [it.state in FINAL_STATES for it in found] == [False] * (len(found) - 1) + [True]
    assert (1, 1) == (len({it.request_id for it in found}), len({it.source.offset for it in found}))
    assert all(before.time <= after.time and before.attempt <= after.attempt for before, after in pairwise(found))


def test_together_they_show_every_state() -> None:
    """The sequences show every state together, and each shows its own subject."""
    assert {*State} == {it.state for name in SEQUENCES for it in statuses(name)}
    (refused,) = statuses("rejected-at-once")
    assert ("record-5-1207-", None) == (refused.request_id[:14], refused.fingerprint)
    assert [None, 1, 2] == [it.interruptions for it in statuses("taken-over") if it.state is State.BUILDING]
    assert 4 == statuses("failed-after-retries")[-1].attempt
    assert all(it.replay_of == "sudoku-0004" for it in statuses("replayed"))


def test_the_page_lists_them() -> None:
    """docs/contract.md has a row for each file."""
    page = (ROOT / "docs" / "contract.md").read_text(encoding="utf-8")
    assert [*SEQUENCES] == re.findall(r"^\| `([a-z-]+)\.json` \| .+ \|$", page, re.MULTILINE)
