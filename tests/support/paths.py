"""Where things are, whatever file of the tests asks."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
"""The repository's."""
DATA = ROOT / "tests" / "data"
