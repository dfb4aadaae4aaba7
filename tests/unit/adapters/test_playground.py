"""The playground client: what an answer means, and what a missing answer means."""

import asyncio
import base64
import re
import shutil
import socket
import ssl
import traceback
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from hashlib import sha512
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.test_utils import unused_port

from schemas import DeploymentInfo
from worker.adapters.playground import MAX_ANSWER, MAX_READ, MAX_REASON, PlaygroundClient, judge, playground_session
from worker.errors import ConfigurationError, DeploymentError, OutcomeUnknown, PlaygroundRefused, Unavailable
from worker.settings import PlaygroundSettings

Serve = Callable[[Callable[[web.Request], Awaitable[web.StreamResponse]]], Awaitable[str]]
ServeRaw = Callable[[Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]], Awaitable[str]]

URL = "https://playground.example/some/deploy_solution"
EMAIL = "Ada@example.org"
NAMESPACE = "sudoku-tutorial-0f3c1f0e9b2d4c5a8e7f6a5b4c3d2e1f"
DASHBOARD = f"/dashboard?selected_deployment_id={NAMESPACE}"
FAILED = b"deploy solution failed with: "


def settings(url: str = URL, **more: Any) -> PlaygroundSettings:
    return PlaygroundSettings(deploy_url=url, **{"timeout_seconds": 5, **more})


async def submit(url: str, bundle: bytes = b"zip", **more: Any) -> DeploymentInfo:
    """Submit a bundle in a session of its own, as the worker does."""
    options = settings(f"{url}/deploy_solution", **more)
    async with playground_session(options) as session:
        return await PlaygroundClient(session, options).submit(bundle, EMAIL, "request-1", options.timeout_seconds)


@pytest.mark.parametrize(
    ("status", "headers", "body", "code", "error"),
    [
        (200, {}, b"/dashboard?selected_deployment_id=None", "playground-name-taken", PlaygroundRefused),
        (200, {}, b"", "playground-refused", PlaygroundRefused),
        (200, {}, b"<!doctype html><title>Log in</title>", "playground-refused", PlaygroundRefused),
        (200, {}, b"/dashboard?selected_deployment_id=", "playground-refused", PlaygroundRefused),
        (200, {}, b"/dashboard?selected_deployment_id=UPPER", "playground-refused", PlaygroundRefused),
        (200, {}, b"/dashboard?selected_deployment_id=a&x=1", "playground-refused", PlaygroundRefused),
        (200, {}, b"/dashboard?selected_deployment_id=a\n", "playground-refused", PlaygroundRefused),
        (200, {}, b"//evil/dashboard?selected_deployment_id=a", "playground-refused", PlaygroundRefused),
        (200, {}, f"{DASHBOARD}{'a' * 20}".encode(), "playground-refused", PlaygroundRefused),
        (200, {}, b"\xff\xfe", "playground-refused", PlaygroundRefused),
        (201, {}, DASHBOARD.encode(), "playground-refused", PlaygroundRefused),
        (204, {}, b"", "playground-refused", PlaygroundRefused),
        (301, {"Location": "/x"}, b"", "playground-redirected", PlaygroundRefused),
        (302, {"Location": "/"}, b"", "playground-redirected", PlaygroundRefused),
        (308, {"Location": "/"}, DASHBOARD.encode(), "playground-redirected", PlaygroundRefused),
        (400, {}, b"no", "playground-refused", PlaygroundRefused),
        (401, {}, b"Not allowed for your domain: 10.0.0.1", "playground-unauthorized", Unavailable),
        (403, {}, b"", "playground-unauthorized", Unavailable),
        (404, {}, b"", "playground-refused", PlaygroundRefused),
        (413, {}, b"", "playground-refused", PlaygroundRefused),
        (429, {}, b"", "playground-busy", Unavailable),
        (500, {}, FAILED + b"exit status 1", "deployment-failed", PlaygroundRefused),
        (500, {}, b"Internal Server Error", "outcome-unknown", OutcomeUnknown),
        (500, {"Retry-After": "5"}, b"", "outcome-unknown", OutcomeUnknown),
        (502, {}, FAILED, "outcome-unknown", OutcomeUnknown),
        (503, {"retry-after": "5"}, b"", "playground-busy", Unavailable),
        (503, {}, b"", "outcome-unknown", OutcomeUnknown),
        (504, {"Retry-After": "5"}, b"", "outcome-unknown", OutcomeUnknown),
        (599, {}, b"", "outcome-unknown", OutcomeUnknown),
    ],
)
def test_what_an_answer_means(
    status: int, headers: dict[str, str], body: bytes, code: str, error: type[DeploymentError]
) -> None:
    """Every answer but success is an error of one kind, at the stage `submit`."""
    verdict = judge(status, headers, body, deploy_url=URL, username=EMAIL)
    assert isinstance(verdict, error)
    assert (code, "submit") == (verdict.code, verdict.stage)
    assert (status == 401) == (isinstance(verdict, Unavailable) and verdict.dependency_wide)


