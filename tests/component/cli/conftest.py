"""What the tests of the commands share."""

from tests.component.cli.test_commands import desk

__all__ = ["desk"]
