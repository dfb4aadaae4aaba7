import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.stream.offsets import OffsetTracker


@given(st.lists(st.integers(1, 3), max_size=30), st.randoms(use_true_random=False))
def test_the_mark_is_the_first_unfinished_offset(gaps: list[int], random: object) -> None:
    """Whatever the order in which records finish; gaps of transaction markers included."""
    tracker = OffsetTracker()
    offsets = [sum(gaps[: index + 1]) for index in range(len(gaps))]
    for offset in offsets:
        tracker.start(offset)
    order = list(offsets)
    random.shuffle(order)  # type: ignore[attr-defined]
    unfinished = set(offsets)
    for offset in order:
        tracker.finish(offset)
        unfinished.remove(offset)
        expected = min(unfinished) if unfinished else offsets[-1] + 1
        assert (expected, len(unfinished)) == (tracker.mark, tracker.open)


def test_only_a_mark_that_moved_is_committed() -> None:
    """An idle worker commits nothing."""
    tracker = OffsetTracker()
    assert tracker.uncommitted() is None
    tracker.start(5)
    assert tracker.uncommitted() is None
    tracker.finish(5)
    assert 6 == tracker.uncommitted()
    tracker.committed(6)
    assert tracker.uncommitted() is None


def test_an_offset_read_twice_is_a_defect() -> None:
    """It would be worked on twice."""
    tracker = OffsetTracker()
    tracker.start(3)
    with pytest.raises(ValueError, match="offset 3"):
        tracker.start(3)
    with pytest.raises(KeyError):
        tracker.finish(4)
