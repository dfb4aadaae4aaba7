"""The repository client: the paths that uris may be, and the ways a fetch can fail."""

import asyncio
import gzip
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from hashlib import sha1
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import unused_port
from pydantic import SecretStr

from worker.adapters.graphene import MAX_FILE, ArtifactsClient, artifact_path
from worker.adapters.http import CONNECTIONS, Dependency, dependency_session
from worker.domain.solution import ByteLimit, Unproven
from worker.errors import ConfigurationError, DeploymentError, NeedsReservation, NotFound, Unavailable
from worker.settings import ArtifactsSettings

Serve = Callable[[Callable[[web.Request], Awaitable[web.StreamResponse]]], Awaitable[str]]
ServeRaw = Callable[[Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]], Awaitable[str]]

URI = "org/acumos/9f0f0f6e/Recogniser/1.0.0/Recogniser-1.0.0.proto"
PASSWORD = "canary-pass:word-é"


def settings(url: str, **more: Any) -> ArtifactsSettings:
    return ArtifactsSettings(
        **{"url": url, "username": "reader", "password": SecretStr(PASSWORD), "timeout_seconds": 5, **more}
    )


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """The session that the worker uses."""
    async with dependency_session() as open_session:
        yield open_session


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        (URI, URI),
        ("file.json", "file.json"),
        ("a-b_c~d/1.0.0+build.7/x-1.0.0.proto", "a-b_c~d/1.0.0+build.7/x-1.0.0.proto"),
        ("models/My Model  2/a b.proto", "models/My%20Model%20%202/a%20b.proto"),
        ("group/name:tag/x", "group/name:tag/x"),
        ("group/Model (v2), final/x", "group/Model%20(v2),%20final/x"),
        ("für/Größe & Maß/50%+1.proto", "f%C3%BCr/Gr%C3%B6%C3%9Fe%20&%20Ma%C3%9F/50%25+1.proto"),
        ("e\u0301te\u0301/100%.proto", "e%CC%81te%CC%81/100%25.proto"),
        ("日本/x%zz", "%E6%97%A5%E6%9C%AC/x%25zz"),
        ("Bob's=model!/x", "Bob's=model!/x"),
        ("m/a@b;c$d*e_f~g.proto", "m/a@b;c$d*e_f~g.proto"),
        ("a;b=c/*/$x/$(id)", "a;b=c/*/$x/$(id)"),
        ("Modell \u2013 Bob\u2019s „Bestes“/x", "Modell%20%E2%80%93%20Bob%E2%80%99s%20%E2%80%9EBestes%E2%80%9C/x"),
        ("हिन्दी/मॉडल", "%E0%A4%B9%E0%A4%BF%E0%A4%A8%E0%A5%8D%E0%A4%A6%E0%A5%80/%E0%A4%AE%E0%A5%89%E0%A4%A1%E0%A4%B2"),
        ("\u0645\u064f\u062d\u064e\u0645\u064e\u0651\u062f", "%D9%85%D9%8F%D8%AD%D9%8E%D9%85%D9%8E%D9%91%D8%AF"),
        ("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "%D9%85%DB%8C%E2%80%8C%D8%AE%D9%88%D8%A7%D9%87%D9%85"),
        ("🙂 v2/👩\u200d💻\ufe0f", "%F0%9F%99%82%20v2/%F0%9F%91%A9%E2%80%8D%F0%9F%92%BB%EF%B8%8F"),
        (
            "模型\uff1a第一版。\uff08新\uff09",
            "%E6%A8%A1%E5%9E%8B%EF%BC%9A%E7%AC%AC%E4%B8%80%E7%89%88%E3%80%82%EF%BC%88%E6%96%B0%EF%BC%89",
        ),
        ("5 € ± ½…/x", "5%20%E2%82%AC%20%C2%B1%20%C2%BD%E2%80%A6/x"),
        ("ไทย/ภาษา/தமிழ்", quote("ไทย/ภาษา/தமிழ்")),
        ("a..b/.hidden/x.", "a..b/.hidden/x."),
        ("x" * 512, "x" * 512),
    ],
)
def test_plain_paths_pass(uri: str, path: str) -> None:
    """A real uri leads to the same file as with java.net.URI; all but its plain characters are percent-encoded once."""
    assert path == artifact_path(uri)


