"""Quantities as Kubernetes reads them."""

from fractions import Fraction

import pytest

from worker.domain.overrides.field_checks import amount, with_quantities


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", Fraction(1)),
        ("500m", Fraction(1, 2)),
        ("100n", Fraction(1, 10**7)),
        ("1.5Gi", Fraction(3 * 2**29)),
        ("1G", Fraction(10**9)),
        ("1k", Fraction(1000)),
        ("1Ki", Fraction(1024)),
        ("1E", Fraction(10**18)),
        ("1E3", Fraction(1000)),
        ("1e-3", Fraction(1, 1000)),
        (".5", Fraction(1, 2)),
        ("5.", Fraction(5)),
        ("+5", Fraction(5)),
        ("-1", Fraction(-1)),
        *((text, None) for text in ("", "1 ", " 1", "1K", "1GiB", "1gb", "0x1", "1_0", "lots", "1e", "1e999", ".")),
        ("\N{ARABIC-INDIC DIGIT ONE}", None),
    ],
)
def test_what_a_quantity_says(text: str, expected: Fraction | None) -> None:
    """Every suffix is read, and what only resembles a quantity is not."""
    assert expected == amount(text)


def test_numbers_among_resources_become_quantities() -> None:
    """Numbers among resources become quantities, and other numbers do not."""
    patch = {"containers": [{"resources": {"limits": {"cpu": 2, "gpu": 0.5, "odd": True}, "requests": None}}], "n": 1}
    limits = {"cpu": "2", "gpu": "0.5", "odd": True}
    assert {"containers": [{"resources": {"limits": limits, "requests": None}}], "n": 1} == with_quantities(patch)
