"""Shell commands in the project's folder."""

import subprocess

from tests.support.paths import ROOT


def said(line: str, seconds: float = 60) -> str:
    """Return the output of a command, which must succeed."""
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", line],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert 0 == done.returncode, f"{line}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout
