"""Which offset may be committed: everything below it is finished."""


class OffsetTracker:
    """Offsets of one partition start in order and finish in any; the mark moves over finished ones only.

    Offsets need not be consecutive: transaction markers and compaction leave gaps.
    """

    def __init__(self, committed: int) -> None:
        """`committed`: where the group stands."""
        self._open: dict[int, None] = {}  # insertion order is offset order
        self._committed = committed
        self.following = committed

    def start(self, offset: int) -> None:
        """A record was read. Raises ValueError when it does not lie above the last one."""
        if offset < self.following:
            raise ValueError(f"offset {offset} was read after {self.following - 1}")
        self._open[offset] = None
        self.following = offset + 1

    def finish(self, offset: int) -> None:
        """Its final status is out, or goes out with the mark. What is not open is finished already."""
        self._open.pop(offset, None)

    @property
    def open(self) -> int:
        """How many records are read and not finished."""
        return len(self._open)

    @property
    def mark(self) -> int:
        """The offset to commit, Kafka's way: the next one to read."""
        return next(iter(self._open), self.following)

    def uncommitted(self) -> int | None:
        """The mark, when it has moved since `committed` was last called; else None."""
        return None if self.mark == self._committed else self.mark

    def committed(self, mark: int) -> None:
        """The group has this mark now."""
        self._committed = mark