NOW = datetime(2026, 3, 1, 12, 0, 0, 500_000, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("9", 9.0),
        (" 0 ", 0.0),
        ("86400", 3600.0),
        ("Sun, 01 Mar 2026 12:00:09 GMT", 8.5),
        ("Sunday, 01-Mar-26 12:00:09 GMT", 8.5),
        ("Sun Mar  1 12:00:09 2026", 8.5),
        ("Sun, 01 Mar 2026 13:00:09 +0100", 8.5),
        ("Sun, 01 Mar 2026 11:00:00 GMT", 0.0),
        ("Mon, 02 Mar 2026 12:00:00 GMT", 3600.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 3600.0),
        ("Sun, 99 Mar 2026 12:00:09 GMT", None),
        ("Sun, 01 Mar 99999999999 12:00:09 GMT", None),
        ("soon", None),
        ("", None),
        ("-1", None),
        ("\u0663", None),
        ("1" * 5000, None),
        ("Sun, " * 5000, None),
    ],
)
def test_retry_after_is_a_number_or_a_date(value: str, seconds: float | None) -> None:
    """Retry-After is a number or any of RFC 9110's three dates, at least zero and at most an hour."""
    verdict = judge(429, {"Retry-After": value}, b"", deploy_url=URL, username=EMAIL, now=NOW)
    assert isinstance(verdict, Unavailable)
    assert seconds == verdict.retry_after


def test_what_is_too_large_is_told_its_size() -> None:
    """The error for a bundle that is too large has its size, which the user cannot know."""
    verdict = judge(413, {}, b"<html>", deploy_url=URL, username=EMAIL, bundle=bytes(1234))
    assert isinstance(verdict, PlaygroundRefused)
    assert "refused the bundle of 1234 bytes with status 413: a web page" in verdict.message


def test_what_is_cut_out_of_a_long_answer_is_no_half_of_a_name() -> None:
    """Shortening a long answer drops whole words, so no half of a user's name or a token remains."""
    for shift in range(40):
        text = b" " * (MAX_READ - len(FAILED) - shift) + EMAIL.encode() + b" " * 3 * MAX_READ + EMAIL.encode()
        body = FAILED + text + b" " * (MAX_READ - shift)
        verdict = judge(500, {}, body, deploy_url=URL, username=EMAIL)
        assert isinstance(verdict, PlaygroundRefused)
        assert not re.search("ada|exam|org", verdict.message.lower())


@pytest.mark.parametrize("namespace", [NAMESPACE, "a", "1-" + "a" * 61])
def test_success_names_the_deployment(namespace: str) -> None:
    """Only status 200 with the dashboard's path is success; the path replaces /deploy_solution."""
    body = f"/dashboard?selected_deployment_id={namespace}"
    expected = DeploymentInfo(id=namespace, url=f"https://playground.example/some{body}")
    assert expected == judge(200, {}, body.encode(), deploy_url=URL, username=EMAIL)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "no reason given."),
        (b"  one\r\n\ttwo\x00three\x1b[31m  ", "one two three [31m"),
        ("text \u202e mirrored".encode(), "text mirrored"),
        (b"\xff", "\N{REPLACEMENT CHARACTER}"),
        (b"Command '['python3', 'solutions/" + EMAIL.lower().encode().hex().encode() + b"/x']'", "solutions/(user)/x"),
        (b"for ada@EXAMPLE.org", "for (user)"),
        (b"GET /?user=Ada%40example.org HTTP", "/?user=(user) HTTP"),
        (b"bad token eyJhbGciOiJIUzUxMiJ9.eyJzdWIiOiJhZGEifQ.c2lnbmF0dXJl for it", "bad token [removed] for it"),
        (b"read 'PK\\x03\\x04\\x14' and more", "read '[removed]"),
        (b"<class 'KeyError'>", "a web page instead of a reason."),
    ],
)
def test_the_reason_is_clean(body: bytes, reason: str) -> None:
    """The server's reason becomes one printable line without the user's name, even in hexadecimal."""
    verdict = judge(500, {}, FAILED + body, deploy_url=URL, username=EMAIL)
    assert isinstance(verdict, PlaygroundRefused)
    assert reason in verdict.message
    assert verdict.message.isprintable()


