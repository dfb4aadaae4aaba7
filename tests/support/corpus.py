"""What each corpus of tests says at the end of a run: its size and how many verdicts were wrong."""

LINES: list[str] = []


def record(name: str, size: int, wrong: int) -> None:
    """Note one corpus; the end of the pytest run prints it. The test itself asserts that `wrong` is 0."""
    LINES.append(f"{name}: {size} cases, {wrong} wrong")
