"""One exchange over HTTP: how it is counted, and what its trace contains."""

import asyncio
from collections.abc import AsyncIterator, Mapping

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import unused_port
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from yarl import URL

from tests.support.counted import counted
from tests.support.servers import Serve, ServeRaw
from worker.adapters.http import Answer, cause_of, dependency_session, exchange
from worker.observability.traces import open_tracing
from worker.settings import TracingSettings

OUTCOMES = ("2xx", "3xx", "4xx", "5xx", "timeout", "error")


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """The session that the worker uses."""
    async with dependency_session() as open_session:
        yield open_session


async def ask(
    session: aiohttp.ClientSession, url: str, seconds: float = 5, data: AsyncIterator[bytes] | None = None
) -> Answer:
    limits = aiohttp.ClientTimeout(total=seconds)
    method = "GET" if data is None else "POST"
    return await exchange(session, "catalog", method, URL(url), headers={}, limits=limits, max_bytes=1000, data=data)


async def pieces(*texts: bytes) -> AsyncIterator[bytes]:
    for text in texts:
        yield text


def counts() -> Mapping[str, float]:
    return {it: counted("http_requests_total", dependency="catalog", **{"class": it}) for it in OUTCOMES}


@pytest.mark.parametrize(("status", "outcome"), [(204, "2xx"), (302, "3xx"), (404, "4xx"), (503, "5xx")])
async def test_an_answer_is_counted_by_its_class(
    session: aiohttp.ClientSession, serve: Serve, status: int, outcome: str
) -> None:
    """An answer is counted once, by its class, and its body is not read."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, body=b"" if status == 204 else b"not wanted", headers={"Location": "/x"})

    before = counts()
    got = await ask(session, await serve(answer))
    assert (status, b"") == (got.status, got.body)
    assert {**before, outcome: before[outcome] + 1} == counts()


@pytest.mark.parametrize(
    ("answer", "outcome", "error"),
    [
        (b"", "error", aiohttp.ServerDisconnectedError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", "error", aiohttp.ClientPayloadError),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 1\r\n\r\na", "error", aiohttp.ClientPayloadError),
        (None, "timeout", TimeoutError),
    ],
)
async def test_no_whole_answer_is_counted_by_what_happened(
    session: aiohttp.ClientSession,
    serve_raw: ServeRaw,
    answer: bytes | None,
    outcome: str,
    error: type[Exception],
) -> None:
    """An incomplete answer is counted once, as an error or a timeout, whatever aiohttp raises."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if answer is None:
            await reader.read()
        writer.write(answer or b"")
        await writer.drain()

    before = counts()
    with pytest.raises(error):
        await ask(session, f"http://{await serve_raw(talk)}", 5 if answer is not None else 0.2)
    assert {**before, outcome: before[outcome] + 1} == counts()


async def test_a_refused_connection_is_an_error(session: aiohttp.ClientSession) -> None:
    """A refused connection is counted as an error."""
    before = counts()
    with pytest.raises(aiohttp.ClientConnectorError):
        await ask(session, f"http://127.0.0.1:{unused_port()}")
    assert {**before, "error": before["error"] + 1} == counts()


async def test_the_cause_of_no_answer_has_no_path(session: aiohttp.ClientSession, serve_raw: ServeRaw) -> None:
    """The cause of a missing answer is the system's message or the exception's class, never text with the URL."""

    async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async def nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n")
        await writer.drain()

    causes = []
    for talk in (None, silent, nonsense):
        place = await serve_raw(talk) if talk else f"127.0.0.1:{unused_port()}"
        with pytest.raises((aiohttp.ClientError, TimeoutError)) as caught:
            await ask(session, f"http://{place}/user/ada", 0.5)
        causes.append(cause_of(caught.value))
    assert [] == [it for it in causes if "ada" in it]
    assert causes[0].startswith("ClientConnectorError: ")
    assert ["TimeoutError", "ClientResponseError"] == causes[1:]


async def test_a_cancelled_exchange_is_not_counted(session: aiohttp.ClientSession, serve: Serve) -> None:
    """A cancelled exchange is not counted, because it shows nothing about the dependency."""
    arrived = asyncio.Event()

    async def hang(_: web.Request) -> web.Response:
        arrived.set()
        await asyncio.Event().wait()
        raise AssertionError

    before = counts()
    asking = asyncio.create_task(ask(session, await serve(hang)))
    await arrived.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert before == counts()


async def test_what_is_sent_is_answered_with_a_body_whatever_the_status(
    session: aiohttp.ClientSession, serve: Serve
) -> None:
    """The answer to a POST has its body, up to the limit, whatever its status, since it may have the reason."""

    async def refuse(request: web.Request) -> web.Response:
        return web.Response(status=400, body=await request.read() * 500)

    got = await ask(session, await serve(refuse), data=pieces(b"no", b" "))
    assert (400, b"no no ") == (got.status, got.body[:6])
    assert 1000 < len(got.body) <= 1500


async def test_an_exchange_is_a_span_and_its_traceparent_is_sent(session: aiohttp.ClientSession, serve: Serve) -> None:
    """An exchange is a span with the answer's status, and its traceparent is sent to the dependency."""
    sent: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        sent.append(request.headers["traceparent"])
        return web.Response(status=404)

    exporter = InMemorySpanExporter()
    tracing = TracingSettings(endpoint="http://collector.example:4318")
    async with open_tracing(tracing, lambda _: SimpleSpanProcessor(exporter)):
        await ask(session, await serve(answer))
    (span,) = exporter.get_finished_spans()
    assert "GET catalog" == span.name
    assert {"http.request.method": "GET", "peer.service": "catalog", "http.response.status_code": 404} == dict(
        span.attributes or {}
    )
    assert [f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}"] == [it[:-3] for it in sent]


async def test_without_traces_no_traceparent_is_sent(session: aiohttp.ClientSession, serve: Serve) -> None:
    """Without tracing no traceparent is sent."""
    sent: list[str | None] = []

    async def answer(request: web.Request) -> web.Response:
        sent.append(request.headers.get("traceparent"))
        return web.Response()

    await ask(session, await serve(answer))
    assert [None] == sent
