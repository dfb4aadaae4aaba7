"""The overrides file: what is read, what is rejected, and that none of its values is shown."""

import traceback
import tracemalloc
from pathlib import Path

import pytest

from tests.support.builders import OPTIONS
from worker.adapters.overrides_file import load_overrides
from worker.domain.overrides.overrides import NO_OVERRIDES, Overrides
from worker.errors import ConfigurationError

GOOD = """
overrides:
  - match: {node: "*"}
    patch: &patch
      metadata: {annotations: {built: 2026-11-24}}
  - match: {claim: "*"}
    patch: *patch
"""


def load(path: Path) -> Overrides:
    return load_overrides(OPTIONS.model_copy(update={"overrides_file": path}))


def refusal(tmp_path: Path, text: str | bytes) -> str:
    """Return the problem of a file with this text, without the setting and the path."""
    path = tmp_path / "overrides.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigurationError) as refused:
        load(path)
    setting, separator, problem = str(refused.value).partition(f": {path}: ")
    assert ("DEPLOYER_BUNDLE__OVERRIDES_FILE", True) == (setting, separator != "")
    return problem


def test_without_a_file_there_are_none() -> None:
    """Without a file there are no overrides."""
    assert NO_OVERRIDES == load_overrides(OPTIONS)


def test_a_file_is_read(tmp_path: Path) -> None:
    """Anchors and aliases work, and a date without quotes is text, as JSON has no dates."""
    (tmp_path / "overrides.yaml").write_text(GOOD)
    entries = load(tmp_path / "overrides.yaml").entries
    assert [1, 2] == [entry.number for entry in entries]
    assert {"built": "2026-11-24"} == entries[1].patch["metadata"]["annotations"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "the file: must be an object."),
        ("overrides: []\noverrides: []", "is not YAML at line 2, column 1: the key 'overrides' occurs twice."),
        ("a: {b: 1, b: 2}", "is not YAML at line 1, column 11: the key 'b' occurs twice."),
        ("1: x", "is not YAML at line 1, column 1: a key is text; put it in quotes, and write merges (<<) out."),
        ("on: x", "is not YAML at line 1, column 1: a key is text; put it in quotes, and write merges (<<) out."),
        ("a: &a {}\nb: {<<: *a}", "at line 2, column 5: a key is text; put it in quotes, and write merges (<<) out."),
        ("? [a]\n: x", "at line 1, column 3: a key is text; put it in quotes, and write merges (<<) out."),
        ("a: !!set {x}", "at line 1, column 4: set is not a type that manifests have."),
        ("a: !!binary aGk=", "at line 1, column 4: binary is not a type that manifests have."),
        ("a: !!python/name:os.system x", "python/name:os.system is not a type that manifests have."),
        ("a: !mine x", "at line 1, column 4: !mine is not a type that manifests have."),
        ("a: *b", "is not YAML at line 1, column 4: found undefined alias 'b'."),
        ("a: 1\n b: 2", "is not YAML at line 2, column 3: mapping values are not allowed here."),
        ("a: 1\n---\nb: 1", "is not YAML at line 2, column 1: but found another document."),
        ("a: !!int x", "is not YAML"),
        ("a: 0x" + "f" * 6000, "line 1, column 4: a number of more than 100 characters; put it in quotes"),
        ("a: " + "1:" * 200_000 + "1", "line 1, column 4: a number of more than 100 characters; put it in quotes"),
        ("a: " + "1:" * 400 + "1.5", "line 1, column 4: a number of more than 100 characters; put it in quotes"),
        (b"a: \xff", "is not YAML (ReaderError)."),
        (b"a: \x00", "is not YAML (ReaderError)."),
    ],
)
def test_what_is_not_strict_yaml_is_refused(text: str | bytes, problem: str, tmp_path: Path) -> None:
    """A file that is not strict YAML is rejected in one sentence, with line and column if known."""
    found = refusal(tmp_path, text)
    assert problem in found
    assert 1 == len(found.splitlines())


def laughs(levels: int, repeats: int) -> str:
    """Nested lists of aliases; small enough that a broken limit would not exhaust memory."""
    lists = (f"l{level}: &l{level} [{', '.join([f'*l{level - 1}'] * repeats)}]" for level in range(1, levels + 1))
    return "\n".join(["l0: &l0 [x]", *lists])


