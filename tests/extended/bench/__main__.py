"""`python -m tests.extended.bench [--requests N]`: run everything, print the table, write bench.json."""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from tests.extended.bench import bundles, delivery, fairness, gateway, history, load, results, workers
from tests.support.broker import open_broker


async def measure_workers(bootstrap: str, requests: int) -> list[results.Row]:
    """Run all measurements that need a broker."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        rates = await workers.throughput(bootstrap, folder, 3000)
        return [
            *await workers.latency(bootstrap, folder),
            *await delivery.idle(bootstrap, folder),
            *await delivery.loaded(bootstrap, folder, 2000),
            *rates,
            *await load.steady(bootstrap, folder, rates[0].value),
            *await workers.start_and_memory(bootstrap, folder, requests),
            *await fairness.greedy(bootstrap, folder),
            *await gateway.full_view(bootstrap, folder),
            *[row for past in (0, 100_000, 1_000_000) for row in await history.take_over(bootstrap, folder, past)],
        ]


def main() -> None:
    """Measure, print the table, and write bench.json."""
    parser = argparse.ArgumentParser(prog="make bench")
    parser.add_argument(
        "--requests", type=int, default=20_000, help="for the growth of memory; the full run has 100000"
    )
    arguments = parser.parse_args()
    rows = bundles.measure()
    with open_broker() as broker:
        rows += asyncio.run(measure_workers(broker.bootstrap_servers, arguments.requests))
    results.write(rows, Path("bench.json"))
    sys.stdout.write(results.table(rows) + "\n")


if __name__ == "__main__":
    main()
