"""The output of the demo, on a terminal and elsewhere, and when the demo must fail."""

import asyncio
import re
import sys
from collections.abc import Callable
from io import StringIO
from itertools import count
from pathlib import Path
from uuid import UUID

import pytest
from rich.console import Console

from schemas import DeploymentStatus, State
from tests.unit.cli.test_status_table import DEPLOYED, REJECTED, status
from worker.cli.demo import DEMO_REQUESTS, report, while_running
from worker.cli.demo_output import DemoConsole, OutputFolder, called_command
from worker.errors import CommandError
from worker.sandbox.graphene_data import CASES
from worker.sandbox.supervised_process import SupervisedProcess


def seconds() -> Callable[[], float]:
    """Return a clock that advances one second at each reading."""
    ticks = count()
    return lambda: float(next(ticks))


def story(*, terminal: bool = False) -> tuple[DemoConsole, StringIO]:
    """Return a console and what it has printed."""
    output = StringIO()
    console = Console(
        file=output, width=80, force_terminal=terminal, color_system=None, _environ={"TERM": "xterm", "COLUMNS": "80"}
    )
    return DemoConsole(console, seconds()), output


def test_a_start_is_one_line() -> None:
    """A start prints one line with name, address and duration; files to download are announced once."""
    told, output = story()
    with told.starting("Apache Kafka") as step:
        for done in (1, 2):
            step.downloaded(done, 2)
        step.location = "127.0.0.1:9092"
    assert [
        "  Apache Kafka          downloading 2 files, which are cached for later runs",
        "  Apache Kafka          127.0.0.1:9092  (1.0s)",
    ] == output.getvalue().splitlines()


def test_a_terminal_shows_how_far_the_fetching_is() -> None:
    """On a terminal a spinner shows the download's progress and then leaves the same line."""
    told, output = story(terminal=True)
    with told.starting("Apache Kafka") as step:
        step.downloaded(1, 46)
        step.location = "127.0.0.1:9092"
    assert "Apache Kafka: 1 of 46 files downloaded" in output.getvalue()
    assert output.getvalue().endswith("  Apache Kafka          127.0.0.1:9092  (1.0s)\n")


def test_a_start_that_fails_says_nothing_more() -> None:
    """A start that fails prints nothing, because its error explains it."""
    told, output = story()
    with pytest.raises(OSError, match="no room"), told.starting("Apache Kafka"):
        raise OSError("no room")
    assert "" == output.getvalue()


def tell(told: DemoConsole) -> None:
    """Show two requests and their outcomes."""
    with told.requests({"r-1": "sudoku", "r-2": "old"}, {"r-1": "Sudoku tutorial", "r-2": "An old token"}) as show:
        for one in (status(), REJECTED, DEPLOYED):
            show(one)


def test_requests_are_lines() -> None:
    """Each status is a line under its request's label."""
    told, output = story()
    tell(told)
    assert [
        "  sudoku  published   Sudoku tutorial",
        "  old     published   An old token",
        "  sudoku  accepted    The request is accepted.",
        "  old     rejected    The token has expired. [token-expired]",
        "  sudoku  deployed    Sudoku: Deployed as sudoku-1. (1 note)",
    ] == output.getvalue().splitlines()


def test_requests_are_rows_on_a_terminal() -> None:
    """On a terminal the final table has the last status of each request."""
    told, output = story(terminal=True)
    tell(told)
    last = output.getvalue().split("request ")[-1]
    assert [
        ["✓", "sudoku", "deployed", "Sudoku: Deployed as sudoku-1. (1 note)"],
        ["✗", "old", "rejected", "The token has expired. [token-expired]"],
    ] == [re.split(r"  +(?:[0-9.]+s  )?", row.strip()) for row in last.splitlines() if row[:1] in ("✓", "✗")]


