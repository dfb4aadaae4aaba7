"""Notes that tests print at the end of a run, mainly about a corpus: its size, and the number of wrong verdicts.

A note travels with the report of its test, so it arrives whichever process ran the test.
"""

Note = tuple[str, int | None, int]
"""The name, the size and the number of wrong verdicts; or a line without a size."""

_NOTES: list[Note] = []


def record(name: str, size: int, wrong: int) -> None:
    """Note a corpus or a part of it: sizes under one name are added. The test itself asserts that `wrong` is 0."""
    _NOTES.append((name, size, wrong))


def say(line: str) -> None:
    """Note a line to print unchanged."""
    _NOTES.append((line, None, 0))


def taken() -> list[Note]:
    """Return the notes since the last call, and clear them."""
    notes = _NOTES[:]
    _NOTES.clear()
    return notes
