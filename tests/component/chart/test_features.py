import pytest

from tests.component.chart.features import FEATURES, Feature
from tests.component.chart.judging import problems
from tests.component.chart.rendering import MIDDLE, render


@pytest.mark.parametrize("feature", FEATURES, ids=lambda it: it.name)
def test_on(feature: Feature) -> None:
    """The object exists when the values enable the feature, and a cluster accepts all objects."""
    found = render(feature.on)
    assert feature.seen == feature.looked_up(found)
    assert [] == problems(found, MIDDLE)


@pytest.mark.parametrize("feature", FEATURES, ids=lambda it: it.name)
def test_off(feature: Feature) -> None:
    """The object does not exist when the feature is off, and a cluster accepts all objects."""
    found = render(feature.off)
    assert feature.seen_else == feature.looked_up(found)
    assert [] == problems(found, MIDDLE)
