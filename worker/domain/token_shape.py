"""The strict shape of a token, before anything in it is believed (RFC 7515 2 and 4, RFC 7519 7.2, RFC 8725 3).

Libraries are lenient where it matters: they take padded base64, doubled members, and headers that change how the
rest is to be read. A token has one spelling here. No error repeats anything of a token.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from worker.domain.strict_json import JsonError, loads
from worker.errors import Unauthenticated

MAX_TOKEN = 8192  # characters: what HTTP servers take as a header, so the portal never issues more
MAX_DEPTH = 8
MAX_KID = 256

# Members of the header that change how a token is to be read: extensions (RFC 7515 4.1.11, RFC 7797), compression
# (JJWT's own, too), a token inside the token, encryption.
READ_OTHERWISE = frozenset({"crit", "b64", "zip", "calg", "cty", "enc"})
# Tokens of other kinds (for logout, of proof, of identity) never count as one of ours (RFC 8725 3.11).
ACCESS_TOKEN = "at+jwt"  # noqa: S105 - RFC 9068
TYPES = frozenset({"jwt", ACCESS_TOKEN})

_BEARER = re.compile(r"\Abearer(?: +|\Z)", re.IGNORECASE)
_SEGMENT = re.compile(r"[A-Za-z0-9_-]*")


@dataclass(frozen=True, slots=True)
class Token:
    """A token in its strict shape; nothing of it is verified yet, and nothing of it shows."""

    header: Mapping[str, Any] = field(repr=False)
    claims: Mapping[str, Any] = field(repr=False)
    signed: bytes = field(repr=False)
    signature: bytes = field(repr=False)

    @property
    def kid(self) -> str | None:
        """The name of the key it says it is signed with: only ever compared, never followed."""
        kid: str | None = self.header.get("kid")
        return kid

    @property
    def kind(self) -> str:
        """What it says it is, in lower case; `jwt` when it says nothing."""
        return str(self.header.get("typ", "jwt")).lower().removeprefix("application/")


def read_token(text: str) -> Token:
    """Read a token with or without "Bearer " before it. Raises Unauthenticated: token-missing, token-malformed."""
    text = _BEARER.sub("", text.strip(" \t\r\n"), count=1)
    if not text:
        raise Unauthenticated("token-missing", "The request has no token. Send one as Graphene issued it.")
    if len(text) > MAX_TOKEN:
        raise _malformed(f"it is longer than {MAX_TOKEN} characters")
    parts = text.split(".", maxsplit=3)
    if len(parts) != 3:
        raise _malformed("it does not have three parts")
    header, claims, signature = (decoded(part) for part in parts)
    if header is None or claims is None or signature is None:
        raise _malformed("a part of it is not base64url in its canonical form")
    token = Token(_object(header, "header"), _object(claims, "payload"), text.rpartition(".")[0].encode(), signature)
    _check_header(token)
    return token


def decoded(segment: str) -> bytes | None:
    """The bytes of base64url in the one canonical spelling (RFC 7515 2), None when it is another.

    No padding, no spare bits, nothing outside the alphabet.
    """
    try:
        data = base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4)) if _SEGMENT.fullmatch(segment) else None
    except binascii.Error:
        return None
    if data is None or base64.urlsafe_b64encode(data).rstrip(b"=") != segment.encode():
        return None
    return data


def _object(data: bytes, part: str) -> dict[str, Any]:
    try:
        value = loads(data, max_bytes=MAX_TOKEN, max_depth=MAX_DEPTH, max_string=MAX_TOKEN)
    except JsonError:
        value = None
    if not isinstance(value, dict):
        raise _malformed(f"its {part} is not a strict JSON object")
    return value


def _check_header(token: Token) -> None:
    if READ_OTHERWISE & token.header.keys():
        raise _malformed("its header asks for extensions that are not supported")
    kid = token.header.get("kid", "")
    if not isinstance(kid, str) or len(kid) > MAX_KID:
        raise _malformed("its header names no usable key")
    if token.kind not in TYPES:
        raise _malformed("its header says that it is a token of another kind")


def _malformed(reason: str) -> Unauthenticated:
    return Unauthenticated("token-malformed", f"The token is malformed: {reason}. Send it as Graphene issued it.")
