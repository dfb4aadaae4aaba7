"""The session cookie: who it lets in, until when, and what it says to browsers."""

from types import SimpleNamespace
from typing import Any

import jwt
import pytest
from aiohttp import web
from pydantic import SecretStr

from worker.gateway.sessions import MAX_MADE, Made, Session, Sessions
from worker.settings import GatewaySettings

KEY = "k" * 32
SESSION = Session("user-1", "ada@example.org", 1_000)


def sessions(url: str = "https://gateway.example", now: float = 900, key: str = KEY) -> Sessions:
    return Sessions(GatewaySettings(session_key=SecretStr(key), public_url=url), lambda: now)


def written(writer: Sessions, session: Session = SESSION) -> Any:
    response = web.Response()
    writer.write(response, session)
    (cookie,) = response.cookies.values()
    return cookie


def read(reader: Sessions, value: str) -> Session | None:
    return reader.read(SimpleNamespace(cookies={reader.name: value}))  # type: ignore[arg-type]


def test_what_is_written_is_read() -> None:
    """With everything that it holds."""
    session = SESSION.with_made(Made("r-1", 2, 7, "solution", "revision"))
    assert session == read(sessions(), written(sessions(), session).value)


@pytest.mark.parametrize(("now", "counts"), [(999, True), (1_000, False), (5_000, False)])
def test_it_ends_with_its_token(now: float, counts: bool) -> None:
    """Whatever the browser keeps."""
    assert counts == (read(sessions(now=now), written(sessions()).value) is not None)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "nonsense",
        jwt.encode({"aud": "playground-deployer-gateway", "sub": "u", "exp": 2_000}, KEY),  # of another shape
        jwt.encode({"aud": "another", "sub": "u", "email": "", "exp": 2_000, "admin": True, "made": []}, KEY),
        jwt.encode({"sub": "u", "email": "", "exp": 2_000, "admin": True, "made": []}, KEY),
        jwt.encode({"aud": "playground-deployer-gateway", "sub": "u", "exp": 2_000, "made": []}, "z" * 32),
        jwt.encode({"aud": "playground-deployer-gateway", "sub": "u", "exp": 2_000}, "", algorithm="none"),
    ],
)
def test_what_the_gateway_has_not_written_is_no_session(value: str) -> None:
    """Other keys, other purposes, no signature."""
    assert read(sessions(), value) is None


@pytest.mark.parametrize(
    ("url", "name", "path", "secure"),
    [
        ("https://gateway.example", "__Host-playground", "/", True),
        ("https://portal.example/playground", "playground-session", "/playground/", True),
        ("http://localhost:8081", "playground-session", "/", False),
    ],
)
def test_browsers_send_it_nowhere_else(url: str, name: str, path: str, secure: bool) -> None:
    """Neither to other paths and sites, nor to scripts, nor in the clear where the gateway is reached by TLS."""
    cookie = written(sessions(url))
    assert (name, path, secure, True, "Lax", "100") == (
        cookie.key,
        cookie["path"],
        bool(cookie["secure"]),
        bool(cookie["httponly"]),
        cookie["samesite"],
        str(cookie["max-age"]),
    )


def test_it_stays_small() -> None:
    """It knows the newest requests that it made, and each once."""
    session = SESSION
    for number in range(3 * MAX_MADE):
        session = session.with_made(Made(f"r-{number // 2}", 0, number, "s" * 36, "r" * 36))
    assert MAX_MADE == len(session.made)
    assert session.has_made("r-7") == session.made[0]
    assert session.has_made("r-0") is None
    assert len(written(sessions(), session).value) < 2_000
