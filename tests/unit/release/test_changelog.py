"""CHANGELOG.md matches the version, and each mismatch is reported in a sentence."""

import pytest

from release.changelog import problems
from release.lock import ROOT
from worker import __version__

HEAD = "# Changelog\n\n"
UNRELEASED = "## [Unreleased]\n\n### Added\n\n- Something.\n\n"
FIRST = "## [0.1.0] - 2026-01-31\n\n### Added\n\n- The first thing.\n"


def test_the_changelog_fits_the_version() -> None:
    """The changelog of this checkout matches its version."""
    assert [] == problems((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), __version__)


@pytest.mark.parametrize(
    ("text", "version"),
    [
        (UNRELEASED, "0.1.0"),
        (FIRST, "0.1.0"),
        (f"## [Unreleased]\n\n{FIRST}", "0.1.0"),
        (UNRELEASED + FIRST, "0.2.0"),
        (f"## [0.2.0] - 2026-02-28\n\n### Fixed\n\n- It.\n\n{FIRST}", "0.2.0"),
    ],
)
def test_what_fits(text: str, version: str) -> None:
    """A changelog matches before, at and after the first release, and before and at the next."""
    assert [] == problems(HEAD + text, version)


@pytest.mark.parametrize(
    ("text", "version", "expected"),
    [
        (UNRELEASED.replace("- Something.", ""), "0.1.0", "no entry for 0.1.0"),
        (FIRST, "0.2.0", "no entry for 0.2.0"),
        (UNRELEASED + FIRST, "0.0.9", "__version__ is 0.0.9, but CHANGELOG.md already has 0.1.0"),
        (UNRELEASED.replace("Added", "Improved"), "0.1.0", "'Improved' is not one of Added,"),
        (FIRST.replace("2026-01-31", "31.1.2026"), "0.1.0", "'[0.1.0] - 31.1.2026' does not have the form"),
        (FIRST.replace("2026-01-31", "2026-02-30"), "0.1.0", "does not have the form [1.2.3] - 2026-01-31"),
        (FIRST.replace("[0.1.0]", "0.1.0"), "0.1.0", "does not have the form"),
        (FIRST + FIRST.replace("0.1.0", "0.2.0"), "0.2.0", "are not in order, newest first"),
        (FIRST + FIRST, "0.1.0", "are not in order, newest first, each once"),
    ],
)
def test_what_does_not_fit(text: str, version: str, expected: str) -> None:
    """Each mismatch is reported in one sentence with its location."""
    assert any(expected in problem for problem in problems(HEAD + text, version))
