"""The wheel is reproducible and contains only the worker's files."""

import hashlib
import os
import shutil
import zipfile
from pathlib import Path

import pytest

from release.__main__ import build_wheel
from release.lock import ROOT
from worker import __version__

OURS = ("pyproject.toml", "README.md", "schemas", "worker")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(ROOT, tmp_path_factory.mktemp("wheel"))


def test_two_builds_have_one_digest(wheel: Path, tmp_path: Path) -> None:
    """Builds from another folder, with other times, permissions and order on disk, have the same bytes."""
    copy = tmp_path / "elsewhere"
    copy.mkdir()
    for name in reversed(OURS):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copy / name)
    for path in copy.rglob("*"):
        os.utime(path, (1_000_000_000, 1_000_000_000))
        path.chmod(0o700 if path.is_dir() else 0o600)
    again = build_wheel(copy, tmp_path)
    assert wheel.name == again.name
    assert digest(wheel) == digest(again)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_everything_of_the_worker_is_in_it_and_nothing_else(wheel: Path) -> None:
    """The wheel contains every file of the worker, including those shipped in bundles, and no tests or tools."""
    expected = {
        path.relative_to(ROOT).as_posix()
        for folder in ("schemas", "worker")
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    about = f"playground_deployer-{__version__}.dist-info"
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert expected == {name for name in names if not name.startswith(about)}
    assert {"METADATA", "RECORD", "WHEEL", "entry_points.txt"} == {
        name.removeprefix(f"{about}/") for name in names if name.startswith(about)
    }


def test_its_version_is_the_code_s(wheel: Path) -> None:
    """The wheel's version is that of `worker/__init__.py`, which alone defines it."""
    with zipfile.ZipFile(wheel) as archive:
        metadata = archive.read(f"playground_deployer-{__version__}.dist-info/METADATA").decode()
    assert f"\nVersion: {__version__}\n" in metadata
