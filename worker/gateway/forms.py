"""Parses forms from a body that has been read: urlencoded, or multipart as `FormData` sends it.

aiohttp's own `request.post()` would read a multipart body from the connection again, and raises for values that it
cannot decode.
"""

from collections.abc import Mapping
from email.message import Message
from email.parser import BytesHeaderParser
from urllib.parse import parse_qsl

from aiohttp import web

MAX_FIELDS = 32
_CHARSETS = ("utf-8", "utf8", "us-ascii", "ascii")
_TYPES = ("application/x-www-form-urlencoded", "multipart/form-data")


class FormError(Exception):
    """The body is not a valid form. `status` is 400, or 415 when the Content-Type is not supported."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


async def form_of(request: web.Request) -> Mapping[str, str]:
    """Return the form's fields. Of repeated fields the first value counts. Raises FormError."""
    header = request.headers.get("Content-Type", "")
    try:
        return read_form(header, await request.read())
    except UnicodeDecodeError:
        raise FormError("The form is not UTF-8. Send it as UTF-8.") from None


def read_form(content_type: str, body: bytes) -> Mapping[str, str]:
    """Return the fields of a body with this Content-Type. Raises FormError, UnicodeDecodeError."""
    header = _parsed(b"Content-Type: " + content_type.encode("utf-8", "surrogateescape"))
    kind, charset = header.get_content_type() if content_type else _TYPES[0], _parameter(header, "charset")
    if kind not in _TYPES or (charset or "utf-8").lower() not in _CHARSETS:
        raise FormError(f"The form's Content-Type is none of {' and '.join(_TYPES)} in UTF-8. Send one of them.", 415)
    pairs = _urlencoded(body) if kind == _TYPES[0] else _multipart(body, _parameter(header, "boundary"))
    return dict(reversed(pairs))


def _urlencoded(body: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(body.decode(), keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS)
    except UnicodeDecodeError:
        raise
    except ValueError:
        raise FormError(f"The form has more than {MAX_FIELDS} fields. Send fewer.") from None


def _multipart(body: bytes, boundary: str) -> list[tuple[str, str]]:
    """Parse multipart (RFC 7578) without nesting: each part is a field in UTF-8."""
    if not 1 <= len(boundary) <= 70 or not boundary.isascii():
        raise FormError("The form has no boundary in its Content-Type. Let the client set that header.")
    _, *parts = (b"\r\n" + body).split(b"\r\n--" + boundary.encode())
    if not parts or parts.pop()[:2] != b"--":
        raise FormError("The form does not end with its boundary. Send all of it.")
    if len(parts) > MAX_FIELDS:
        raise FormError(f"The form has more than {MAX_FIELDS} fields. Send fewer.")
    pairs = []
    for part in parts:
        head, blank, value = part.partition(b"\r\n\r\n")
        name = _parameter(_parsed(head.lstrip(b" \t\r\n")), "name", "Content-Disposition")
        if not blank or not name:
            raise FormError("A part of the form has no name. Send each field with one.")
        pairs.append((name, value.decode()))
    return pairs


def _parsed(head: bytes) -> Message:
    return BytesHeaderParser().parsebytes(head + b"\r\n\r\n")


def _parameter(header: Message, name: str, of: str = "Content-Type") -> str:
    found = header.get_param(name, "", of)
    return found if isinstance(found, str) else found[2]  # RFC 2231: charset, language, value
