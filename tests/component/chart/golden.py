"""The golden renders: NAME.rendered.yaml is rendered from tests/data/chart/NAME.values.yaml and the least values.

`make chart` rewrites them; read the diff line by line before you commit it.
"""

from concurrent.futures import ThreadPoolExecutor

import yaml

from tests.component.chart.rendering import CHART_DATA, text
from tests.component.chart.values import Json

NAMES = sorted(path.name.removesuffix(".values.yaml") for path in CHART_DATA.glob("*.values.yaml"))


def values_of(name: str) -> Json:
    """Return the values of a case."""
    values: Json = yaml.safe_load((CHART_DATA / f"{name}.values.yaml").read_text(encoding="utf-8"))
    return values


def rendered(name: str) -> str:
    """Return what helm renders now."""
    return text(values_of(name))


def expected(name: str) -> str:
    """Return the reviewed render."""
    return (CHART_DATA / f"{name}.rendered.yaml").read_text(encoding="utf-8")


def main() -> None:
    """Write all renders."""
    with ThreadPoolExecutor(4) as pool:
        for name, result in zip(NAMES, pool.map(rendered, NAMES), strict=True):
            (CHART_DATA / f"{name}.rendered.yaml").write_text(result, encoding="utf-8")


if __name__ == "__main__":
    main()
