"""The requirements on CHANGELOG.md: Keep a Changelog, newest version first, and the version of the code."""

import re
from datetime import date

from packaging.version import Version

KINDS = ("Added", "Changed", "Deprecated", "Removed", "Fixed", "Security")

_RELEASE = re.compile(r"\[(?P<version>[^\]]+)\] - (?P<day>\S+)")


def problems(changelog: str, version: str) -> list[str]:
    """Return one sentence for each problem.

    The newest heading must be that of `version`. Before its release, [Unreleased] must be above it and not empty.
    """
    sections = re.split(r"^## ", changelog, flags=re.MULTILINE)[1:]
    titles = [section.partition("\n")[0].strip() for section in sections]
    found = [
        f"CHANGELOG.md: '{kind}' is not one of {', '.join(KINDS)}" for kind in _kinds(changelog) if kind not in KINDS
    ]
    released: list[tuple[Version, date]] = []
    for title in titles[1:] if titles[:1] == ["[Unreleased]"] else titles:
        release = _release(title)
        if release is None:
            found.append(f"CHANGELOG.md: '{title}' does not have the form [1.2.3] - 2026-01-31")
        else:
            released.append(release)
    if released != sorted(released, reverse=True) or len({it for it, _ in released}) < len(released):
        found.append("CHANGELOG.md: the versions are not in order, newest first, each once")
    newest = released[0][0] if released else None
    if newest and Version(version) < newest:
        found.append(f"worker/__init__.py: __version__ is {version}, but CHANGELOG.md already has {newest}")
    unreleased = next((it for it, title in zip(sections, titles, strict=True) if title == "[Unreleased]"), "")
    if Version(version) != newest and not re.search(r"^- ", unreleased, re.MULTILINE):
        found.append(f"CHANGELOG.md: no entry for {version}, neither under its heading nor under [Unreleased]")
    return found


def _release(title: str) -> tuple[Version, date] | None:
    match = _RELEASE.fullmatch(title)
    if match is None:
        return None
    try:
        return Version(match["version"]), date.fromisoformat(match["day"])
    except ValueError:  # InvalidVersion is a subclass
        return None


def _kinds(changelog: str) -> list[str]:
    return re.findall(r"^### (.+)$", changelog, re.MULTILINE)
