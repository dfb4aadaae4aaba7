"""A fixture that renders many sets of values in parallel, before the tests use them."""

import pytest

from tests.component.chart.combinations import combinations
from tests.component.chart.features import FEATURES
from tests.component.chart.golden import NAMES, values_of
from tests.component.chart.helm_binary import HELM_3, helm_binary
from tests.component.chart.refusals import REFUSALS
from tests.component.chart.rendering import MIDDLE, NEWEST, OLDEST, RENDERED, render_ahead
from tests.support.kept import needed
from tests.support.shared import made_once, shared_folder


@pytest.fixture(scope="session", autouse=True)
def rendered_ahead(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Render once for all processes of the run; one helm at a time takes three times as long."""
    needed(helm_binary)
    RENDERED.update(made_once(shared_folder(pytestconfig, tmp_path_factory) / "rendered.json", render_most))


def render_most() -> dict[str, tuple[str, str]]:
    """Return all renders that several tests use, or that come in large numbers."""
    render_ahead([*(it.on for it in FEATURES), *(it.off for it in FEATURES), *(it.values for it in REFUSALS)])
    render_ahead(combinations())
    golden = [values_of(name) for name in NAMES]
    for kubernetes in (MIDDLE, OLDEST, NEWEST):
        render_ahead(golden, kubernetes)
    render_ahead(golden, version=HELM_3)
    return RENDERED
