"""Fixtures of the fault suite and the soak, which load their Kafka for minutes."""

import pytest


@pytest.fixture(scope="session")
def short_lived() -> bool:
    """Keep the optimising compiler of the embedded Kafka, as the bench does."""
    return False
