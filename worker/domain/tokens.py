"""AUTHENTICATE: a Graphene token → the user that the token names.

The strict shape of a token is verified before any of its content is trusted, and its claims are verified once its
signature is valid.

Libraries are lenient where it matters: they accept padded base64, duplicate members, and headers that change how the
rest of the token must be read. Here, a token has exactly one spelling (RFC 7515 2 and 4, RFC 7519 7.2, RFC 8725 3), and
no error repeats any part of the token. The end of this module derives the key that the portal signs with: JJWT decodes
the configured secret as base64 in its own lenient way.
"""

import base64
import binascii
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from worker.domain.solution import Caller
from worker.domain.strict_json import JsonError, loads
from worker.errors import Unauthenticated
from worker.settings import AuthSettings

MAX_TOKEN = 8192  # characters: the limit of HTTP servers for a header, so the portal never issues longer tokens
MAX_DEPTH = 8
MAX_KID = 256
MAX_USER_ID = 128  # CCDS uses UUIDs
MAX_EMAIL = 254  # RFC 5321
CENTURY = 100 * 365.25 * 24 * 3600  # seconds; a time further from now is invalid (milliseconds, 10^400)

# Header members that change how a token must be read: extensions (RFC 7515 4.1.11, RFC 7797), compression (also JJWT's
# own), a token inside the token, encryption.
READ_OTHERWISE = frozenset({"crit", "b64", "zip", "calg", "cty", "enc"})
# Tokens of other kinds (logout, proof, identity) are never accepted (RFC 8725 3.11).
ACCESS_TOKEN = "at+jwt"  # noqa: S105 - RFC 9068
TYPES = frozenset({"jwt", ACCESS_TOKEN})
# Required claims of a token whose type is access token (RFC 9068 2.2). The portal's own tokens never have this type.
_OF_ACCESS_TOKENS = ("iss", "aud", "sub", "client_id", "jti")

_BEARER = re.compile(r"\Abearer(?: +|\Z)", re.IGNORECASE)
_SEGMENT = re.compile(r"[A-Za-z0-9_-]*")


@dataclass(frozen=True, slots=True)
class Token:
    """A token of strict shape. Its content is not verified yet, and is never shown."""

    algorithm: object = field(repr=False)  # the algorithm in the header
    kid: str | None = field(repr=False)  # the key id in the header, which is only ever compared
    kind: str = field(repr=False)  # the type in the header, in lower case; `jwt` without one
    claims: Mapping[str, Any] = field(repr=False)
    signed: bytes = field(repr=False)
    signature: bytes = field(repr=False)


def strip_bearer(text: str) -> str:
    """Remove surrounding white space and the scheme "Bearer"."""
    return _BEARER.sub("", text.strip(" \t\r\n"), count=1)


def read_token(text: str) -> Token:
    """Parse a token, with or without a leading "Bearer ". Raises Unauthenticated: token-missing, token-malformed."""
    text = strip_bearer(text)
    if not text:
        raise Unauthenticated("token-missing", "The request has no token. Send one as Graphene issued it.")
    if len(text) > MAX_TOKEN:
        raise _malformed(f"it is longer than {MAX_TOKEN} characters")
    parts = text.split(".", maxsplit=3)
    if len(parts) != 3:
        raise _malformed("it does not have three parts")
    header, claims, signature = map(decoded, parts)
    if header is None or claims is None or signature is None:
        raise _malformed("a part of it is not base64url in its canonical form")
    objects = {}
    for part, data in (("header", header), ("payload", claims)):
        try:
            value = loads(data, max_bytes=MAX_TOKEN, max_depth=MAX_DEPTH, max_string=MAX_TOKEN)
        except JsonError:
            value = None
        if not isinstance(value, dict):
            raise _malformed(f"its {part} is not a strict JSON object")
        objects[part] = value
    return _token(objects["header"], objects["payload"], text.rpartition(".")[0].encode(), signature)


def decoded(segment: str) -> bytes | None:
    """Decode base64url in its canonical spelling (RFC 7515 2): no padding, no spare bits, no other characters.

    Return None for any other spelling.
    """
    try:
        data = base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4)) if _SEGMENT.fullmatch(segment) else None
    except binascii.Error:
        return None
    if data is None or base64.urlsafe_b64encode(data).rstrip(b"=") != segment.encode():
        return None
    return data


