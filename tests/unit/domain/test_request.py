from hashlib import sha256
from typing import Any

import pytest

from schemas import DeploymentRequested
from tests.support.builders import REVISION_ID, SOLUTION_ID, record
from worker.domain.request import Record, Request, read_request, record_id
from worker.errors import Unreadable

IDS = {"solutionId": str(SOLUTION_ID), "revisionId": str(REVISION_ID)}
PLACE = "record-3-7-" + sha256(b"cluster/requests/1700000000000").hexdigest()[:16]
TYPE = ("ce_type", DeploymentRequested.TYPE.encode())
TOKEN = ("authorization", b"Bearer header-token")


def code(of: Record) -> str:
    refusal = read_request(of)
    assert isinstance(refusal, Unreadable)
    return refusal.code


@pytest.mark.parametrize(
    "given",
    [
        record(IDS, headers=(TYPE, ("ce_id", b"r-1"), TOKEN)),
        record(IDS | {"requestId": "r-1", "jwtToken": "Bearer header-token", "unknown": {"a": 1}}),
        record(
            {"specversion": "1.0", "id": "r-1", "type": DeploymentRequested.TYPE, "data": IDS | {"jwtToken": None}},
            headers=(TOKEN,),
        ),
    ],
    ids=["binary", "bare", "structured"],
)
def test_a_request_is_read_in_every_mode(given: Record) -> None:
    """A request is read from CloudEvents in binary and structured mode and bare JSON; unknown fields are ignored."""
    assert Request("r-1", SOLUTION_ID, REVISION_ID, "Bearer header-token") == read_request(given)


@pytest.mark.parametrize(
    ("request_id", "ce_id", "expected"),
    [
        ("field", b"header", "field"),
        (None, b"header", "header"),
        (None, None, PLACE),
        ("bad id!", b"header", PLACE),
        ("x" * 129, None, PLACE),
        ("trailing\n", None, PLACE),
        (5, None, PLACE),
        ("", None, PLACE),
        (None, b"\xff", PLACE),
        ("a.b_c:d-1", None, "a.b_c:d-1"),
        ("record-3-8-0123456789abcdef", None, PLACE),
        (None, b"record-", PLACE),
        ("a-record-3", None, "a-record-3"),
    ],
)
def test_a_request_id_is_given_or_that_of_the_place(request_id: Any, ce_id: bytes | None, expected: str) -> None:
    """The id is the field, else the CloudEvents id; an invalid id or one like a record id is replaced, never echoed."""
    headers = (TOKEN,) + ((("ce_id", ce_id),) if ce_id is not None else ())
    request = read_request(record(IDS | {"requestId": request_id}, headers=headers))
    assert isinstance(request, Request)
    assert expected == request.id


def test_no_two_places_have_the_same_id() -> None:
    """Record ids contain partition and offset, and differ between records, clusters and recreated topics."""
    changes: list[Any] = [{}, {"cluster_id": "c"}, {"topic": "t"}, {"partition": 4}, {"offset": 8}, {"timestamp_ms": 1}]
    assert len(changes) == len({record_id(record(**change)) for change in changes})
    assert PLACE == record_id(record())


@pytest.mark.parametrize(
    ("expected", "given"),
    [
        ("not-json", record(b"")),
        ("not-json", record(b"x")),
        ("not-json", record(b"\xff\xfe")),
        ("not-json", record(b'{"a": NaN}')),
        ("not-json", record(b'{"solutionId": "1", "solutionId": "2"}')),
        ("not-json", record(b"[" * 50_000)),
        ("not-json", record(b'"' + b"x" * 70_000 + b'"')),
        ("invalid-request", record(b"null")),
        ("invalid-request", record([])),
        ("invalid-request", record({})),
        ("invalid-request", record(IDS | {"solutionId": "no-uuid"}, headers=(TOKEN,))),
        ("invalid-request", record(IDS | {"revisionId": 5}, headers=(TOKEN,))),
        ("invalid-request", record(IDS | {"jwtToken": 5})),
        ("invalid-request", record(IDS | {"replayOf": "not an id"}, headers=(TOKEN,))),
        ("unknown-event-type", record(IDS, headers=(("ce_type", b"other.v1"), TOKEN))),
        ("unknown-event-type", record({"specversion": "1.0", "id": "1", "type": "other.v1", "data": IDS})),
        ("token-missing", record(IDS)),
        ("token-missing", record(IDS | {"jwtToken": "  "})),
        ("token-twice", record(IDS | {"jwtToken": "a"}, headers=(TOKEN,))),
    ],
)
def test_what_is_no_request_is_refused(expected: str, given: Record) -> None:
    """Each kind of mistake has its own error code."""
    assert expected == code(given)


def test_a_refusal_names_the_fields_and_not_their_values() -> None:
    """A rejection names the wrong fields without their values, which may be misplaced secrets."""
    refusal = read_request(record({"solutionId": "s3cret", "jwtToken": "t0ken"}))
    assert isinstance(refusal, Unreadable)
    assert "solutionId" in refusal.message
    assert "revisionId" in refusal.message
    assert "s3cret" not in refusal.message + repr(refusal)


def test_the_token_is_in_no_representation() -> None:
    """The token is in the repr of neither the record nor the request."""
    given = record(IDS | {"jwtToken": "s3cret"})
    assert "s3cret" not in repr(given) + repr(read_request(given))


def test_only_the_brokers_time_counts_as_arrival() -> None:
    """Only the broker's append time counts as arrival, because a producer can write any time."""
    assert 1_700_000_000.0 == record().appended_at
    assert record(appended_by_broker=False).appended_at is None


@pytest.mark.parametrize(("value", "kept"), [(b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01", True), (b"x\ny", False)])
def test_a_trace_context_is_carried_over_when_it_is_one(value: bytes, kept: bool) -> None:
    """A valid trace context is kept, and anything else is dropped."""
    assert kept == (record(headers=(("traceparent", value),)).traceparent is not None)


def test_a_record_keeps_only_the_headers_that_are_read() -> None:
    """Half a million unread headers cost nothing once a record is made; of tokens it keeps two, enough to reject it."""
    many: list[Any] = [("", None), ("x", b"y" * 1000), ("Authorization", b" ")] * 1000
    tokens = [("authorization", b"first"), ("AUTHORIZATION", b"second"), ("authorization", b"third")]
    read: list[Any] = [
        ("ce_id", b"old"),
        ("ce_id", b"id"),
        ("ce_type", None),
        ("ce_type", b"t"),
        ("traceparent", b"tp"),
    ]
    found = record({}, headers=(*many, *tokens, *read, *many))
    kept = (("authorization", b"second"), ("authorization", b"third"), ("ce_id", b"id"), ("ce_type", b"t"))
    assert (*kept, ("traceparent", b"tp")) == found.headers
    assert found.size == sum(len(part) for header in found.headers for part in header) + len(found.value or b"") + len(
        found.key or b""
    )


def test_a_refusal_keeps_nothing_of_the_poll() -> None:
    """A rejection keeps no frames, which would hold everything from the same poll until the request ends."""
    for given in (record(b"no JSON"), record({}), record({"solutionId": 1})):
        problem = read_request(given)
        assert isinstance(problem, Unreadable)
        assert (None, None) == (problem.__traceback__, problem.__context__)
