"""Ways to run a bundle's script."""

import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from tests.unit.ontarget.bundles import SCRIPT

# Other interpreters that have the packages of requirements.txt, to test older Pythons and libraries.
PYTHONS = [sys.executable, *filter(None, os.environ.get("ONTARGET_PYTHONS", "").split(os.pathsep))]


class Result(NamedTuple):
    """The exit code and output of a command."""

    code: int
    out: str
    err: str


def process(
    folder: Path, *arguments: object, python: str = sys.executable, base_path: bool = True, **environment: str
) -> Result:
    """Run the bundle's script as the playground server does: by a relative path, without a shell."""
    where = ["-bp", folder.name] if base_path else []
    done = subprocess.run(
        [python, f"{folder.name}/{SCRIPT}", *where, *map(str, arguments)],
        cwd=folder.parent,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    return Result(done.returncode, done.stdout, done.stderr)
