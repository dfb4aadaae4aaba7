"""The bounds of a small solution: the last value that fits, and the first that does not."""

from collections.abc import Callable

import pytest

from worker.adapters.http import spend
from worker.build import SMALL_BYTES, SMALL_MARKUP, SMALL_VALUES, Allowance
from worker.domain.solution import LeftOut
from worker.errors import NeedsReservation

Use = Callable[[Allowance], None]


def twice(it: Allowance) -> None:
    """Spend twice, to show that earlier use stays counted."""
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
    """A solution up to each bound needs no reservation."""
    use(Allowance())


@pytest.mark.parametrize("use", DOES_NOT)
def test_what_is_larger_needs_one(use: Use) -> None:
    """A solution above any bound needs a reservation, which lifts all bounds."""
    with pytest.raises(NeedsReservation):
        use(Allowance())
    use(Allowance(large=True))
