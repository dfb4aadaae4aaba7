"""Strings survive unchanged as values and as keys, in the bundle's YAML and in the script's YAML on the target."""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from typing import Any

import pytest
import yaml as pyyaml
from ruamel.yaml import YAML

from tests.component.properties.strings import LONGEST_KEY, corpus
from tests.support.corpus import record
from tests.support.script import load_script
from worker.domain.bundle import manifests

CORPUS = corpus()
KEYS = [text for text in CORPUS if len(text) * 6 + 2 <= LONGEST_KEY]  # short enough even if every character is escaped
FULL = int(os.environ.get("PROPERTIES") or 0) >= 50_000
BATCH = 500

Write = Callable[[Mapping[str, Any]], bytes]
Read = Callable[[bytes], Any]


def by_libyaml(data: bytes) -> Any:
    """Read YAML 1.1; raise when there is more than one document."""
    return pyyaml.load(data, Loader=pyyaml.CSafeLoader)


def by_pyyaml(data: bytes) -> Any:
    """Read YAML 1.1 as the playground server and the script do."""
    return pyyaml.safe_load(data)


def by_ruamel(data: bytes) -> Any:
    """Read YAML 1.2."""
    return YAML(typ="safe", pure=True).load(BytesIO(data))


def by_the_script(document: Mapping[str, Any]) -> bytes:
    """Write YAML as the script does for files derived on the target."""
    return str(load_script().to_yaml(document)).encode()


def wrong(strings: Sequence[str], keys: Sequence[str], write: Write, read: Read) -> list[str]:
    """Return the strings that are read back as something else."""
    found = []
    for start in range(0, max(len(strings), len(keys)), BATCH):
        parts = strings[start : start + BATCH], keys[start : start + BATCH]
        if not _is_read_back(*parts, write, read):
            found += [text for text in parts[0] if not _is_read_back([text], [], write, read)]
            found += [text for text in parts[1] if not _is_read_back([], [text], write, read)]
    return found


def _is_read_back(strings: Sequence[str], keys: Sequence[str], write: Write, read: Read) -> bool:
    """Return whether keys, at the margin and deeper, and values, in a list and in a mapping, are read back."""
    document = {key: key for key in keys} | {"\0list": list(strings), "\0deeper": [{"keys": dict.fromkeys(keys, 1)}]}
    try:
        result = read(write(document))
    except (pyyaml.YAMLError, ValueError):
        return False
    return type(result) is dict and document == result and all(type(key) is str for key in result)


@pytest.mark.parametrize(
    ("write", "read", "every"),
    [
        (manifests.dump, by_libyaml, 1),
        (manifests.dump, by_pyyaml, 9),
        (manifests.dump, by_ruamel, 9),
        (by_the_script, by_libyaml, 9),
        (by_the_script, by_pyyaml, 27),
        (by_the_script, by_ruamel, 27),
    ],
    ids=lambda it: getattr(it, "__name__", it),
)
def test_strings_are_read_back(write: Write, read: Read, every: int) -> None:
    """No reader takes a string for a number, date, boolean, null, another string or a second document."""
    every = 1 if FULL else every
    strings, keys = CORPUS[::every], KEYS[::every]
    found = wrong(strings, keys, write, read)
    name = "the script" if write is by_the_script else "the bundle"
    record(f"strings in YAML of {name}, {read.__name__.replace('_', ' ')}", len(strings), len(found))
    assert [] == found


def test_nothing_invisible_is_written_as_it_is() -> None:
    """Control characters, foreign line breaks and byte order marks are escaped, so readers need not agree on them."""
    text = manifests.dump({"all": CORPUS} | dict.fromkeys(KEYS, 1)).decode()
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\xa0\u2028\u2029\ufeff\ufffe\uffff]", text)


def test_the_corpus_is_large_and_bites() -> None:
    """The corpus is effective: PyYAML's own dumper fails on many of its strings.

    Readers of YAML 1.2 or Kubernetes see numbers and booleans in hundreds of them.
    """
    assert len(CORPUS) >= 40_000
    assert len(KEYS) >= 40_000

    def obvious(document: Mapping[str, Any]) -> bytes:
        return str(pyyaml.safe_dump(document)).encode()

    likely = [text for text in CORPUS if text[-2:-1] == "e" or text.lower() in ("y", "n")]
    assert len(wrong(likely[:400], [], obvious, by_ruamel)) > 50


@pytest.mark.parametrize("read", [by_libyaml, by_pyyaml, by_ruamel])
@pytest.mark.parametrize("key", ["a" * LONGEST_KEY, "1" * (LONGEST_KEY - 2), "é" * 1000, "\x07" * 170])
def test_a_key_of_the_greatest_length_is_read_back(key: str, read: Read) -> None:
    """A key of the maximum length is read back; YAML readers search for its colon within 1,024 characters only."""
    assert {key: {"list": [{key: key}]}} == read(manifests.dump({key: {"list": [{key: key}]}}))


@pytest.mark.parametrize("key", ["a" * (LONGEST_KEY + 1), "1" * (LONGEST_KEY - 1), "é" * 1023, "\x07" * 171])
def test_a_key_that_no_reader_would_find_is_refused(key: str) -> None:
    """A longer key is refused, because only the target would fail to read it; a value may have any length."""
    with pytest.raises(ValueError, match="a key of"):
        manifests.dump({"a": [{"b": {key: 1}}]})
    assert {"a": key} == by_libyaml(manifests.dump({"a": key}))


def test_half_a_character_is_refused() -> None:
    """A lone surrogate is refused: it is not valid UTF-8, and readers disagree about its escape."""
    for text in ("\ud800", "a\udfffb"):
        for document in ({"a": text}, {text: "a"}):
            with pytest.raises(ValueError, match="surrogates"):
                manifests.dump(document)


@pytest.mark.parametrize("read", [by_libyaml, by_pyyaml, by_ruamel])
def test_numbers_and_collections_keep_their_types(read: Read) -> None:
    """Numbers and collections keep their types."""
    numbers: list[Any] = [0, -1, 7, 8061, 2**63, -(2**63), 10**30, True, False, None, [], {}, [[]], [{}], {"a": []}]
    result = read(manifests.dump({"numbers": numbers, "8061": 8061}))
    assert numbers == result["numbers"]
    assert list(map(type, numbers)) == list(map(type, result["numbers"]))
    assert 8061 == result["8061"]
