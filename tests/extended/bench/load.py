"""The latency of a request under a steady load, from a tenth of the maximum rate to nine tenths."""

from pathlib import Path
from statistics import median, quantiles

from tests.extended.bench.fleet import running_fleet
from tests.extended.bench.results import Row
from tests.support.stage import PARTITIONS

SHARES = (10, 25, 50, 75, 90)  # percent
SECONDS = 10
WARM_UP = 300


async def steady(bootstrap: str, folder: Path, maximum: float) -> list[Row]:
    """Measure one worker with dependencies at 0 ms; requests arrive at a fixed rate, regardless of earlier requests."""
    rows = []
    async with running_fleet(bootstrap, folder, PARTITIONS, 1) as fleet:
        await fleet.backlog(WARM_UP)
        for share in SHARES:
            rate = maximum * share / 100
            fleet.answered.clear()
            await fleet.steady(rate, int(rate * SECONDS))
            times = [it.seconds * 1000 for it in fleet.answered]
            middle, late = median(times), quantiles(times, n=10)[8]
            last = max(it.due + it.seconds for it in fleet.answered)
            reached = len(times) / (last - min(it.due for it in fleet.answered))
            name = f"at {share} % of the maximum rate"
            rows += [
                Row(f"{name}, requests per second", reached, "/s"),
                Row(f"{name}, request → final status, p50", middle, "ms"),
                Row(f"{name}, request → final status, p90", late, "ms"),
            ]
            if share == 50:
                rows.append(Row(f"{name}, p90/p50", late / middle, "", at_most=1.5))
    return rows
