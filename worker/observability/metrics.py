"""What is counted and timed; `/metrics` shows it. docs/operating.md explains each, from the sentences here.

Labels have few values, all of them ours: no id, name or address of anybody. What can be read off the worker's state
when somebody asks is in `worker/delivery/collector.py`.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, disable_created_metrics
from prometheus_client.utils import INF

from worker import __version__
from worker.errors import CODES, REJECTED

PREFIX = "playground_deployer"

REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)  # memory, CPU and files of the process
disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each would say only when the process started

_QUICK = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, INF)
_SLOW = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 3600.0, INF)


def _counter(name: str, about: str, *labels: str) -> Counter:
    return Counter(name, about, labels, namespace=PREFIX, registry=REGISTRY)


def _histogram(name: str, about: str, *labels: str, buckets: tuple[float, ...]) -> Histogram:
    return Histogram(name, about, labels, namespace=PREFIX, registry=REGISTRY, buckets=buckets)


REQUESTS = _counter(
    "requests",
    "Requests that ended, by final state (or `repeated`) and by error code, which is empty for those deployed.",
    "outcome",
    "reason",
)
REQUEST_SECONDS = _histogram(
    "request_duration_seconds",
    "From the reading of a record, or of what another worker left of it, to its final status.",
    buckets=_SLOW,
)
STAGE_SECONDS = _histogram(
    "stage_duration_seconds",
    "Parts of a request: `authenticate`, `turn` (waiting for the same user's earlier requests), `capacity` (waiting "
    "for a place among MAX_IN_FLIGHT), `fetch`, `bundle` and `submit` (the POST).",
    "stage",
    buckets=_SLOW,
)
HTTP_REQUESTS = _counter(
    "http_requests",
    "Requests to a dependency (`catalog`, `artifacts`, `playground`, `issuer`), by class of the answer: "
    "`2xx` to `5xx`, `timeout`, or `error` for no HTTP answer at all.",
    "dependency",
    "class",
)
TXN_COMMITS = _counter(
    "txn_commits",
    "Kafka transactions with statuses and offsets, by result: `committed`, or `failed`, after which the partition is "
    "taken over anew.",
    "result",
)
TXN_SECONDS = _histogram("txn_duration_seconds", "A Kafka transaction, from begin to commit.", buckets=_QUICK)
DEAD_LETTERS = _counter("dlq", "Dead letters written, by error code.", "reason")
REQUESTS_LOST = _counter(
    "requests_lost", "Requests that Kafka deleted before any worker read them: its retention is shorter than the wait."
)
BUILD = Gauge("build_info", "1; the label says the version.", ["version"], namespace=PREFIX, registry=REGISTRY)
PARTITIONS = Gauge(
    "partitions_assigned",
    "Partitions of the requests topic that this worker has; 0 until Kafka is reached, too.",
    namespace=PREFIX,
    registry=REGISTRY,
)
REBALANCES = _counter("rebalances", "How often the group gave this worker its partitions anew.")
LOOP_LAG = _histogram(
    "loop_lag_seconds", "How late the event loop ran a timer, looked at once a second.", buckets=_QUICK
)


def _begin_at_zero() -> None:
    """Prometheus sees no increase in a series that begins with 1: the first failure would alert nobody."""
    BUILD.labels(__version__).set(1)
    for outcome in ("deployed", "repeated"):
        REQUESTS.labels(outcome, "")
    for code in CODES:
        REQUESTS.labels("rejected" if code in REJECTED else "failed", code)
        DEAD_LETTERS.labels(code)
    for dependency in ("catalog", "artifacts", "playground", "issuer"):
        for kind in ("2xx", "3xx", "4xx", "5xx", "timeout", "error"):
            HTTP_REQUESTS.labels(dependency, kind)
    for result in ("committed", "failed"):
        TXN_COMMITS.labels(result)
    for stage in ("authenticate", "turn", "capacity", "fetch", "bundle", "submit"):
        STAGE_SECONDS.labels(stage)


_begin_at_zero()
