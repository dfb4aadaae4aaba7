"""Which offset may be committed: everything below it is finished."""


class OffsetTracker:
    """Offsets of one partition start in order and finish in any; the mark moves over finished ones only.

    Offsets need not be consecutive: transaction markers and compaction leave gaps.
    """

    def __init__(self) -> None:
        self._open: dict[int, None] = {}  # insertion order is offset order
        self._next = 0
        self._committed: int | None = None

    def start(self, offset: int) -> None:
        """A record was read. Raises ValueError when it does not lie above the last one."""
        if offset < self._next:
            raise ValueError(f"offset {offset} was read after {self._next - 1}")
        if self._committed is None:
            self._committed = offset  # where the group stands
        self._open[offset] = None
        self._next = offset + 1

    def finish(self, offset: int) -> None:
        """Its final status is out. Raises KeyError for an offset that is not open."""
        del self._open[offset]

    @property
    def following(self) -> int | None:
        """The offset behind the last one that was read; None before the first."""
        return None if self._committed is None else self._next

    @property
    def open(self) -> int:
        """How many records are read and not finished."""
        return len(self._open)

    @property
    def mark(self) -> int:
        """The offset to commit, Kafka's way: the next one to read."""
        return next(iter(self._open), self._next)

    def uncommitted(self) -> int | None:
        """The mark, when it has moved since `committed` was last called; else None."""
        return None if self._committed is None or self.mark == self._committed else self.mark

    def committed(self, mark: int) -> None:
        """The group has this mark now."""
        self._committed = mark
