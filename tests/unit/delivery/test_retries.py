from hypothesis import given
from hypothesis import strategies as st
from worker.delivery.retries import FIRST_SECONDS, MOST_SECONDS, pause

CHANCE = st.floats(0, 1)


@given(st.integers(1, 10_000), CHANCE)
def test_pauses_grow_and_have_an_end(attempt: int, chance: float) -> None:
    """Between half and the whole of the exponential value, which stops at a minute."""
    whole = min(MOST_SECONDS, FIRST_SECONDS * 2 ** min(attempt - 1, 10))
    assert whole / 2 <= pause(attempt, None, chance) <= whole


@given(st.integers(1, 20), st.floats(0, 3600), CHANCE)
def test_the_dependencies_own_wish_is_the_least(attempt: int, wish: float, chance: float) -> None:
    """Retry-After is never undercut."""
    assert pause(attempt, wish, chance) >= wish
