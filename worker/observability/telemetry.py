"""Where the time of a request goes: each stage and each call is timed for Prometheus and is a span of its trace.

Traces are OpenTelemetry's and off unless `worker/observability/traces.py` gives a tracer. Then they go on from the
request's `traceparent`, and dependencies and statuses get one of ours. Spans carry no claims, no paths with ids, and no
exceptions, whose texts are not ours; `error.type` is a code of `worker/errors.py` or a class.
"""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import structlog
from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, Span, SpanKind, StatusCode, Tracer, get_current_span, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from schemas import State
from worker.domain.request import Record
from worker.errors import DeploymentError
from worker.observability.metrics import HTTP_REQUESTS, REQUEST_SECONDS, REQUESTS, STAGE_SECONDS

_W3C = TraceContextTextMapPropagator()


class _Spans:
    tracer: Tracer | None = None  # None: no traces, and nothing of them costs time


@contextmanager
def traced_by(tracer: Tracer) -> Iterator[None]:
    """Give spans to `tracer` meanwhile."""
    before, _Spans.tracer = _Spans.tracer, tracer
    try:
        yield
    finally:
        _Spans.tracer = before


@contextmanager
def processing(record: Record, request_id: str, left: str | None) -> Iterator[None]:
    """The whole of one request. `left`: the traceparent in the last status of the worker that had it before."""
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
    before = _W3C.extract({"traceparent": left or record.traceparent or ""}, Context())
    with context, _span(f"process {record.topic}", SpanKind.CONSUMER, attributes, before):
        yield


def ended(outcome: State | None, code: str | None, seconds: float) -> None:
    """The final status of the request is out; inside `processing`."""
    REQUESTS.labels(outcome, code or "").inc()
    REQUEST_SECONDS.observe(seconds)
    span = get_current_span()
    span.set_attribute("playground_deployer.outcome", str(outcome))
    if code:
        _failed(span, code)


def repeated() -> None:
    """It asked again for what is known, and got nothing new."""
    REQUESTS.labels("repeated", "").inc()


@contextmanager
def stage(name: str) -> Iterator[None]:
    """One part of a request; `worker/observability/metrics.py` lists them."""
    with STAGE_SECONDS.labels(name).time(), _span(name):
        yield


@dataclass(slots=True)
class Call:
    """An HTTP request that runs."""

    headers: Mapping[str, str] = field(default_factory=dict)  # to send with it
    status: int | None = None  # of its answer


@contextmanager
def call(dependency: str, method: str) -> Iterator[Call]:
    """Around one HTTP request to a dependency; whoever makes it sets `status` when the answer comes."""
    with _span(
        f"{method} {dependency}", SpanKind.CLIENT, {"http.request.method": method, "peer.service": dependency}
    ) as span:
        running = Call(_headers(span))
        kind = "error"
        try:
            yield running
            kind = f"{(running.status or 0) // 100}xx"
        except TimeoutError:
            kind = "timeout"
            raise
        except asyncio.CancelledError:
            kind = ""  # it says nothing of the dependency
            raise
        finally:
            if kind:
                HTTP_REQUESTS.labels(dependency, kind).inc()
            if running.status:
                span.set_attribute("http.response.status_code", running.status)


def publishing(state: State, done: "asyncio.Future[None]") -> str | None:
    """A span from here until `done`, and its traceparent for the status; None without a trace of ours."""
    if _Spans.tracer is None:
        return None
    attributes = {
        "messaging.system": "kafka",
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "playground_deployer.state": str(state),
    }
    span = _Spans.tracer.start_span(f"send {state}", kind=SpanKind.PRODUCER, attributes=attributes)
    done.add_done_callback(lambda _: span.end())
    return _headers(span).get("traceparent")


@contextmanager
def _span(
    name: str,
    kind: SpanKind = SpanKind.INTERNAL,
    attributes: Mapping[str, str | int] | None = None,
    before: Context | None = None,
) -> Iterator[Span]:
    if _Spans.tracer is None:
        yield INVALID_SPAN
        return
    with _Spans.tracer.start_as_current_span(
        name, before, kind, attributes, record_exception=False, set_status_on_exception=False
    ) as span:
        try:
            yield span
        except BaseException as error:
            _failed(span, error.code if isinstance(error, DeploymentError) else type(error).__name__)
            raise


def _failed(span: Span, why: str) -> None:
    span.set_attribute("error.type", why)
    span.set_status(StatusCode.ERROR)


def _headers(span: Span) -> Mapping[str, str]:
    """What goes on to whoever is spoken to: nothing without traces."""
    headers: dict[str, str] = {}
    _W3C.inject(headers, set_span_in_context(span))
    return headers
