"""How statuses look: one line each, or a table with one row per request.

What stands in a status was written by others: nothing in it may move the cursor or change a colour.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from schemas import FINAL_STATES, DeploymentStatus, State

WORKING = "…"  # drawn as something that moves
PUBLISHED = "published"  # before its first status

# state → sign and colour; a sign for those who see no colour
LOOKS: Mapping[State, tuple[str, str]] = {
    State.ACCEPTED: (WORKING, "cyan"),
    State.BUILDING: (WORKING, "cyan"),
    State.SUBMITTING: (WORKING, "cyan"),
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
    """Where one request stands, and since when. Without a status it is published and nobody has read it yet."""

    first: datetime
    status: DeploymentStatus | None = None

    @property
    def final(self) -> bool:
        """Whether nothing more will come."""
        return self.status is not None and self.status.state in FINAL_STATES

    def seconds(self, now: datetime) -> float:
        """In this state; once it is final, all it took."""
        reached = self.status.time if self.status else self.first
        passed = reached - self.first if self.final else now - reached
        return max(0.0, passed.total_seconds())  # the worker's clock may be ahead of ours


class Board:
    """A table with one row per request, in the order they came; rich draws it again and again."""

    def __init__(
        self,
        clock: Callable[[], datetime],
        labels: Mapping[str, str] | None = None,
        titles: Mapping[str, str] | None = None,
    ) -> None:
        """`clock` gives the current time, aware.

        By request id: `labels` are names that are easier to read, `titles` stand in a row before its first status.
        """
        self._clock = clock
        self._labels = labels or {}
        self._titles = titles or {}
        self._spinner = Spinner("dots", style="cyan")
        self.rows: dict[str, Row] = {}

    def publish(self, request_id: str) -> None:
        """Show a request that was just published."""
        self.rows[request_id] = Row(self._clock())

    def update(self, status: DeploymentStatus) -> bool:
        """Take a status in; False when it was known (subscribers see some twice)."""
        row = self.rows.get(status.request_id)
        if row and row.status and status.sequence <= row.status.sequence:
            return False
        self.rows[status.request_id] = Row(row.first if row else status.time, status)
        while len(self.rows) > REMEMBERED:
            self.rows.pop(next((key for key, it in self.rows.items() if it.final), next(iter(self.rows))))
        return True

    def __rich_console__(self, console: Console, _: ConsoleOptions) -> RenderResult:
        """What fits on the screen."""
        yield self.table(max(1, console.height - 3))

    def table(self, most: int) -> Table:
        """At most so many rows, of which finished ones leave first; 80 columns are enough."""
        table = Table(box=None, pad_edge=False, header_style="dim", expand=True)
        table.add_column("", width=1)
        table.add_column("request", overflow="ellipsis", no_wrap=True, max_width=22)
        table.add_column("state", no_wrap=True, min_width=STATE_WIDTH)
        table.add_column("time", justify="right", no_wrap=True, min_width=6)
        table.add_column("", ratio=1, overflow="fold")
        leaving = sorted(self.rows, key=lambda it: not self.rows[it].final)[: max(0, len(self.rows) - most)]
        for request_id, row in self.rows.items():
            if request_id not in leaving:
                table.add_row(*self._cells(request_id, row))
        return table

    def _cells(self, request_id: str, row: Row) -> list[RenderableType]:
        sign, colour = LOOKS[row.status.state] if row.status else (WORKING, "cyan")
        return [
            self._spinner if sign == WORKING else Text(sign, colour),
            Text(self._labels.get(request_id, request_id)),
            Text(row.status.state if row.status else PUBLISHED, colour),
            Text(duration(row.seconds(self._clock())), "dim"),
            Text(summary(row.status) if row.status else self._titles.get(request_id, ""), "" if row.final else "dim"),
        ]


def duration(seconds: float) -> str:
    """Short: 3.2s, 4m10s, 2h05m."""
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes}m{rest:02}s"
    return f"{minutes // 60}h{minutes % 60:02}m"
