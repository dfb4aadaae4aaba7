"""The session cookie: whom it admits, until when, and which attributes browsers see."""

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
    """A session is read as it was written, with everything that it holds."""
    session = SESSION.with_made(Made("r-1", 2, 7, "solution", "revision"))
    assert session == read(sessions(), written(sessions(), session).value)


@pytest.mark.parametrize(("now", "counts"), [(999, True), (1_000, False), (5_000, False)])
def test_it_ends_with_its_token(now: float, counts: bool) -> None:
    """A session expires with its token, even if the browser keeps the cookie."""
    assert counts == (read(sessions(now=now), written(sessions()).value) is not None)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "nonsense",
        jwt.encode({"aud": "playground-deployer-gateway", "sub": "u", "exp": 2_000}, KEY),  # without all of its claims
        jwt.encode({"aud": "another", "sub": "u", "email": "", "exp": 2_000, "admin": True, "made": []}, KEY),
        jwt.encode({"sub": "u", "email": "", "exp": 2_000, "admin": True, "made": []}, KEY),
        jwt.encode({"aud": "playground-deployer-gateway", "sub": "u", "exp": 2_000, "made": []}, "z" * 32),
        jwt.encode({"aud": "playground-deployer-gateway", "sub": "u", "exp": 2_000}, "", algorithm="none"),
    ],
)
def test_what_the_gateway_has_not_written_is_no_session(value: str) -> None:
    """A cookie with another key, another purpose or no signature is not a session."""
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
    """Browsers send the cookie to no other path or site, and hide it from scripts.

    Where the gateway is reached by TLS, the cookie is never sent in the clear.
    """
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
    """The cookie stays small: it keeps only the newest requests made in the session, each once."""
    session = SESSION
    for number in range(3 * MAX_MADE):
        session = session.with_made(Made(f"r-{number // 2}", 0, number, "s" * 36, "r" * 36))
    assert MAX_MADE == len(session.made)
    assert session.has_made("r-7") == session.made[0]
    assert session.has_made("r-0") is None
    assert len(written(sessions(), session).value) < 2_000
