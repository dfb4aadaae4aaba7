"""An input of the deployer's pure part, and the decisions that generate it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from worker import settings
from worker.domain.solution import Solution

Json = dict[str, Any]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Case:
    """An input of the deployer's pure part."""

    solution: Solution
    document: Json | None = field(repr=False)  # the content of blueprint.json; None: bytes that are not strict JSON
    data: bytes  # blueprint.json
    options: settings.BundleSettings


class Choices:
    """Decisions from one byte string; after its end every decision is the simplest."""

    def __init__(self, data: bytes) -> None:
        self._data = iter(data)

    def number(self, below: int) -> int:
        """Return a number from 0 to below - 1."""
        value = next(self._data, 0)
        if below > 256:
            value = value * 256 + next(self._data, 0)
        return value % below

    def pick(self, options: Sequence[T]) -> T:
        """Return one of the options."""
        return options[self.number(len(options))]

    def chance(self, percent: int) -> bool:
        """Return True in this percentage of cases; False is simpler."""
        return next(self._data, 0) * 100 >= (100 - percent) * 256