@pytest.mark.parametrize("length", [16, 40, 90])
@pytest.mark.parametrize("start", [0, 1, 7, 8, 5000])
def test_what_the_reason_repeats_of_the_bundle_is_left_out(start: int, length: int) -> None:
    """Any 16 characters in a row of what was sent are removed from the reason."""
    bundle = sha512(b"bundle").digest() * 1000
    solution = base64.b64encode(bundle).decode()
    body = FAILED + f"cannot read '{solution[start : start + length]}', line 1".encode()
    verdict = judge(500, {}, body, deploy_url=URL, username=EMAIL, bundle=bundle)
    assert isinstance(verdict, PlaygroundRefused)
    assert "failed on the playground: cannot read '(bundle)', line 1" in verdict.message


@pytest.mark.parametrize("status", [400, 500])
def test_a_long_reason_keeps_its_beginning_and_its_end(status: int) -> None:
    """A long reason keeps its start, which shows what failed, and its end, which shows why."""
    body = FAILED + b"Command failed " + b"noise " * 10_000 + b"KeyError: 'hostname'"
    verdict = judge(status, {}, body, deploy_url=URL, username=EMAIL)
    assert isinstance(verdict, PlaygroundRefused)
    assert "Command failed" in verdict.message
    assert "KeyError: 'hostname'. Correct that" in verdict.message
    assert len(verdict.message) <= MAX_REASON + 100


@pytest.mark.parametrize("public", ["https://users.example", "https://users.example/"])
async def test_links_lead_where_users_find_the_playground(serve: Serve, public: str) -> None:
    """With a public URL, links contain nothing of the address that takes bundles."""

    async def deploy(_: web.Request) -> web.Response:
        return web.Response(text=DASHBOARD, content_type="text/html")

    deployment = await submit(await serve(deploy), b"bundle", public_url=public)
    assert DeploymentInfo(id=NAMESPACE, url=f"https://users.example{DASHBOARD}") == deployment


async def test_the_post_is_what_the_server_reads(serve: Serve) -> None:
    """The POST is JSON with the zip in base64, a Content-Length, and the request's id as Idempotency-Key."""
    seen: list[Any] = []
    bundle = bytes(range(256)) * 16 * 1024  # 4 MiB

    async def deploy(request: web.Request) -> web.Response:
        seen.extend([request.method, request.path, request.content_length, request.headers["Content-Type"]])
        seen.extend([request.headers["Idempotency-Key"], request.headers.get("Authorization"), await request.json()])
        return web.Response(text=DASHBOARD, content_type="text/html")

    url = await serve(deploy)
    deployment = await submit(url, bundle)
    assert DeploymentInfo(id=NAMESPACE, url=url + DASHBOARD) == deployment
    body = {"solution": base64.b64encode(bundle).decode(), "username": EMAIL}
    assert ["POST", "/deploy_solution"] == seen[:2]
    assert seen[2] > len(body["solution"])
    assert ["application/json", "request-1", None, body] == seen[3:]


async def test_redirects_are_not_followed(serve: Serve) -> None:
    """A 302 fails the request, because following it would reach the login page with status 200."""
    paths: list[str] = []

    async def redirect(request: web.Request) -> web.Response:
        paths.append(request.path)
        await request.read()
        raise web.HTTPFound("/")

    with pytest.raises(PlaygroundRefused) as caught:
        await submit(await serve(redirect))
    assert "playground-redirected" in caught.value.code
    assert ["/deploy_solution"] == paths


async def test_every_post_has_its_own_connection(serve: Serve) -> None:
    """Every POST has a connection of its own, so none can prove to be closed after bytes were sent."""
    ports: list[int] = []

    async def deploy(request: web.Request) -> web.Response:
        await request.read()
        assert request.transport is not None
        ports.append(request.transport.get_extra_info("peername")[1])
        return web.Response(text=DASHBOARD)

    options = settings(f"{await serve(deploy)}/deploy_solution")
    async with playground_session(options) as session:
        client = PlaygroundClient(session, options)
        for _ in range(3):
            await client.submit(b"zip", EMAIL, "request-1", 5)
    assert 3 == len(set(ports))