TOO_MANY = (
    "holds more than 10000 keys and values, where an alias counts as all that it repeats. "
    "Let one entry match several nodes by a glob, and repeat less."
)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("#" * (1024 * 1024 + 1), "is larger than 1048576 bytes. Let one entry match several nodes by a glob."),
        (laughs(5, 9), TOO_MANY),
        (laughs(15, 2), TOO_MANY),
        (laughs(1, 20_000), TOO_MANY),
        ("a: &a [" + "x, " * 200 + "]\nb: [" + "*a, " * 50 + "]", TOO_MANY),
        ("a: [" + "x, " * 9_998 + "]", TOO_MANY),
        ("\n".join(f"k{number}:" for number in range(5000)), TOO_MANY),
        ("- " * 50_000 + "x", "is nested deeper than 40 levels at line 1, column 81."),
        ("a: " + "[" * 500_000, "is nested deeper than 40 levels at line 1, column 43."),
        ("? " * 50_000 + "x", "is nested deeper than 40 levels at line 1, column 81."),
        (laughs(40, 1), "is nested deeper than 40 levels at line 1, column 10."),
        ("a: &a [*a]", "is nested deeper than 40 levels at line 1, column 4."),
        ("a: &a {b: *a}", "is nested deeper than 40 levels at line 1, column 4."),
        ("a: &a [[*a, *a], *a]", "is nested deeper than 40 levels at line 1, column"),
    ],
)
def test_a_bound_stops_the_reading(text: str, problem: str, tmp_path: Path) -> None:
    """A limit on size, values or depth stops the read with the remedy in one line, before an alias is expanded."""
    found = refusal(tmp_path, text)
    assert found.startswith(problem)
    assert 1 == len(found.splitlines())


@pytest.mark.parametrize(
    "text",
    [
        "a: [" + "x, " * 9_997 + "]",
        laughs(10, 2),
        "- " * 39 + "x",
        "a: " + "9" * 100,
        "a: '" + "9" * 1000 + "'",
    ],
)
def test_up_to_the_bounds_all_is_read(text: str, tmp_path: Path) -> None:
    """A file at the limits is read, and only then rejected as no overrides."""
    assert refusal(tmp_path, text).startswith("the file: ")


def test_no_more_than_the_bound_is_taken_from_the_disk(tmp_path: Path) -> None:
    """Only a megabyte of a far larger file is read into memory."""
    path = tmp_path / "overrides.yaml"
    with path.open("wb") as file:
        file.truncate(64 << 20)
    tracemalloc.start()
    try:
        with pytest.raises(ConfigurationError, match="is larger than 1048576 bytes"):
            load(path)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("name", "reason"), [("absent", "FileNotFoundError"), (".", "IsADirectoryError")])
def test_a_file_that_cannot_be_read_is_named(name: str, reason: str, tmp_path: Path) -> None:
    """An unreadable file is reported with its path and the reason."""
    with pytest.raises(ConfigurationError, match=rf"{tmp_path}.*: cannot be read \({reason}\)\.$"):
        load(tmp_path / name)


def test_every_problem_is_a_line(tmp_path: Path) -> None:
    """Every problem is a line of its own that begins with setting and file."""
    text = 'overrides: [{match: {node: "*"}, patch: {spec: {a: 1, b: 1}}}]'
    first, *more = refusal(tmp_path, text).splitlines()
    assert "entry 1: spec.a: no such field." == first
    assert [f"DEPLOYER_BUNDLE__OVERRIDES_FILE: {tmp_path}/overrides.yaml: entry 1: spec.b: no such field."] == more


@pytest.mark.parametrize(
    "text",
    [
        "overrides: [{match: {node: '*'}, patch: {spec: canary-9137}}]",
        "overrides: [{match: {node: '*'}, patch: {spec: {strategy: {type: canary-9137, rollingUpdate: canary-9137}}}}]",
        "a: 'canary-9137",
        "a: canary-9137\n b: 1",
        "a: !!int canary-9137",
        "canary-9137",
    ],
)
def test_no_value_is_shown(text: str, tmp_path: Path) -> None:
    """Neither message nor traceback shows a value of the file, which may be a secret."""
    path = tmp_path / "overrides.yaml"
    path.write_text(text)
    with pytest.raises(ConfigurationError) as refused:
        load(path)
    assert "9137" not in str(refused.value)
    assert "9137" not in "".join(traceback.format_exception(refused.value))
