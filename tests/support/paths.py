"""Paths that all test files share."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
"""The root folder of the repository."""
DATA = ROOT / "tests" / "data"
