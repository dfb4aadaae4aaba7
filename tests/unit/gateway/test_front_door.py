"""The decision what a click becomes, and what is not a click."""

import pytest

from schemas import fingerprint
from tests.support.builders import REVISION_ID, SOLUTION_ID
from tests.unit.gateway.door import say
from worker.gateway.entry import Entry
from worker.gateway.front_door import Join, Publish, click, refusal
from worker.gateway.view import View
from worker.sandbox.users import SANDBOX_USER

OF = fingerprint(SANDBOX_USER.user_id, SOLUTION_ID, REVISION_ID)
MINUTE = 60_000


def entry(*states: str) -> Entry:
    view = View(10, 10**6)
    for sequence, state in enumerate(states):
        say(view, sequence, state)
    found = view.newest(OF, len(SANDBOX_USER.user_id) % 3)
    assert found is not None
    return found


@pytest.mark.parametrize("states", [("accepted",), ("accepted", "building"), ("submitting", "parked")])
def test_an_open_request_is_joined(states: tuple[str, ...]) -> None:
    """A click joins an open request at any age, even if it is parked, because deploying again might deploy twice."""
    last = entry(*states)
    assert Join(last) == click(last, OF, "token", last.time_ms + 100 * MINUTE, MINUTE)


def test_an_ended_request_is_joined_for_a_while() -> None:
    """A reload within the time limit shows the finished request; a later reload deploys again."""
    last = entry("accepted", "deployed")
    assert Join(last) == click(last, OF, "token", last.time_ms + MINUTE - 1, MINUTE)
    assert isinstance(click(last, OF, "token", last.time_ms + MINUTE, MINUTE), Publish)


def test_everybody_chooses_the_same_id() -> None:
    """Reloads, proxy retries and other replicas choose one id; another token, user or earlier request changes it."""
    last = entry("accepted", "deployed")
    later = last.time_ms + 2 * MINUTE
    chosen = {
        click(None, OF, "token", 0, MINUTE),
        click(None, OF, "token", 5, MINUTE),
        click(None, OF, "other", 0, MINUTE),
        click(None, "f" * 64, "token", 0, MINUTE),
        click(last, OF, "token", later, MINUTE),
        click(last, OF, "token", later + 1, MINUTE),
    }
    assert 4 == len(chosen)


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("HEAD", {}),
        ("GET", {"Sec-Purpose": "prefetch"}),
        ("GET", {"Sec-Purpose": "prefetch;prerender"}),
        ("GET", {"Purpose": "prefetch"}),
        ("GET", {"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}),
        ("GET", {"Sec-Fetch-Mode": "cors"}),
        ("GET", {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}),
    ],
)
def test_what_is_no_click_does_not_deploy(method: str, headers: dict[str, str]) -> None:
    """A prefetch, an embedded resource, a script's call and a HEAD request do not deploy."""
    assert refusal(method, headers) is not None


@pytest.mark.parametrize("headers", [{}, {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}])
def test_a_click_deploys(headers: dict[str, str]) -> None:
    """A browser's navigation deploys, and so does a program, which sends none of the headers."""
    assert refusal("GET", headers) is None
