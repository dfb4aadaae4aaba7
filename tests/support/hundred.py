"""The measured figures scaled to a hundred workers: a table of docs/performance.md, written by `make pages`."""

from collections.abc import Mapping

from worker.settings import RuntimeSettings

WORKERS, PARTITIONS = 100, 192
CALLS = 11  # HTTP requests for a pipeline of three nodes: six to CCDS, four to Nexus, the POST
STATUSES = 4  # accepted, building, submitting, deployed
FETCHES = 4  # per second, of an idle worker: its consumers of requests and settlements each wait 0.5 s
READ = 400_000  # statuses that the bench's gateway reads before it is ready


def table(figures: Mapping[str, float]) -> str:
    """Return a row for each resource that could be exhausted first."""
    rate = figures["requests per second, 3 nodes, dependencies at 0 ms"]
    total = WORKERS * rate
    read = READ / figures["gateway with 100,000 requests: start to ready"]
    loaded, one, more = "48 partitions, 2 workers", "12 partitions, 1 worker", "96 partitions, 1 worker"
    broker = figures[f"{loaded}: cores in use, broker"] / figures[f"{loaded}: rate"]
    transactions = figures[f"{loaded}: transactions per request"]
    connections = {it: figures[f"{it}: idle, connections of the worker to Kafka"] for it in (one, more)}
    per_partition = (connections[more] - connections[one]) / (96 - 12)
    per_worker = connections[one] - 12 * per_partition
    moves = [
        figures[f"48 partitions, 1 worker: {it}, until all are processed"] for it in ("another joins", "it leaves")
    ]
    leader = figures[f"CPU of the group's leader to assign {PARTITIONS} partitions to {WORKERS} workers"]
    flight = RuntimeSettings().max_in_flight
    rows = [
        ("requests per second", f"{_round(rate)} of a worker with a core", _round(total)),
        ("HTTP requests per second to CCDS, Nexus and playground", f"{CALLS} of a request", _round(total * CALLS)),
        ("requests in flight at the dependencies", f"{flight} of a worker", _round(WORKERS * flight)),
        (
            "statuses per second",
            f"{STATUSES} of a request; a gateway reads {_round(read)} per second",
            f"{_round(total * STATUSES)}, {_round(total * STATUSES / read)} times that",
        ),
        ("cores of the brokers under load", f"{_round(broker * 1000)} ms of a request", _round(total * broker)),
        ("transactions per second", f"{_round(transactions)} of a request", _round(total * transactions)),
        ("transactional ids", "1 of a partition", _round(PARTITIONS)),
        (
            "connections to one broker",
            f"{_round(per_partition)} of a partition, {_round(per_worker)} of a worker",
            _round(PARTITIONS * per_partition + WORKERS * per_worker),
        ),
        ("fetches per second without a request", f"{FETCHES} of a worker", _round(WORKERS * FETCHES)),
        (
            "CPU of the group's leader in a rebalance",
            "",
            f"{_round(leader)} ms",
        ),
        (
            "replacing all workers, one after the other",
            f"{_round(moves[0])} s to join, {_round(moves[1])} s to leave",
            f"{_round(WORKERS * sum(moves) / 60)} min",
        ),
    ]
    lines = [f"| what | measured | {WORKERS} workers, {PARTITIONS} partitions |", "|---|---|---|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def _round(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2g}"