@pytest.mark.parametrize("path", ["../x", "a/../b", ".", "x?y", "x#y", "/../x"])
async def test_the_last_check_holds_alone(session: aiohttp.ClientSession, path: str) -> None:
    """A path that was never checked raises and is not sent."""
    dependency = Dependency(
        session, settings("http://127.0.0.1:9/base"), name="artifacts", called="The repository", nothing=()
    )
    with pytest.raises(ValueError, match="leads away"):
        await dependency.get(path, accept="*/*", max_bytes=1)


@pytest.mark.parametrize("base", ["/repository/models", "/repository/models/", ""])
async def test_a_file_is_fetched_below_the_base(session: aiohttp.ClientSession, serve: Serve, base: str) -> None:
    """Exactly one slash joins base and path, and the request has credentials from the start."""
    seen: list[tuple[str, str | None]] = []

    async def nexus(request: web.Request) -> web.Response:
        seen.append((request.raw_path, request.headers.get("Authorization")))
        return web.Response(body=b"syntax = 'proto3';", content_type="text/plain")

    client = ArtifactsClient(session, settings(await serve(nexus) + base))
    assert [b"syntax = 'proto3';"] == await client.fetch(["a b/c.proto"])
    expected = aiohttp.encode_basic_auth("reader", PASSWORD)
    assert [(base.rstrip("/") + "/a%20b/c.proto", expected)] == seen


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (401, "artifacts-unauthorized"),
        (403, "artifacts-unauthorized"),
        (204, "artifacts-error"),
        (206, "artifacts-error"),
        (301, "artifacts-error"),
        (302, "artifacts-error"),
        (400, "artifacts-error"),
        (410, "artifacts-error"),
        (500, "artifacts-error"),
        (503, "artifacts-error"),
    ],
)
async def test_statuses(session: aiohttp.ClientSession, serve: Serve, status: int, code: str) -> None:
    """Every other status is an outage, redirects are not followed, and only 401 is dependency-wide."""
    requests = 0

    async def nexus(_: web.Request) -> web.Response:
        nonlocal requests
        requests += 1
        return web.Response(status=status, headers={"Location": "/elsewhere"})

    with pytest.raises(Unavailable) as caught:
        await ArtifactsClient(session, settings(await serve(nexus))).fetch([URI])
    assert (code, "fetch", 1) == (caught.value.code, caught.value.stage, requests)
    assert (status == 401) == caught.value.dependency_wide


async def test_a_file_that_is_gone(session: aiohttp.ClientSession, serve: Serve) -> None:
    """A missing file (404) is None in its position among the others; the caller decides what it means."""

    async def nexus(request: web.Request) -> web.Response:
        return web.Response(status=404) if request.path == "/gone" else web.Response(body=request.path.encode())

    client = ArtifactsClient(session, settings(await serve(nexus)))
    assert [b"/a", None, b"/b"] == await client.fetch(["a", "gone", "b"])


async def test_the_first_failure_ends_the_others(session: aiohttp.ClientSession, serve: Serve) -> None:
    """The first failure, in order, is raised and the other fetches are cancelled."""

    async def nexus(request: web.Request) -> web.Response:
        if request.path == "/slow":
            await asyncio.Event().wait()
        return web.Response(status=500 if request.path == "/broken" else 200)

    with pytest.raises(Unavailable) as caught:
        await ArtifactsClient(session, settings(await serve(nexus))).fetch(["slow", "good", "broken"])
    assert "artifacts-error" == caught.value.code
    assert not [task for task in asyncio.all_tasks() if "Dependency" in getattr(task.get_coro(), "__qualname__", "")]


async def test_nobody_listens(session: aiohttp.ClientSession) -> None:
    """A refused connection is a dependency-wide outage."""
    client = ArtifactsClient(session, settings(f"http://127.0.0.1:{unused_port()}"))
    with pytest.raises(Unavailable) as caught:
        await client.fetch([URI])
    assert ("artifacts-unavailable", True) == (caught.value.code, caught.value.dependency_wide)


