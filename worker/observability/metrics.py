"""The counters, histograms and gauges of `/metrics`. Their help texts are the table in docs/operating.md.

Labels have few values, all defined here: no ids, names or addresses. `worker/delivery/collector.py` has the gauges that
are computed from the worker's state at each scrape.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, disable_created_metrics
from prometheus_client.utils import INF

from worker import __version__
from worker.errors import CODES, REJECTED, REJECTED_FOR_NOW

PREFIX = "playground_deployer"

REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)  # memory, CPU and open files of the process
disable_created_metrics()  # type: ignore[no-untyped-call]  # an extra series for each metric, which only repeats the process's start time

STAGES = ("authenticate", "key_queue", "budget", "limiter", "fetch", "bundle", "submit")

_QUICK = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, INF)
_SLOW = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 3600.0, INF)


def _counter(name: str, description: str, *labels: str) -> Counter:
    return Counter(name, description, labels, namespace=PREFIX, registry=REGISTRY)


def _histogram(name: str, description: str, *labels: str, buckets: tuple[float, ...]) -> Histogram:
    return Histogram(name, description, labels, namespace=PREFIX, registry=REGISTRY, buckets=buckets)


REQUESTS = _counter(
    "requests",
    "Requests with a final status, by final state and error code, which is empty for `deployed`. A repeated request "
    "that changes nothing counts as `duplicate`.",
    "state",
    "code",
)
REQUEST_SECONDS = _histogram(
    "request_duration_seconds",
    "Time from reading a request, or from taking over an unfinished request, to the final status.",
    buckets=_SLOW,
)
STAGE_SECONDS = _histogram(
    "stage_duration_seconds",
    "Time spent in a stage of a request: `authenticate`, `key_queue` (waiting for earlier requests of the same user), "
    "`budget` (a large solution waiting for its share of MAX_BYTES_IN_FLIGHT), "
    "`limiter` (waiting for one of MAX_IN_FLIGHT slots), `fetch`, `bundle` and `submit` (the POST).",
    "stage",
    buckets=_SLOW,
)
HTTP_REQUESTS = _counter(
    "http_requests",
    "HTTP requests to a dependency (`catalog`, `artifacts`, `playground`, `issuer`), by class of the response: "
    "`2xx` to `5xx`, `timeout`, or `error` without an HTTP response.",
    "dependency",
    "class",
)
TRANSACTIONS = _counter(
    "transactions",
    "Kafka transactions with statuses and offsets, by result: `committed`, or `failed`. After a failure the worker "
    "takes over the partition again.",
    "result",
)
TRANSACTION_SECONDS = _histogram(
    "transaction_duration_seconds", "Duration of a Kafka transaction, from begin to commit.", buckets=_QUICK
)
DEAD_LETTERS = _counter("dead_letters", "Dead letters written, by error code.", "code")
REQUESTS_LOST = _counter(
    "requests_lost",
    "Requests that Kafka deleted before a worker read them: the topic's retention is shorter than the backlog.",
)
BUILD = Gauge(
    "build_info", "Always 1; the label is the worker's version.", ["version"], namespace=PREFIX, registry=REGISTRY
)
PARTITIONS = Gauge(
    "partitions_assigned",
    "Partitions of the requests topic that are assigned to this worker; 0 until it has joined the group.",
    namespace=PREFIX,
    registry=REGISTRY,
)
CLOCK_SKEW = Gauge(
    "clock_skew_seconds",
    "Seconds by which the worker's clock is ahead of the brokers' clocks, measured at a take-over and with each "
    "transaction.",
    namespace=PREFIX,
    registry=REGISTRY,
)
TOPICS_WRONG = Gauge(
    "topics_wrong",
    "1: a topic is missing, has too few partitions, or its configuration differs from the one verified at startup; the "
    "log names the topic. Checked every 15 s.",
    namespace=PREFIX,
    registry=REGISTRY,
)
REBALANCES = _counter("rebalances", "Rebalances of the consumer group in which this worker took part.")
HEALTH_CONNECTIONS_CUT_OFF = _counter(
    "health_connections_cut_off",
    "Connections to the health port that were cut off: `slow`, not completed within 5 s, or `many`, the oldest of more "
    "than 64.",
    "reason",
)
BACKGROUND_FAILURES = _counter(
    "background_failures",
    "Failures of a task that runs alongside the requests: `settlements` (reads them), `collector` (the gauges of "
    "Kafka's offsets). The task is started again; the log has the reason.",
    "task",
)
LOOP_LAG = _histogram(
    "loop_lag_seconds", "Delay of the event loop's timers, measured four times a second.", buckets=_QUICK
)


def _create_series() -> None:
    """Create every series at 0. Prometheus sees no increase in a series that starts at 1, so an alert would miss it."""
    BUILD.labels(__version__).set(1)
    for state in ("deployed", "duplicate"):
        REQUESTS.labels(state, "")
    for code in CODES:
        REQUESTS.labels("rejected" if code in REJECTED | REJECTED_FOR_NOW else "failed", code)
        DEAD_LETTERS.labels(code)
    for dependency in ("catalog", "artifacts", "playground", "issuer"):
        for kind in ("2xx", "3xx", "4xx", "5xx", "timeout", "error"):
            HTTP_REQUESTS.labels(dependency, kind)
    for result in ("committed", "failed"):
        TRANSACTIONS.labels(result)
    for stage in STAGES:
        STAGE_SECONDS.labels(stage)
    for task in ("settlements", "collector"):
        BACKGROUND_FAILURES.labels(task)
    for reason in ("slow", "many"):
        HEALTH_CONNECTIONS_CUT_OFF.labels(reason)


_create_series()
