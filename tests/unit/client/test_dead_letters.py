"""Dead letters: read from records, filtered, and shown harmlessly."""

import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.builders import FINGERPRINT, REVISION_ID, SOLUTION_ID, final_status, record
from worker.client.dead_letters import DeadLetterFilter, StoredDeadLetter, parse_dead_letter
from worker.domain import dead_letter
from worker.domain.dead_letter import DeadLetter, Replay
from worker.domain.position import PartitionOffset
from worker.domain.request import Request, read_request, record_id
from worker.errors import CODES, Unavailable, Unreadable
from worker.sandbox.users import sandbox_token

NOW = datetime(2027, 3, 1, 9, 30, tzinfo=UTC)
ASKED = {"requestId": "r-1", "solutionId": str(SOLUTION_ID), "revisionId": str(REVISION_ID)}
NONCE = "0123456789abcdef"
BUSY = Unavailable("playground-busy", CODES["playground-busy"], "submit")


def written(nonce: str = NONCE, **changes: Any) -> DeadLetter:
    """The dead letter that the worker writes for a request whose retries ran out."""
    given = record({**ASKED, "jwtToken": "token"} | changes)
    request = read_request(given)
    assert isinstance(request, Request)
    return dead_letter.dead_letter(given, final_status(given, request.id, BUSY), request, BUSY, nonce)


def kafka_record(letter: DeadLetter, **changes: Any) -> Any:
    """The letter as a record of its topic."""
    values = {
        "partition": 1,
        "offset": 5,
        "timestamp": int(NOW.timestamp() * 1000),
        "key": letter.key,
        "value": letter.value,
        "headers": letter.headers,
    }
    return SimpleNamespace(**(values | changes))


def read(letter: DeadLetter, **changes: Any) -> StoredDeadLetter:
    """Read the letter back."""
    found = parse_dead_letter(kafka_record(letter, **changes))
    assert found is not None
    return found


def test_what_the_worker_writes_is_read() -> None:
    """Every header and the request of a letter are read."""
    letter = read(written())
    assert (PartitionOffset(1, 5), NOW, b"user-1") == (letter.position, letter.time, letter.key)
    assert ("requests", PartitionOffset(3, 7), 1_700_000_000_000) == (letter.topic, letter.original, letter.original_ms)
    assert ("playground-busy", 4, "r-1") == (letter.code, letter.attempt, letter.request_id)
    assert (FINGERPRINT, NONCE) == (letter.fingerprint, letter.nonce)
    assert (CODES["playground-busy"], ASKED) == (letter.message, letter.value)
    assert letter.requested is not None
    assert (SOLUTION_ID, REVISION_ID) == (letter.requested.solution_id, letter.requested.revision_id)


def test_an_unreadable_record_leaves_nothing_to_replay() -> None:
    """The letter of an unreadable record has neither key nor value, only their size and hash, so no replay follows."""
    given = record(b"{")
    problem = read_request(given)
    assert isinstance(problem, Unreadable)
    letter = read(
        dead_letter.dead_letter(given, final_status(given, record_id(given), problem, 1), problem, problem, NONCE)
    )
    assert (None, None, None) == (letter.key, letter.requested, letter.next_replay())
    assert {"size", "sha256"} == letter.value.keys()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, Replay("r-1", 1, NONCE)),
        ({"requestId": Replay("r-1", 2, "other").request_id, "replayOf": "r-1"}, Replay("r-1", 3, NONCE)),
        ({"replayOf": "r-0"}, Replay("r-1", 1, NONCE)),
    ],
)
def test_the_next_replay_follows_from_the_request(changes: dict[str, str], expected: Replay) -> None:
    """The next replay follows from an original, from one of our replays, or from what its sender calls a replay."""
    assert expected == read(written(**changes)).next_replay()


def test_nobody_is_shown_what_the_ids_of_replays_are_made_of() -> None:
    """No output shows the nonce: anyone who took a replay's id first could fail the replay as a conflict."""
    letter = read(written())
    assert NONCE not in letter.line() + letter.json() + repr(letter)


