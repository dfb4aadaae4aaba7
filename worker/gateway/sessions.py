"""The session cookie: who is looking, signed by the gateway. It never holds Graphene's token.

That one has the user's API token in it, and a cookie is sent with everything. A session only reads, and acts only on
requests that exist, from pages of the gateway's own.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

import jwt
from aiohttp import web

from worker.settings import GatewaySettings

MAX_MADE = 5
_AUDIENCE = "playground-deployer-gateway"
_ALGORITHM = "HS256"


@dataclass(frozen=True, slots=True)
class Made:
    """A request that this session has published; its statuses may be missing yet, or have the id of its place."""

    request_id: str
    partition: int
    offset: int
    solution_id: str
    revision_id: str


@dataclass(frozen=True, slots=True)
class Session:
    """Who is looking, until when."""

    user_id: str
    email: str
    expires: int  # unix seconds: when the token does
    is_admin: bool = False
    made: tuple[Made, ...] = ()

    def has_made(self, request_id: str) -> Made | None:
        """Return the request of this id, if this session has published it."""
        return next((it for it in self.made if it.request_id == request_id), None)

    def with_made(self, made: Made) -> "Session":
        """Return it with one more request, without the oldest one."""
        others = tuple(it for it in self.made if it.request_id != made.request_id)
        return replace(self, made=(made, *others)[:MAX_MADE])


class Sessions:
    """Writes and reads the cookie."""

    def __init__(self, settings: GatewaySettings, clock: Callable[[], float]) -> None:
        """`clock` gives unix seconds."""
        self._key = settings.session_key.get_secret_value()
        self._clock = clock
        url = urlsplit(settings.public_url)
        self._path = url.path.rstrip("/") + "/"
        self._is_secure = url.scheme == "https"
        # __Host- keeps other hosts of the domain from setting it; it demands the path /.
        self.name = "__Host-playground" if self._is_secure and self._path == "/" else "playground-session"

    def read(self, request: web.BaseRequest) -> Session | None:
        """Return the session of a request; None when it has none that counts."""
        try:
            claims = jwt.decode(
                request.cookies.get(self.name, ""),
                self._key,
                algorithms=[_ALGORITHM],
                audience=_AUDIENCE,
                options={"require": ["exp", "sub"], "verify_exp": False},
            )
            session = _session(claims)
        except (jwt.InvalidTokenError, KeyError, TypeError, ValueError):
            return None
        return None if self.has_expired(session) else session

    def has_expired(self, session: Session) -> bool:
        """Tell whether its time is over. A stream that was opened before ends then, too."""
        return self._clock() >= session.expires

    def write(self, response: web.StreamResponse, session: Session) -> None:
        """Set the cookie; it ends with the token that the session came from."""
        claims = {
            "aud": _AUDIENCE,
            "sub": session.user_id,
            "email": session.email,
            "exp": session.expires,
            "admin": session.is_admin,
            "made": [[it.request_id, it.partition, it.offset, it.solution_id, it.revision_id] for it in session.made],
        }
        response.set_cookie(
            self.name,
            jwt.encode(claims, self._key, algorithm=_ALGORITHM),
            max_age=max(0, session.expires - int(self._clock())),
            path=self._path,
            secure=self._is_secure,
            httponly=True,
            samesite="Lax",
        )

    def end(self, response: web.StreamResponse) -> None:
        """Delete the cookie."""
        response.del_cookie(self.name, path=self._path, secure=self._is_secure, httponly=True, samesite="Lax")


def _session(claims: dict[str, Any]) -> Session:
    made = tuple(Made(str(i), int(p), int(o), str(s), str(r)) for i, p, o, s, r in claims["made"])
    return Session(claims["sub"], str(claims["email"]), int(claims["exp"]), claims["admin"] is True, made[:MAX_MADE])
