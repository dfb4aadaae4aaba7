"""`python -m tests.support.hurried_worker`: a worker that checks Kafka's topics several times as often."""

import sys

from worker.adapters.kafka import clients, startup
from worker.delivery import collector

if __name__ == "__main__":
    # Set before other modules import these values.
    clients.METADATA_MS = 1_000
    startup.CHECK_SECONDS, startup.LOOK_EVERY = 1, 2
    collector.ENDS_SECONDS = 1

    from worker.cli import main

    sys.exit(main(["run"]))
