"""A trace continues from the click to the request's record, and from there to its statuses."""

from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.unit.gateway.door import CLICK, open_door, token
from worker.observability.traces import open_tracing
from worker.settings import TracingSettings

TRACE = "0af7651916cd43dd8448eb211c80319c"
GIVEN = f"00-{TRACE}-b7ad6b7169203331-01"


async def test_a_click_is_the_beginning_of_the_trace() -> None:
    """The record carries the context of the gateway's span, in the trace of the click's sender."""
    exporter = InMemorySpanExporter()
    tracing = TracingSettings(endpoint="http://127.0.0.1:1")
    async with open_tracing(tracing, lambda _: SimpleSpanProcessor(exporter)), open_door() as door:
        await door.get(CLICK, headers={"jwtToken": token(), "traceparent": GIVEN})
        (published,) = door.publisher.published
    (span,) = exporter.get_finished_spans()
    assert f"00-{TRACE}-{span.context.span_id:016x}-01" == published.traceparent
    assert span.name.endswith("/deploy/{solution}/{revision}")
    assert token()[:20] not in str(span.attributes)


async def test_without_traces_the_senders_context_is_passed_on() -> None:
    """Without tracing, the sender's context is passed on unchanged, and an invalid context is dropped."""
    async with open_door(max_open_requests=10) as door:
        for given in (GIVEN, "nonsense"):
            await door.get(CLICK, headers={"jwtToken": token(hours=len(given)), "traceparent": given})
        assert [GIVEN, None] == [it.traceparent for it in door.publisher.published]
