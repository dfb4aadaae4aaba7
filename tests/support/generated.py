"""How many sequences of a partition's events are generated: PARTITION_CASES, or 10,000."""

import os

CASES = int(os.environ.get("PARTITION_CASES") or 10_000)
ROUND = min(CASES, 500)  # the more hypothesis remembers, the slower it gets; and rounds spread over processes
ROUNDS = range((CASES + ROUND - 1) // ROUND)
