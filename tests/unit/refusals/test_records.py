"""Records by corpus: every record gets one final status, and every rejection advises what to do."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from schemas import FINAL_STATES, DeploymentRequested, DeploymentStatus
from tests.support.builders import (
    OPTIONS,
    PROTOBUF,
    REVISION_ID,
    SHIPPED,
    SOLUTION_ID,
    blueprint,
    node,
    record,
    solution,
)
from tests.support.corpus import record as note
from tests.support.fakes import FakeArtifacts, FakeCatalog, FakeJob, FakePlayground, FakeTokens, fake_deployer
from tests.support.ways_out import tells_what_to_do
from worker.build import Builder
from worker.domain.request import MAX_BYTES, MAX_HEADERS, NotUnpacked, Record, Request, read_request

CANARY = "c4nary-s3cret"
IDS = {"solutionId": str(SOLUTION_ID), "revisionId": str(REVISION_ID)}
TYPE = DeploymentRequested.TYPE
HEADER = ("authorization", f"Bearer {CANARY}".encode())
BINARY = (HEADER, ("ce_specversion", b"1.0"), ("ce_id", b"r-1"), ("ce_source", b"/x"), ("ce_type", TYPE.encode()))
EVENT = {"specversion": "1.0", "id": "r-1", "source": "/x", "type": TYPE}

WRONG: list[Any] = [
    None, True, False, 0, 1, -1, 1.5, 10**30, "", " ", "x", CANARY, "x" * 5000, "é", "\0", "\n", "null", "../..", "{}",
    [], [[]], ["x"], {}, {"a": 1}, str(SOLUTION_ID)[:-1], str(SOLUTION_ID) + "0", f"{SOLUTION_ID}\n", f" {SOLUTION_ID}",
    [str(SOLUTION_ID)], str(SOLUTION_ID).replace("1", "g"), "00000000-0000-0000-0000-00000000000\u0660",
    {"uuid": str(SOLUTION_ID)}, SOLUTION_ID.int,
]  # fmt: skip

Case = tuple[str, set[str], Record]  # description, allowed outcomes, record


def wrong_values() -> Iterator[Case]:
    """Yield each field with each wrong value, in each mode."""
    for wrong in WRONG:
        for field in ("solutionId", "revisionId"):
            data = IDS | {field: wrong}
            yield f"{field}: {wrong!r:.40}", {"invalid-request"}, record(data, headers=BINARY)
            yield f"{field}: {wrong!r:.40}", {"invalid-request"}, record(data | {"jwtToken": "t"})
            yield f"{field}: {wrong!r:.40}", {"invalid-request"}, record(EVENT | {"data": data}, headers=(HEADER,))
        text = isinstance(wrong, str)
        blank = wrong is None or (text and not wrong.strip())
        token = {"token-missing"} if blank else {"deployed"} if text else {"invalid-request"}
        yield f"jwtToken: {wrong!r:.40}", token, record(IDS | {"jwtToken": wrong})
        replay = {"deployed"} if wrong is None or wrong in ("x", CANARY, "null", *IDLIKE) else {"invalid-request"}
        yield f"replayOf: {wrong!r:.40}", replay, record(IDS | {"replayOf": wrong}, headers=BINARY)
        yield f"requestId: {wrong!r:.40}", {"deployed"}, record(IDS | {"requestId": wrong}, headers=BINARY)
        yield f"unknown: {wrong!r:.40}", {"deployed"}, record(IDS | {"unknown": wrong}, headers=BINARY)
        if wrong is not None:
            yield f"type: {wrong!r:.40}", {"unknown-event-type"}, record(EVENT | {"type": wrong, "data": IDS})
        yield f"id: {wrong!r:.40}", {"deployed"}, record(EVENT | {"id": wrong, "data": IDS}, headers=(HEADER,))
        yield f"data: {wrong!r:.40}", {"invalid-request"}, record(EVENT | {"data": wrong}, headers=(HEADER,))
        yield (
            f"value: {wrong!r:.40}",
            {"invalid-request"},
            record(wrong if wrong is not None else b"null", headers=BINARY),
        )


IDLIKE = (str(SOLUTION_ID)[:-1], str(SOLUTION_ID) + "0", str(SOLUTION_ID).replace("1", "g"))


def over_limits() -> Iterator[Case]:
    """Yield records that are too long, too deep, with too many headers, or not strict JSON."""
    filler = MAX_BYTES - len(str(IDS))
    for name, value in {
        "one byte too long": b" " * (MAX_BYTES + 1),
        "a megabyte": b'{"a": "' + b"a" * 1024 * 1024 + b'"}',
        "a megabyte of brackets": b"[" * 1024 * 1024,
        "deep": b'{"a":' * 33 + b"1" + b"}" * 33,
        "deep in an unknown field": b'{"x":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
        "NaN": b'{"a": NaN}',
        "a key twice": f'{{"solutionId": "{SOLUTION_ID}", "solutionId": "{SOLUTION_ID}"}}'.encode(),
        "a long number": b'{"a": ' + b"1" * 301 + b"}",
        "half a surrogate pair": b'{"a": "\\ud800"}',
        "a byte order mark": b"\xef\xbb\xbf{}",
        "UTF-16": "{}".encode("utf-16"),
        "nothing": b"",
        "zeros": bytes(1000),
        "a zip": b"PK\x03\x04" + bytes(100),
        "Avro": b"\x00\x00\x00\x00\x01" + bytes(40),
        "two values": b"{} {}",
        "half a value": b'{"solutionId": "',
        "the token alone": CANARY.encode(),
    }.items():
        yield name, {"not-json"}, record(value, headers=BINARY)
    yield "no value", {"not-json"}, replace(record(headers=BINARY), value=None)
    yield "as long as it may be", {"deployed"}, record(IDS | {"x": "a" * (filler - 20)}, headers=BINARY)
    yield "not unpacked", {"invalid-request"}, replace(record(), value=NotUnpacked(b"it is ill"), key=None)
    for name, end, more in (("100 headers", "deployed", 0), ("101 headers", "invalid-request", 1)):
        yield name, {end}, record(IDS, headers=(*BINARY, *[("x", b"")] * (MAX_HEADERS - len(BINARY) + more)))


def hostile_headers() -> Iterator[Case]:
    """Yield headers that are duplicated, long, undecodable, or similar to others."""
    data = IDS | {"jwtToken": "t"}
    for name, expected, headers in (
        ("twice the same", "token-twice", (HEADER, HEADER)),
        ("two tokens", "token-twice", (("authorization", b"a"), ("Authorization", b"b"))),
        ("three spellings", "token-twice", (("AUTHORIZATION", b"a"), ("authorization", b"b"), ("aUthorization", b""))),
        ("one of them empty", "deployed", (("authorization", b""), HEADER)),
        ("an empty one", "token-missing", (("authorization", b""),)),
        ("a null one", "token-missing", (("authorization", None),)),
        ("spaces", "token-missing", (("authorization", b" \t\r\n"),)),
        ("a name with a space", "token-missing", (("authorization ", b"t"),)),
        ("a name that looks alike", "token-missing", (("\u0430uthorization", b"t"),)),
        ("a name with a null", "token-missing", (("authorization\0", b"t"),)),
        ("an empty name", "token-missing", (("", b"t"),)),
        ("another event", "unknown-event-type", (HEADER, ("ce_type", b"other.v1"))),
        ("another version", "unknown-event-type", (HEADER, ("ce_type", TYPE.replace("v1", "v2").encode()))),
        ("a type and more", "unknown-event-type", (HEADER, ("ce_type", TYPE.encode() + b"\n"))),
        ("an empty type", "unknown-event-type", (HEADER, ("ce_type", b""))),
        ("a type that is no text", "unknown-event-type", (HEADER, ("ce_type", b"\xff"))),
        ("a type with something in it", "unknown-event-type", (HEADER, ("ce_type", b"\xff" + TYPE.encode()))),
        ("two types, ours first", "unknown-event-type", (HEADER, ("ce_type", TYPE.encode()), ("ce_type", b"x"))),
        ("a type of a megabyte", "unknown-event-type", (HEADER, ("ce_type", b"x" * 1024 * 1024))),
        ("an id of a megabyte", "deployed", (HEADER, ("ce_id", b"x" * 1024 * 1024))),
        ("an id that is no text", "deployed", (HEADER, ("ce_id", b"\xff\xfe"))),
        ("an id with a line break", "deployed", (HEADER, ("ce_id", b"a\r\nb"))),
        ("an id that is a path", "deployed", (HEADER, ("ce_id", b"../../x"))),
        ("an id that is a formula", "deployed", (HEADER, ("ce_id", b"=1+1"))),
        ("a trace that is none", "deployed", (HEADER, ("traceparent", b"00-x"))),
        ("a trace of a megabyte", "deployed", (HEADER, ("traceparent", b"0" * 1024 * 1024))),
        (
            "a trace with a line break",
            "deployed",
            (HEADER, ("traceparent", b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01\n")),
        ),
        ("a trace that is no text", "deployed", (HEADER, ("traceparent", b"\xff"))),
        ("a version that is none", "deployed", (HEADER, ("ce_specversion", b"9.9"))),
        ("a content type that is none", "deployed", (HEADER, ("content-type", b"text/html; charset=utf-7"))),
        ("ten thousand headers", "invalid-request", (HEADER, *((f"x-{n}", b"y") for n in range(10_000)))),
        ("ten thousand alike", "invalid-request", (HEADER, *[("ce_id", b"r-1")] * 10_000)),
        (
            "all null",
            "token-missing",
            tuple((name, None) for name in ("ce_id", "ce_type", "traceparent", "authorization")),
        ),
    ):
        yield name, {expected}, record(IDS, headers=headers)  # type: ignore[arg-type]  # Kafka has null values
    for headers in ((("authorization", None),), (("authorization", b" "),), (("x", b"\xff"),)):
        yield f"beside jwtToken: {headers}", {"deployed"}, record(data, headers=headers)  # type: ignore[arg-type]
    for key in (None, b"", b"\xff", b"user-2", b"user-1\n", b"USER-1", b"x" * 100_000):
        yield f"key {key!r:.20}", {"wrong-record-key"}, record(IDS, headers=BINARY, key=key)


CASES = [*wrong_values(), *over_limits(), *hostile_headers()]


async def statuses(given: Record) -> list[DeploymentStatus]:
    """Return the statuses that a deployer with fake dependencies publishes for the record."""
    job = FakeJob(given)
    files = {"org/blueprint.json": blueprint(node("a", proto_uri="p")), "p": PROTOBUF}
    builder = Builder(FakeCatalog(solution()), FakeArtifacts(files), SHIPPED, OPTIONS)
    await fake_deployer(FakeTokens(), builder, FakePlayground()).handle(job)
    return job.statuses


async def test_every_record_ends_in_its_one_final_status() -> None:
    """Each record gets one final status with the expected code and a valid id.

    A rejection advises what to do, and no status contains what was sent.
    """
    wrong = []
    for name, expected, given in CASES:
        said = await statuses(given)
        last = said[-1]
        code = last.error.code if last.error else str(last.state)
        text = b"".join(status.to_json() for status in said).decode()
        well = (
            code in expected
            and sum(status.state in FINAL_STATES for status in said) == 1
            and (last.error is None or tells_what_to_do(last.error.message))
            and CANARY not in text.replace(f'"requestId":"{CANARY}"', "").replace(f'"replayOf":"{CANARY}"', "")
            and len({status.request_id for status in said}) == 1
            and last.message.isprintable()
        )
        if not well:
            wrong.append((name, code, last.message))
    note("request records", len(CASES), len(wrong))
    assert [] == wrong
    assert len(CASES) >= 300


@pytest.mark.parametrize("ce_id", [b"\xff", b"a b", b"x" * 129, b"", "é".encode()])
def test_an_id_that_is_none_is_never_echoed(ce_id: bytes) -> None:
    """An invalid id is replaced by the record id."""
    request = read_request(record(IDS, headers=(HEADER, ("ce_id", ce_id))))
    assert isinstance(request, Request)
    assert ce_id.decode(errors="replace") not in request.id or not ce_id


def test_a_trace_that_is_none_is_dropped() -> None:
    """An invalid traceparent is dropped, because it would go into the headers of every status."""
    for value in (b"\xff", b"00-x", b"00-" + b"A" * 32 + b"-" + b"b" * 16 + b"-01", b"\n00-" + b"a" * 32, b""):
        assert record(IDS, headers=(("traceparent", value),)).traceparent is None
