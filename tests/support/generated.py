"""What is generated, and how much of it: PARTITION_CASES sequences of a partition's events, or 10,000.

Solutions and protobufs are the same ones in each run, so that no change fails for what another one left;
PROPERTIES_SEED=random, as in `make properties`, looks for new ones, and PROPERTIES_SEED=<number> repeats such a run.
"""

import os
from random import Random

CASES = int(os.environ.get("PARTITION_CASES") or 10_000)
ROUND = min(CASES, 500)  # the more hypothesis remembers, the slower it gets; and rounds spread over processes
ROUNDS = range((CASES + ROUND - 1) // ROUND)


def _seed() -> int:
    """The same in all processes of a run."""
    given = os.environ.get("PROPERTIES_SEED") or "0"
    return Random(os.environ.get("PYTEST_XDIST_TESTRUNUID")).randrange(2**32) if given == "random" else int(given)


SEED = _seed()
