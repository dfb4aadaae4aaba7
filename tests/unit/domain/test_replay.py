"""Ids of replays, and the count of replays that they carry."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import DeploymentRequested
from schemas.events import REQUEST_ID_PATTERN
from worker.domain.dead_letter import MAX_REPLAYS, Replay, next_replay

IDS = st.from_regex(REQUEST_ID_PATTERN.replace("$", r"\Z"))


def test_the_ids_of_replays_are_forever() -> None:
    """The id of a replay never changes: another id for the same replay would be a second deployment."""
    assert "replay-1-78377b525757b494427f89014f97d799" == Replay("r-1", 1, "nonce").request_id


@given(IDS, st.integers(1, 2 * MAX_REPLAYS), st.text(), st.text())
def test_replays_are_counted_by_their_ids(original: str, number: int, nonce: str, other: str) -> None:
    """The next replay follows from a replay's id and the original's, and its id is a valid request id."""
    following = next_replay(Replay(original, number, nonce).request_id, original, other)
    assert Replay(original, number + 1, other) == following
    DeploymentRequested(request_id=following.request_id, solution_id="0" * 32, revision_id="1" * 32)


@given(IDS)
def test_a_chain_leads_to_the_guard(original: str) -> None:
    """A chain of replays reaches the limit, and no two of them share an id."""
    ids = [original]
    while (following := next_replay(ids[-1], original if ids[1:] else None, "x")).number <= MAX_REPLAYS:
        assert original == following.original
        ids.append(following.request_id)
    assert 1 + MAX_REPLAYS == len(set(ids)) == len(ids)


@given(st.text(), st.text())
def test_letters_do_not_share_replays(one: str, other: str) -> None:
    """Only the same letter gives the same id, so no one who cannot read the letter can know the id."""
    assert (one == other) == (Replay("r-1", 1, one).request_id == Replay("r-1", 1, other).request_id)


@pytest.mark.parametrize("replay_of", [None, "r-0"])
def test_other_requests_are_originals(replay_of: str | None) -> None:
    """A request that is no replay, or a repeat under its sender's own id, starts a new chain."""
    assert Replay("r-1", 1, "x") == next_replay("r-1", replay_of, "x")
