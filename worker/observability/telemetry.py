"""Durations of requests: every stage and every call is timed for Prometheus, and is a span of the request's trace.

Traces are OpenTelemetry's, and off unless `worker/observability/traces.py` sets a tracer. A trace continues the
request's `traceparent`; calls to dependencies and statuses carry the `traceparent` of the worker's spans. Spans hold no
claims, no paths with ids and no exceptions, because others may have written an exception's text. `error.type` is a code
of `worker/errors.py`, or a class.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from functools import partial
from types import SimpleNamespace

from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, Span, SpanKind, StatusCode, Tracer, get_current_span, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from schemas import DeploymentStatus, State
from worker.domain.lifecycle import RequestState
from worker.domain.request import TRACEPARENT, Record
from worker.errors import DeploymentError
from worker.observability.metrics import STAGE_SECONDS, STAGES

_W3C = TraceContextTextMapPropagator()
_ANSWERING: ContextVar[str | None] = ContextVar("answering", default=None)  # the trace context of an HTTP request


class Spans:
    """The tracer of this process."""

    tracer: Tracer | None = None  # None: no traces, and no calls into OpenTelemetry's SDK


class Stages(SimpleNamespace):
    """Timers of a request's stages: `with stages.fetch():`. `worker/observability/metrics.py` describes the stages.

    Without traces, each attribute is Prometheus' own timer.
    """

    authenticate: Callable[[], AbstractContextManager[object]]
    key_queue: Callable[[], AbstractContextManager[object]]
    budget: Callable[[], AbstractContextManager[object]]
    limiter: Callable[[], AbstractContextManager[object]]
    fetch: Callable[[], AbstractContextManager[object]]
    bundle: Callable[[], AbstractContextManager[object]]
    submit: Callable[[], AbstractContextManager[object]]


_TIMERS = {name: STAGE_SECONDS.labels(name).time for name in STAGES}
stages = Stages(**_TIMERS)


@contextmanager
def traced_by(tracer: Tracer) -> Iterator[None]:
    """Send spans to `tracer` during the block."""
    before, Spans.tracer = Spans.tracer, tracer
    vars(stages).update({name: partial(_timed_span, name, timer) for name, timer in _TIMERS.items()})
    try:
        yield
    finally:
        Spans.tracer = before
        vars(stages).update(_TIMERS)


@contextmanager
def _timed_span(name: str, timer: Callable[[], AbstractContextManager[object]]) -> Iterator[None]:
    with timer(), _span(name):
        yield


def processing(record: Record, state: RequestState) -> AbstractContextManager[object]:
    """Trace a request from start to end, as a child of the previous worker's last status, else of the sender's span."""
    attributes: dict[str, str | int] = {
        "messaging.system": "kafka",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": record.topic,
        "messaging.destination.partition.id": str(record.partition),
        "messaging.kafka.offset": record.offset,
        "messaging.message.id": state.request_id,
    }
    parent = _W3C.extract({"traceparent": state.traceparent or record.traceparent or ""}, Context())
    return _span(f"process {record.topic}", SpanKind.CONSUMER, attributes, parent)


@contextmanager
def answering(route: str, traceparent: str | None) -> Iterator[None]:
    """Trace the answer to an HTTP request, as a child of the sender's `traceparent`; `route` contains no ids."""
    before = _ANSWERING.set(traceparent if traceparent and TRACEPARENT.fullmatch(traceparent) else None)
    try:
        with _span(
            route, SpanKind.SERVER, {"http.route": route}, _W3C.extract({"traceparent": traceparent or ""}, Context())
        ):
            yield
    finally:
        _ANSWERING.reset(before)


def passed_on() -> str | None:
    """Return the `traceparent` for records published within `answering`: the span's, or without traces the sender's."""
    return _headers(get_current_span()).get("traceparent") if Spans.tracer else _ANSWERING.get()


def ended(status: DeploymentStatus) -> None:
    """Record a request's last status and its request id in the span of `processing`."""
    span = get_current_span()
    span.set_attribute("messaging.message.id", status.request_id)
    span.set_attribute("playground_deployer.state", str(status.state))
    if status.error:
        _failed(span, status.error.code)


@contextmanager
def client_span(dependency: str, method: str) -> Iterator[Mapping[str, str]]:
    """Trace one HTTP request to a dependency; yield the headers to send with the request."""
    attributes = {"http.request.method": method, "peer.service": dependency}
    with _span(f"{method} {dependency}", SpanKind.CLIENT, attributes) as span:
        yield _headers(span)


def publishing(state: State, done: "asyncio.Future[None]") -> str | None:
    """Start a span that ends when `done` completes; return its `traceparent` for the status, None without traces."""
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
    """Return the headers that propagate the trace; empty without traces."""
    headers: dict[str, str] = {}
    _W3C.inject(headers, set_span_in_context(span))
    return headers
