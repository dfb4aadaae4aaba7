"""What tests say at the end of a run, above all of a corpus: its size, and how many verdicts were wrong.

It travels with the report of the test that said it, so that it arrives whichever process ran the test.
"""

Note = tuple[str, int | None, int]
"""Name, size and how many were wrong; or a line, and no size."""

_NOTES: list[Note] = []


def record(name: str, size: int, wrong: int) -> None:
    """Note one corpus, or a part of it: sizes of one name are added. The test itself asserts that `wrong` is 0."""
    _NOTES.append((name, size, wrong))


def say(line: str) -> None:
    """Note a line to print as it is."""
    _NOTES.append((line, None, 0))


def taken() -> list[Note]:
    """Return what was noted since the last call, and forget it."""
    notes = _NOTES[:]
    _NOTES.clear()
    return notes