async def test_a_connection_that_is_never_made(session: aiohttp.ClientSession, serve_raw: ServeRaw) -> None:
    """A handshake without an answer hits the shorter limit and is distinct from a file that is too slow."""

    async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    client = ArtifactsClient(session, settings(f"https://{await serve_raw(silent)}", timeout_seconds=2))
    with pytest.raises(Unavailable) as caught:
        await client.fetch([URI])
    assert ("artifacts-unavailable", True) == (caught.value.code, caught.value.dependency_wide)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (b"", "artifacts-unavailable"),
        (b"nonsense\r\n\r\n", "artifacts-error"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", "artifacts-error"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Encoding: gzip\r\n\r\nabc", "artifacts-error"),
    ],
)
async def test_broken_answers(session: aiohttp.ClientSession, serve_raw: ServeRaw, answer: bytes, code: str) -> None:
    """A truncated answer or one that is not HTTP is never a file, and may be the file's own fault."""

    async def nexus(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()

    with pytest.raises(Unavailable) as caught:
        await ArtifactsClient(session, settings(f"http://{await serve_raw(nexus)}")).fetch([URI])
    assert (code, False) == (caught.value.code, caught.value.dependency_wide)


@pytest.mark.parametrize("started", [False, True])
async def test_time_out(session: aiohttp.ClientSession, serve: Serve, started: bool) -> None:
    """One limit covers the whole answer, including its body."""

    async def nexus(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        if started:
            await response.prepare(request)
            await response.write(b"syntax")
        await asyncio.Event().wait()
        return response

    with pytest.raises(Unavailable) as caught:
        await ArtifactsClient(session, settings(await serve(nexus), timeout_seconds=0.1)).fetch([URI])
    assert ("artifacts-timeout", False) == (caught.value.code, caught.value.dependency_wide)


async def test_many_fetches_share_few_connections(session: aiohttp.ClientSession, serve: Serve) -> None:
    """No more than CONNECTIONS are open at once, however many files are fetched, and all files arrive."""
    open_now, most = 0, 0
    full = asyncio.Event()

    async def nexus(_: web.Request) -> web.Response:
        nonlocal open_now, most
        open_now += 1
        most = max(most, open_now)
        if open_now == CONNECTIONS:
            full.set()
        await full.wait()
        for _round in range(100):  # time for one more request, if it could arrive
            await asyncio.sleep(0)
        open_now -= 1
        return web.Response(body=b"x")

    client = ArtifactsClient(session, settings(await serve(nexus)))
    files = await client.fetch([f"file-{number}" for number in range(3 * CONNECTIONS)])
    assert (3 * CONNECTIONS, CONNECTIONS) == (len(files), most)


@pytest.mark.parametrize(("size", "fits"), [(MAX_FILE, True), (MAX_FILE + 1, False)])
@pytest.mark.parametrize("encoding", ["identity", "gzip"])
async def test_size_counts_unpacked(
    session: aiohttp.ClientSession, serve: Serve, size: int, fits: bool, encoding: str
) -> None:
    """The limit applies to the unpacked size of a compressed answer."""

    async def nexus(_: web.Request) -> web.Response:
        body = b"x" * size
        packed = gzip.compress(body) if encoding == "gzip" else body
        return web.Response(body=packed, headers={"Content-Encoding": encoding})

    fetch = ArtifactsClient(session, settings(await serve(nexus))).fetch([URI])
    if fits:
        assert [size] == [len(file or b"") for file in await fetch]
        return
    with pytest.raises(NotFound, match=str(MAX_FILE)) as caught:
        await fetch
    assert "artifact-too-large" in caught.value.code


async def test_an_endless_body_is_cut_off(session: aiohttp.ClientSession, serve: Serve) -> None:
    """A body without a length is cut off at the limit."""
    sent = 0

    async def nexus(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(bytes(65536))
            sent += 65536

    with pytest.raises(NotFound):
        await ArtifactsClient(session, settings(await serve(nexus))).fetch([URI])
    assert sent < 50 * 1024 * 1024


@pytest.mark.parametrize(
    ("change", "variable"),
    [
        ({"username": "a:b"}, "DEPLOYER_ARTIFACTS__USERNAME"),
        ({"url": "http://nexus:99999/x"}, "DEPLOYER_ARTIFACTS__URL"),
        ({"url": "http://xn--/x"}, "DEPLOYER_ARTIFACTS__URL"),
    ],
)
async def test_settings_that_cannot_work_stop_the_start(
    session: aiohttp.ClientSession, change: dict[str, str], variable: str
) -> None:
    """Settings that cannot work stop the start, and the error names the variable."""
    with pytest.raises(ConfigurationError, match=f"^{variable}: "):
        ArtifactsClient(session, settings(**{"url": "http://nexus", **change}))


@pytest.mark.parametrize("status", [302, 401, 500])
async def test_errors_show_no_credentials(session: aiohttp.ClientSession, serve: Serve, status: int) -> None:
    """Message, repr and traceback contain neither the password nor the header with it."""

    async def nexus(request: web.Request) -> web.Response:
        return web.Response(status=status, text=f"{request.headers['Authorization']} {PASSWORD}")

    with pytest.raises(DeploymentError) as caught:
        await ArtifactsClient(session, settings(await serve(nexus))).fetch([URI])
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value) + repr(caught.value.info())
    for hidden in (PASSWORD, aiohttp.encode_basic_auth("reader", PASSWORD).removeprefix("Basic ")):
        assert hidden not in shown


PAGE = b"\xef\xbb\xbf\r\n <!DOCTYPE html><title>Log in</title>"
EMPTY_SHA1 = "da39a3ee5e6b4b0d3255bfef95601890afd80709"


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (PAGE, {"Content-Type": "text/html"}),
        (PAGE, {"Content-Type": "text/plain"}),
        (b"<html><body>We are back in five minutes</body></html>", {}),
        (b"<?xml version='1.0'?><html/>", {}),
        (b"Please log in", {"Content-Type": "text/html; charset=utf-8"}),
        (b"Please log in", {"Content-Type": "application/xhtml+xml"}),
        (b"Bitte anmelden", {"Content-Type": "TEXT/HTML"}),
        (b"Bitte anmelden", {"Content-Type": "Text/Html; charset=ISO-8859-1"}),
        ("<html>".encode("utf-16"), {}),
        ("<html>".encode("utf-16-le"), {"Content-Type": "text/plain"}),
        ("<html>".encode("utf-16-be"), {}),
        ("\ufeff <html>".encode("utf-16-be"), {}),
        ("<html>".encode("utf-32"), {}),
        (b"\f<html>", {}),
        (b"\v\n<html>", {}),
        (b"\0<html>", {}),
        (b"\f\v\0", {}),
        (b"\n<html>" + bytes(MAX_FILE), {}),
        (b"x" * (MAX_FILE + 1), {"Content-Type": "TEXT/html"}),
        (b"", {}),
        (b" \r\n", {}),
        (b"", {"ETag": '"abc"'}),
        (PAGE, {"ETag": 'W/"{SHA1{abc}}"'}),
        (b"syntax = 'proto3';", {"ETag": f'"{{SHA1{{{EMPTY_SHA1}}}}}"'}),
    ],
)
async def test_what_comes_in_place_of_a_file_is_an_outage(
    session: aiohttp.ClientSession, serve: Serve, body: bytes, headers: dict[str, str]
) -> None:
    """A login page, a maintenance page or a truncated file is retried, and never deployed as a protobuf."""

    async def front(_: web.Request) -> web.Response:
        return web.Response(body=body, headers=headers)

    with pytest.raises(Unavailable) as caught:
        await ArtifactsClient(session, settings(await serve(front))).fetch([URI], size=5)
    assert ("artifacts-error", False) == (caught.value.code, caught.value.dependency_wide)


