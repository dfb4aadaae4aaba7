"""The view reads only the head and the end of a status that directly follows the last status of its request."""

import json
from pathlib import Path

import pytest

from schemas import DeploymentStatus, State
from schemas.export import EXAMPLES
from worker.gateway.view import View

SEQUENCES = sorted((EXAMPLES / "sequences").glob("*.json"), key=lambda path: path.name)


def broken(status: DeploymentStatus) -> bytes:
    """Return the status as a worker writes it, but with a middle that is no JSON."""
    return status.to_json().replace(b'"message":"', b'"message":!"', 1)


@pytest.mark.parametrize("path", SEQUENCES, ids=lambda path: path.stem)
def test_a_following_status_is_not_parsed(path: Path) -> None:
    """Each status after the first is applied although its middle is no JSON: head and end suffice."""
    statuses = [DeploymentStatus.model_validate(it) for it in json.loads(path.read_text(encoding="utf-8"))]
    view, entry = View(100, 10**9), None
    for status in statuses:
        if status.sequence == 0:
            entry = view.apply(0, status.to_json())
            assert View(100, 10**9).apply(0, broken(status)) is None
            continue
        applied = view.apply(0, broken(status))
        assert applied is not None and applied is entry
        assert (status.sequence, status.state, status.source.offset) == (entry.sequence, entry.state, entry.offset)


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
def test_a_status_with_every_field_is_not_parsed() -> None:
    """No field precedes the head or follows `source`, not even a field that was added to the contract later."""
    last = DeploymentStatus.model_validate_json((EXAMPLES / "status.json").read_text(encoding="utf-8"))
    before = last.model_copy(update={"state": State.SUBMITTING, "sequence": last.sequence - 1})
    absent = [name for name in DeploymentStatus.model_fields if getattr(last, name) is None]
    full = last.model_copy(update=dict.fromkeys(absent, last.time))  # of any type: the view reads none of them
    assert len(DeploymentStatus.model_fields) == len(json.loads(full.to_json()))
    view = View(100, 10**9)
    entry = view.apply(0, before.to_json())
    assert entry is not None
    assert entry is view.apply(0, broken(full))
    assert (last.sequence, last.state) == (entry.sequence, entry.state)
