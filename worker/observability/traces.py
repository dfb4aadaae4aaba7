"""The export of spans to an OpenTelemetry collector, as OTLP over HTTP.

The settings give the endpoint and the sample ratio. The SDK's own variables (`OTEL_EXPORTER_OTLP_HEADERS`,
`OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_BSP_…`) configure the rest.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from threading import Thread
from typing import TYPE_CHECKING

from worker import __version__
from worker.observability.telemetry import traced_by
from worker.settings import TracingSettings

EXPORT_SECONDS = 5  # for one batch
SHUTDOWN_SECONDS = 5  # maximum delay of the shutdown by an unreachable collector

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor

OpenProcessor = Callable[[str], "SpanProcessor"]

# The SDK is imported only with an endpoint, because the import takes 5 MB and 0.1 s.


def _otlp(endpoint: str) -> "SpanProcessor":
    import requests  # noqa: PLC0415
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    session = requests.Session()
    session.trust_env = False  # no HTTP_PROXY and no .netrc, as for all other calls of the worker
    url = f"{endpoint.rstrip('/')}/v1/traces"
    return BatchSpanProcessor(OTLPSpanExporter(url, timeout=EXPORT_SECONDS, session=session))


@asynccontextmanager
async def open_tracing(tracing: TracingSettings, open_processor: OpenProcessor = _otlp) -> AsyncIterator[None]:
    """Export spans during the block, if an endpoint is set; the last spans are sent at the end of the block."""
    if tracing.endpoint is None:
        yield
        return
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased  # noqa: PLC0415

    own = Resource.create({"service.name": "playground-deployer", "service.version": __version__})
    provider = TracerProvider(
        sampler=ParentBased(TraceIdRatioBased(tracing.sample_ratio)),
        resource=own.merge(OTELResourceDetector().detect()),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(open_processor(tracing.endpoint))
    try:
        with traced_by(provider.get_tracer("playground-deployer", __version__)):
            yield
    finally:
        # The shutdown blocks while it sends batches, so it runs in a daemon thread, which cannot delay the exit.
        closing = Thread(target=provider.shutdown, daemon=True)
        closing.start()
        await asyncio.to_thread(closing.join, SHUTDOWN_SECONDS)