@pytest.mark.parametrize(
    ("body", "etag", "size"),
    [
        (PAGE, f'"{{SHA1{{{sha1(PAGE).hexdigest()}}}}}"', None),
        (PAGE, f'"{{SHA1{{{sha1(PAGE).hexdigest()}}}}}--gzip"', -1),
        (PAGE, "", len(PAGE)),
        (b"", f'"{{SHA1{{{EMPTY_SHA1}}}}}"', None),
        (b"", "", 0),
    ],
)
async def test_a_page_that_is_the_file_ends_at_once(
    session: aiohttp.ClientSession, serve: Serve, body: bytes, etag: str, size: int | None
) -> None:
    """If the repository's checksum or CCDS's size confirms the page as the uploaded file, the error is final."""

    async def nexus(_: web.Request) -> web.Response:
        return web.Response(body=body, headers={"ETag": etag})

    with pytest.raises(NotFound) as caught:
        await ArtifactsClient(session, settings(await serve(nexus))).fetch([URI], size=size)
    assert "artifact-not-a-file" == caught.value.code


@pytest.mark.parametrize("body", [b"<", b"x"])
async def test_a_long_file_with_a_checksum_ends_at_once(
    session: aiohttp.ClientSession, serve: Serve, body: bytes
) -> None:
    """A file that is too large ends the request: its checksum, though unverified, shows that the repository replied."""

    async def nexus(_: web.Request) -> web.Response:
        return web.Response(body=body * (MAX_FILE + 1), headers={"ETag": f'"{{SHA1{{{EMPTY_SHA1}}}}}"'})

    with pytest.raises(NotFound) as caught:
        await ArtifactsClient(session, settings(await serve(nexus))).fetch([URI])
    assert "artifact-too-large" == caught.value.code


