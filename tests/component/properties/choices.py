"""One input of the deployer's pure part, and the decisions it is made by."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from worker import settings
from worker.domain.solution import Solution

Json = dict[str, Any]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Case:
    """One input of the deployer's pure part."""

    solution: Solution
    document: Json | None = field(repr=False)  # what blueprint.json holds; None: bytes that are no strict JSON
    data: bytes  # blueprint.json
    options: settings.BundleSettings


class Choices:
    """Decisions out of one string of bytes; past its end everything is the simplest."""

    def __init__(self, data: bytes) -> None:
        self._data = iter(data)

    def number(self, below: int) -> int:
        """0 … below - 1."""
        value = next(self._data, 0)
        if below > 256:
            value = value * 256 + next(self._data, 0)
        return value % below

    def pick(self, options: Sequence[T]) -> T:
        """One of them."""
        return options[self.number(len(options))]

    def chance(self, percent: int) -> bool:
        """True in so many of a hundred cases; False is simpler."""
        return next(self._data, 0) * 100 >= (100 - percent) * 256
