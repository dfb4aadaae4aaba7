"""The strict shape of tokens: one spelling of base64url, and no part of a token in its repr."""

import itertools

import pytest

from tests.support import corpus
from tests.support.tokens import PORTAL, decode, part
from worker.domain.tokens import MAX_TOKEN, decoded, read_token
from worker.errors import Unauthenticated

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
FOREIGN = "=+/ \t\n\r\0.,~é\u0660\uff21"


def carries_nothing(segment: str) -> bool:
    """Whether all bits beyond the last whole byte are zero, by the last character alone (RFC 4648 3.5)."""
    last = ALPHABET.index(segment[-1]) if segment else 0
    return {0: True, 1: False, 2: last % 16 == 0, 3: last % 4 == 0}[len(segment) % 4]


def test_each_value_has_one_spelling() -> None:
    """Only canonical spellings are read, among all segments of up to two characters and all ends of longer ones."""
    segments = ["", *ALPHABET, *map("".join, itertools.product(ALPHABET, repeat=2))]
    segments += ["Q" + two for two in map("".join, itertools.product(ALPHABET, repeat=2))]
    segments += [f"QUJD{end}" for end in ("", *ALPHABET)]
    wrong = [text for text in segments if (decode(text) if carries_nothing(text) else None) != decoded(text)]
    foreign = [text for char in FOREIGN for text in (char, char + "A", "A" + char, f"QU{char}JD", f"QUJD{char}")]
    wrong += [text for text in foreign if decoded(text) is not None]
    corpus.record("spellings of base64url", len(segments) + len(foreign), len(wrong))
    assert [] == wrong


def test_a_token_does_not_show() -> None:
    """The repr shows neither the parts of a token nor their content."""
    token = read_token(PORTAL.make())
    assert "Token()" == repr(token)
    assert "jwt" == token.kind
    assert token.kid is None


def test_the_longest_token() -> None:
    """A token of the maximum length is read, and one more character is rejected before decoding."""
    start = part(b'{"alg":"HS512"}') + "." + part({}) + "."  # so that the rest has no spare bits
    longest = start + "A" * (MAX_TOKEN - len(start))
    assert {} == read_token(longest).claims
    with pytest.raises(Unauthenticated, match=f"longer than {MAX_TOKEN} characters"):
        read_token(longest + "A")
