"""The amount of generated input: PARTITION_CASES sequences of a partition's events, by default 10,000.

Solutions and protobufs are the same in each run, so that a change does not fail because of another change.
PROPERTIES_SEED=random, as in `make properties`, generates new input; PROPERTIES_SEED=<number> repeats such a run.
"""

import os
from random import Random

CASES = int(os.environ.get("PARTITION_CASES") or 10_000)
ROUND = min(CASES, 500)  # hypothesis slows down as its history grows, and rounds are spread over processes
ROUNDS = range((CASES + ROUND - 1) // ROUND)


def _seed() -> int:
    """Return the seed, the same in all processes of a run."""
    given = os.environ.get("PROPERTIES_SEED") or "0"
    return Random(os.environ.get("PYTEST_XDIST_TESTRUNUID")).randrange(2**32) if given == "random" else int(given)


SEED = _seed()
