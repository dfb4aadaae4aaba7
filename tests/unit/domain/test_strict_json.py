"""Strict JSON: valid JSON is read unchanged, and everything else raises one kind of error."""

import json
import traceback

import pytest

from worker.domain.strict_json import MAX_NUMBER, MAX_VALUES, JsonError, loads

LIMIT = 1024 * 1024


@pytest.mark.parametrize(
    "text",
    [
        "null",
        " [ ] ",
        '{"a": {"a": [1, -0, 1.5e3, true, false, null, "é\\u00e9\\ud83d\\ude00"]}}',
        "9" * MAX_NUMBER,
        '"\\u0000"',
        "-9223372036854775808",
        "1e308",
        '["", {"": ""}]',
    ],
)
def test_json_is_read_as_it_is(text: str) -> None:
    """JSON within the limits gives the same value as the standard library."""
    assert json.loads(text) == loads(text, max_bytes=LIMIT) == loads(text.encode(), max_bytes=LIMIT)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param(b"", "line 1, column 1", id="empty"),
        pytest.param(b"{'a': 1}", "line 1, column 2", id="single quotes"),
        pytest.param(b"[1,]", "line 1, column", id="comma at the end"),
        pytest.param(b"[1] 2", "line 1, column 5", id="two values"),
        pytest.param(b"{1: 2}", "line 1, column 2", id="key is no string"),
        pytest.param(b"01", "line 1, column 2", id="leading zero"),
        pytest.param(b"+1", "line 1, column 1", id="plus"),
        pytest.param(b".5", "line 1, column 1", id="no digit before the point"),
        pytest.param(b"0x1", "line 1, column 2", id="hexadecimal"),
        pytest.param(b"// c\n1", "line 1, column 1", id="comment"),
        pytest.param(b'"\n"', "line 1, column", id="control character in a string"),
        pytest.param(b'"\\x41"', "line 1, column", id="unknown escape"),
        pytest.param("\uff11".encode(), "line 1, column 1", id="digit beyond ASCII"),
        pytest.param(b"\xef\xbb\xbf1", "line 1, column 1", id="byte order mark"),
        pytest.param("1".encode("utf-16"), "UTF-8", id="utf-16"),
        pytest.param(b'"\xff"', "UTF-8", id="not utf-8"),
        pytest.param(b'"\xed\xa0\x80"', "UTF-8", id="surrogate in utf-8"),
        pytest.param(b'"\xc0\xaf"', "UTF-8", id="overlong utf-8"),
        pytest.param(b"NaN", "NaN", id="NaN"),
        pytest.param(b"[Infinity]", "NaN", id="Infinity"),
        pytest.param(b'{"a": -Infinity}', "NaN", id="-Infinity"),
        pytest.param(b"1e400", "too large", id="float beyond double"),
        pytest.param(b"-1E+999", "too large", id="negative float beyond double"),
        pytest.param(b"1" * 5000, "longer than 300", id="integer beyond Python's digit limit"),
        pytest.param(b"0." + b"1" * 500_000, "longer than 300", id="long fraction"),
        pytest.param(b'{"a": 1, "a": 1}', "twice", id="key twice"),
        pytest.param(b'[{"b": {"a": 1, "\\u0061": 2}}]', "twice", id="key twice, spelled differently"),
        pytest.param(b'["\\ud800"]', "surrogate", id="lone high surrogate"),
        pytest.param(b'{"\\udc00": 1}', "surrogate", id="lone low surrogate in a key"),
        pytest.param(b"[" * 33 + b"]" * 33, "deeper than 32", id="one level too deep"),
        pytest.param(b"[" * MAX_VALUES, "deeper than 32", id="very deep and never closed"),
        pytest.param(b'{"a":' * MAX_VALUES, "deeper than 32", id="very deep objects"),
        pytest.param(b'"' + b"a" * 4097 + b'"', "longer than 4096", id="long string"),
        pytest.param(b'{"' + b"a" * 4097 + b'": 1}', "longer than 4096", id="long key"),
        pytest.param(('"' + "é" * 2049 + '"').encode(), "longer than 4096", id="long in bytes"),
        pytest.param(b"[" * (MAX_VALUES + 1), "more than 50000 values", id="many brackets"),
        pytest.param(b"[" + b"0," * MAX_VALUES + b"0]", "more than 50000 values", id="many numbers"),
        pytest.param(b" " * LIMIT + b"1", f"longer than {LIMIT}", id="long text"),
    ],
)
def test_what_is_no_strict_json_is_refused(text: bytes, problem: str) -> None:
    """Every defect raises a JsonError that names the problem."""
    with pytest.raises(JsonError, match=problem):
        loads(text, max_bytes=LIMIT)


def test_limits_are_inclusive() -> None:
    """JSON that is exactly as long or as deep as allowed is read."""
    text = b"[" * 31 + b'["' + b"a" * 4096 + b'"]' + b"]" * 31
    assert json.loads(text) == loads(text, max_bytes=len(text))
    assert loads(b"[" + b"0," * (MAX_VALUES - 1) + b"0]", max_bytes=LIMIT) == [0] * MAX_VALUES


@pytest.mark.parametrize(("text", "problem"), [("\ud800", "surrogate"), ('"éé"', "longer than 5 bytes")])
def test_text_is_held_to_the_same_rules_as_bytes(text: str, problem: str) -> None:
    """A str is measured by its UTF-8 bytes, and is rejected if it has none."""
    with pytest.raises(JsonError, match=problem):
        loads(text, max_bytes=5)


@pytest.mark.parametrize("text", [b'{"canary', b'{"canary": 1, "canary": 2}', b'"canary\xff"', b'["canary", NaN]'])
def test_the_text_never_shows(text: bytes) -> None:
    """Neither the error nor its context holds the text, which may be a token."""
    with pytest.raises(JsonError) as caught:
        loads(text, max_bytes=LIMIT)
    assert caught.value.__context__ is None
    assert "canary" not in "".join(traceback.format_exception_only(caught.value)) + repr(caught.value)
