"""Take-over of 12 partitions with a past: as a worker leaves them, and as a tool that resets offsets leaves them."""

import asyncio
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from tests.extended.bench.dependencies import served_apart
from tests.extended.bench.results import Row
from tests.support.past import STATES, write_past
from tests.support.stage import PARTITIONS, environment
from tests.support.topics import create_worker_topics, unique_name
from tests.support.worker_process import start_worker
from worker.domain.partition_state import REMEMBERED, Checkpoint
from worker.sandbox.kafka_node import unused_ports
from worker.settings import ClientSettings, KafkaSettings, read_settings

# Compaction begins after a day; until then this many requests of a partition still have their earlier statuses.
NOT_COMPACTED = 10_000
MEGABYTE = 1024 * 1024


async def take_over(bootstrap: str, folder: Path, requests: int) -> list[Row]:
    """Measure time, CPU and memory until a worker has taken over every partition, with this many finished requests."""
    async with served_apart(1, 0.0) as url:
        env = environment(bootstrap, unique_name(), url, url)
        kafka = read_settings(env, ClientSettings).kafka
        await create_worker_topics(kafka)
        starts = await asyncio.gather(
            *(_write(bootstrap, kafka, partition, requests // PARTITIONS) for partition in range(PARTITIONS))
        )
        await _commit(bootstrap, kafka, starts)
        name = f"take-over after {requests:,} requests"
        rows = await _start(env, folder, name)
        if requests:
            env["DEPLOYER_KAFKA__GROUP_ID"] += "-without"
            without = await _start(env, folder, f"{name}, without a checkpoint")
            rows += [Row(row.name, row.value, row.unit) for row in without]
    return rows


async def _write(bootstrap: str, kafka: KafkaSettings, partition: int, requests: int) -> int:
    """Write one partition's past; return the offset at which the statuses of the last REMEMBERED requests begin."""
    start = 0
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, linger_ms=50, max_batch_size=64 * 1024) as producer:
        for number in range(requests):
            states = STATES if number >= requests - NOT_COMPACTED else STATES[-1:]
            sent = await write_past(producer, kafka, partition, number, states)
            if number == requests - REMEMBERED:
                start = (await sent).offset
        await producer.flush()
    return start


async def _commit(bootstrap: str, kafka: KafkaSettings, starts: Sequence[int]) -> None:
    """Commit the offsets and checkpoints that a worker would have committed."""
    member = AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id=kafka.group_id, enable_auto_commit=False)
    async with member:
        places = [TopicPartition(kafka.requests_topic, partition) for partition in range(PARTITIONS)]
        member.assign(places)
        checkpoints = [Checkpoint(0, start) for start in starts]
        await member.commit({tp: (it.offset, it.metadata) for tp, it in zip(places, checkpoints, strict=True)})


async def _start(env: dict[str, str], folder: Path, name: str) -> list[Row]:
    (port,) = unused_ports(1)
    log = folder / "history-worker.log"
    log.unlink(missing_ok=True)
    began = time.monotonic()
    worker = await start_worker(env, log, (sys.executable, "-m", "worker", "run"), port)
    try:
        while log.read_text(encoding="utf-8").count("partition taken over") < PARTITIONS:  # noqa: ASYNC110 - a file
            await asyncio.sleep(0.1)
        seconds = time.monotonic() - began
        process = psutil.Process(worker.process.pid)
        times = process.cpu_times()
        peak = next(
            int(line.split()[1]) / 1024
            for line in Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8").splitlines()
            if line.startswith("VmHWM")
        )
    finally:
        await worker.kill()
    return [
        Row(f"{name}, seconds", seconds, "s"),
        Row(f"{name}, CPU", times.user + times.system, "s", at_most=10),
        Row(f"{name}, peak of memory", peak, "MB", at_most=150),
    ]
