"""The overrides file: what is read, what is refused, and that no value of it is shown."""

import traceback
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
    """What is said of a file with this text, behind the setting and the path."""
    path = tmp_path / "overrides.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigurationError) as refused:
        load(path)
    setting, separator, problem = str(refused.value).partition(f": {path}: ")
    assert ("DEPLOYER_BUNDLE__OVERRIDES_FILE", True) == (setting, separator != "")
    return problem


def test_without_a_file_there_are_none() -> None:
    """Nothing is read and nothing is patched."""
    assert NO_OVERRIDES == load_overrides(OPTIONS)


def test_a_file_is_read(tmp_path: Path) -> None:
    """Anchors and aliases work; a date without quotes is text, as JSON has no dates."""
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
        ("a: &a [*a]", "nested deeper than 40 levels."),
        ("a: &a {b: *a}", "nested deeper than 40 levels."),
        ("a: " + "[" * 1500, "is not YAML"),
        ("a: *b", "is not YAML at line 1, column 4: found undefined alias 'b'."),
        ("a: 1\n b: 2", "is not YAML at line 2, column 3: mapping values are not allowed here."),
        ("a: 1\n---\nb: 1", "is not YAML at line 2, column 1: but found another document."),
        ("a: !!int x", "is not YAML"),
        (b"a: \xff", "is not YAML (ReaderError)."),
        (b"a: \x00", "is not YAML (ReaderError)."),
        ("#" * (1024 * 1024 + 1), "is larger than 1048576 bytes."),
    ],
)
def test_what_is_not_strict_yaml_is_refused(text: str | bytes, problem: str, tmp_path: Path) -> None:
    """One sentence, with line and column where there is one."""
    found = refusal(tmp_path, text)
    assert problem in found
    assert 1 == len(found.splitlines())


@pytest.mark.parametrize(("name", "reason"), [("absent", "FileNotFoundError"), (".", "IsADirectoryError")])
def test_a_file_that_cannot_be_read_is_named(name: str, reason: str, tmp_path: Path) -> None:
    """The path and the reason."""
    with pytest.raises(ConfigurationError, match=rf"{tmp_path}.*: cannot be read \({reason}\)\.$"):
        load(tmp_path / name)


def test_every_problem_is_a_line(tmp_path: Path) -> None:
    """With setting and file in front, so that each can be looked for."""
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
    """There may be a secret in it; neither the message nor the traceback has it."""
    path = tmp_path / "overrides.yaml"
    path.write_text(text)
    with pytest.raises(ConfigurationError) as refused:
        load(path)
    assert "9137" not in str(refused.value)
    assert "9137" not in "".join(traceback.format_exception(refused.value))
