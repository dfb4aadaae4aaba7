"""docs/contract.md shows the actual states and topics."""

import re

from schemas import FINAL_STATES, SUCCESSORS, DeploymentRequested, DeploymentStatus, State
from tests.support.paths import ROOT
from worker.domain.request import MAX_BYTES

TEXT = (ROOT / "docs" / "contract.md").read_text(encoding="utf-8")


def test_states_and_their_successors_are_listed() -> None:
    """Every state has a row with its successors, in the order of the contract."""
    states = TEXT.partition("| state |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| `([a-z]+)` \| .* \| (.*) \|$", states, re.MULTILINE)

    assert [(state.value, successors(state)) for state in State] == rows


def successors(state: State) -> str:
    """Return the last cell of a state's row."""
    if state in FINAL_STATES:
        return "nothing: final"
    return ", ".join(f"`{follower}`" for follower in State if follower in SUCCESSORS[state])


def test_names_and_limits_are_those_of_the_code() -> None:
    """Topics, event types and the largest request are those of the code."""
    for name in (DeploymentRequested.TOPIC, DeploymentStatus.TOPIC, DeploymentRequested.TYPE, DeploymentStatus.TYPE):
        assert f"`{name}`" in TEXT
    assert f"at most {MAX_BYTES // 1024} KiB" in TEXT
