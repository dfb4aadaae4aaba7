"""The gateway's metrics, in addition to those of the process. Their help texts are a table in docs/operating.md."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

PREFIX = "playground_gateway"

REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)

ANSWERS = Counter(
    "answers", "Answers, by route and class of the status.", ["route", "class"], namespace=PREFIX, registry=REGISTRY
)
PUBLISHED = Counter("published", "Requests that were published.", namespace=PREFIX, registry=REGISTRY)
REFUSED = Counter(
    "refused",
    "Clicks that were not published, by reason: `token`, `not-a-click` (prefetched, embedded or called by a script), "
    "`limit` (of a user), `kafka` (does not answer).",
    ["reason"],
    namespace=PREFIX,
    registry=REGISTRY,
)
NOTIFICATIONS = Counter(
    "notifications",
    "Notifications in the portal of requests that ended: `sent`, or `given-up` (Graphene's database did not take them, "
    "or the user of the request is no longer known).",
    ["result"],
    namespace=PREFIX,
    registry=REGISTRY,
)
BACKGROUND_FAILURES = Counter(
    "background_failures",
    "Failures of a task that runs alongside the HTTP requests: `status reader`, `publisher`, `access to Kafka`, "
    "`notifications`, `measures`, `connections`. The task is started again; the log has the reason.",
    ["task"],
    namespace=PREFIX,
    registry=REGISTRY,
)
CONNECTIONS_CUT_OFF = Counter(
    "connections_cut_off",
    "Connections that were cut off: `slow` (no complete request or no reader within 15 s), `many` (the oldest idle "
    "connections when there are too many), or `large` (the oldest unread requests when all of them have more than 16 "
    "MiB).",
    ["reason"],
    namespace=PREFIX,
    registry=REGISTRY,
)
BAD_REQUESTS = Counter(
    "bad_requests",
    "Requests that reached no route: `too-large` (a line, a header, their number or their sum), or `malformed` (no "
    "valid HTTP).",
    ["reason"],
    namespace=PREFIX,
    registry=REGISTRY,
)
STREAMS = Gauge("streams", "Event streams and long polls that are open.", namespace=PREFIX, registry=REGISTRY)
DOWNLOADS_CUT_OFF = Counter(
    "downloads_cut_off",
    "Downloads that were cut off because no 256 KiB of them were read within 10 s.",
    namespace=PREFIX,
    registry=REGISTRY,
)
STREAMS_CUT_OFF = Counter(
    "streams_cut_off",
    "Event streams that were closed because their data was not read.",
    namespace=PREFIX,
    registry=REGISTRY,
)
VIEW_REQUESTS = Gauge("view_requests", "Requests that are kept to be shown.", namespace=PREFIX, registry=REGISTRY)
VIEW_BYTES = Gauge("view_bytes", "Size of the kept requests, in bytes.", namespace=PREFIX, registry=REGISTRY)
VIEW_EVICTED = Gauge(
    "view_evicted_total",
    "Requests that newer requests have evicted, since the start; they are no longer shown.",
    namespace=PREFIX,
    registry=REGISTRY,
)
READY = Gauge("ready", "1: /ready succeeds; if it fails, the log has the reason.", namespace=PREFIX, registry=REGISTRY)
READ = Gauge("topic_read", "1: the status topic has been read to its end.", namespace=PREFIX, registry=REGISTRY)
CONNECTED = Gauge("kafka_connected", "1: Kafka answers.", namespace=PREFIX, registry=REGISTRY)
STATUS_SECONDS = Histogram(
    "status_age_seconds",
    "Time from a status to its arrival in this gateway, by the clocks of the worker and of the gateway.",
    namespace=PREFIX,
    registry=REGISTRY,
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)

for _reason in ("token", "not-a-click", "limit", "kafka"):
    REFUSED.labels(_reason)
for _result in ("sent", "given-up"):
    NOTIFICATIONS.labels(_result)
for _task in ("status reader", "publisher", "access to Kafka", "notifications", "measures", "connections"):
    BACKGROUND_FAILURES.labels(_task)
for _reason in ("too-large", "malformed"):
    BAD_REQUESTS.labels(_reason)
for _reason in ("slow", "many", "large"):
    CONNECTIONS_CUT_OFF.labels(_reason)
