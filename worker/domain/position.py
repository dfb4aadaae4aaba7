"""The position of a record in its topic. This module imports nothing slow."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PartitionOffset:
    """The position of one record in a topic."""

    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.partition}:{self.offset}"
