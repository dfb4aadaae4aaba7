"""The watch over all paths, and logging as it was."""

from collections.abc import Iterator

import pytest

from tests.support.corpus import record
from tests.support.logging_state import logging_as_it_was
from tests.unit.leaks.canaries import Watch


@pytest.fixture(scope="session")
def watch() -> Iterator[Watch]:
    """One for all tests; says at the end of the run how much it has looked at."""
    watch = Watch()
    yield watch
    paths, values = len(watch.paths), len(watch.values)
    record(f"secrets that leak ({paths} paths x {values} values)", paths * values, watch.wrong)


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    with logging_as_it_was():
        yield
