"""What is small: the last that fits, and the first that does not."""

from collections.abc import Callable

import pytest

from worker.adapters.http import spend
from worker.build import SMALL_BYTES, SMALL_MARKUP, SMALL_VALUES, Allowance
from worker.domain.solution import LeftOut
from worker.errors import NeedsReservation

Use = Callable[[Allowance], None]


def twice(it: Allowance) -> None:
    """What was counted stays counted."""
    spend([it.fetched], SMALL_BYTES)
    spend([it.fetched], 1)


FITS: list[Use] = [
    lambda it: spend([it.fetched], SMALL_BYTES),
    lambda it: it.check_texts("<" * (SMALL_MARKUP - 1) + "&" + "x" * 200_000),
    lambda it: it.check_texts(LeftOut("<" * SMALL_MARKUP + "&")),
    lambda it: it.check_texts(None),
    lambda it: it.check_texts(None, b"[{" + b"," * (SMALL_VALUES - 2)),
    lambda it: it.check_manifests(100, 0),
    lambda it: it.check_manifests(80, 3),
]
DOES_NOT: list[Use] = [
    lambda it: spend([it.fetched], SMALL_BYTES + 1),
    twice,
    lambda it: it.check_texts("<" * SMALL_MARKUP + "&"),
    lambda it: it.check_texts(None, b"[{" + b"," * (SMALL_VALUES - 1)),
    lambda it: it.check_manifests(101, 0),
    lambda it: it.check_manifests(81, 3),
]


@pytest.mark.parametrize("use", FITS)
def test_what_is_small_needs_no_reservation(use: Use) -> None:
    """Up to the bound itself."""
    use(Allowance())


@pytest.mark.parametrize("use", DOES_NOT)
def test_what_is_larger_needs_one(use: Use) -> None:
    """And with one, everything may be taken."""
    with pytest.raises(NeedsReservation):
        use(Allowance())
    use(Allowance(large=True))
