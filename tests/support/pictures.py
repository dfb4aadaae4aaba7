"""The pictures of docs/performance.md, drawn from the figures of the benches: `make pages` writes them.

A line takes its points from the figures whose name matches its pattern; the number in the name is the position on the x
axis.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree.ElementTree import Element

import pygal

from tests.extended.bench import results
from tests.support.paths import ROOT

FOLDER = ROOT / "docs" / "pictures"
FIGURES = (ROOT / "docs" / "performance.json", ROOT / "docs" / "scale.json")
WIDTH, HEIGHT = 640, 300

_STYLE = """
svg{color:#1f2328;font:12px system-ui,sans-serif}
@media(prefers-color-scheme:dark){svg{color:#e6edf3}}
text{fill:currentColor}.plot_title{font-size:15px}.title,.axis.x text{text-anchor:middle}.axis.y text{text-anchor:end}
.background{fill:none}.axis path{stroke:currentColor;stroke-opacity:.7}.axis path.guide{stroke-opacity:.2}
.axis.x .guide{stroke:none}.series path,.nofill{fill:none;stroke-width:2}
.color-0{stroke:#3b82f6;fill:#3b82f6}.color-1{stroke:#e0701a;fill:#e0701a}.color-2{stroke:#2e9e6b;fill:#2e9e6b}
.color-1 path{stroke-dasharray:7 3}.color-2 path{stroke-dasharray:2 3}
"""
_PLACES = ("d", "x", "y", "cx", "cy", "transform")
_UNSEEN = {"text-overlay", "tooltip-overlay"}


class Picture(NamedTuple):
    """One picture: its lines by name, each a pattern with one group, which matches the number on the x axis."""

    name: str
    title: str
    x: str
    y: str
    lines: Mapping[str, str]

    @property
    def path(self) -> Path:
        """Return the path of the SVG."""
        return FOLDER / f"{self.name}.svg"

    def draw(self, figures: Mapping[str, float]) -> str:
        """Return the SVG, identical for identical figures. Raises ValueError when a line has no points."""
        lines = {name: points(figures, pattern) for name, pattern in self.lines.items()}
        chart = pygal.XY(
            width=WIDTH,
            height=HEIGHT,
            margin_right=40,
            title=self.title,
            x_title=self.x,
            y_title=self.y,
            include_x_axis=True,
            show_legend=len(lines) > 1,
            legend_at_bottom=True,
            legend_at_bottom_columns=len(lines),
            x_labels=sorted({x for line in lines.values() for x, _ in line}),
            max_scale=8,
            truncate_legend=-1,
            dots_size=3,
            value_formatter=lambda value: f"{value:,.10g}",
            x_value_formatter=lambda value: f"{value:,.10g}",
            disable_xml_declaration=True,
            no_prefix=True,
            js=(),
        )
        for name, line in lines.items():
            chart.add(name, line)
        chart.add_xml_filter(_plain)
        return str(chart.render(is_unicode=True)) + "\n"


def points(figures: Mapping[str, float], pattern: str) -> Sequence[tuple[float, float]]:
    """Return the figures whose whole name matches, sorted by the number in it.

    Raises ValueError when none matches.
    """
    found = [(match[1], value) for name, value in figures.items() if (match := re.fullmatch(pattern, name))]
    if not found:
        raise ValueError(f"no figure is named {pattern}")
    return sorted((float(number.replace(",", "")), value) for number, value in found)


def read_figures() -> dict[str, float]:
    """Return the published figures by name."""
    return {row.name: row.value for path in FIGURES for row in results.read(path)}


def _plain(root: Element) -> Element:
    """Remove pygal's scripts, its date and its hover texts; add our style, for light and dark themes."""
    for parent in [*root.iter()]:
        for child in [*parent]:
            kind = child.tag.rpartition("}")[2] if isinstance(child.tag, str) else "comment"
            unseen = (kind == "title" and parent is not root) or _UNSEEN & {*child.get("class", "").split()}
            if unseen or kind in {"comment", "script", "desc"}:
                parent.remove(child)
            elif kind == "style":
                child.text = _STYLE
        for name in _PLACES:
            if value := parent.get(name):
                parent.set(name, re.sub(r"-?\d+\.\d+", lambda number: f"{float(number[0]):.5g}", value))
    root.attrib.pop("id", None)
    root.set("role", "img")
    return root


PICTURES = (
    Picture(
        "rate-over-load",
        "Requests per second over the load",
        "load, % of the maximum rate",
        "requests per second",
        {"reached": r"at (\d+) % of the maximum rate, requests per second"},
    ),
    Picture(
        "time-over-load",
        "Time of a request over the load",
        "load, % of the maximum rate",
        "ms",
        {it: rf"at (\d+) % of the maximum rate, request → final status, {it}" for it in ("p50", "p90")},
    ),
    Picture(
        "memory-over-requests",
        "Memory of a worker over the requests it has had",
        "requests",
        "MB",
        {"memory": r"memory after ([\d,]+) requests"},
    ),
    Picture(
        "take-over-time",
        "Time to take over 12 partitions over their past",
        "requests that have ended",
        "seconds",
        {
            "with a checkpoint": r"take-over after ([\d,]+) requests, seconds",
            "without": r"take-over after ([\d,]+) requests, without a checkpoint, seconds",
        },
    ),
    Picture(
        "take-over-memory",
        "Peak of memory of a take-over of 12 partitions over their past",
        "requests that have ended",
        "MB",
        {
            "with a checkpoint": r"take-over after ([\d,]+) requests, peak of memory",
            "without": r"take-over after ([\d,]+) requests, without a checkpoint, peak of memory",
        },
    ),
    Picture(
        "rate-over-partitions",
        "Requests per second of one worker over its partitions",
        "partitions",
        "requests per second",
        {"rate": r"(\d+) partitions, 1 worker: rate"},
    ),
    Picture(
        "rate-over-workers",
        "Requests per second of 48 partitions over the workers, on 2 cores",
        "workers",
        "requests per second",
        {"rate": r"48 partitions, (\d+) workers?: rate"},
    ),
    Picture(
        "cores-over-workers",
        "Cores in use with 48 partitions over the workers, of 2",
        "workers",
        "cores",
        {of: rf"48 partitions, (\d+) workers?: cores in use, {of}" for of in ("workers", "broker", "dependencies")},
    ),
    Picture(
        "idle-over-partitions",
        "CPU of an idle worker over its partitions",
        "partitions",
        "% of a core",
        {"worker": r"(\d+) partitions, 1 worker: idle, CPU of the worker"},
    ),
)