def _token(header: Mapping[str, Any], claims: Mapping[str, Any], signed: bytes, signature: bytes) -> Token:
    if READ_OTHERWISE & header.keys():
        raise _malformed("its header asks for extensions that are not supported")
    kid = header.get("kid")
    if ("kid" in header and not isinstance(kid, str)) or len(kid or "") > MAX_KID:
        raise _malformed("its header names no usable key")
    kind = str(header.get("typ", "jwt")).lower().removeprefix("application/")
    if kind not in TYPES:
        raise _malformed("its header says that it is a token of another kind")
    return Token(header.get("alg"), kid, kind, claims, signed, signature)


def _malformed(reason: str) -> Unauthenticated:
    return Unauthenticated("token-malformed", f"The token is malformed: {reason}. Send it as Graphene issued it.")


def caller_of(token: Token) -> Caller:
    """Return the user that a token names, whether the token is valid or not. Raises Unauthenticated."""
    user = token.claims.get("mlpuser")
    if not isinstance(user, dict):
        raise _claim("mlpuser", "is missing or not an object")
    user_id = _text(user, "userId", MAX_USER_ID)
    if not user_id.strip("."):  # the id is used as a segment of a CCDS path, where dots alone would select another path
        raise _claim("mlpuser.userId", "is not a user id")
    return Caller(user_id=user_id, email=_text(user, "email", MAX_EMAIL).strip())


def check_claims(token: Token, settings: AuthSettings, now: float | None, appended_at: float | None) -> None:
    """Reject a verified token that is not for this playground, or is not valid at this time. Raises Unauthenticated.

    Args:
        token: a token with a valid signature.
        settings: the required issuer and audience, if any, and how long a request may wait.
        now: unix seconds; None to ignore the token's times.
        appended_at: the time at which the broker appended the request, in unix seconds; None if only the producer set
            the time.
    """
    claims = token.claims
    issuer, audience, audiences = settings.issuer, settings.audience, claims.get("aud")
    if issuer is not None and claims.get("iss") != issuer:
        raise _claim("iss", "is not the issuer this playground trusts")
    if audience is not None and audience not in (audiences if isinstance(audiences, list) else [audiences]):
        raise _claim("aud", "does not name this playground")
    if token.kind == ACCESS_TOKEN:
        _check_access_token(claims)
    if now is not None:
        _check_times(claims, settings, now, appended_at)


def _check_access_token(claims: Mapping[str, Any]) -> None:
    """Reject an access token without the required claims (RFC 9068 2.2)."""
    for name in _OF_ACCESS_TOKENS:
        value = claims.get(name)
        texts = value if name == "aud" and isinstance(value, list) else [value]
        if not texts or not all(isinstance(text, str) and text for text in texts):
            raise _claim(name, "is missing or not a text")
    if "iat" not in claims:
        raise _claim("iat", "is missing")


def _check_times(claims: Mapping[str, Any], settings: AuthSettings, now: float, appended_at: float | None) -> None:
    """Reject a token that is valid neither now nor when the broker appended its request.

    A token that expired while its request waited in Kafka is valid if it had not expired when the broker appended the
    record, and the wait was at most `max_queue_age_seconds`.
    """
    leeway, max_queue_age = settings.leeway_seconds, settings.max_queue_age_seconds
    if "exp" not in claims:
        raise _claim("exp", "is missing")
    times = {name: _time(name, claims[name], now) for name in ("exp", "nbf", "iat") if name in claims}
    if times.get("nbf", now) > now + leeway:
        raise Unauthenticated("token-not-yet-valid", "The token is not valid yet. Check the clock of its issuer.")
    end = times["exp"] + leeway
    in_time = now <= end or (appended_at is not None and appended_at <= end and now - appended_at <= max_queue_age)
    if not in_time:
        raise Unauthenticated("token-expired", "The token has expired. Log in to Graphene and send the request again.")


def _text(user: Mapping[str, Any], name: str, longest: int) -> str:
    text = user.get(name)
    if not isinstance(text, str) or not text.strip():
        raise _claim(f"mlpuser.{name}", "is missing or not a text")
    if len(text) > longest or not text.isprintable():
        raise _claim(f"mlpuser.{name}", "is too long or not printable")
    return text