@pytest.mark.parametrize(
    "changes",
    [
        {"headers": ()},
        {"headers": written().headers[1:]},
        {"headers": (*written().headers, (dead_letter.OFFSET, b"x"))},
        {"headers": (*written().headers, (dead_letter.ATTEMPT, b""))},
        {"value": b"not JSON"},
        {"value": b"[" * 20_000},
        {"value": b'"' + b"x" * 100_000 + b'"'},
        {"timestamp": 10**18},
    ],
)
def test_other_records_are_passed_over(changes: dict[str, Any]) -> None:
    """Any other record in the topic is skipped."""
    assert parse_dead_letter(kafka_record(written(), **changes)) is None


@given(
    st.sets(st.builds(PartitionOffset, st.just(1), st.integers(4, 6))),
    st.sampled_from([None, "playground-busy", "not-json"]),
    st.sampled_from([None, b"user-1", b"user-2"]),
    st.sampled_from([None, "r-1", "r-2"]),
    st.sampled_from([None, -1, 0, 1]),
)
def test_every_condition_must_hold(
    places: set[PartitionOffset], code: str | None, key: bytes | None, request_id: str | None, hours: int | None
) -> None:
    """A letter must meet every condition of a filter, and no condition matches everything."""
    since = None if hours is None else NOW + timedelta(hours=hours)
    wanted = DeadLetterFilter(frozenset(places), code, key, request_id, since)
    conditions = [
        not places or PartitionOffset(1, 5) in places,
        code in (None, "playground-busy"),
        key in (None, b"user-1"),
        request_id in (None, "r-1"),
        hours in (None, -1, 0),
    ]
    assert all(conditions) == wanted.matches(read(written()))
    assert (not places and {None} == {code, key, request_id, hours}) == wanted.matches_all


def test_a_key_that_is_no_letter_has() -> None:
    """No `--key` matches the letter of an unreadable record, which has no key."""
    assert not DeadLetterFilter(key=b"").matches(read(written(), key=None))


def test_a_line_tells_the_most_important() -> None:
    """A letter's line has its position, time, code, id, attempt, record and reason."""
    assert (
        "1:5      2027-03-01T09:30:00+00:00  playground-busy          r-1  attempt 4  requests/3:7  "
        f"{CODES['playground-busy']}"
    ) == read(written()).line()


@given(st.text(max_size=20), st.text(max_size=20), st.text(max_size=20))
def test_nothing_reaches_a_terminal(topic: str, message: str, more: str) -> None:
    """A letter is shown as printable characters on one line, and as equivalent JSON, whatever others wrote into it."""
    headers = {**{name: value.decode() for name, value in written().headers}, "more": more}
    headers |= {dead_letter.TOPIC: topic, dead_letter.MESSAGE: message}
    letter = read(
        written(),
        headers=tuple((name, value.encode()) for name, value in headers.items()),
        value=json.dumps({"mood": more}).encode(),
    )
    assert letter.line().isprintable()
    shown = letter.json()
    assert shown.isascii()
    assert shown.isprintable()
    document = json.loads(shown)
    del headers[dead_letter.NONCE]
    assert (message, headers, {"mood": more}) == (document["message"], document["headers"], document["value"])


def test_a_token_that_somebody_put_there_is_not_shown() -> None:
    """A token that someone else wrote into a letter is not shown; the worker never writes one."""
    token = sandbox_token(datetime.now(UTC), timedelta(hours=1))
    letter = read(
        written(),
        headers=(
            *written().headers,
            ("authorization", b"secret-1"),
            *((it, token.encode()) for it in (dead_letter.MESSAGE, dead_letter.REQUEST_ID)),
        ),
        value=json.dumps({**ASKED, "jwtToken": "secret-2", "other": token}).encode(),
    )
    for shown in (letter.line(), letter.title(), letter.json(), letter.json(indent=2), repr(letter)):
        assert not [secret for secret in ("secret-1", "secret-2", *token.split(".")) if secret in shown]
