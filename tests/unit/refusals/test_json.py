"""JSON by corpus: what is JSON is read as it is, whatever else is refused in one way."""

import json
from typing import Any

from pydantic_core import from_json

from tests.support.corpus import record
from tests.unit.refusals.json_texts import AGAINST_OUR_RULES, BAD, GOOD
from worker.domain.strict_json import JsonError, loads

REFUSED = object()


def ours(text: bytes) -> Any:
    """What the worker reads; any other exception than its own ends the test."""
    try:
        return loads(text, max_bytes=1024 * 1024)
    except JsonError:
        return REFUSED


def theirs(text: bytes) -> Any:
    """What an independent parser reads."""
    try:
        return from_json(text, allow_inf_nan=False)
    except ValueError:
        return REFUSED


def test_the_worker_tells_json_from_what_is_none() -> None:
    """Every text gets the verdict of the standard, and of our rules where they are stricter."""
    wrong = [text for text in GOOD if ours(text) is REFUSED]
    wrong += [text for text in (*BAD, *AGAINST_OUR_RULES) if ours(text) is not REFUSED]
    record("JSON texts", len(GOOD) + len(BAD) + len(AGAINST_OUR_RULES), len(wrong))
    assert [] == wrong
    assert len({*GOOD, *BAD, *AGAINST_OUR_RULES}) >= 400


def test_what_is_json_has_one_meaning() -> None:
    """Value and type are those that two other parsers find."""
    for text in GOOD:
        expected = json.loads(text)
        assert repr(expected) == repr(ours(text)) == repr(theirs(text)), text


def test_an_independent_parser_agrees_with_the_verdicts() -> None:
    """What the corpus calls good and bad by the standard is what another parser finds; our own rules are ours."""
    assert [] == [text for text in GOOD if theirs(text) is REFUSED]
    assert [] == [text for text in BAD if theirs(text) is not REFUSED]
