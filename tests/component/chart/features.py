"""tests/data/chart/features.yaml: the chart's features, and the rendered object that shows each."""

from dataclasses import dataclass
from typing import Any

import yaml

from tests.component.chart.rendering import CHART_DATA, find_all, mounted_files, pod, worker
from tests.component.chart.values import Json
from worker import __version__


@dataclass(frozen=True, slots=True)
class Feature:
    """An entry of features.yaml."""

    name: str
    on: Json
    off: Json
    look: str
    seen: Any
    seen_else: Any

    def looked_up(self, found: list[Json]) -> Any:
        """Return the rendered object, or None."""
        what, *path = self.look.split(" ")
        match what:
            case "pod":
                place: Any = pod(found)
            case "worker":
                place = worker(found)
            case "file":
                place = mounted_files(found)
            case "gateway-pod":
                place = pod(found, "gateway")
            case "gateway":
                place = worker(found, "gateway")
            case "gateway-file":
                place = mounted_files(found, "gateway")
            case kind:
                kind, _, suffix = kind.partition("/")
                place = next(iter(find_all(found, kind, suffix)), None)
        if not path:
            return place is not None
        for key in path:
            place = _element(place, key)
        return place


def _element(place: Any, key: str) -> Any:
    if isinstance(place, list):
        return next((it for it in place if it["name"] == key), None)
    return None if place is None else place.get(key)


def _read(entry: Json) -> Feature:
    is_there = " " not in entry["look"]
    return Feature(
        name=entry["feature"],
        on=entry["values"],
        off=entry.get("without", {}),
        look=entry["look"],
        seen=entry.get("seen", True if is_there else None),
        seen_else=entry.get("else", False if is_there else None),
    )


_TEXT = (CHART_DATA / "features.yaml").read_text(encoding="utf-8").replace("VERSION", __version__)
FEATURES = [_read(entry) for entry in yaml.safe_load(_TEXT)]
