"""Many renders at once, before the tests want them one by one."""

import pytest

from tests.chart.combinations import combinations
from tests.chart.features import FEATURES
from tests.chart.golden import NAMES, values_of
from tests.chart.refusals import REFUSALS
from tests.chart.rendering import MIDDLE, NEWEST, OLDEST, render_ahead


@pytest.fixture(scope="session", autouse=True)
def rendered_ahead() -> None:
    """One helm after the other takes three times as long."""
    render_ahead([*((it.on,) for it in FEATURES), *((it.off,) for it in FEATURES), *((it,) for it in combinations())])
    render_ahead((it.values,) for it in REFUSALS)
    for version in (MIDDLE, OLDEST, NEWEST):
        render_ahead(((values_of(name),) for name in NAMES), version)
