"""The size of a row's run, and the report at its end."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random, SystemRandom

from tests.support.corpus import say

FULL = os.environ.get("FAULTS") == "full"
SEED = int(os.environ.get("FAULTS_SEED") or SystemRandom().randrange(2**32))
RESULTS = Path(os.environ.get("FAULTS_RESULTS") or ("docs/faults.json" if FULL else "faults.json"))

Figure = int | float | str


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table in docs/guarantees.md."""

    id: str
    fault: str

    def random(self) -> Random:
        """Return a random source, the same for the same seed."""
        return Random(f"{SEED}/{self.id}")

    def report(self, figures: Mapping[str, Figure], *, kept: bool) -> None:
        """Report the row: a verdict line at the end of the run, and the results as JSON."""
        words = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in figures.items())
        say(f"{self.id} {'kept' if kept else 'BROKEN'} (seed {SEED}): {self.fault}: {words}")
        known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        known[self.id] = {"fault": self.fault, "seed": SEED, "kept": kept, "figures": dict(figures)}
        RESULTS.write_text(json.dumps(dict(sorted(known.items())), indent=2) + "\n")


def size(short: int, full: int) -> int:
    """Return the size for this run."""
    return full if FULL else short
