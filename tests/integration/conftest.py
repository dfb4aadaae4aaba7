"""What the tests of the commands share."""

from tests.integration.test_commands import desk

__all__ = ["desk"]
