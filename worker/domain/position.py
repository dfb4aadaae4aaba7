"""Where a record stands in its topic. Imports nothing slow."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PartitionOffset:
    """The position of one record in a topic."""

    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.partition}:{self.offset}"