@pytest.mark.parametrize("place", range(len(DEMO_REQUESTS)))
async def test_one_wrong_end_is_told(place: int, tmp_path: Path) -> None:
    """The demo fails if a single request ends in another way than expected, and names that request."""
    told, output = story()
    wrong = status(State.FAILED, error=None)
    part = DEMO_REQUESTS[place]
    assert not part.ended_as_expected(wrong)
    ends = dict.fromkeys((it.label for it in DEMO_REQUESTS), wrong)
    assert not await report(ends, "http://127.0.0.1:1", OutputFolder(tmp_path, []), told)
    assert f"  {part.label} should be {part.state}" in output.getvalue()
    assert f"see {tmp_path / 'worker.log'}." in output.getvalue()


@pytest.mark.parametrize(
    ("part", "end", "expected"),
    [
        (DEMO_REQUESTS[0], DEPLOYED, True),
        (DEMO_REQUESTS[0], REJECTED, False),
        (DEMO_REQUESTS[-1], REJECTED, True),
        (DEMO_REQUESTS[-1], DEPLOYED, False),
        (DEMO_REQUESTS[-1], status(State.REJECTED), False),
    ],
)
def test_an_end_has_to_be_the_foreseen_one(part: object, end: DeploymentStatus, expected: bool) -> None:
    """A request must end with the expected state and error code."""
    assert expected == part.ended_as_expected(end)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["worker", "gateway"])
async def test_a_process_that_ends_early_ends_the_demo(name: str, tmp_path: Path) -> None:
    """A process that stops early stops the demo at once."""
    logs = {it: tmp_path / f"{it}.log" for it in ("worker", "gateway")}
    programs = {it: "" if it == name else "import time; time.sleep(60)" for it in logs}
    processes = {
        it: (SupervisedProcess([sys.executable, "-c", programs[it]], folder=tmp_path, log=log), log)
        for it, log in logs.items()
    }
    try:
        with pytest.raises(CommandError, match=rf"The {name} has stopped; see .*{name}\.log for the reason"):
            await while_running(processes, asyncio.Event().wait(), OutputFolder(tmp_path, []))
    finally:
        for process, _ in processes.values():
            process.close()


def test_nothing_of_the_users_is_removed(tmp_path: Path) -> None:
    """Only files with the demo's own names are removed."""
    ours, theirs = ("sudoku.zip", "worker.log", "gateway.log", "demo.env", "demo.token"), ("mine.zip", "token", "notes")
    for name in ours + theirs:
        (tmp_path / name).touch()
    OutputFolder(tmp_path, ["sudoku"]).prepare()
    assert set(theirs) == {it.name for it in tmp_path.iterdir()}


def test_the_way_in_is_for_this_user_only(tmp_path: Path) -> None:
    """The files with credentials are private, even if a file of that name was readable by others."""
    (tmp_path / "demo.token").touch(mode=0o644)
    output = OutputFolder(tmp_path, [])
    output.write_access({"DEPLOYER_A__B": "it's"}, "token")
    assert [0o600, 0o600] == [(tmp_path / name).stat().st_mode & 0o777 for name in ("demo.env", "demo.token")]
    assert """DEPLOYER_A__B='it'"'"'s'\n""" == (tmp_path / "demo.env").read_text()
    output.remove_access()
    assert [] == list(tmp_path.iterdir())


def test_the_message_fits_a_terminal() -> None:
    """The message fits 80 columns with the usual command and folder."""
    places = {"playground": "http://127.0.0.1:65535", "graphene": "http://127.0.0.1:65535", "kafka": "127.0.0.1:65535"}
    places["page"] = f"http://127.0.0.1:65535/requests/{UUID(int=0)}"
    text = OutputFolder(Path("demo-output"), []).kept_message(places, CASES["sudoku"])
    assert [] == [line for line in text.splitlines() if len(line) > 80]


@pytest.mark.parametrize(
    ("called", "expected"),
    [
        (".venv/bin/playground-deployer", ".venv/bin/playground-deployer"),
        ("playground-deployer", "playground-deployer"),
        ("/somewhere/worker/__main__.py", "python -m worker"),
    ],
)
def test_commands_to_copy_are_called_as_this_one(called: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands to copy use this command's own path: `make demo` calls it in .venv, which need not be on PATH."""
    monkeypatch.setattr(sys, "argv", [called, "demo"])
    assert expected == called_command()
