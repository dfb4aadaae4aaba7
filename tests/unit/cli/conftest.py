"""Fixtures for the tests of the commands."""

from collections.abc import Iterator

import pytest

from tests.support.logging_state import logging_as_it_was


@pytest.fixture(autouse=True)
def _as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Restore logging and the environment, which commands set up and read for the whole process."""
    for name in ("DEPLOYER_TOKEN", "DEPLOYER_KAFKA__BOOTSTRAP_SERVERS", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    with logging_as_it_was():
        yield
