import pytest

from tests.component.chart.combinations import CHOICES, chosen, combinations, wanted_pairs
from tests.component.chart.judging import problems
from tests.component.chart.rendering import MIDDLE, render
from tests.component.chart.values import Json


def test_every_two_choices_meet() -> None:
    """Every pair of choices occurs in at most 25 rows."""
    met = {
        ((one, row[one]), (other, row[other]))
        for row in chosen()
        for index, one in enumerate(CHOICES)
        for other in list(CHOICES)[index + 1 :]
    }
    assert wanted_pairs() == met
    assert len(chosen()) <= 25


@pytest.mark.parametrize("values", combinations(), ids=range(len(combinations())))
def test_a_cluster_takes_it(values: Json) -> None:
    """For every pair of choices the objects are valid and consistent."""
    assert [] == problems(render(values), MIDDLE)
