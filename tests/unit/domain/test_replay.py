"""The ids of replays, and how replays are counted by them."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import DeploymentRequested
from schemas.events import REQUEST_ID_PATTERN
from worker.domain.dead_letter import MAX_REPLAYS, Replay, next_replay, replay_id

IDS = st.from_regex(REQUEST_ID_PATTERN.replace("$", r"\Z"))


def test_the_ids_of_replays_are_forever() -> None:
    """Another id for the same replay would be a second deployment."""
    assert "ca372311-2fd6-5484-b048-981915539930" == replay_id("r-1", 1)


@given(IDS, st.integers(1, 2 * MAX_REPLAYS))
def test_replays_are_counted_by_their_ids(original: str, number: int) -> None:
    """From a replay's id and the original's follows which is the next, and that one is a request id."""
    following = next_replay(replay_id(original, number), original)
    assert Replay(original, number + 1) == following
    assert 5 == UUID(following.request_id).version
    DeploymentRequested(request_id=following.request_id, solution_id=UUID(int=1), revision_id=UUID(int=2))


@given(IDS)
def test_a_chain_leads_to_the_guard(original: str) -> None:
    """Whoever replays replays of replays comes to the limit, and no two of them have the same id."""
    ids = [original]
    while (following := next_replay(ids[-1], original if ids[1:] else None)).number <= MAX_REPLAYS:
        assert original == following.original
        ids.append(following.request_id)
    assert 1 + MAX_REPLAYS == len(set(ids)) == len(ids)


@given(IDS, IDS, st.integers(1, MAX_REPLAYS), st.integers(1, MAX_REPLAYS))
def test_requests_do_not_share_replays(one: str, other: str, first: int, second: int) -> None:
    """The same id only for the same replay of the same request."""
    assert ((one, first) == (other, second)) == (replay_id(one, first) == replay_id(other, second))


@pytest.mark.parametrize("replay_of", [None, "r-0"])
def test_other_requests_are_originals(replay_of: str | None) -> None:
    """What nobody repeats, and what its sender repeats under an id of his own, starts a chain."""
    assert Replay("r-1", 1) == next_replay("r-1", replay_of)
