from io import StringIO
from typing import Any

import pytest
import yaml as pyyaml
from ruamel.yaml import YAML

from worker.domain.bundle.manifests import dump

STRINGS = [
    *("1e3", "0889694", "5146e16", "y", "N", "yes", "No", "on", "OFF", "true", "null", "~", "", " ", "0x1F", "0o7"),
    *("1_000", "190:20:30", "2026-11-24", ".inf", ".NaN", "=", "<<", "- a", "a: b", "a #b", "#", "*x", "&x", "!x", "|"),
    *(
        ">",
        "%",
        "@",
        "`",
        "'",
        '"',
        "\\",
        "{",
        "[",
        "]",
        ",",
        "?",
        ":",
        "a:",
        ":a",
        "---",
        "...",
        "\t",
        "a\nb",
        "a\r\nb",
    ),
    *(
        "\x00",
        "\x07",
        "\x1b",
        "\x7f",
        "\x85",
        "\xa0",
        "\u2028",
        "\u2029",
        "\ufeff",
        "\ufffe",
        "😀",
        "é",
        "日本",
        "x" * 2000,
    ),
    *(
        "apps/v1",
        "protobuf-api",
        "A_b.c-d/e",
        "NaN",
        "Infinity",
        "e3",
        "nothing",
        "trueish",
        "$(VAR)",
        "${x}",
        "{{ x }}",
    ),
]


def read_1_1(data: bytes) -> Any:
    return pyyaml.safe_load(data)


def read_1_2(data: bytes) -> Any:
    return YAML(typ="safe", pure=True).load(StringIO(data.decode()))


@pytest.mark.parametrize("read", [read_1_1, read_1_2])
@pytest.mark.parametrize("string", STRINGS)
def test_a_string_is_read_back_as_itself(string: str, read: Any) -> None:
    """A string is read back unchanged, as a value and in a list, by YAML 1.1 and 1.2 readers."""
    document = {"value": string, "list": [string, {"inner": string}]}
    assert document == read(dump(document))


@pytest.mark.parametrize("read", [read_1_1, read_1_2])
def test_structure_is_read_back_as_itself(read: Any) -> None:
    """Nesting, numbers, booleans, null and empty collections are read back unchanged."""
    document: dict[str, Any] = {
        "a": {"b": [{"c": 1, "d": [1, 2]}, ["x", ["y"]], [], {}]},
        "n": None,
        "t": True,
        "f": False,
        "i": -5,
        "e": {},
        "l": [],
    }
    assert document == read(dump(document))


def test_plain_words_stay_plain() -> None:
    """Strings are quoted only where necessary, because people read these files."""
    expected = (
        b'kind: Service\nmetadata:\n  name: sudoku-gui\n  labels:\n    app: "y"\nports:\n- port: 8061\n  name: webui\n'
    )
    document = {
        "kind": "Service",
        "metadata": {"name": "sudoku-gui", "labels": {"app": "y"}},
        "ports": [{"port": 8061, "name": "webui"}],
    }
    assert expected == dump(document)


@pytest.mark.parametrize("document", [{"a": {"k" * 1025: 1}}, {"a": "\ud800"}, {"\udfff": 1}])
def test_what_no_yaml_can_hold_is_refused(document: Any) -> None:
    """Keys too long for a reader and lone surrogates, which are not UTF-8, raise."""
    with pytest.raises(ValueError, match=r"a key of 1025 characters|surrogates not allowed"):
        dump(document)
