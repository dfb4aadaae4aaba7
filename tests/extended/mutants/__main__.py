"""`python -m tests.extended.mutants [WORD]`: break each guard (whose name contains WORD) in a copy; a test must fail.

Exit code 1 if a mutant is not noticed, or if a row of the table no longer matches the source.
"""

import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from compileall import compile_dir
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from py_compile import PycInvalidationMode
from queue import SimpleQueue

from tests.extended.mutants.fresh import COPIED, SECONDS_FOR_ALL, run
from tests.extended.mutants.table import Mutant, mutants
from tests.support.paths import ROOT

COPIES = min(2, os.cpu_count() or 1)


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a mutant: the test that failed, or what is wrong with the mutant."""

    mutant: Mutant
    noticed: bool
    by: str
    seconds: float


def main(word: str = "") -> int:
    """Print one line per mutant, then their number."""
    chosen = [mutant for mutant in mutants() if word in mutant.guard]
    if not chosen:
        say(f"No guard has {word!r} in its name; tests/extended/mutants/table.py has them all.")
        return 1
    started = time.monotonic()
    with copies() as trees, ThreadPoolExecutor(COPIES) as pool:
        code, output = run(trees[0], sorted({test for it in chosen for test in it.tests.split()}), SECONDS_FOR_ALL)
        if code:
            say(f"Without any change these tests fail already:\n{output}")
            return 1
        free: SimpleQueue[Path] = SimpleQueue()
        for tree in trees:
            free.put(tree)
        width = max(len(mutant.guard) for mutant in chosen)
        say(f"{'guard, broken':<{width}}     s  noticed by")
        results: list[Result] = []
        for result in pool.map(lambda mutant: judged(mutant, free), chosen):
            results.append(result)
            say(f"{result.mutant.guard:<{width}}  {result.seconds:4.1f}  {'' if result.noticed else '!!! '}{result.by}")
    bad = sum(not result.noticed for result in results)
    say(f"{len(results)} guards broken, {bad} not noticed, {time.monotonic() - started:.0f} s")
    return int(bad > 0)


def say(line: str) -> None:
    """Print at once, also into a pipe."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


@contextmanager
def copies() -> Iterator[list[Path]]:
    """Yield COPIES folders with the files that the tests need."""
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        trees = [Path(folder, str(number)) for number in range(COPIES)]
        for tree in trees:
            for part in COPIED:
                source = ROOT / part
                if source.is_dir():
                    shutil.copytree(source, tree / part, ignore=shutil.ignore_patterns("__pycache__"))
                else:
                    shutil.copy(source, tree / part)
            # Identified by its source and not by time and size, which two mutants could share.
            for package in ("schemas", "worker"):
                compile_dir(tree / package, quiet=2, invalidation_mode=PycInvalidationMode.CHECKED_HASH)
        yield trees


def judged(mutant: Mutant, free: "SimpleQueue[Path]") -> Result:
    """Break the guard in a free copy, run its tests, and restore it."""
    started = time.monotonic()
    tree = free.get()
    file = tree / mutant.file
    source = file.read_text(encoding="utf-8")
    try:
        if problem := wrong(mutant, source):
            return Result(mutant, noticed=False, by=problem, seconds=0)
        file.write_text(source.replace(mutant.old, mutant.new), encoding="utf-8")
        code, output = run(tree, mutant.tests.split())
    finally:
        file.write_text(source, encoding="utf-8")
        free.put(tree)
    failed = re.search(r"^FAILED (.+?)(?: - .*)?$", output, re.MULTILINE)
    by = failed[1] if failed else "no test" if code == 0 else f"no test, but pytest ended with {code}: {output[-300:]}"
    return Result(mutant, noticed=failed is not None, by=by, seconds=time.monotonic() - started)


def wrong(mutant: Mutant, source: str) -> str | None:
    """Return what is wrong with the row itself."""
    found = source.count(mutant.old)
    if found != 1:
        return f"{mutant.file} holds {found} times {mutant.old!r}: point the row at the guard as it is now"
    try:
        compile(source.replace(mutant.old, mutant.new), mutant.file, "exec")
    except SyntaxError as error:
        return f"{mutant.file} would be no Python: {error.msg}"
    return None


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
