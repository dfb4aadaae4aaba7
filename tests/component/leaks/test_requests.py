"""Requests with every outcome, through the real adapters: log, statuses, and the intermediate errors."""

import asyncio
import base64
import gc
import json
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jwt
import pytest

from tests.component.leaks import canaries
from tests.component.leaks.canaries import USER, Watch, token
from tests.component.leaks.world import MODEL, PIPELINE, TOLD, Echo, World, mirror, open_world, request
from worker.domain.request import Record
from worker.domain.tokens import jjwt_key
from worker.observability.logs import Format
from worker.sandbox.graphene import CCDS_PATH, NEXUS_PATH
from worker.sandbox.http_server import HANG, RESET, Fault
from worker.sandbox.playground import ANY_USER
from worker.sandbox.users import STRANGER

IDS = {"solutionId": str(PIPELINE.solution_id), "revisionId": str(PIPELINE.revision_id)}


@pytest.fixture(params=["json", "console"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    """A world for each format of the log."""
    async with open_world(tmp_path, request.param) as opened:
        yield opened


def altered(given: str, part: int, change: Callable[[str], str]) -> str:
    """Return the token with one part changed."""
    parts = given.split(".")
    parts[part] = change(parts[part])
    return ".".join(parts)


def with_claims(change: Callable[[dict[str, Any]], object]) -> str:
    """Return a token with changed claims and a valid signature."""
    claims = jwt.decode(token(), options={"verify_signature": False})
    change(claims)
    return jwt.encode(claims, jjwt_key(canaries.JWT_SECRET), algorithm="HS512")


LONG = f"{USER.email}{'x' * 300}"
TOKENS: dict[str, Callable[[], str]] = {
    "good": token,
    "expired": lambda: token(lifetime=timedelta(hours=-1)),
    "signed with another secret": lambda: token(secret="another-secret-" * 8),
    "signed with another algorithm": lambda: token(algorithm="HS256"),
    "cut in its payload": lambda: token()[:400],
    "cut in its signature": lambda: token()[:-5],
    "without a signature": lambda: altered(token(), 2, lambda _: ""),
    "padded": lambda: f"{token()}==",
    "payload is no JSON": lambda: altered(token(), 1, lambda it: it[:-8]),
    "four parts": lambda: f"{token()}.{canaries.TOKEN.split('.')[1]}",
    "too long": lambda: token() * 20,
    "two of them": lambda: f"{token()} {token()}",
    "without mlpuser": lambda: with_claims(lambda it: it.pop("mlpuser")),
    "mlpuser is a text": lambda: with_claims(lambda it: it.update(mlpuser=USER.email)),
    "userId is a list": lambda: with_claims(lambda it: it["mlpuser"].update(userId=[USER.email, USER.user_id])),
    "email is too long": lambda: with_claims(lambda it: it["mlpuser"].update(email=LONG)),
    "email is not printable": lambda: with_claims(lambda it: it["mlpuser"].update(email=f"{USER.email}\n")),
    "exp is a text": lambda: with_claims(lambda it: it.update(exp=USER.email)),
    "nbf in the future": lambda: with_claims(lambda it: it.update(nbf=it["exp"] + 9)),
    "without exp": lambda: with_claims(lambda it: it.pop("exp")),
    "of another user": lambda: token(user=STRANGER),
}


def bare(value: Any, *headers: tuple[str, bytes], **more: Any) -> Record:
    return request(value=value, headers=headers, **more)


RECORDS: dict[str, Callable[[], Record]] = {
    "the token alone": lambda: bare(token().encode()),
    "JSON that breaks off": lambda: bare(json.dumps(IDS | {"jwtToken": token()}).encode()[:-9]),
    "doubled token": lambda: bare(f'{{"jwtToken": "{token()}", "jwtToken": "{token()}"}}'.encode()),
    "not UTF-8": lambda: bare(token().encode() + b"\xff"),
    "a list": lambda: bare([token()]),
    "token as an object": lambda: bare(IDS | {"jwtToken": {"value": token()}}),
    "token as a list": lambda: bare(IDS | {"jwtToken": [token()]}),
    "token under another name": lambda: bare(IDS | {"token": token(), "accessToken": token()}),
    "token twice": lambda: request(value=IDS | {"jwtToken": token()}),
    "token in place of an id": lambda: request(value={"solutionId": token(), "revisionId": token()}),
    "token as request id": lambda: request(value=IDS | {"requestId": token()}),
    "token as replayOf": lambda: request(value=IDS | {"replayOf": token()}),
    "token as record key": lambda: request(key=token().encode()),
    "token as CloudEvents id": lambda: bare(IDS, ("ce_id", token().encode()), ("authorization", token().encode())),
    "token as CloudEvents type": lambda: bare(IDS, ("ce_type", token().encode()), ("authorization", token().encode())),
    "token as traceparent": lambda: bare(IDS, ("traceparent", token().encode()), ("authorization", token().encode())),
    "structured event with the token beside its data": lambda: bare(
        {"specversion": "1.0", "id": token(), "type": token(), "data": token(), "jwtToken": token()}
    ),
    "token in the body": lambda: bare(IDS | {"jwtToken": f"Bearer {token()}"}),
    "single model": lambda: request(stored=MODEL),
}

CCDS = {
    "solution": f"{CCDS_PATH}/solution/{PIPELINE.solution_id}",
    "revision": f"{CCDS_PATH}/solution/{PIPELINE.solution_id}/revision",
    "artifacts": f"{CCDS_PATH}/revision/{PIPELINE.revision_id}/artifact",
    "access": f"{CCDS_PATH}/access",
    "icon": f"{CCDS_PATH}/solution/{PIPELINE.solution_id}/pic",
    "catalogs": f"{CCDS_PATH}/catalog",
    "description": f"{CCDS_PATH}/revision/{PIPELINE.revision_id}/catalog",
}
NEXUS = {"files": NEXUS_PATH, "protobuf": next(f"{NEXUS_PATH}/{uri}" for uri in PIPELINE.files if "proto" in uri)}
FAILED = "deploy solution failed with: "
FAULTS: dict[str, Fault] = {
    "says 401": Echo(401),
    "says 403": Echo(403),
    "says 404": Echo(404),
    "says 500": Echo(500),
    "says 200": Echo(200),
    "redirects": Fault(302, canaries.TOKEN, {"Location": f"http://x:{canaries.CCDS_PASSWORD[:12]}@127.0.0.1/"}),
    "resets": RESET,
}


async def check(watch: Watch, world: World, path: str, one: Record, code: str | None = "any") -> None:
    """Send one record and check that its output shows no secret; `code` is the expected error code."""
    await world.handle(one)
    error = world.last.get("error")
    assert world.last["state"] in ("deployed", "rejected", "failed", "parked")
    assert code == "any" or code == (error and error["code"])
    assert ("request parked" if world.last["state"] == "parked" else "request ended") in world.log.getvalue()
    assert "process requests" in [span.name for span in world.spans.get_finished_spans()]
    watch.check(f"request: {path} ({world.settings.runtime.log_format})", *world.written)
    world.forget()


async def test_tokens(world: World, watch: Watch) -> None:
    """For a valid token and every kind of invalid token, neither the token nor its claims are shown."""
    for name, make in TOKENS.items():
        await check(watch, world, f"token, {name}", request(make()))


async def test_records(world: World, watch: Watch) -> None:
    """A token in any position of a record, right or wrong, is not shown."""
    for name, make in RECORDS.items():
        await check(watch, world, f"record, {name}", make())


@pytest.mark.parametrize("dependency", ["CCDS", "Nexus"])
async def test_dependencies_that_repeat_the_login(dependency: str, world: World, watch: Watch) -> None:
    """When CCDS and Nexus answer every call with the received credentials, or not at all, no credentials are shown."""
    places = CCDS if dependency == "CCDS" else NEXUS
    for place, path in places.items():
        for name, fault in FAULTS.items():
            world.graphene.faults[path] = fault
            world.ages.too_old()
            await check(watch, world, f"{dependency} {name} for {place}", request())
            assert not isinstance(fault, Echo) or f"Basic credentials of {dependency}" in watch.found(TOLD[0])
    for place in list(places)[:1]:
        world.graphene.faults[places[place]] = HANG
        world.ages.too_old()
        await check(
            watch, world, f"{dependency} hangs", request(), f"{'catalog' if places is CCDS else 'artifacts'}-timeout"
        )


async def sent(world: World) -> str:
    """Return the bundle in base64, as the playground receives it."""
    _, bundle = await world.builder.build(PIPELINE.solution_id, PIPELINE.revision_id, None)
    return base64.b64encode(bundle.data).decode()


def answers(zip64: str) -> dict[str, Fault]:
    """Return answers of a playground that contain too much."""
    raw, email = base64.b64decode(zip64), USER.email
    reasons = {
        "user": f"no home for {email}, {email.upper()}, {email.encode().hex()}, {quote(email)}",
        "user in a URL": f"GET /?user={quote(email, safe='')}&hex={email.lower().encode().hex().upper()}",
        "mailbox": f"user {email.partition('@')[0]} has no quota",
        "token": f"invalid token {canaries.TOKEN}, payload {canaries.TOKEN.split('.')[1]}",
        "token in the middle of much text": f"{'much text ' * 14}{canaries.TOKEN}{' much text' * 30}",
        "token cut": canaries.TOKEN[:300],
        "zip": f"cannot read {zip64}",
        "zip in the middle of much text": f"{'much text ' * 14}{zip64}{' much text' * 30}",
        "piece of the zip": f"Invalid base64: ...{zip64[1003:1063]}... at 1003",
        "pieces of the zip": " ".join(zip64[at : at + 24] for at in range(5, 600, 37)),
        "zip as bytes": f"cannot read {raw[:200]!r}",
        "zip as it is": raw[:400].decode(errors="replace"),
        "POST as JSON": json.dumps({"solution": zip64, "username": email}),
        "POST as a repr": repr({"solution": zip64[:90], "username": email}),
        "POST as bytes": repr(json.dumps({"solution": zip64, "username": email}).encode()),
        "POST's beginning": json.dumps({"solution": zip64})[:120],
    }
    answers = {f"fails, {name}": Fault(500, f"{FAILED}{reason}") for name, reason in reasons.items()}
    answers |= {f"refuses, {name}": Fault(400, reason) for name, reason in reasons.items()}
    answers |= {f"is content, {name}": Fault(200, reason) for name, reason in reasons.items()}
    return answers | FAULTS | {"fails, echo": Echo(500, FAILED), "is busy": Echo(429), "is down": Echo(503)}


async def test_playgrounds_that_repeat_the_post(world: World, watch: Watch) -> None:
    """When the playground answers with all or part of the POST, with the user or with a token, none of it is shown."""
    for name, fault in (answers(await sent(world)) | {"hangs": HANG}).items():
        world.forget()
        watch.learn_zip(base64.b64decode(await sent(world)))
        world.playground.faults[ANY_USER] = fault
        await check(watch, world, f"playground {name}", request())
        assert not isinstance(fault, Echo) or {"zip in base64", "claim email"} <= watch.found(TOLD[0])


# What a server sends after it has read a request's head; {} is the head on one line.
WIRE: dict[str, str] = {
    "no HTTP": "{}\r\n\r\n",
    "status line": "HTTP/1.1 {}\r\n\r\n",
    "reason": "HTTP/1.1 500 {}\r\nContent-Length: 0\r\n\r\n",
    "header without a colon": "HTTP/1.1 200 OK\r\n{}\r\n\r\n",
    "header's value": "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
    "header too long": "HTTP/1.1 200 OK\r\nX-Echo: " + 40 * "{} " + "\r\nContent-Length: 0\r\n\r\n",
    "chunk size": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{}\r\n\r\n",
    "bad gzip": "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 9\r\n\r\n{}",
    "unknown encoding": "HTTP/1.1 200 OK\r\nContent-Encoding: {}\r\nContent-Length: 2\r\n\r\n{{}}",
    "content type": "HTTP/1.1 200 OK\r\nContent-Type: {}\r\nContent-Length: 2\r\n\r\n{{}}",
    "cookie": "HTTP/1.1 200 OK\r\nSet-Cookie: {}\r\nContent-Length: 2\r\n\r\n{{}}",
    "location": "HTTP/1.1 302 Found\r\nLocation: {}\r\nContent-Length: 0\r\n\r\n",
    "body broken off": "HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n{}",
}


@pytest.mark.parametrize("dependency", ["ccds", "nexus", "playground"])
async def test_answers_that_are_no_http(dependency: str, tmp_path: Path, watch: Watch) -> None:
    """The HTTP parser's errors quote what they could not read, here the request itself, but none of it is shown."""
    for name, answer in WIRE.items():
        formats: tuple[Format, ...] = ("json", "console")
        for log_format in formats:
            async with mirror(answer) as url, open_world(tmp_path, log_format, **{dependency: url}) as world:
                await world.handle(request())
                assert "deployed" != world.last["state"] or dependency == "ccds"
                watch.check(f"wire: {dependency}, {name} ({log_format})", *world.written)


@pytest.mark.parametrize("dependency", ["ccds", "nexus", "playground"])
async def test_nobody_answers(dependency: str, tmp_path: Path, watch: Watch) -> None:
    """A refused connection, an unknown host, and a server without TLS where TLS is expected show no secret."""
    for name, url in {
        "refused": "http://127.0.0.1:1",
        "unknown host": "http://a.invalid",
        "no TLS": "https://",
    }.items():
        async with mirror("HTTP/1.1 200 OK\r\n\r\n") as plain:
            address = plain.replace("http://", url) if url == "https://" else url
            async with open_world(tmp_path, "json", **{dependency: address}) as world:
                await world.handle(request())
                assert "failed" == world.last["state"]
                watch.check(f"wire: {dependency}, {name}", *world.written)


def defect(*words: str) -> Exception:
    """Return an unexpected error whose text contains everything that the worker knows."""
    error = KeyError(canaries.TOKEN, *words)
    error.__cause__ = ValueError(
        f"{canaries.CCDS_PASSWORD} {canaries.SASL_PASSWORD} {canaries.JWT_SECRET}", canaries.ZIP
    )
    error.add_note(f"Authorization: Basic {canaries.VALUES['Basic credentials of Nexus']}")
    return error


PORTS = {
    "tokens": "authenticate",
    "catalog": "find",
    "artifacts": "fetch",
    "submitter": "submit",
}


@pytest.mark.parametrize("port", PORTS)
async def test_defects(port: str, world: World, watch: Watch) -> None:
    """An unexpected error is logged with its traceback, and its request fails as `internal`, without any detail."""
    given = token()
    # Before a token is verified, it is recognised by its form alone.
    verified = () if port == "tokens" else (*given.split("."), USER.email, USER.user_id)

    async def fail(*_: Any, **__: Any) -> Any:
        raise defect(given, *verified)

    setattr(getattr(world, port), PORTS[port], fail)
    await world.handle(request(given))
    assert "internal" == world.last["error"]["code"]
    assert "KeyError" in world.log.getvalue()
    watch.check(f"defect: {port} ({world.settings.runtime.log_format})", *world.written)


async def test_asyncio_in_debug_mode(world: World, watch: Watch) -> None:
    """asyncio's debug mode reports each slow step with its tasks, futures and results, and shows no secret."""
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    loop.slow_callback_duration = 0.0
    for one in (request(), request(stored=MODEL), request(token(secret="another-secret-" * 8))):
        await world.handle(one)
    loop.set_debug(False)
    assert "took" in world.log.getvalue()
    watch.check(f"asyncio: slow steps ({world.settings.runtime.log_format})", *world.written)


async def test_exceptions_that_nobody_retrieves(world: World, watch: Watch) -> None:
    """Exceptions that asyncio logs when their task is collected, with the repr of both, show no secret.

    By then the secrets of the request alone are forgotten; a token is recognised by its form.
    """

    async def fail() -> None:
        raise defect()

    task = asyncio.create_task(fail())
    await asyncio.wait([task])
    del task
    gc.collect()
    assert "never retrieved" in world.log.getvalue()
    watch.check(f"asyncio: exceptions that nobody retrieves ({world.settings.runtime.log_format})", *world.written)
