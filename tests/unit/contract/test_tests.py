import ast
from pathlib import Path

from tests.support.paths import ROOT

TESTS = ROOT / "tests"
UNIT = TESTS / "unit"
SUBJECTS = {"contract", "leaks", "properties", "refusals", "release", "support"}
SCHEMAS = Path("schemas")
BROKERS = {"kafka", "topics", "desk", "scene", "secured"}  # fixtures that start a broker


def test_every_test_says_what_it_proves() -> None:
    """Every test has at least one sentence, so that a failure explains itself."""
    silent = [
        f"{path.relative_to(TESTS)}::{function.name}"
        for path in TESTS.rglob("test_*.py")
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        and function.name.startswith("test_")
        and not ast.get_docstring(function)
    ]
    assert [] == silent


def test_unit_tests_lie_as_their_modules_do() -> None:
    """A folder of unit tests is named after a folder of worker/, schemas/, or a subject that spans several."""
    folders = {path.parent.relative_to(UNIT) for path in UNIT.rglob("test_*.py")}
    across = {it for it in folders if it.parts[:1] and it.parts[0] in SUBJECTS}
    assert [] == sorted(it for it in folders - across - {SCHEMAS} if not (ROOT / "worker" / it).is_dir())


def test_unit_tests_need_no_broker() -> None:
    """No unit test needs a broker, so the unit tests run in a minute without Java."""
    users = [
        f"{path.relative_to(UNIT)}::{function.name}"
        for path in UNIT.rglob("*.py")
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        and (function.name.startswith("test_") or _is_fixture(function))
        and BROKERS & {argument.arg for argument in function.args.args}
    ]
    assert [] == users


def _is_fixture(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return any("fixture" in ast.unparse(decorator) for decorator in function.decorator_list)
