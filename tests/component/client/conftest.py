"""What the tests of the client share with those of the commands."""

from tests.component.cli.test_commands import desk

__all__ = ["desk"]
