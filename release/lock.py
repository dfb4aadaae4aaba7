"""Reader of `requirements.lock`: the packages of the worker, without those of demo, tests or build."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]

_PACKAGE = re.compile(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Package:
    """One package, and the SHA-256 of each of its installable files."""

    name: str
    version: str
    hashes: tuple[str, ...]


def read_lock(text: str) -> tuple[Package, ...]:
    """Return the packages in the lock's order. Raises ValueError for a package without a hash."""
    packages: list[Package] = []
    for block in re.split(r"\n(?=\S)", text.strip()):
        found = _PACKAGE.match(block)
        if found is None:
            continue
        hashes = tuple(sorted(_HASH.findall(block)))
        if not hashes:
            raise ValueError(f"requirements.lock: {found[1]} has no hash; run make lock")
        packages.append(Package(found[1], found[2], hashes))
    return tuple(packages)


def locked() -> tuple[Package, ...]:
    """Return the packages of this checkout."""
    return read_lock((ROOT / "requirements.lock").read_text(encoding="utf-8"))
