"""The watch over all paths, and a fixture that restores logging."""

from collections.abc import Iterator

import pytest

from tests.component.leaks.canaries import Watch
from tests.support.logging_state import logging_as_it_was


@pytest.fixture(scope="session")
def watch() -> Watch:
    """One watch for all tests of a process, so that no two paths have the same name."""
    return Watch()


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    with logging_as_it_was():
        yield
