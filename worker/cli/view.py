"""How statuses look: one line each, or a table with one row per request.

What stands in a status was written by others: nothing in it may move the cursor or change a colour.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from rich.console import Console, RenderableType
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from schemas import FINAL_STATES, DeploymentStatus, State

# state → sign and colour; a sign for those who see no colour
LOOKS: Mapping[State, tuple[str, str]] = {
    State.ACCEPTED: ("·", "cyan"),
    State.BUILDING: ("·", "cyan"),
    State.SUBMITTING: ("·", "cyan"),
    State.RETRYING: ("↻", "yellow"),
    State.PARKED: ("‖", "yellow"),
    State.DEPLOYED: ("✓", "green"),
    State.REJECTED: ("✗", "red"),
    State.FAILED: ("✗", "red"),
}
REMEMBERED = 10_000  # requests of which the last status is known
STATE_WIDTH = max(map(len, State))


def live(console: Console) -> bool:
    """Whether a table can be drawn over and over; elsewhere lines are printed."""
    return console.is_terminal and not console.is_dumb_terminal


def plain(text: str) -> str:
    """On one line, without control characters."""
    return "".join(char if char.isprintable() else " " for char in text)


def line(status: DeploymentStatus, label: str | None = None) -> str:
    """One status on one line; `label` instead of time and request id."""
    head = label or f"{status.time:%H:%M:%S} {status.request_id}"
    return f"{head}  {status.state:<{STATE_WIDTH}}  {summary(status)}"


def summary(status: DeploymentStatus) -> str:
    """What happened, in a sentence."""
    name = f"{plain(status.solution_name)}: " if status.solution_name else ""
    code = f" [{status.error.code}]" if status.error else ""
    count = len(status.warnings or ()) if status.state is State.DEPLOYED else 0
    notes = f" ({count} note{'s' if count > 1 else ''})" if count else ""
    return f"{name}{plain(status.message)}{notes}{code}"


@dataclass(slots=True)
class Row:
    """Where one request stands, and since when."""

    first: datetime
    status: DeploymentStatus

    @property
    def final(self) -> bool:
        """Whether nothing more will come."""
        return self.status.state in FINAL_STATES

    def seconds(self, now: datetime) -> float:
        """In this state; once it is final, all it took."""
        passed = self.status.time - self.first if self.final else now - self.status.time
        return max(0.0, passed.total_seconds())  # the worker's clock may be ahead of ours


@dataclass(slots=True)
class Board:
    """One row per request, in the order they came. `clock` gives the current time, aware."""

    clock: Callable[[], datetime]
    labels: Mapping[str, str] = field(default_factory=dict)  # request id → a name that is easier to read
    rows: dict[str, Row] = field(default_factory=dict)

    def update(self, status: DeploymentStatus) -> bool:
        """Take a status in; False when it was known (subscribers see some twice)."""
        row = self.rows.get(status.request_id)
        if row is not None and status.sequence <= row.status.sequence:
            return False
        self.rows[status.request_id] = Row(row.first if row else status.time, status)
        while len(self.rows) > REMEMBERED:
            self.rows.pop(next((key for key, it in self.rows.items() if it.final), next(iter(self.rows))))
        return True

    def __rich_console__(self, console: Console, _: object) -> "list[RenderableType]":
        """What fits on the screen: the newest, finished ones leave first."""
        return [self.table(self._visible(max(1, console.height - 4)))]

    def table(self, rows: Mapping[str, Row]) -> Table:
        """The rows as a table; 80 columns are enough."""
        table = Table(box=None, pad_edge=False, header_style="dim", expand=True)
        table.add_column("")
        table.add_column("request", overflow="ellipsis", no_wrap=True, max_width=22)
        table.add_column("state", no_wrap=True, min_width=STATE_WIDTH)
        table.add_column("time", justify="right", no_wrap=True, min_width=6)
        table.add_column("", ratio=1, overflow="fold")
        now = self.clock()
        for request_id, row in rows.items():
            sign, colour = LOOKS[row.status.state]
            table.add_row(
                Text(sign, colour) if row.final else Spinner("dots", style=colour),
                Text(self.labels.get(request_id, request_id)),
                Text(row.status.state, colour),
                Text(duration(row.seconds(now)), "dim"),
                Text(summary(row.status), "" if row.final else "dim"),
            )
        return table

    def _visible(self, height: int) -> dict[str, Row]:
        leaving = sorted(self.rows, key=lambda it: not self.rows[it].final)[: max(0, len(self.rows) - height)]
        return {key: row for key, row in self.rows.items() if key not in leaving}


def duration(seconds: float) -> str:
    """Short: 3.2s, 4m10s, 2h05m."""
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes}m{rest:02}s"
    return f"{minutes // 60}h{minutes % 60:02}m"
