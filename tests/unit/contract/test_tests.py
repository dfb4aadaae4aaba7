import ast

from tests.support.paths import ROOT

TESTS = ROOT / "tests"


def test_every_test_says_what_it_proves() -> None:
    """One sentence at least, so that a red test explains itself."""
    silent = [
        f"{path.relative_to(TESTS)}::{function.name}"
        for path in TESTS.rglob("test_*.py")
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        and function.name.startswith("test_")
        and not ast.get_docstring(function)
    ]
    assert [] == silent
