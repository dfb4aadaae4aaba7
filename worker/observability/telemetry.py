"""Where the time of a request goes: every stage and every call is timed for Prometheus, and is a span of its trace.

Traces are OpenTelemetry's and off unless `worker/observability/traces.py` sets a tracer. Then they continue the
request's `traceparent`, and dependencies and statuses get a `traceparent` of our spans. Spans hold no claims, no
paths with ids and no exceptions, whose texts others may have written; `error.type` is a code of `worker/errors.py` or
a class.
"""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager

import structlog
from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, Span, SpanKind, StatusCode, Tracer, get_current_span, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from schemas import State
from worker.domain.request import Record
from worker.errors import DeploymentError
from worker.observability.metrics import REQUEST_SECONDS, REQUESTS, STAGE_SECONDS

_W3C = TraceContextTextMapPropagator()


class Spans:
    """Where spans go."""

    tracer: Tracer | None = None  # None: no traces, and nothing of them costs time


@contextmanager
def traced_by(tracer: Tracer) -> Iterator[None]:
    """Send spans to `tracer` inside the block."""
    before, Spans.tracer = Spans.tracer, tracer
    try:
        yield
    finally:
        Spans.tracer = before


@contextmanager
def processing(record: Record, request_id: str, last_traceparent: str | None) -> Iterator[None]:
    """Trace a request from start to end; `last_traceparent` is that of the last status of its previous worker."""
    attributes: dict[str, str | int] = {
        "messaging.system": "kafka",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": record.topic,
        "messaging.destination.partition.id": str(record.partition),
        "messaging.kafka.offset": record.offset,
        "messaging.message.id": request_id,
    }
    context = structlog.contextvars.bound_contextvars(request_id=request_id)
    parent = _W3C.extract({"traceparent": last_traceparent or record.traceparent or ""}, Context())
    with context, _span(f"process {record.topic}", SpanKind.CONSUMER, attributes, parent):
        yield


def ended(state: State | None, code: str | None, seconds: float) -> None:
    """Record the final state of a request, inside `processing`."""
    REQUESTS.labels(state, code or "").inc()
    REQUEST_SECONDS.observe(seconds)
    span = get_current_span()
    span.set_attribute("playground_deployer.state", str(state))
    if code:
        _failed(span, code)


def duplicate() -> None:
    """Record a repeated request that changed nothing."""
    REQUESTS.labels("duplicate", "").inc()


def stage(name: str) -> AbstractContextManager[object]:
    """Time one part of a request; `worker/observability/metrics.py` lists them."""
    timer = STAGE_SECONDS.labels(name).time()
    return timer if Spans.tracer is None else _timed_span(timer, name)


@contextmanager
def _timed_span(timer: AbstractContextManager[object], name: str) -> Iterator[None]:
    with timer, _span(name):
        yield


@contextmanager
def client_span(dependency: str, method: str) -> Iterator[Mapping[str, str]]:
    """Trace one HTTP request to a dependency; gives the headers to send with it."""
    attributes = {"http.request.method": method, "peer.service": dependency}
    with _span(f"{method} {dependency}", SpanKind.CLIENT, attributes) as span:
        yield _headers(span)


def publishing(state: State, done: "asyncio.Future[None]") -> str | None:
    """Start a span that ends with `done`; return its traceparent for the status, None without traces."""
    if Spans.tracer is None:
        return None
    attributes = {
        "messaging.system": "kafka",
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "playground_deployer.state": str(state),
    }
    span = Spans.tracer.start_span(f"send {state}", kind=SpanKind.PRODUCER, attributes=attributes)
    done.add_done_callback(lambda _: span.end())
    return _headers(span).get("traceparent")


@contextmanager
def _span(
    name: str,
    kind: SpanKind = SpanKind.INTERNAL,
    attributes: Mapping[str, str | int] | None = None,
    parent: Context | None = None,
) -> Iterator[Span]:
    if Spans.tracer is None:
        yield INVALID_SPAN
        return
    with Spans.tracer.start_as_current_span(
        name, parent, kind, attributes, record_exception=False, set_status_on_exception=False
    ) as span:
        try:
            yield span
        except BaseException as error:
            _failed(span, error.code if isinstance(error, DeploymentError) else type(error).__name__)
            raise


def _failed(span: Span, error_type: str) -> None:
    span.set_attribute("error.type", error_type)
    span.set_status(StatusCode.ERROR)


def _headers(span: Span) -> Mapping[str, str]:
    """Return the headers that pass the trace on; none without traces."""
    headers: dict[str, str] = {}
    _W3C.inject(headers, set_span_in_context(span))
    return headers
