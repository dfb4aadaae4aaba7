"""The metrics of requests and calls, and the spans of a trace."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from schemas import State
from tests.support.builders import record
from tests.support.counted import counted
from worker.domain.lifecycle import RequestState
from worker.errors import NotFound
from worker.observability.telemetry import Spans, client_span, ended, processing, publishing, stages
from worker.observability.traces import open_tracing
from worker.settings import TracingSettings

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TRACE = "0af7651916cd43dd8448eb211c80319c"
ASKED = f"00-{TRACE}-b7ad6b7169203331-01"
NOT_SAMPLED = f"00-{TRACE}-b7ad6b7169203331-00"


@asynccontextmanager
async def traces(sample_ratio: float = 1.0) -> AsyncIterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    tracing = TracingSettings(endpoint="http://collector.example:4318", sample_ratio=sample_ratio)
    async with open_tracing(tracing, lambda _: SimpleSpanProcessor(exporter)):
        yield exporter


def request(traceparent: str | None = None) -> RequestState:
    """A request state with the traceparent of its last status."""
    return RequestState("r-1", 7, NOW, traceparent=traceparent)


def parents(spans: tuple[ReadableSpan, ...]) -> Mapping[str, str | None]:
    """Map each span's name to its parent's name."""
    names = {it.context.span_id: it.name for it in spans}
    return {it.name: names.get(it.parent.span_id) if it.parent else None for it in spans}


def test_a_stage_is_timed_however_it_ends() -> None:
    """A stage is timed even if it fails, because a slow failure counts as slow."""
    before = counted("stage_duration_seconds_count", stage="bundle")
    with pytest.raises(ValueError, match="no"), stages.bundle():
        raise ValueError("no")
    assert before + 1 == counted("stage_duration_seconds_count", stage="bundle")


async def test_a_trace_goes_from_the_request_to_its_statuses() -> None:
    """The sender's trace continues: stages, calls and statuses are inside the request's span."""
    async with traces() as exporter:
        with processing(record(headers=(("traceparent", ASKED.encode()),)), request()):
            done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            said = publishing(State.BUILDING, done)
            with stages.fetch(), client_span("catalog", "GET") as headers:
                sent = headers
            done.set_result(None)
            await asyncio.sleep(0)
        spans = exporter.get_finished_spans()
    by_name = {it.name: it for it in spans}
    process = "process requests"
    assert {
        process: None,
        "send building": process,
        "fetch": process,
        "GET catalog": "fetch",
    } == parents(spans)
    assert {TRACE} == {f"{it.context.trace_id:032x}" for it in spans}
    first = by_name[process].parent
    assert first is not None
    assert "b7ad6b7169203331" == f"{first.span_id:016x}"
    assert f"00-{TRACE}-{by_name['send building'].context.span_id:016x}-01" == said
    assert {"traceparent": f"00-{TRACE}-{by_name['GET catalog'].context.span_id:016x}-01"} == sent


async def test_after_a_take_over_the_trace_goes_on_from_the_last_status() -> None:
    """After a take-over the trace continues from the last status's traceparent.

    The sender's traceparent is further back in the same trace.
    """
    left = f"00-{TRACE}-00f067aa0ba902b7-01"
    async with traces() as exporter:
        with processing(record(headers=(("traceparent", ASKED.encode()),)), request(left)):
            pass
        (span,) = exporter.get_finished_spans()
    assert span.parent is not None
    assert 0x00F067AA0BA902B7 == span.parent.span_id


async def test_a_failure_shows_its_code_and_no_text() -> None:
    """A failed span carries the error code and no exception text, which may come from users or dependencies."""
    async with traces() as exporter:
        with processing(record(), request()):
            missing = NotFound("proto-missing", "The protobuf of node 'the-users-own-word' is gone.")
            with pytest.raises(NotFound), stages.fetch():
                raise missing
            ended(RequestState.of_record(record(), missing, NOW).ended_with(NOW, missing))
        spans = exporter.get_finished_spans()
    assert ["proto-missing"] * 2 == [(it.attributes or {}).get("error.type") for it in spans]
    assert [StatusCode.ERROR] * 2 == [it.status.status_code for it in spans]
    assert not any("the-users-own-word" in it.to_json() for it in spans)
    assert [()] * 2 == [it.events for it in spans]


async def test_the_sender_decides_whether_its_request_is_traced() -> None:
    """An unsampled request exports no spans; its statuses still carry its trace id and its sampling flag."""
    async with traces() as exporter:
        with processing(record(headers=(("traceparent", NOT_SAMPLED.encode()),)), request()):
            said = publishing(State.BUILDING, asyncio.get_running_loop().create_future())
        assert () == exporter.get_finished_spans()
    assert said is not None
    assert (TRACE, "00") == (said[3:35], said[-2:])


async def test_the_ratio_decides_for_requests_without_a_trace() -> None:
    """With a sample ratio of 0, no request without a trace is kept."""
    async with traces(sample_ratio=0.0) as exporter:
        with processing(record(), request()), stages.fetch():
            pass
        assert () == exporter.get_finished_spans()


async def test_without_an_endpoint_nothing_is_traced() -> None:
    """Without an endpoint there is no tracer, and statuses keep the sender's traceparent."""
    async with open_tracing(TracingSettings(), lambda _: pytest.fail("a processor was opened")):
        with processing(record(headers=(("traceparent", ASKED.encode()),)), request()):
            assert publishing(State.BUILDING, asyncio.get_running_loop().create_future()) is None
            assert Spans.tracer is None
