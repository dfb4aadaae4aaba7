"""Faults and soak load their Kafka for minutes."""

import pytest


@pytest.fixture(scope="session")
def short_lived() -> bool:
    """Keep the thorough compiler, as the bench does."""
    return False
