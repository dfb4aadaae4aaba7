"""Which requests a replay sends, and which it refuses."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiokafka import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from tests.support.builders import REVISION_ID, SOLUTION_ID
from tests.unit.client.test_dead_letters import NONCE, read, written
from worker.client.dead_letters import OriginalRecords, StoredDeadLetter, build_replay
from worker.client.requests import OutgoingRequest
from worker.domain.dead_letter import MAX_REPLAYS, Replay
from worker.domain.position import PartitionOffset
from worker.domain.tokens import strip_bearer
from worker.errors import CommandError
from worker.sandbox.users import SANDBOX_USER, sandbox_token

TOKEN = sandbox_token(datetime.now(UTC), timedelta(hours=1))
USER = SANDBOX_USER.user_id.encode()


class Nothing:
    """A consumer of a topic without records."""

    def assign(self, places: Any) -> None: ...

    async def beginning_offsets(self, places: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(places, 100)

    end_offsets = beginning_offsets


def ask(
    letter: StoredDeadLetter, token: str | None = TOKEN, ids: Any = None, *, force: bool = False
) -> OutgoingRequest:
    """Return what would be sent; the topic `requests` has partitions 0 to 5 and no records."""
    originals = OriginalRecords(Nothing(), "requests", 6)
    return asyncio.run(build_replay(letter, originals, {} if ids is None else ids, token, force=force))


def of_the_user(**changes: Any) -> StoredDeadLetter:
    """A letter that TOKEN's user may replay."""
    return read(written(**changes), key=USER)


def test_a_replay_says_whose_it_is() -> None:
    """A replay has an id that follows from the original's, and names the original."""
    assert OutgoingRequest(Replay("r-1", 1, NONCE).request_id, SOLUTION_ID, REVISION_ID, TOKEN, "r-1") == ask(
        of_the_user()
    )


@given(st.integers(1, 2 * MAX_REPLAYS), st.booleans())
def test_the_guard_ends_a_loop(number: int, force: bool) -> None:
    """After the last allowed replay only `--force` continues, and the count comes from the id."""
    letter = of_the_user(requestId=Replay("r-1", number, "other").request_id, replayOf="r-1")
    if number < MAX_REPLAYS or force:
        following = Replay("r-1", number + 1, NONCE)
        assert (following.request_id, "r-1") == ((sent := ask(letter, force=force)).request_id, sent.replay_of)
    else:
        with pytest.raises(CommandError, match=f"replayed {MAX_REPLAYS} times.*--force"):
            ask(letter, force=force)


def test_two_letters_of_one_request_are_one_replay() -> None:
    """Two letters of one request that was sent twice become one replay, so no two deployments result."""
    ids: dict[tuple[str, int], str] = {}
    first, second = (ask(read(written(nonce=it), key=USER), ids=ids) for it in ("one", "other"))
    assert first.request_id == second.request_id


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"requested": None}, r"could not be read \(playground-busy\).*to send the request again"),
        ({"key": None}, "no key.*to send the request again"),
        ({"key": b"user-2"}, "different users.*--key"),
        ({"topic": "other\x1b"}, "'other '.*DEPLOYER_KAFKA__REQUESTS_TOPIC"),
        ({"original": PartitionOffset(6, 7)}, "'requests' has no partition 6"),
        ({"original": PartitionOffset(-1, 7)}, "'requests' has no partition -1"),
    ],
)
def test_what_cannot_be_replayed_is_said(changes: dict[str, Any], said: str) -> None:
    """A letter that cannot be replayed is reported in a sentence with the remedy, and nothing of a token."""
    with pytest.raises(CommandError, match=said) as refused:
        ask(replace(of_the_user(), **changes))
    assert "eyJ" not in str(refused.value)


def test_a_token_that_is_gone_has_to_be_given() -> None:
    """A token must be given if Kafka has deleted the request, as it does before statuses."""
    with pytest.raises(CommandError, match=r"deleted.*--token-file"):
        ask(of_the_user(), None)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("a.b.c", "a.b.c"),
        ("Bearer a.b.c", "a.b.c"),
        (" bearer  a.b.c\n", "a.b.c"),
        ("Bearer", ""),
        ("a b", "a b"),
    ],
)
def test_bearer_is_not_doubled(given: str, expected: str) -> None:
    """Only "Bearer" is removed from a token, so it is not sent twice."""
    assert expected == strip_bearer(given)
