"""tests/data/chart/refusals.yaml: invalid values and their error messages."""

from dataclasses import dataclass

import yaml

from tests.component.chart.rendering import CHART_DATA, MIDDLE
from tests.component.chart.values import Json


@dataclass(frozen=True, slots=True)
class Refusal:
    """An entry of refusals.yaml."""

    values: Json
    because: str
    kubernetes: str = MIDDLE


REFUSALS = [Refusal(**entry) for entry in yaml.safe_load((CHART_DATA / "refusals.yaml").read_text(encoding="utf-8"))]
