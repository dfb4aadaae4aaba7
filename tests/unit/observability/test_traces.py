"""The connection of the trace exporter."""

import asyncio

import pytest

from tests.support.servers import ServeRaw
from worker.observability import telemetry
from worker.observability.traces import open_tracing
from worker.settings import TracingSettings


async def test_no_proxy_is_heeded(serve_raw: ServeRaw, monkeypatch: pytest.MonkeyPatch) -> None:
    """Spans go directly to the collector, despite HTTP_PROXY, as all other calls of the worker do."""
    heard: list[str] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append((await reader.readline()).decode().strip())
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    address = await serve_raw(listen)
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with open_tracing(TracingSettings(endpoint=f"http://{address}")):
        with telemetry.client_span("catalog", "GET"):
            pass
    assert ["POST /v1/traces HTTP/1.1"] == heard
