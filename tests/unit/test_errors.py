"""The error classes and their tables of codes."""

import ast
import re
from pathlib import Path

import pytest

import worker
from schemas import FINAL_STATES, ErrorInfo
from tests.support.ways_out import tells_what_to_do
from worker import errors
from worker.errors import (
    CODES,
    FAILED,
    REJECTED,
    REJECTED_FOR_NOW,
    UNAVAILABLE,
    Conflict,
    DeploymentError,
    Failed,
    Internal,
    NotAllowed,
    NotDeployable,
    NotFound,
    NotSettled,
    OutcomeUnknown,
    OverridesInvalid,
    PlaygroundRefused,
    Rejected,
    TooManyRequests,
    Unauthenticated,
    Unavailable,
    Unreadable,
    WorkerDied,
)

SOURCES = {
    path: path.read_text(encoding="utf-8")
    for path in Path(worker.__file__).parent.rglob("*.py")
    if not {"sandbox", "ontarget"} & set(path.parts)
}
ONE_OF_EACH = [
    Unreadable("not-json", "x"),
    Unauthenticated("token-expired", "x"),
    NotAllowed("no-access", "x"),
    NotFound("proto-missing", "x"),
    NotDeployable("no-nodes", "x"),
    Unavailable("catalog-error", "x"),
    PlaygroundRefused("playground-refused", "x"),
    OutcomeUnknown("x"),
    OverridesInvalid("x"),
    NotSettled("unresolved", "x"),
    WorkerDied(),
    Conflict("request-id-conflict", "x"),
    TooManyRequests(),
    Internal(),
]
EACH = pytest.mark.parametrize("error", ONE_OF_EACH, ids=lambda error: type(error).__name__)


def family(root: type[DeploymentError] = DeploymentError) -> set[type[DeploymentError]]:
    """Return all classes below `root`."""
    below = set(root.__subclasses__())
    return below.union(*(family(one) for one in below))


def named_codes() -> set[str]:
    """Return the codes that the worker's source names, including those composed of a dependency's name and a kind."""
    written = {code for text in SOURCES.values() for code in re.findall(r'"([a-z-]+)"', _without_tables(text))}
    names = {
        name
        for text in SOURCES.values()
        for name in re.findall(r'Dependency\(session, settings, name="([a-z]+)"', text)
    }
    kinds = {
        kind
        for text in SOURCES.values()
        for kind in re.findall(r'\{self\._name\}-([a-z]+)"|_unavailable\("([a-z]+)"', text)
    }
    return written | {f"{name}-{''.join(kind)}" for name in names for kind in kinds}


def _without_tables(text: str) -> str:
    """Remove the tables of errors.py, where naming a code is not a use."""
    return re.sub(r'^    "[a-z-]+": .*$', "", text, flags=re.MULTILINE)


@pytest.mark.parametrize("code", CODES)
def test_code_is_kebab_case_and_explained(code: str) -> None:
    """A code is lower case with hyphens, matches the contract's pattern, and has a sentence."""
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", code)
    assert code == ErrorInfo(code=code, message=CODES[code], stage="internal", retryable=False).code
    assert CODES[code].endswith(".")


@pytest.mark.parametrize("code", CODES)
def test_every_code_names_the_way_out(code: str) -> None:
    """The last sentence of each code's text advises the user or the operator what to do."""
    assert tells_what_to_do(CODES[code])


def test_every_code_is_in_one_table() -> None:
    """Each code is in one table only, so that it leads to one final state."""
    assert len(CODES) == len(REJECTED) + len(REJECTED_FOR_NOW) + len(UNAVAILABLE) + len(FAILED)


def test_every_code_is_used() -> None:
    """Every listed code is raised somewhere."""
    assert set() == set(CODES) - named_codes()


def test_every_raised_code_is_listed() -> None:
    """Every literal code that is raised is in the table of its class."""
    classes = {one.__name__: one for one in family()}
    raised = {
        (name, code)
        for text in SOURCES.values()
        for name, code in re.findall(rf'\b({"|".join(classes)})\(\s*"([^"]*)"', text)
    }

    assert raised
    assert [] == sorted((name, code) for name, code in raised if code not in classes[name].codes)


def literal(node: ast.expr) -> str | None:
    """Return the text of a string in the source, with `x` for each placeholder; None for anything else."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "x" for part in node.values)
    return None


def test_every_message_says_what_to_do() -> None:
    """The last sentence of every raised message advises what to do."""
    classes = {one.__name__ for one in family()}
    messages = [
        message
        for text in SOURCES.values()
        for call in ast.walk(ast.parse(text))
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in classes
        for message in map(literal, call.args[1:2])
        if message
    ]
    assert len(messages) > 30
    assert [] == [message for message in messages if not tells_what_to_do(message) and not message.endswith(" x")]


def test_code_of_another_table_is_refused() -> None:
    """A code from another class's table is rejected."""
    for make in (
        lambda: NotFound("no-such-code", "x"),
        lambda: NotFound("catalog-timeout", "x"),
        lambda: Unavailable("outcome-unknown", "x"),
        lambda: PlaygroundRefused("playground-busy", "x"),
    ):
        with pytest.raises(KeyError, match="is not a code of"):
            make()


def test_one_of_each_is_the_whole_family() -> None:
    """ONE_OF_EACH contains every class."""
    assert family() - {Rejected, Failed} == {type(error) for error in ONE_OF_EACH}


def test_family_is_drawn() -> None:
    """The tree in the module docstring names every class."""
    drawn = set(re.findall(r"\b[A-Z]\w+(?= {2,})", errors.__doc__ or ""))

    assert {one.__name__ for one in family()} <= drawn


@EACH
def test_error_says_how_a_request_ends(error: DeploymentError) -> None:
    """Each class has a final state, a stage, and whether a retry may help."""
    assert error.state in FINAL_STATES
    assert error.stage
    assert isinstance(error, Unavailable | TooManyRequests) is error.retryable
    assert isinstance(error, Rejected) is (error.code in REJECTED | REJECTED_FOR_NOW)


@EACH
def test_error_becomes_the_field_of_a_status(error: DeploymentError) -> None:
    """The error field of a status has the error's code, message, stage, and whether it is retryable."""
    info = error.info()

    assert (error.code, error.message, error.stage, error.retryable) == (
        info.code,
        info.message,
        info.stage,
        info.retryable,
    )
    assert error.message == str(error)


def test_a_message_is_one_printable_line() -> None:
    """A message is one printable line: users' text can neither forge a second line nor reverse the text direction."""
    error = NotFound("proto-missing", "Node 'a\n\x1b[2J\u202e\0b' é")
    assert error.message == str(error) == "Node 'a  [2J  b' é"


def test_long_message_is_cut_to_the_contract() -> None:
    """A message that is too long for a status is cut."""
    assert NotFound("proto-missing", "y" * 5000).info().message == "y" * 1000


def test_outage_knows_its_stage() -> None:
    """An outage can happen at any stage; the default is `fetch`."""
    assert "fetch" == Unavailable("catalog-timeout", "x").stage
    assert "submit" == Unavailable("playground-busy", "x", "submit").info().stage
