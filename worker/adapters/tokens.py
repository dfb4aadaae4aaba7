"""AUTHENTICATE: a Graphene token → the user it names.

The portal signs with JJWT, which reads the configured secret as base64 in its own lenient way; `jjwt_key` repeats
that to the byte. PyJWT checks the signature. The shape is checked here, because PyJWT is lenient where it matters:
numeric strings as `exp`, doubled claims, padded base64.

Shape first, then the signature, then the claims; no error repeats anything of a token.
"""

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from typing import Any

import jwt

from worker.domain.solution import Caller
from worker.domain.strict_json import JsonError, loads
from worker.errors import ConfigurationError, Unauthenticated
from worker.settings import Auth

MAX_TOKEN = 8192  # characters: what HTTP servers take as a header, so the portal never issues more
MAX_DEPTH = 8
MAX_USER_ID = 128  # CCDS makes UUIDs
MAX_EMAIL = 254  # RFC 5321
LEAST_KEY = 16  # bytes
CENTURY = 100 * 365.25 * 24 * 3600  # seconds: a time further off is no time (milliseconds, 10^400)

_BEARER = re.compile(r"\Abearer(?: +|\Z)", re.IGNORECASE)
_SEGMENT = re.compile(r"[A-Za-z0-9_-]*")
_PADDING = 127
_SEXTETS = {
    char: number for number, char in enumerate("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
} | {"=": _PADDING}


def jjwt_key(secret: str) -> bytes:
    """The HMAC key that JJWT (0.6 to 0.9.1, over JAXB's parseBase64Binary) makes of its configured string.

    Characters outside the alphabet are dropped, and so is an incomplete last group of four. `=` in the third and
    fourth place of a group leaves that byte out; elsewhere it counts as the number 127.

    Raises:
        ValueError: Java fails on this string too (beyond ASCII, or `=` at its end without a group to pad), so no
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
    """The room JAXB makes before it decodes: tight when the string looks well padded. It fails when it needs more."""
    packed = secret.rstrip("=")
    padding = len(secret) - len(packed)
    well_padded = padding <= 2 and (not packed or packed[-1] in _SEXTETS)
    return len(secret) // 4 * 3 - (padding if well_padded else 0)


def in_time(expires: int, now: float, appended_at: float | None, leeway: float, max_queue_age: float) -> bool:
    """Whether a token still counts (all in unix seconds).

    A token that ran out while its request waited in Kafka counts if it was valid when the broker took the record
    and the wait was short. `appended_at` is the broker's own time; None when only the producer says so.
    """
    if now <= expires + leeway:
        return True
    return appended_at is not None and appended_at <= expires + leeway and now - appended_at <= max_queue_age


class TokenVerifier:
    """Verifies tokens against one secret and one algorithm. `warnings` are for the operator, at the start."""

    def __init__(self, settings: Auth, clock: Callable[[], float]) -> None:
        """`clock` gives unix seconds. Raises ConfigurationError when the secret cannot or must not be used."""
        self._settings = settings
        self._clock = clock
        self._algorithm = jwt.get_algorithm_by_name(settings.algorithm)
        self._secret_key = self._checked_key()
        self.warnings = self._weaknesses()

    async def authenticate(self, token: str, appended_at: float | None) -> Caller:
        """The user a token names.

        Args:
            token: with or without "Bearer " before it.
            appended_at: the broker's append time of the request in unix seconds, None if it is not the broker's.

        Raises:
            Unauthenticated: the token proves nothing; `code` says why.
        """
        token = _BEARER.sub("", token.strip(" \t\r\n"), count=1)
        if not token:
            raise Unauthenticated("token-missing", "The request has no token. Send one as Graphene issued it.")
        first, second, signature = _segments(token)
        header, claims = _object(first, "header"), _object(second, "payload")
        await self._verify(header, token, signature)
        caller = _caller(claims)
        self._check_parties(claims)
        self._check_times(claims, appended_at)
        return caller

    async def _verify(self, header: Mapping[str, Any], token: str, signature: bytes) -> None:
        if header.get("alg") != self._settings.algorithm:
            raise Unauthenticated(
                "token-algorithm", f"The token is not signed with {self._settings.algorithm}. Log in to Graphene again."
            )
        if "crit" in header or "b64" in header:  # extensions that change how a token is to be read (RFC 7515 4.1.11)
            raise _malformed("its header asks for extensions that are not supported")
        signed = token.rpartition(".")[0].encode()
        # The algorithm object, not jwt.decode: that one warns at every call about keys the operator has allowed.
        if not self._algorithm.verify(signed, await self._key(), signature):
            raise Unauthenticated(
                "token-signature", "The token's signature is wrong. Log in to Graphene again and send the new token."
            )

    async def _key(self) -> bytes:
        """The key to verify with. Nothing in the token chooses it: no jku, jwk, x5u or kid."""
        return self._secret_key

    def _checked_key(self) -> bytes:
        try:
            key = jjwt_key(self._settings.secret.get_secret_value())
        except ValueError as error:
            raise ConfigurationError(
                f"DEPLOYER_AUTH__SECRET: it has {error}, which the portal's JJWT cannot decode; "
                "copy `jwt.auth.secret.key` exactly."
            ) from None
        if not key:
            raise ConfigurationError(
                "DEPLOYER_AUTH__SECRET: it decodes to nothing; copy the portal's `jwt.auth.secret.key` exactly."
            )
        if len(key) < LEAST_KEY and not self._settings.allow_weak_secret:
            raise ConfigurationError(
                f"DEPLOYER_AUTH__SECRET: it decodes to {len(key)} bytes, fewer than {LEAST_KEY}; choose a longer one "
                "in the portal and here, or set DEPLOYER_AUTH__ALLOW_WEAK_SECRET=true."
            )
        return key

    def _weaknesses(self) -> list[str]:
        wanted = int(self._settings.algorithm.removeprefix("HS")) // 8  # RFC 7518 3.2
        given = len(self._secret_key)
        weakness = (
            f"DEPLOYER_AUTH__SECRET decodes to {given} bytes and {self._settings.algorithm} wants {wanted}. "
            "Choose a longer one in the portal and here."
        )
        return [weakness] if given < wanted else []

    def _check_parties(self, claims: Mapping[str, Any]) -> None:
        issuer, audience = self._settings.issuer, self._settings.audience
        if issuer is not None and claims.get("iss") != issuer:
            raise _claim("iss", "is not the issuer this playground trusts")
        audiences = claims.get("aud")
        if audience is not None and audience not in (audiences if isinstance(audiences, list) else [audiences]):
            raise _claim("aud", "does not name this playground")

    def _check_times(self, claims: Mapping[str, Any], appended_at: float | None) -> None:
        now, leeway = self._clock(), self._settings.leeway_seconds
        if "exp" not in claims:
            raise _claim("exp", "is missing")
        times = {name: _time(name, claims[name], now) for name in ("exp", "nbf", "iat") if name in claims}
        if times.get("nbf", now) > now + leeway:
            raise Unauthenticated("token-not-yet-valid", "The token is not valid yet. Check the clock of its issuer.")
        if not in_time(times["exp"], now, appended_at, leeway, self._settings.max_queue_age_seconds):
            raise Unauthenticated(
                "token-expired", "The token has expired. Log in to Graphene and send the request again."
            )


def _segments(token: str) -> tuple[bytes, bytes, bytes]:
    if len(token) > MAX_TOKEN:
        raise _malformed(f"it is longer than {MAX_TOKEN} characters")
    parts = token.split(".", maxsplit=3)
    if len(parts) != 3:
        raise _malformed("it does not have three parts")
    header, payload, signature = (_base64url(part) for part in parts)
    return header, payload, signature


def _base64url(segment: str) -> bytes:
    """Decode the one canonical spelling (RFC 7515 2): no padding, no spare bits, nothing outside the alphabet."""
    try:
        data = base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4)) if _SEGMENT.fullmatch(segment) else None
    except binascii.Error:
        data = None
    if data is None or base64.urlsafe_b64encode(data).rstrip(b"=") != segment.encode():
        raise _malformed("a part of it is not base64url in its canonical form")
    return data


def _object(data: bytes, part: str) -> dict[str, Any]:
    try:
        value = loads(data, max_bytes=MAX_TOKEN, max_depth=MAX_DEPTH, max_string=MAX_TOKEN)
    except JsonError:
        value = None
    if not isinstance(value, dict):
        raise _malformed(f"its {part} is not a strict JSON object")
    return value


def _caller(claims: Mapping[str, Any]) -> Caller:
    user = claims.get("mlpuser")
    if not isinstance(user, dict):
        raise _claim("mlpuser", "is missing or not an object")
    user_id = _text(user, "userId", MAX_USER_ID)
    if not user_id.strip("."):  # it becomes a segment of a CCDS path, where dots alone would lead elsewhere
        raise _claim("mlpuser.userId", "is not a user id")
    return Caller(user_id=user_id, email=_text(user, "email", MAX_EMAIL).strip())


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


def _malformed(reason: str) -> Unauthenticated:
    return Unauthenticated("token-malformed", f"The token is malformed: {reason}. Send it as Graphene issued it.")


def _claim(name: str, problem: str) -> Unauthenticated:
    return Unauthenticated("token-claims", f"The token's claim {name} {problem}. Log in to Graphene again.")
