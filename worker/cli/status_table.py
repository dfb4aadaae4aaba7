"""Statuses on a terminal: a table with one row per request."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from schemas import FINAL_STATES, DeploymentStatus, State
from worker.cli.status_line import STATE_WIDTH, summary

SPINNER = "…"  # drawn as an animation
PUBLISHED = "published"  # before the first status

# state → symbol and colour; the symbol is for terminals and users without colour
STYLES: Mapping[State, tuple[str, str]] = {
    State.ACCEPTED: (SPINNER, "cyan"),
    State.BUILDING: (SPINNER, "cyan"),
    State.SUBMITTING: (SPINNER, "cyan"),
    State.RETRYING: ("↻", "yellow"),
    State.PARKED: ("‖", "yellow"),
    State.DEPLOYED: ("✓", "green"),
    State.REJECTED: ("✗", "red"),
    State.FAILED: ("✗", "red"),
}
MAX_ROWS = 10_000  # requests whose last status is remembered


def can_redraw(console: Console) -> bool:
    """Return whether a table can be redrawn in place; otherwise lines are printed."""
    return console.is_terminal and not console.is_dumb_terminal


@dataclass(slots=True)
class Row:
    """The state of one request, and when the request began. A row without a status is a published request."""

    first: datetime
    status: DeploymentStatus | None = None

    @property
    def final(self) -> bool:
        """Whether no further status will follow."""
        return self.status is not None and self.status.state in FINAL_STATES

    def seconds(self, now: datetime) -> float:
        """Return the seconds in this state; for a final state, the seconds from the first status to the last."""
        reached = self.status.time if self.status else self.first
        passed = reached - self.first if self.final else now - reached
        return max(0.0, passed.total_seconds())  # the worker's clock may be ahead of this machine's


class StatusTable:
    """A table with one row per request, in order of arrival, which rich redraws continually."""

    def __init__(
        self,
        clock: Callable[[], datetime],
        labels: Mapping[str, str] | None = None,
        titles: Mapping[str, str] | None = None,
    ) -> None:
        """Create an empty table.

        Args:
            clock: returns the current, time-zone-aware time.
            labels: request id → readable name, shown instead of the id.
            titles: request id → title, shown until the first status.
        """
        self._clock = clock
        self._labels = labels or {}
        self._titles = titles or {}
        self._spinner = Spinner("dots", style="cyan")
        self.rows: dict[str, Row] = {}

    def publish(self, request_id: str) -> None:
        """Add the row of a request that has just been published."""
        self.rows[request_id] = Row(self._clock())

    def update(self, status: DeploymentStatus) -> bool:
        """Add a status; return False if it is not newer than the row's, because some statuses are delivered twice."""
        row = self.rows.get(status.request_id)
        if row and row.status and status.sequence <= row.status.sequence:
            return False
        self.rows[status.request_id] = Row(row.first if row else status.time, status)
        while len(self.rows) > MAX_ROWS:
            self.rows.pop(next((key for key, row in self.rows.items() if row.final), next(iter(self.rows))))
        return True

    def __rich_console__(self, console: Console, _: ConsoleOptions) -> RenderResult:
        """Yield a table that fits on the screen."""
        yield self.table(max(1, console.height - 3))

    def table(self, max_rows: int) -> Table:
        """Return a table of at most `max_rows` rows, for 80 columns; finished requests are left out first."""
        table = Table(box=None, pad_edge=False, header_style="dim", expand=True)
        table.add_column("", width=1)
        table.add_column("request", overflow="ellipsis", no_wrap=True, max_width=22)
        table.add_column("state", no_wrap=True, min_width=STATE_WIDTH)
        table.add_column("time", justify="right", no_wrap=True, min_width=6)
        table.add_column("", ratio=1, overflow="fold")
        hidden = sorted(self.rows, key=lambda key: not self.rows[key].final)[: max(0, len(self.rows) - max_rows)]
        for request_id, row in self.rows.items():
            if request_id not in hidden:
                table.add_row(*self._cells(request_id, row))
        return table

    def _cells(self, request_id: str, row: Row) -> list[RenderableType]:
        symbol, colour = STYLES[row.status.state] if row.status else (SPINNER, "cyan")
        return [
            self._spinner if symbol == SPINNER else Text(symbol, colour),
            Text(self._labels.get(request_id, request_id)),
            Text(row.status.state if row.status else PUBLISHED, colour),
            Text(duration(row.seconds(self._clock())), "dim"),
            Text(summary(row.status) if row.status else self._titles.get(request_id, ""), "" if row.final else "dim"),
        ]


def duration(seconds: float) -> str:
    """Return a short form: 3.2s, 4m10s, 2h05m."""
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes}m{rest:02}s"
    return f"{minutes // 60}h{minutes % 60:02}m"
