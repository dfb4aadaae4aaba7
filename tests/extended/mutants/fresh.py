"""pytest in a fresh process, on a copy of the tree."""

import multiprocessing
import os
import resource
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.paths import ROOT

COPIED = ("schemas", "worker", "tests", "pyproject.toml")
SECONDS = 120.0  # for the tests of one mutant: a mutant that hangs has been noticed
SECONDS_FOR_ALL = 1200.0
MEMORY = 4 << 30  # bytes: a limit that is broken on purpose must not exhaust the machine's memory
# Without hypothesis's plugin, which takes longer to load than most of the tests take.
OPTIONS = ("-x", "-q", "--tb=no", "-p", "no:cacheprovider", "-p", "no:hypothesispytest")
# Half of a short test run is loading libraries: once is enough. Not pytest's plugins, which pytest has to load itself.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    ["pytest", "aiohttp", "aiokafka", "jwt", "kubernetes.client", "nh3", "pydantic", "ruamel.yaml", "structlog"]
)


def run(tree: Path, tests: Sequence[str], seconds: float = SECONDS) -> tuple[int, str]:
    """Return pytest's exit code in this copy, and the end of its output. A run that hangs counts as a failed test."""
    printed = tree / "printed"
    process = CONTEXT.Process(target=_pytest, args=(tree, tests, printed))
    process.start()
    process.join(seconds)
    code = process.exitcode
    if process.pid:
        with suppress(ProcessLookupError):  # a broken script may still run when its test has failed
            os.killpg(process.pid, signal.SIGKILL)
    process.join()
    if code is None:
        return 1, f"FAILED {' '.join(tests)} - did not end within {seconds:.0f} s"
    return code, printed.read_text(encoding="utf-8", errors="replace")[-4000:]


def _pytest(tree: Path, tests: Sequence[str], printed: Path) -> None:
    """Run in a separate process that has the libraries in memory already, and no code of ours but the copy's."""
    os.setpgid(0, 0)  # so that its children can be killed with it
    with printed.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.chdir(tree)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    os.environ["PARTITION_CASES"] = "300"  # enough to notice deliberate faults
    for name in [name for name in sys.modules if name.partition(".")[0] in COPIED]:
        del sys.modules[name]
    sys.path[:] = [str(tree), *(path for path in sys.path if path not in ("", str(ROOT)))]
    sys.exit(int(pytest.main([*OPTIONS, *tests])))