async def test_cookies_are_not_carried_over(serve: Serve) -> None:
    """A cookie that the server sets for one user is never sent for the next."""
    cookies: list[str | None] = []

    async def deploy(request: web.Request) -> web.Response:
        await request.read()
        cookies.append(request.headers.get("Cookie"))
        return web.Response(text=DASHBOARD, headers={"Set-Cookie": "session=ada"})

    options = settings(f"{(await serve(deploy)).replace('127.0.0.1', 'localhost')}/deploy_solution")
    async with playground_session(options) as session:
        client = PlaygroundClient(session, options)
        for _ in range(2):
            await client.submit(b"zip", EMAIL, "request-1", 5)
    assert [None, None] == cookies


async def test_refused_connection() -> None:
    """A refused connection is retryable, because nothing was sent."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(Unavailable) as caught:
            await submit(f"http://127.0.0.1:{unused.getsockname()[1]}")
    assert ("playground-unavailable", "submit", True, True) == (
        caught.value.code,
        caught.value.stage,
        caught.value.retryable,
        caught.value.dependency_wide,
    )


@pytest.mark.parametrize(
    ("status", "cause"),
    [
        (None, "ClientConnectorError: Connect call failed"),
        (403, "status 403"),
        (502, "status 502"),
        (500, "status 500"),
    ],
)
async def test_the_log_is_told_whom_it_asked_and_what_came(serve: Serve, status: int | None, cause: str) -> None:
    """The log has the server without the path, a secret in the sandbox, and the cause; the status has neither."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status or 200, text="deploy solution failed with: it")

    url = await serve(answer) if status else f"http://127.0.0.1:{unused_port()}"
    with pytest.raises(DeploymentError) as caught:
        await submit(f"{url}/secret-path")
    assert url == caught.value.url
    assert caught.value.cause.startswith(cause)
    assert "secret-path" not in repr(caught.value.log_fields())
    assert {"code", "message", "stage", "retryable"} == caught.value.info().model_dump().keys()


class NoName(AbstractResolver):
    """A resolver that knows no host."""

    async def resolve(self, host: str, port: int = 0, family: int = socket.AF_INET) -> list[ResolveResult]:
        raise OSError(None, "no such host")

    async def close(self) -> None: ...


async def test_unknown_host() -> None:
    """An unknown host is retryable, because nothing was sent."""
    options = settings("http://playground.example/deploy_solution")
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(resolver=NoName())) as session:
        with pytest.raises(Unavailable, match="cannot be reached"):
            await PlaygroundClient(session, options).submit(b"zip", EMAIL, "request-1", 5)


async def test_tls_with_a_server_that_speaks_none(serve: Serve) -> None:
    """A handshake that fails before the body is retryable, because nothing was sent."""

    async def deploy(_: web.Request) -> web.Response:
        return web.Response(text=DASHBOARD)

    url = (await serve(deploy)).replace("http:", "https:")
    with pytest.raises(Unavailable) as caught:
        await submit(url)
    assert ("playground-unavailable", True) == (caught.value.code, caught.value.dependency_wide)


async def test_time_out_while_connecting(serve_raw: ServeRaw) -> None:
    """A handshake that is never answered hits the shorter limit and is retryable, because no body was sent."""

    async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    with pytest.raises(Unavailable) as caught:
        await submit(f"https://{await serve_raw(silent)}", timeout_seconds=0.3)
    assert ("playground-unavailable", True) == (caught.value.code, caught.value.dependency_wide)


async def test_time_out_after_the_body_was_sent(serve_raw: ServeRaw) -> None:
    """A server that reads the body and never answers may have deployed, so the outcome is unknown."""

    async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    with pytest.raises(OutcomeUnknown):
        await submit(f"http://{await serve_raw(silent)}", timeout_seconds=1)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"", id="closed without an answer"),
        pytest.param(b"HTTP/1.1 200 O", id="broken off in the status line"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n/dashboard", id="broken off in the body"),
        pytest.param(b"HTTP/1.1 500 No\r\nContent-Length: 99\r\n\r\ndeploy solution failed", id="500 broken off"),
        pytest.param(b"what?\r\n\r\n", id="no HTTP"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc", id="bad gzip"),
    ],
)
async def test_an_answer_that_tells_nothing(serve_raw: ServeRaw, answer: bytes) -> None:
    """An unreadable answer to a complete request leaves the outcome unknown."""

    async def break_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"request-1")
        await reader.readuntil(b'org"}')
        writer.write(answer)
        await writer.drain()

    with pytest.raises(OutcomeUnknown):
        await submit(f"http://{await serve_raw(break_off)}")


