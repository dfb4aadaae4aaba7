"""The cost of the guarantees: the same worker with and without transactions."""

import asyncio
import time
from pathlib import Path
from statistics import median

from aiokafka import AIOKafkaConsumer, TopicPartition

from tests.extended.bench.results import Row
from tests.extended.bench.workers import WORKER, Run, running
from tests.support.stage import PARTITIONS

PLAIN = ("-m", "tests.extended.bench.plain")


async def idle(bootstrap: str, folder: Path) -> list[Row]:
    """Measure one request after the other on an otherwise idle worker, with dependencies at 0 ms."""
    async with running(bootstrap, folder, nodes=3, latency=0.0) as run:
        times = []
        for _ in range(60):
            start = time.monotonic()
            await run.publish(1)
            await run.until_final(1)
            times.append((time.monotonic() - start) * 1000)
            await asyncio.sleep(0.05)  # let the worker become idle again
    name = "request → deployed on an idle worker, 3 nodes, dependencies at 0 ms, median"
    return [Row(name, median(times), "ms", at_most=25)]


async def loaded(bootstrap: str, folder: Path, count: int) -> list[Row]:
    """Measure a backlog with dependencies at 50 ms and MAX_IN_FLIGHT 32."""
    rates, commits = {}, 0.0
    for command in (WORKER, PLAIN):
        async with running(bootstrap, folder, nodes=3, latency=0.05, command=command) as run:
            await run.publish(300)
            await run.until_final(300)
            before = await markers(bootstrap, run)
            start = time.monotonic()
            await run.publish(count)
            await run.until_final(count)
            rates[command] = count / (time.monotonic() - start)
            if command is WORKER:
                commits = (await markers(bootstrap, run) - before - 4 * count) / count
    share = rates[WORKER] / rates[PLAIN] * 100
    return [
        Row("requests per second, 3 nodes, dependencies at 50 ms, MAX_IN_FLIGHT 32", rates[WORKER], "/s"),
        Row("the same without transactions", rates[PLAIN], "/s"),
        Row("share of the rate without transactions", share, "%", at_least=90),
        Row("commits per request, under this load", commits, ""),
    ]


async def markers(bootstrap: str, run: Run) -> int:
    """Return the sum of the status topic's end offsets: its statuses, and one marker for each transaction."""
    topic = run.topic.replace(".requests", ".status")
    async with AIOKafkaConsumer(bootstrap_servers=bootstrap) as reader:
        places = [TopicPartition(topic, number) for number in range(PARTITIONS)]
        return int(sum((await reader.end_offsets(places)).values()))
