"""The session cookie: the signed-in user, signed by the gateway. The cookie never contains Graphene's token.

Graphene's token contains the user's API token, and browsers send a cookie with every request. A session can only read,
and act on existing requests from the gateway's own pages.
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
    """A request that this session has published. It may have no status yet, or only statuses under its record id."""

    request_id: str
    partition: int
    offset: int
    solution_id: str
    revision_id: str


@dataclass(frozen=True, slots=True)
class Session:
    """The signed-in user, and when the session expires."""

    user_id: str
    email: str
    expires: int  # unix seconds: when the token expires
    is_admin: bool = False
    made: tuple[Made, ...] = ()

    def has_made(self, request_id: str) -> Made | None:
        """Return the request with this id if this session has published it."""
        return next((it for it in self.made if it.request_id == request_id), None)

    def with_made(self, made: Made) -> "Session":
        """Return the session with this request as its newest. At most MAX_MADE requests are kept."""
        others = tuple(it for it in self.made if it.request_id != made.request_id)
        return replace(self, made=(made, *others)[:MAX_MADE])


class Sessions:
    """Writes and reads the session cookie."""

    def __init__(self, settings: GatewaySettings, clock: Callable[[], float]) -> None:
        """Create the codec. `clock` returns unix seconds."""
        self._key = settings.session_key.get_secret_value()
        self._clock = clock
        url = urlsplit(settings.public_url)
        self._path = url.path.rstrip("/") + "/"
        self._is_secure = url.scheme == "https"
        # The prefix __Host- prevents other hosts of the domain from setting the cookie. It requires the path /.
        self.name = "__Host-playground" if self._is_secure and self._path == "/" else "playground-session"

    def read(self, request: web.BaseRequest) -> Session | None:
        """Return the session of an HTTP request; None if there is no valid session."""
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
        """Return whether the session has expired. Streams that are still open are then closed."""
        return self._clock() >= session.expires

    def write(self, response: web.StreamResponse, session: Session) -> None:
        """Set the cookie. It expires together with the token from which the session was created."""
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
