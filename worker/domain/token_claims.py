"""What the claims of a verified token say: whom it names, for whom it is, and when it counts."""

from collections.abc import Mapping
from typing import Any

from worker.domain.solution import Caller
from worker.errors import Unauthenticated

MAX_USER_ID = 128  # CCDS makes UUIDs
MAX_EMAIL = 254  # RFC 5321
CENTURY = 100 * 365.25 * 24 * 3600  # seconds: a time further off is no time (milliseconds, 10^400)

# What a token has to say when it calls itself an access token (RFC 9068 2.2); the portal's own never do.
_OF_ACCESS_TOKENS = ("iss", "aud", "sub", "client_id", "jti")


def caller_of(claims: Mapping[str, Any]) -> Caller:
    """The user a token names. Raises Unauthenticated."""
    user = claims.get("mlpuser")
    if not isinstance(user, dict):
        raise _claim("mlpuser", "is missing or not an object")
    user_id = _text(user, "userId", MAX_USER_ID)
    if not user_id.strip("."):  # it becomes a segment of a CCDS path, where dots alone would lead elsewhere
        raise _claim("mlpuser.userId", "is not a user id")
    return Caller(user_id=user_id, email=_text(user, "email", MAX_EMAIL).strip())


def check_access_token(claims: Mapping[str, Any]) -> None:
    """What calls itself an access token must be a whole one (RFC 9068 2.2). Raises Unauthenticated."""
    for name in _OF_ACCESS_TOKENS:
        value = claims.get(name)
        texts = value if name == "aud" and isinstance(value, list) else [value]
        if not texts or not all(isinstance(text, str) and text for text in texts):
            raise _claim(name, "is missing or no text")
    if "iat" not in claims:
        raise _claim("iat", "is missing")


def check_parties(claims: Mapping[str, Any], issuer: str | None, audience: str | None) -> None:
    """A token is from the issuer and for the audience, where one is asked for. Raises Unauthenticated."""
    if issuer is not None and claims.get("iss") != issuer:
        raise _claim("iss", "is not the issuer this playground trusts")
    audiences = claims.get("aud")
    if audience is not None and audience not in (audiences if isinstance(audiences, list) else [audiences]):
        raise _claim("aud", "does not name this playground")


def check_times(
    claims: Mapping[str, Any], now: float, appended_at: float | None, leeway: float, max_queue_age: float
) -> None:
    """A token counts now, or did when the broker took it; see `in_time`. Raises Unauthenticated."""
    if "exp" not in claims:
        raise _claim("exp", "is missing")
    times = {name: _time(name, claims[name], now) for name in ("exp", "nbf", "iat") if name in claims}
    if times.get("nbf", now) > now + leeway:
        raise Unauthenticated("token-not-yet-valid", "The token is not valid yet. Check the clock of its issuer.")
    if not in_time(times["exp"], now, appended_at, leeway, max_queue_age):
        raise Unauthenticated("token-expired", "The token has expired. Log in to Graphene and send the request again.")


def in_time(expires: int, now: float, appended_at: float | None, leeway: float, max_queue_age: float) -> bool:
    """Whether a token still counts (all in unix seconds).

    A token that ran out while its request waited in Kafka counts if it was valid when the broker took the record
    and the wait was short. `appended_at` is the broker's own time; None when only the producer says so.
    """
    if now <= expires + leeway:
        return True
    return appended_at is not None and appended_at <= expires + leeway and now - appended_at <= max_queue_age


def _text(user: Mapping[str, Any], name: str, longest: int) -> str:
    text = user.get(name)
    if not isinstance(text, str) or not text.strip():
        raise _claim(f"mlpuser.{name}", "is missing or no text")
    if len(text) > longest or not text.isprintable():
        raise _claim(f"mlpuser.{name}", "is too long or not printable")
    return text


def _time(name: str, value: Any, now: float) -> int:
    if type(value) is not int or abs(value - now) > CENTURY:  # bool is an int to isinstance
        raise _claim(name, "is not a time in whole seconds")
    return value


def _claim(name: str, problem: str) -> Unauthenticated:
    return Unauthenticated("token-claims", f"The token's claim {name} {problem}. Log in to Graphene again.")