def _time(name: str, value: Any, now: float) -> int:
    if type(value) is not int or abs(value - now) > CENTURY:  # isinstance would accept bool
        raise _claim(name, "is not a time in whole seconds")
    return value


def _claim(name: str, problem: str) -> Unauthenticated:
    return Unauthenticated("token-claims", f"The token's claim {name} {problem}. Log in to Graphene again.")


Find = Callable[[str | None], Awaitable[Any]]
"""Finds the key for a token with this `kid`; None without such a key. Raises Unavailable if the keys are unknown."""


class TokenAuthenticator:
    """Verifies tokens: first the shape, then the signature, then the claims."""

    def __init__(
        self,
        settings: AuthSettings,
        clock: Callable[[], float],
        verify: Callable[[bytes, Any, bytes], bool],
        key: bytes | Find | None,
    ) -> None:
        """
        Args:
            clock: returns unix seconds.
            verify: returns whether a signature (third argument) matches the signed bytes (first) and key (second).
            key: the key of all tokens, or a function that finds the key of a token.
        """
        self._settings = settings
        self._clock = clock
        self._verify = verify
        self._key = key

    async def authenticate(self, token: str, appended_at: float | None, *, times: bool = True) -> Caller:
        """Verify a token, and return the user that it names.

        Args:
            token: with or without a leading "Bearer ".
            appended_at: the broker's append time of the request, in unix seconds; None if the producer set the time.
            times: whether to verify `exp`, `nbf` and `iat`; False for repeats and replays of an accepted request.

        Raises:
            Unauthenticated: the token is not valid; `code` gives the reason.
            Unavailable: the issuer's keys cannot be read.
        """
        read = read_token(token)
        if read.algorithm != self._settings.algorithm:
            raise Unauthenticated(
                "token-algorithm", f"The token is not signed with {self._settings.algorithm}. Log in to Graphene again."
            )
        key = await self._key(read.kid) if callable(self._key) else self._key
        if key is None or not self._verify(read.signed, key, read.signature):
            raise Unauthenticated(
                "token-signature", "The token's signature is wrong. Log in to Graphene again and send the new token."
            )
        caller = caller_of(read)
        check_claims(read, self._settings, self._clock() if times else None, appended_at)
        return caller

    def read(self, token: str) -> Caller:
        """Return the user that an unverified token names. Raises Unauthenticated when the token names no user."""
        return caller_of(read_token(token))


_PADDING = 127
_SEXTETS = {
    char: number for number, char in enumerate("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
} | {"=": _PADDING}


def jjwt_key(secret: str) -> bytes:
    """Derive the HMAC key that JJWT (0.6 to 0.9.1, with JAXB's parseBase64Binary) derives from its configured string.

    Characters outside the alphabet are dropped, and so is an incomplete last group of four. An `=` in the third or
    fourth position of a group leaves that byte out; in any other position, `=` counts as the number 127.

    Raises:
        ValueError: Java fails on this string as well (it is not ASCII, or ends with `=` without a group to pad), so no
            portal can have signed with it.
    """
    if not secret.isascii():
        raise ValueError("a character beyond ASCII")
    sextets = [_SEXTETS[char] for char in secret if char in _SEXTETS]
    groups = iter(sextets)
    key = bytearray()
    for first, second, third, fourth in zip(groups, groups, groups, groups, strict=False):
        key.append((first << 2 | second >> 4) & 0xFF)
        if third != _PADDING:
            key.append((second << 4 | third >> 2) & 0xFF)
        if fourth != _PADDING:
            key.append((third << 6 | fourth) & 0xFF)
    if len(key) > _expected_length(secret):
        raise ValueError("an `=` at its end that pads nothing")
    return bytes(key)


def _expected_length(secret: str) -> int:
    """Return the buffer size of JAXB, which is exact for a well-padded string. JAXB fails when the key is longer."""
    packed = secret.rstrip("=")
    padding = len(secret) - len(packed)
    well_padded = padding <= 2 and (not packed or packed[-1] in _SEXTETS)
    return len(secret) // 4 * 3 - (padding if well_padded else 0)
