"""R12, `make soak`: an hour of load with a fault every 30 s. SOAK_SECONDS sets another length."""

import asyncio
import os
import time
from pathlib import Path
from statistics import median

import psutil
import pytest

from tests.extended.faults.report import Row
from tests.extended.faults.test_members import under_load
from tests.support.faults.verdict import Verdict
from tests.support.faults.world import open_world

SECONDS = float(os.environ.get("SOAK_SECONDS") or 3600)
EVERY = 30

pytestmark = pytest.mark.timeout(SECONDS + 600)


async def test_soak(kafka: str, tmp_path: Path) -> None:
    """R12: while one worker is killed repeatedly, the other grows neither in memory nor in open files."""
    row = Row("R12", f"a SIGKILL every {EVERY} s for {SECONDS / 60:g} min")
    random = row.random()
    async with open_world(kafka, tmp_path) as world:
        world.playground.latency = 0.1
        steady = await world.start()
        process = psutil.Process(steady.process.pid)
        samples: list[tuple[float, int]] = []

        async def kills() -> None:
            ends = time.monotonic() + SECONDS
            while time.monotonic() < ends:
                other = await world.start()
                await asyncio.sleep(EVERY - 10 + random.uniform(0, 5))
                other.process.kill()
                await other.process.wait()
                samples.append((process.memory_info().rss / 1024 / 1024, process.num_fds()))

        await under_load(world, kills())
        await world.until_ended(world.asked, seconds=300)
        parked = await world.settle_parked()
        verdict: Verdict = world.judge()
    quarter = max(1, len(samples) // 4)
    # Medians: a sample may be taken while the partitions of the killed worker are read.
    third, last = samples[-2 * quarter : -quarter], samples[-quarter:]
    growth = median(memory for memory, _ in last) - median(memory for memory, _ in third)
    kept = verdict.deployed == verdict.requests and verdict.doubled_posts + verdict.illegal == 0 and growth < 5
    figures = verdict.figures() | {"kills": len(samples), "parked": parked, "memory_growth_mb": round(growth, 1)}
    row.report(figures | {"open_files": max(files for _, files in samples[-2 * quarter :])}, kept=kept)
    assert kept
