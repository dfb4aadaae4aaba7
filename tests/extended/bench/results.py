"""Rows of the table: measured figures, and whether they reach their targets."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Row:
    """One figure. `at_most` or `at_least` is the target; a figure without either is for comparison."""

    name: str
    value: float
    unit: str
    at_most: float | None = None
    at_least: float | None = None

    @property
    def reached(self) -> bool | None:
        """Return whether the target is reached, or None if there is none."""
        if self.at_most is not None:
            return self.value <= self.at_most
        return None if self.at_least is None else self.value >= self.at_least

    @property
    def aim(self) -> str:
        """Return the target in words."""
        if self.at_most is not None:
            return f"≤ {self.at_most:g}"
        return "" if self.at_least is None else f"≥ {self.at_least:g}"


def table(rows: Sequence[Row]) -> str:
    """Return the rows as a table for people and for docs/performance.md."""
    verdicts = {True: "yes", False: "**no**", None: ""}
    lines = ["| figure | measured | aim | reached |", "|---|---|---|---|"]
    lines += [f"| {row.name} | {row.value:.4g} {row.unit} | {row.aim} | {verdicts[row.reached]} |" for row in rows]
    return "\n".join(lines)


def matrix(rows: Sequence[Row]) -> str:
    """Return the rows whose names are `setup: figure`, with a column for each setup."""
    cells: dict[str, dict[str, Row]] = {}
    for row in rows:
        setup, _, figure = row.name.partition(": ")
        if figure:
            cells.setdefault(f"{figure}, {row.unit}" if row.unit else figure, {})[setup] = row
    setups = dict.fromkeys(setup for row in cells.values() for setup in row)
    lines = [f"| figure | {' | '.join(setups)} | aim |", "|---" * (len(setups) + 2) + "|"]
    for figure, of in cells.items():
        values = [
            f"{of[it].value:.4g}" + " **not reached**" * (of[it].reached is False) if it in of else "" for it in setups
        ]
        lines.append(f"| {figure} | {' | '.join(values)} | {next(iter(of.values())).aim} |")
    return "\n".join(lines)


def read(path: Path) -> list[Row]:
    """Return the rows that `write` has written."""
    documents = json.loads(path.read_text(encoding="utf-8"))
    return [Row(**{key: it[key] for key in it if key != "reached"}) for it in documents]


def write(rows: Sequence[Row], path: Path) -> None:
    """Write the rows for programs."""
    documents = [asdict(row) | {"reached": row.reached} for row in rows]
    path.write_text(json.dumps(documents, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
