"""Each lock has what its name promises, and no two locks contradict each other."""

import re
import tomllib

import pytest

from release.lock import ROOT, Package, read_lock

LOCKS = sorted(ROOT.glob("requirements*.lock"))


def packages(name: str) -> dict[str, Package]:
    return {it.name: it for it in read_lock((ROOT / name).read_text(encoding="utf-8"))}


@pytest.mark.parametrize(
    ("part", "whole"),
    [
        ("requirements.lock", "requirements-demo.lock"),
        ("requirements-demo.lock", "requirements-dev.lock"),
        ("requirements-build.lock", "requirements-demo.lock"),
    ],
)
def test_a_larger_set_adds_to_a_smaller_one(part: str, whole: str) -> None:
    """A larger lock has the versions and hashes of the smaller, because `make demo` and `make install` share .venv."""
    less, more = packages(part), packages(whole)
    assert less == {name: more.get(name) for name in less}
    assert set(less) < set(more)


def test_the_demo_is_without_tools() -> None:
    """The demo lock has the runtime, the extra `demo`, and what an editable install needs, but no development tools."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    demo, dev = ({named(it) for it in project["optional-dependencies"][extra]} for extra in ("demo", "dev"))
    locked = set(packages("requirements-demo.lock"))
    assert demo | {"editables", "hatchling"} <= locked
    assert {"mypy", "pytest", "ruff"} <= dev - locked
    assert demo | dev <= set(packages("requirements-dev.lock"))


def named(requirement: str) -> str:
    """Return the package's name as locks write it."""
    return re.split(r"[\[~]", requirement)[0].lower().replace(".", "-")


def test_uv_has_one_place() -> None:
    """Only its own lock has uv: uv installs the others, which pip can install without it."""
    assert ["uv"] == list(packages("requirements-uv.lock"))
    assert {"requirements-uv.lock"} == {it.name for it in LOCKS if "uv" in packages(it.name)}


@pytest.mark.parametrize("name", [it.name for it in LOCKS])
def test_a_lock_names_no_registry(name: str) -> None:
    """No lock names a registry: the user's settings decide the source, and the hashes decide the content."""
    text = (ROOT / name).read_text(encoding="utf-8")
    assert [] == re.findall(r"^.*(?:://|--index-url|--find-links).*$", text, re.MULTILINE)
    assert len(packages(name)) == len(re.findall(r"^\S", text, re.MULTILINE))
