"""The table of `make mutants`, which takes too long for every run, matches the code."""

import ast
import inspect
from pathlib import Path

from tests.extended.mutants import table
from tests.extended.mutants.__main__ import wrong
from tests.extended.mutants.table import mutants
from tests.support.paths import ROOT


def test_every_row_breaks_a_guard_that_is_there() -> None:
    """Each row's text is in its file once, its replacement is valid Python, and the tests that should fail exist."""
    sources = {file: (ROOT / file).read_text(encoding="utf-8") for file in {it.file for it in mutants()}}
    assert [] == [problem for it in mutants() if (problem := wrong(it, sources[it.file]))]
    tests = {test for it in mutants() for test in it.tests.split()}
    assert [] == sorted(test for test in tests if not is_there(*test.split("::")))


def test_no_row_takes_another_s_place() -> None:
    """No two entries share file and tests, because the second would silently replace the first in the dict."""
    written = next(it for it in ast.walk(ast.parse(inspect.getsource(table))) if isinstance(it, ast.Dict))
    assert len(written.keys) == len(table.ROWS)


def is_there(path: str, function: str = "") -> bool:
    """Return whether this file or folder exists, with this function in it."""
    place, name = Path(ROOT, path), function.partition("[")[0]
    return f"def {name}(" in place.read_text(encoding="utf-8") if name and place.exists() else place.exists()
