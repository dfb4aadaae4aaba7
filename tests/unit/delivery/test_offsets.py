import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worker.delivery.offsets import OffsetTracker

STEPS = st.lists(st.tuples(st.sampled_from(("start", "finish", "commit")), st.integers(0, 5)), max_size=40)


@pytest.mark.parametrize("number", range(10))
@settings(max_examples=1000, database=None)  # of 10,000: the more hypothesis remembers, the slower it gets
@given(committed=st.integers(0, 3), steps=STEPS)
def test_the_mark_never_passes_an_unfinished_record(number: int, committed: int, steps: list[tuple[str, int]]) -> None:
    """Against a list of all offsets and the set of finished ones; gaps of transaction markers included."""
    tracker = OffsetTracker(committed)
    read: list[int] = []
    finished: set[int] = set()
    following = committed
    for what, number in steps:
        if what == "start":
            read.append(following + number)
            tracker.start(read[-1])
            following = read[-1] + 1
        elif what == "finish" and read:
            offset = read[number % len(read)]
            tracker.finish(offset)
            finished.add(offset)
        elif what == "commit" and (mark := tracker.uncommitted()) is not None:
            assert mark > committed or not read
            tracker.committed(mark)
            committed = mark
        unfinished = [it for it in read if it not in finished]
        expected = min(unfinished, default=following)
        assert (expected, len(unfinished), following) == (tracker.mark, tracker.open, tracker.following)
        assert (expected if expected != committed else None) == tracker.uncommitted()


def test_only_a_mark_that_moved_is_committed() -> None:
    """An idle worker commits nothing."""
    tracker = OffsetTracker(5)
    assert tracker.uncommitted() is None
    tracker.start(5)
    assert tracker.uncommitted() is None
    tracker.finish(5)
    assert 6 == tracker.uncommitted()
    tracker.committed(6)
    assert tracker.uncommitted() is None


def test_an_offset_read_twice_is_a_defect() -> None:
    """It would be worked on twice. What is finished twice is finished."""
    tracker = OffsetTracker(0)
    tracker.start(3)
    with pytest.raises(ValueError, match="offset 3"):
        tracker.start(3)
    tracker.finish(3)
    tracker.finish(3)
    assert 4 == tracker.mark
