"""What an operator may state about a request, and about which requests."""

import json
from argparse import Namespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import DeploymentInfo, DeploymentSettled, DeploymentStatus, State
from tests.support.paths import ROOT
from worker.cli.resolve import read_statement
from worker.client.settlements import RESOLVABLE_STATES, OperatorStatement, build_settlement, publishable
from worker.errors import CommandError

EXAMPLE = json.loads((ROOT / "schemas" / "examples" / "status.json").read_bytes())
URL = "https://playground.example/dashboard?selected_deployment_id=sudoku"


def nobody() -> str:
    """Fail as for a user id without an entry."""
    raise KeyError("getpwuid(): uid not found: 1234")


def statement(outcome: str = "deployed", user: Any = lambda: "ada", **given: Any) -> OperatorStatement:
    """Return the statement of a command line."""
    options = dict.fromkeys(("deployment_id", "deployment_url", "reason", "by"))
    return read_statement(Namespace(outcome=outcome, **(options | given)), user)


@pytest.mark.parametrize("outcome", ["deployed", "failed", "retry"])
def test_without_more_it_is_said_by_the_user(outcome: str) -> None:
    """By default the user makes the statement, without a reason."""
    assert OperatorStatement(None, "ada") == statement(outcome)


def test_what_is_said_is_published() -> None:
    """A statement is published on one line, with the deployment."""
    said = statement(reason=" I\nlooked.\x1b[2J ", by="bob", deployment_id="sudoku", deployment_url=URL)
    assert OperatorStatement("I looked. [2J", "bob", DeploymentInfo(id="sudoku", url=URL)) == said


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"deployment_id": "a"}, "give both"),
        ({"deployment_url": URL}, "give both"),
        (
            {"outcome": "failed", "deployment_id": "a", "deployment_url": URL},
            "settled as failed has no.*--outcome deployed",
        ),
        (
            {"outcome": "retry", "deployment_id": "a", "deployment_url": URL},
            "settled as retry has no.*--outcome deployed",
        ),
        ({"deployment_id": "A b", "deployment_url": URL}, "--deployment-id: .*dashboard"),
        ({"deployment_id": "a" * 64, "deployment_url": URL}, "--deployment-id"),
        ({"deployment_id": "a", "deployment_url": "javascript:alert(1)"}, "--deployment-url: .*https://"),
        ({"deployment_id": "a", "deployment_url": "https:///"}, "--deployment-url"),
        ({"deployment_id": "a", "deployment_url": f"https://x/{'a.' * 1000}"}, "--deployment-url: .*1 to 2000"),
        ({"reason": ""}, "--reason: the text has 0 characters. Write 1 to 1000"),
        ({"reason": "x " * 501}, "--reason: the text has 1001 characters"),
        ({"reason": "\udcff"}, "--reason: the text is not UTF-8"),
        ({"reason": "eyJhbGciOiJIUzUxMiJ9.e30.c2ln"}, "--reason: the text will be public.*token"),
        ({"by": " "}, "--by: the text has 0 characters. Write 1 to 200"),
        ({"user": nobody}, "--by: .*Give your name"),
    ],
)
def test_a_mistake_names_the_option(given: dict[str, Any], said: str) -> None:
    """An error names the option and the remedy in one sentence, and contains nothing of a token."""
    with pytest.raises(CommandError, match=said) as refused:
        statement(**given)
    assert "eyJ" not in str(refused.value)


@given(st.text(st.characters(), max_size=30))
def test_every_text_fits_the_event(said: str) -> None:
    """Any text is either rejected or becomes one printable line of UTF-8."""
    try:
        fits = publishable("--reason", said, 20)
    except CommandError:
        return
    assert fits.isprintable()
    assert 0 < len(fits.encode().decode()) <= 20


@pytest.mark.parametrize("state", State)
def test_only_an_open_outcome_can_be_settled(state: State) -> None:
    """Only a parked request, or one that a lost worker may have sent, can be settled; the error names other states."""
    last = DeploymentStatus.model_validate(EXAMPLE | {"state": state, "attempt": 3})
    if state in RESOLVABLE_STATES:
        settled = build_settlement(last, "failed", OperatorStatement("I looked.", "ada"))
        expected = {"requestId": last.request_id, "attempt": 3, "outcome": "failed", "reason": "I looked.", "by": "ada"}
        assert DeploymentSettled.model_validate(expected) == settled
    else:
        with pytest.raises(CommandError, match=f"is {state}, and only a parked request.*watch"):
            build_settlement(last, "failed", OperatorStatement("I looked.", "ada"))
