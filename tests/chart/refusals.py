"""tests/data/chart/refusals.yaml: invalid values and their error messages."""

from dataclasses import dataclass

import yaml

from tests.chart.rendering import DATA, MIDDLE
from tests.chart.values import Json


@dataclass(frozen=True, slots=True)
class Refusal:
    """An entry of refusals.yaml."""

    values: Json
    because: str
    kubernetes: str = MIDDLE


REFUSALS = [Refusal(**entry) for entry in yaml.safe_load((DATA / "refusals.yaml").read_text(encoding="utf-8"))]
