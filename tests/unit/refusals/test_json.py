"""JSON by corpus: valid JSON is read unchanged, and everything else is rejected in one way."""

import json
from typing import Any

from pydantic_core import from_json

from tests.support.corpus import record
from tests.unit.refusals.json_texts import AGAINST_OUR_RULES, BAD, GOOD
from worker.domain.strict_json import JsonError, loads

REFUSED = object()


def ours(text: bytes) -> Any:
    """Return what the worker reads; any exception but JsonError fails the test."""
    try:
        return loads(text, max_bytes=1024 * 1024)
    except JsonError:
        return REFUSED


def theirs(text: bytes) -> Any:
    """Return what an independent parser reads."""
    try:
        return from_json(text, allow_inf_nan=False)
    except ValueError:
        return REFUSED


def test_the_worker_tells_json_from_what_is_none() -> None:
    """Every text gets the standard's verdict, or ours where our rules are stricter."""
    wrong = [text for text in GOOD if ours(text) is REFUSED]
    wrong += [text for text in (*BAD, *AGAINST_OUR_RULES) if ours(text) is not REFUSED]
    record("JSON texts", len(GOOD) + len(BAD) + len(AGAINST_OUR_RULES), len(wrong))
    assert [] == wrong
    assert len({*GOOD, *BAD, *AGAINST_OUR_RULES}) >= 400


def test_what_is_json_has_one_meaning() -> None:
    """Values and types are those that two other parsers find."""
    for text in GOOD:
        expected = json.loads(text)
        assert repr(expected) == repr(ours(text)) == repr(theirs(text)), text


def test_an_independent_parser_agrees_with_the_verdicts() -> None:
    """An independent parser agrees with the corpus on what is JSON by the standard.

    Our own stricter rules are not part of this test.
    """
    assert [] == [text for text in GOOD if theirs(text) is REFUSED]
    assert [] == [text for text in BAD if theirs(text) is not REFUSED]
