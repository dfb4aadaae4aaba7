"""What the tests of the commands share."""

import logging
from collections.abc import Iterator

import pytest
import structlog


@pytest.fixture(autouse=True)
def _as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Commands set up logging for the whole process and read the environment: leave both as they were found."""
    for name in ("DEPLOYER_TOKEN", "DEPLOYER_KAFKA__BOOTSTRAP_SERVERS", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    root, kafka = logging.getLogger(), logging.getLogger("aiokafka")
    before = root.level, root.handlers, kafka.level
    yield
    root.level, root.handlers, kafka.level = before
    structlog.reset_defaults()