@pytest.mark.parametrize(
    ("size", "etag", "proven"), [(6, "", True), (None, "sha1", True), (7, "", False), (-1, "", False)]
)
async def test_a_file_is_unproven_without_checksum_and_size(
    session: aiohttp.ClientSession, serve: Serve, size: int | None, etag: str, proven: bool
) -> None:
    """A file is proven by its checksum or by the size in Graphene's database; a different size proves nothing."""
    body = b"syntax"

    async def nexus(_: web.Request) -> web.Response:
        return web.Response(body=body, headers={"ETag": f'"{{SHA1{{{sha1(body).hexdigest()}}}}}"'} if etag else {})

    (file,) = await ArtifactsClient(session, settings(await serve(nexus))).fetch([URI], size=size)
    assert (body, not proven) == (file, isinstance(file, Unproven))


@pytest.mark.parametrize("content_type", ["text/html", "text/plain", "application/octet-stream", ""])
async def test_a_file_is_known_by_its_checksum(session: aiohttp.ClientSession, serve: Serve, content_type: str) -> None:
    """A matching checksum proves a file, whatever content type the repository guesses."""
    body = b"syntax = 'proto3';"

    async def nexus(_: web.Request) -> web.Response:
        etag = f'"{{SHA1{{{sha1(body).hexdigest()}}}}}"'
        return web.Response(body=body, headers={"ETag": etag, "Content-Type": content_type})

    assert [body] == await ArtifactsClient(session, settings(await serve(nexus))).fetch([URI])


class Nexus:
    """A repository that answers with the number of the request, once `answer` lets it."""

    def __init__(self, *statuses: int, checksums: bool = True) -> None:
        """Store the statuses of the first requests; later requests get 200."""
        self.requests = 0
        self.checksums = checksums
        self._statuses = statuses
        self._changed = asyncio.Condition()
        self._answered = 0

    async def serve(self, _: web.Request) -> web.Response:
        async with self._changed:
            self.requests += 1
            number = self.requests
            self._changed.notify_all()
            await self._changed.wait_for(lambda: self._answered >= number)
        status = self._statuses[number - 1] if number <= len(self._statuses) else 200
        body = f"file {number}".encode()
        checksum = {"ETag": f'"{{SHA1{{{sha1(body).hexdigest()}}}}}"'} if self.checksums else {}
        return web.Response(status=status, body=body, headers=checksum)

    async def come(self, requests: int) -> None:
        """Wait until this number of requests has arrived."""
        async with asyncio.timeout(10), self._changed:
            await self._changed.wait_for(lambda: self.requests >= requests)

    async def answer(self, requests: int) -> None:
        """Wait until this number of requests has arrived, and answer them."""
        await self.come(requests)
        async with self._changed:
            self._answered = requests
            self._changed.notify_all()


def fetched_together(client: ArtifactsClient, *left: ByteLimit) -> list[asyncio.Task[list[bytes | None]]]:
    """Fetch the same file at the same time, once for each of these limits."""
    return [asyncio.create_task(client.fetch([URI], it)) for it in left]


async def test_what_is_asked_for_meanwhile_is_asked_for_once(session: aiohttp.ClientSession, serve: Serve) -> None:
    """Simultaneous fetches of a file share one request, and each counts its bytes against its own limit."""
    nexus, left = Nexus(), [ByteLimit(100) for _ in range(3)]
    fetches = fetched_together(ArtifactsClient(session, settings(await serve(nexus.serve))), *left)
    await nexus.answer(1)
    assert [[b"file 1"]] * 3 == await asyncio.gather(*fetches)
    assert (1, [94] * 3) == (nexus.requests, [it.remaining for it in left])


async def test_a_failure_is_not_shared(session: aiohttp.ClientSession, serve: Serve) -> None:
    """A failure is not shared: the outage counts for one fetch, and the waiting fetches send their own requests."""
    nexus = Nexus(500)
    client = ArtifactsClient(session, settings(await serve(nexus.serve)))
    fetches = fetched_together(client, *(ByteLimit(100) for _ in range(3)))
    await nexus.answer(1)
    await nexus.answer(3)
    first, *others = await asyncio.gather(*fetches, return_exceptions=True)
    assert isinstance(first, Unavailable)
    assert {b"file 2", b"file 3"} == {body for it in others if isinstance(it, list) for body in it}