async def test_a_reset_while_the_body_is_sent(serve_raw: ServeRaw) -> None:
    """A connection that breaks while the body is sent leaves the outcome unknown."""

    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1024)
        writer.transport.abort()

    with pytest.raises(OutcomeUnknown):
        await submit(f"http://{await serve_raw(reset)}", bytes(16 * 1024 * 1024))


async def test_a_refusal_counts_though_its_body_breaks_off(serve_raw: ServeRaw) -> None:
    """If the status alone decides, a truncated body does not matter."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b'org"}')
        writer.write(b"HTTP/1.1 401 No\r\nContent-Length: 99\r\n\r\nNot allowed")
        await writer.drain()

    with pytest.raises(Unavailable) as caught:
        await submit(f"http://{await serve_raw(refuse)}")
    assert "playground-unauthorized" in caught.value.code


async def test_an_endless_answer_is_cut_off(serve: Serve) -> None:
    """An endless answer is cut off at the limit, and a failed script is recognized by its first words."""

    written = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal written
        await request.read()
        response = web.StreamResponse(status=500)
        await response.prepare(request)
        await response.write(FAILED)
        for _ in range(64):
            await response.write(b"x" * MAX_ANSWER)
            written += 1
        return response

    with pytest.raises(PlaygroundRefused, match="script failed"):
        await submit(await serve(endless))
    assert written < 48  # what fits into the buffers in between


async def test_cancelling_is_not_swallowed(serve: Serve) -> None:
    """Cancelling the task cancels the POST and raises CancelledError."""
    arrived = asyncio.Event()

    async def hang(request: web.Request) -> web.Response:
        await request.read()
        arrived.set()
        await asyncio.Event().wait()
        raise AssertionError

    task = asyncio.create_task(submit(await serve(hang)))
    await arrived.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_bad_ca_file_stops_the_start(tmp_path: Path, content: str | None) -> None:
    """An unusable CA file stops the start, and the error names the variable."""
    ca_file = tmp_path / "ca.pem"
    if content:
        ca_file.write_text(content)

    async def start() -> None:
        async with playground_session(settings(ca_file=ca_file)):
            raise AssertionError

    with pytest.raises(ConfigurationError, match=r"^DEPLOYER_PLAYGROUND__CA_FILE: "):
        asyncio.run(start())


async def test_a_bad_url_stops_the_start() -> None:
    """An unusable URL stops the start, and the error names the variable."""
    options = settings("https://playground:port/deploy_solution")
    async with playground_session(options) as session:
        with pytest.raises(ConfigurationError, match=r"^DEPLOYER_PLAYGROUND__DEPLOY_URL: "):
            PlaygroundClient(session, options)


@pytest.mark.skipif(not shutil.which("openssl"), reason="needs openssl to make a certificate")
async def test_the_ca_file_is_what_is_trusted(tmp_path: Path) -> None:
    """A self-signed server is rejected before the body is sent, and accepted with its certificate as CA_FILE."""
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    process = await asyncio.create_subprocess_exec(
        *made, *subject, "-keyout", key, "-out", certificate, stderr=asyncio.subprocess.DEVNULL
    )
    assert 0 == await process.wait()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    posts = 0

    async def deploy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal posts
        await reader.readuntil(b'org"}')
        posts += 1
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(DASHBOARD)}\r\n\r\n{DASHBOARD}".encode())
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(deploy, "localhost", 0, ssl=context, family=socket.AF_INET) as server:
        url = f"https://localhost:{server.sockets[0].getsockname()[1]}"
        with pytest.raises(Unavailable, match="certificate"):
            await submit(url)
        assert 0 == posts
        assert NAMESPACE in (await submit(url, ca_file=certificate)).id


@pytest.mark.parametrize("status", [200, 302, 400, 401, 500, 502])
async def test_errors_show_neither_user_nor_bundle(serve: Serve, status: int) -> None:
    """Message, repr and traceback contain neither the e-mail address nor the zip, though the server repeats both."""

    async def echo(request: web.Request) -> web.Response:
        given = await request.json()
        return web.Response(status=status, text=f"deploy solution failed with: {given['username']}")

    with pytest.raises(DeploymentError) as caught:
        await submit(await serve(echo), b"canary" * 10)
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value) + repr(caught.value.info())
    for hidden in (EMAIL, EMAIL.lower(), base64.b64encode(b"canary").decode()):
        assert hidden not in shown
