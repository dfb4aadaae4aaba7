"""`python -m tests.extended.bench.scale [--requests N]`: more partitions and workers, and what limits them.

Prints the table and writes scale.json. Takes a quarter of an hour; with 2,000 requests a few minutes.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median

import psutil
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor

from tests.extended.bench import results
from tests.extended.bench.fleet import Fleet, port_of, running_fleet
from tests.extended.bench.results import Row
from tests.support.broker import open_broker

SETUPS = ((12, 1), (48, 1), (96, 1), (48, 2), (48, 4))  # partitions, workers
FAR = (192, 100)  # the largest setup that docs/performance.md extrapolates to
WARM_UP = 300
IDLE_SECONDS = 20
MEGABYTE = 1024 * 1024
SETTLED_SECONDS = 5
REBALANCED_SECONDS = 240  # at most


async def measure(bootstrap: str, requests: int) -> list[Row]:
    """Measure all setups, one after the other."""
    rows = [assigned(*FAR)]
    with tempfile.TemporaryDirectory() as temporary:
        for partitions, workers in SETUPS:
            name = f"{partitions} partitions, {workers} worker{'s' if workers > 1 else ''}"
            async with running_fleet(bootstrap, Path(temporary), partitions, workers) as fleet:
                rate, *others = await loaded(fleet, name, requests)
                rows += [rate, *others]
                if workers == 1:
                    rows += await rebalanced(fleet, name, rate.value / 3)
                    rows += await idle(fleet, name, port_of(bootstrap))
    return rows


def assigned(partitions: int, workers: int) -> Row:
    """Measure the CPU time of the group's leader in a rebalance, in its event loop, with no earlier assignment."""
    members = {f"worker-{number}": StickyPartitionAssignor.metadata(["requests"]) for number in range(workers)}
    times = []
    for _ in range(5):
        began = time.process_time()
        StickyPartitionAssignor.assign(_Topic(partitions), members)
        times.append(time.process_time() - began)
    name = f"CPU of the group's leader to assign {partitions} partitions to {workers} workers"
    return Row(name, median(times) * 1000, "ms")


class _Topic:
    """The cluster metadata that the assignor needs."""

    def __init__(self, partitions: int) -> None:
        self._partitions = set(range(partitions))

    def topics(self) -> set[str]:
        return {"requests"}

    def partitions_for_topic(self, topic: str) -> set[int]:
        return self._partitions


async def loaded(fleet: Fleet, name: str, requests: int) -> list[Row]:
    """Measure a backlog: the rate, and which processes used the CPU."""
    await fleet.backlog(WARM_UP)
    cpu, (count, busy), began = fleet.cpu_seconds(), await fleet.transactions(), time.monotonic()
    await fleet.backlog(requests)
    seconds = time.monotonic() - began
    spent = {of: so_far - cpu[of] for of, so_far in fleet.cpu_seconds().items()}
    count_after, busy_after = await fleet.transactions()
    return [
        Row(f"{name}: rate", requests / seconds, "requests/s"),
        Row(f"{name}: CPU per request, workers", spent["workers"] / requests * 1000, "ms"),
        *(Row(f"{name}: cores in use, {of}", its / seconds, "") for of, its in spent.items()),
        Row(f"{name}: transactions per request", (count_after - count) / requests, ""),
        Row(f"{name}: transactions at once", (busy_after - busy) / seconds, ""),
    ]


async def rebalanced(fleet: Fleet, name: str, rate: float) -> list[Row]:
    """Measure a second worker that joins under a steady load, and leaves again."""
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as together:
        together.create_task(fleet.steady(rate, int(rate * REBALANCED_SECONDS), stop))
        await asyncio.sleep(SETTLED_SECONDS)
        joined_at = time.time()
        second = await fleet.add()
        await fleet.until_shared()
        joined = fleet.taken_over(joined_at)
        await asyncio.sleep(SETTLED_SECONDS)
        left_at = time.time()
        await fleet.remove(second)
        await fleet.until_shared()
        left = fleet.taken_over(left_at)
        stop.set()
    usual = [it.seconds for it in fleet.answered if it.due < joined_at - 1]
    return [
        Row(f"{name}: request → final status under a third of this rate, median", median(usual), "s"),
        *_rows(fleet, f"{name}: another joins", joined_at, joined),
        *_rows(fleet, f"{name}: it leaves", left_at, left),
    ]


def _rows(fleet: Fleet, name: str, began: float, taken_over: Mapping[int, float]) -> list[Row]:
    over = max(taken_over.values())
    waits = [it.seconds for it in fleet.answered if began <= it.due <= over and it.partition in taken_over]
    return [
        Row(f"{name}, until all are processed", over - began, "s"),
        Row(f"{name}, request → final status where they move, longest", max(waits, default=0.0), "s"),
    ]


async def idle(fleet: Fleet, name: str, broker_port: int) -> list[Row]:
    """Measure the CPU use of a worker that has finished its requests and gets no more."""
    await asyncio.sleep(SETTLED_SECONDS)
    busy = await _shares(fleet)
    (worker,) = fleet.workers
    process = psutil.Process(worker.process.pid)
    connections = [it for it in process.net_connections("tcp") if it.raddr and it.raddr.port == broker_port]
    rows = [
        Row(f"{name}: idle, CPU of the worker", busy["workers"], "% of a core", at_most=3),
        Row(f"{name}: idle, memory of the worker", process.memory_info().rss / MEGABYTE, "MB"),
        Row(f"{name}: idle, connections of the worker to Kafka", len(connections), ""),
    ]
    if fleet.broker:
        await fleet.remove(worker)
        await asyncio.sleep(SETTLED_SECONDS)
        alone = await _shares(fleet)
        rows.append(Row(f"{name}: idle, CPU of the broker", busy["broker"], "% of a core"))
        rows.append(Row(f"{name}: idle, CPU of the broker without the worker", alone["broker"], "% of a core"))
    return rows


async def _shares(fleet: Fleet) -> dict[str, float]:
    """Return the percentages of a core that are in use during IDLE_SECONDS."""
    before, began = fleet.cpu_seconds(), time.monotonic()
    await asyncio.sleep(IDLE_SECONDS)
    seconds = time.monotonic() - began
    return {of: (spent - before[of]) / seconds * 100 for of, spent in fleet.cpu_seconds().items()}


def main() -> None:
    """Measure, print the table, and write scale.json."""
    parser = argparse.ArgumentParser(prog="make bench-scale")
    parser.add_argument("--requests", type=int, default=20_000, help="of the backlog, at most 100000")
    arguments = parser.parse_args()
    with open_broker() as broker:
        rows = asyncio.run(measure(broker.bootstrap_servers, arguments.requests))
    results.write(rows, Path("scale.json"))
    sys.stdout.write(results.table(rows) + "\n")


if __name__ == "__main__":
    main()
