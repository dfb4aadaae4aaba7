"""Fixtures that the tests of the client share with the tests of the commands."""

from tests.component.cli.test_commands import desk

__all__ = ["desk"]
