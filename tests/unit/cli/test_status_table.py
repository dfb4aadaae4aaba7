"""The display of statuses."""

from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any
from uuid import UUID

import pytest
from rich.console import Console

from schemas import BundleInfo, DeploymentInfo, DeploymentStatus, ErrorInfo, SourceInfo, State
from worker.cli.status_line import status_line
from worker.cli.status_table import STYLES, StatusTable, can_redraw, duration

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
ERROR = ErrorInfo(code="token-expired", message="The token has expired.", stage="authenticate", retryable=False)


def status(state: State = State.ACCEPTED, sequence: int = 0, after: float = 0, **changes: Any) -> DeploymentStatus:
    """A status, `after` seconds past noon."""
    values = {
        "request_id": "r-1",
        "sequence": sequence,
        "state": state,
        "time": NOON + timedelta(seconds=after),
        "attempt": 1,
        "solution_id": UUID(int=1),
        "revision_id": UUID(int=2),
        "message": "The request is accepted.",
        "source": SourceInfo(topic="requests", partition=0, offset=0),
    }
    return DeploymentStatus(**(values | changes))


DEPLOYED = status(
    State.DEPLOYED,
    sequence=3,
    after=4.25,
    solution_name="Sudoku",
    message="Deployed as sudoku-1.",
    warnings=("One name changed.",),
    bundle=BundleInfo(sha256="0" * 64, size=1, nodes=("a",)),
    deployment=DeploymentInfo(id="sudoku-1", url="https://playground.example/sudoku-1"),
)
REJECTED = status(State.REJECTED, request_id="r-2", message="The token has expired.", error=ERROR)


def drawn(table: StatusTable, width: int = 80, height: int = 25, **options: Any) -> list[str]:
    """Return the rows that a terminal of this size would show."""
    output = StringIO()
    Console(file=output, width=width, height=height, **options).print(table)
    return [row.rstrip() for row in output.getvalue().splitlines()]


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (status(), "12:00:00 r-1  accepted    The request is accepted."),
        (DEPLOYED, "12:00:04 r-1  deployed    Sudoku: Deployed as sudoku-1. (1 note)"),
        (REJECTED, "12:00:00 r-2  rejected    The token has expired. [token-expired]"),
        (status(message="a\nb\x1b[31m\x9bc"), "12:00:00 r-1  accepted    a b [31m c"),
    ],
)
def test_one_status_is_one_line(shown: DeploymentStatus, expected: str) -> None:
    """A status is one line of time, request, state and sentence, and none of it can move the cursor."""
    assert expected == status_line(shown)


def test_a_label_stands_for_time_and_id() -> None:
    """A label replaces time and id, so the demo's lines are the same each time."""
    assert "sudoku  accepted    The request is accepted." == status_line(status(), "sudoku")


def test_a_row_per_request_with_the_time_in_its_state() -> None:
    """A running request shows the time since its last status, and a finished request its total time."""
    table = StatusTable(lambda: NOON + timedelta(seconds=9))
    for one in (status(), status(request_id="r-2"), status(State.BUILDING, 1, 2.5, request_id="r-2"), DEPLOYED):
        assert table.update(one)
    assert [
        "   request  state         time",
        "✓  r-1      deployed      4.2s  Sudoku: Deployed as sudoku-1. (1 note)",
        "⠋  r-2      building      6.5s  The request is accepted.",
    ] == drawn(table)


def test_a_published_request_is_shown_before_its_first_status() -> None:
    """A published request has a row with its label and title before its first status."""
    table = StatusTable(lambda: NOON, {"r-1": "sudoku"}, {"r-1": "Sudoku tutorial"})
    table.publish("r-1")
    assert "⠋  sudoku   published     0.0s  Sudoku tutorial" == drawn(table)[1]
    assert table.update(status())
    assert "⠋  sudoku   accepted      0.0s  The request is accepted." == drawn(table)[1]


def test_known_statuses_change_nothing() -> None:
    """Statuses that a subscriber sees twice change nothing."""
    table = StatusTable(lambda: NOON)
    assert [True, True, False, False] == [table.update(it) for it in (status(), DEPLOYED, status(), DEPLOYED)]
    assert DEPLOYED == table.rows["r-1"].status


def test_finished_requests_leave_a_full_screen_first() -> None:
    """Finished requests leave a full screen first, so running requests stay visible."""
    table = StatusTable(lambda: NOON)
    for number in range(30):
        done = number % 3 == 0
        table.update(status(State.FAILED if done else State.ACCEPTED, request_id=f"r-{number}"))
    rows = drawn(table, height=15)[1:]
    assert [f"r-{number}" for number in range(30) if number % 3][-12:] == [row.split()[1] for row in rows]


def test_markup_in_a_message_is_text() -> None:
    """Markup in a message is text, so a status cannot colour the terminal."""
    table = StatusTable(lambda: NOON)
    table.update(status(message="[red]hello[/red]"))
    assert "⠋  r-1      accepted      0.0s  [red]hello[/red]" == drawn(table)[1]


def test_a_clock_behind_shows_no_negative_time() -> None:
    """A time is never negative, even if the worker's clock is ahead."""
    table = StatusTable(lambda: NOON - timedelta(seconds=5))
    table.update(status())
    assert "0.0s" in drawn(table)[1]


def test_every_state_has_a_look() -> None:
    """Every state has a style, so a new state cannot break the table."""
    assert set(State) == set(STYLES)


def test_no_colour_where_none_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    """NO_COLOR removes colours but leaves bold and dim."""
    table = StatusTable(lambda: NOON)
    table.update(REJECTED)
    coloured = "\n".join(drawn(table, force_terminal=True, color_system="standard"))
    monkeypatch.setenv("NO_COLOR", "1")
    plain = "\n".join(drawn(table, force_terminal=True, color_system="standard"))
    assert (True, False) == ("\x1b[31m" in coloured, "\x1b[31m" in plain)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"force_terminal": True, "_environ": {"TERM": "xterm"}}, True),
        ({"force_terminal": True, "_environ": {"TERM": "dumb"}}, False),
        ({"force_terminal": False}, False),
    ],
)
def test_only_a_real_terminal_gets_a_table(options: Any, expected: bool) -> None:
    """Pipes and dumb terminals get lines in place of a table."""
    assert expected == can_redraw(Console(file=StringIO(), **options))


@pytest.mark.parametrize(
    ("seconds", "expected"), [(0, "0.0s"), (59.94, "59.9s"), (60, "1m00s"), (3599, "59m59s"), (3725, "1h02m")]
)
def test_durations_are_short(seconds: float, expected: str) -> None:
    """A duration has at most six characters."""
    assert expected == duration(seconds)