async def test_whoever_goes_takes_nobody_along(session: aiohttp.ClientSession, serve: Serve) -> None:
    """If the first fetch is cancelled or exceeds its limit, the fetches that wait for its answer send their own."""
    nexus = Nexus()
    client = ArtifactsClient(session, settings(await serve(nexus.serve), cache_bytes=0))
    gone, stays = fetched_together(client, ByteLimit(100), ByteLimit(100))
    await nexus.come(1)
    gone.cancel()
    await nexus.answer(2)
    assert [b"file 2"] == await stays
    poor, rich = fetched_together(client, ByteLimit(1, NeedsReservation), ByteLimit(100))
    await nexus.answer(3)
    await nexus.answer(4)
    assert [b"file 4"] == await rich
    with pytest.raises(NeedsReservation):
        await poor


@pytest.mark.parametrize(
    ("uri", "size", "more", "seconds", "requests"),
    [
        (URI, None, {}, 0, 1),
        (URI, 6, {}, 599, 1),
        (URI, None, {}, 600, 2),
        (URI, 7, {}, 0, 2),
        (URI, None, {"cache_bytes": 0}, 0, 2),
        (URI, None, {"cache_bytes": 1029}, 0, 2),
        (URI, None, {"cache_bytes": 1030}, 0, 1),
        ("org/acumos/x/1.0.0-SNAPSHOT/x-1.0.0-SNAPSHOT.proto", None, {}, 0, 2),
    ],
    ids=[
        "kept",
        "of the size that is known",
        "too old",
        "of another size",
        "off",
        "too large",
        "just not",
        "not released",
    ],
)
async def test_a_released_file_is_kept_for_a_while(
    session: aiohttp.ClientSession,
    serve: Serve,
    uri: str,
    size: int | None,
    more: dict[str, int],
    seconds: float,
    requests: int,
) -> None:
    """A released file is cached for ten minutes, unless Graphene's database has another size for it."""
    nexus, now = Nexus(), 0.0
    client = ArtifactsClient(
        session, settings(await serve(nexus.serve), **{"cache_bytes": 10_000, **more}), lambda: now
    )
    first = asyncio.create_task(client.fetch([uri]))
    await nexus.answer(1)
    assert [b"file 1"] == await first
    now = seconds
    again, left = asyncio.create_task(nexus.answer(2)), ByteLimit(100)
    assert [f"file {requests}".encode()] == await client.fetch([uri], left, size)
    assert (requests, 94) == (nexus.requests, left.remaining)
    again.cancel()


@pytest.mark.parametrize(("size", "requests"), [(None, 2), (6, 1)])
async def test_only_what_is_proven_to_be_the_file_is_kept(
    session: aiohttp.ClientSession, serve: Serve, size: int | None, requests: int
) -> None:
    """Only a proven file is cached, because a passing error page must not be served for ten minutes."""
    nexus = Nexus(checksums=False)
    client = ArtifactsClient(session, settings(await serve(nexus.serve), cache_bytes=10_000))
    first = asyncio.create_task(client.fetch([URI], None, size))
    await nexus.answer(1)
    assert [b"file 1"] == await first
    again = asyncio.create_task(nexus.answer(2))
    assert [f"file {requests}".encode()] == await client.fetch([URI])
    assert requests == nexus.requests
    again.cancel()


async def test_what_is_kept_hides_no_outage(session: aiohttp.ClientSession, serve: Serve) -> None:
    """From a failure until the repository answers again, cached files are requested as well, so no outage is hidden."""
    nexus = Nexus(200, 503, 503)
    client = ArtifactsClient(session, settings(await serve(nexus.serve)))

    async def fetch(uri: str) -> list[bytes | None]:
        answering = asyncio.create_task(nexus.answer(nexus.requests + 1))
        try:
            return await client.fetch([uri])
        finally:
            answering.cancel()

    other = URI + "3"
    assert [b"file 1"] == await fetch(URI)
    assert [b"file 1"] == await fetch(URI)
    for number, uri in ((2, other), (3, URI)):
        with pytest.raises(Unavailable):
            await fetch(uri)
        assert number == nexus.requests
    assert [b"file 4"] == await fetch(other)
    assert [b"file 1"] == await fetch(URI)
    assert 4 == nexus.requests
