"""What the clients of CCDS and Nexus share: one bounded GET, and one reading of what can go wrong with it.

Answers are cut off at a limit in bytes, after decompression. Redirects are not followed, because credentials would
follow them. Connections are kept alive; aiohttp repeats a GET by itself when one of them turns out to be stale.
"""

import asyncio
import zlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from yarl import URL

from worker.errors import CODES, ConfigurationError, Stage, Unavailable
from worker.observability.telemetry import call
from worker.settings import ArtifactsSettings, CatalogSettings

# Unpacked here and not by aiohttp, which takes a gzip that breaks off for a whole one.
SESSION: Mapping[str, Any] = {"headers": {"Accept-Encoding": "gzip"}, "auto_decompress": False}
PIECE = 64 * 1024  # bytes unpacked at a time

CONNECTIONS = 32  # open to one dependency at the same time; more requests wait, and their time-out has not begun


class TooLarge(Exception):
    """An answer is longer than the limit."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a dependency said. The body is read with status 200 only, and is no longer than the limit."""

    status: int
    body: bytes = field(repr=False)


@asynccontextmanager
async def dependency_session() -> AsyncIterator[aiohttp.ClientSession]:
    """A session for CCDS and Nexus: kept alive, no cookies carried from one user's request to another's."""
    connector = aiohttp.TCPConnector(limit=0)  # each Dependency has its own limit
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), **SESSION) as session:
        yield session


def configured_url(text: str, variable: str) -> URL:
    """The URL with which a client starts. Raises ConfigurationError naming the variable when it is none."""
    try:
        url = URL(text)
        usable = bool(url.host and url.port)  # yarl looks at both only when asked
    except ValueError:
        usable = False
    if not usable:
        raise ConfigurationError(f"{variable}: this is no URL; check its host and port.")
    return url


class Dependency:
    """A server behind one base URL that is only read from, with HTTP Basic credentials."""

    def __init__(
        self, session: aiohttp.ClientSession, settings: CatalogSettings | ArtifactsSettings, group: str, name: str
    ) -> None:
        """`group` starts its error codes and names its settings, `name` is how messages call it.

        Raises ConfigurationError when the URL is none or the user name cannot be sent with HTTP Basic.
        """
        self._session = session
        self._group = group
        self._name = name
        self._timeout = aiohttp.ClientTimeout(total=settings.timeout_seconds)
        self._slots = asyncio.Semaphore(CONNECTIONS)
        variable = f"DEPLOYER_{group.upper()}__"
        self._base = configured_url(settings.url.rstrip("/") + "/", f"{variable}URL")
        try:
            self._credentials = aiohttp.encode_basic_auth(settings.username, settings.password.get_secret_value())
        except ValueError:
            raise ConfigurationError(f"{variable}USERNAME: HTTP Basic allows no colon in it; use another.") from None

    async def get(self, path: str, *, accept: str, max_bytes: int, stage: Stage = "fetch") -> Answer:
        """GET one answer, whatever its status, except 401 and 403.

        Args:
            path: below the base, percent-encoded, without a slash at its start.
            accept: the header `Accept`.
            max_bytes: the longest body.
            stage: where the request stands, for the error.

        Raises:
            TooLarge: the body is longer than `max_bytes`.
            Unavailable: no whole answer in time, or our credentials are refused.
        """
        url = self._below_base(path)
        headers = {"Accept": accept, "Authorization": self._credentials}
        try:
            async with self._slots:
                with call(self._group, "GET") as running:
                    headers |= running.headers
                    async with self._session.get(
                        url, headers=headers, timeout=self._timeout, allow_redirects=False
                    ) as response:
                        running.status = response.status
                        body = await read_bounded(response, max_bytes) if response.status == 200 else b""
                        answer = Answer(response.status, body)
        except TimeoutError:
            raise self._unavailable("timeout", stage) from None
        except aiohttp.ClientConnectionError:
            raise self._unavailable("unavailable", stage) from None
        except aiohttp.ClientError:
            raise self.error("its answer is not valid HTTP or broke off", stage) from None
        if answer.status in (401, 403):
            raise self._unavailable("unauthorized", stage)
        return answer

    def error(self, problem: str, stage: Stage = "fetch") -> Unavailable:
        """The dependency answered, and its answer is of no use."""
        message = f"{self._name} gave no usable answer: {problem}. Send the request again later."
        return Unavailable(f"{self._group}-error", message, stage)

    def _unavailable(self, kind: str, stage: Stage) -> Unavailable:
        code = f"{self._group}-{kind}"
        return Unavailable(code, CODES[code], stage)

    def _below_base(self, path: str) -> URL:
        """The one place where a path becomes a URL. Callers give clean paths; this holds if one of them fails to."""
        url = URL(str(self._base) + path, encoded=True)
        kept = url.origin() == self._base.origin() and url.raw_path == self._base.raw_path + path
        if not kept or {".", ".."} & set(path.split("/")):
            raise ValueError("a path leads away from the configured base")
        return url


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds of a Retry-After (RFC 9110 10.2.3), at most an hour; None: there is none, or it is a date."""
    value = next((it for name, it in headers.items() if name.lower() == "retry-after"), "").strip()
    return float(min(int(value), 3600)) if value.isascii() and value.isdigit() and len(value) < 10 else None


async def read_bounded(response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    """The whole body, unpacked. Raises TooLarge as soon as it is longer than `max_bytes`."""
    body = bytearray()
    async for piece in pieces(response):
        body += piece
        if len(body) > max_bytes:
            raise TooLarge
    return bytes(body)


async def pieces(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """The body as it arrives, unpacked piece by piece, so that a bomb is as large as its first pieces.

    Raises aiohttp.ClientPayloadError: it breaks off, or comes in an encoding nobody asked for.
    """
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding == "identity":
        async for piece in response.content.iter_any():
            yield piece
        return
    if encoding not in ("gzip", "x-gzip"):
        raise aiohttp.ClientPayloadError("an encoding nobody asked for")
    unpacker = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    async for packed in response.content.iter_any():
        rest = packed
        while rest and not unpacker.eof:
            try:
                yield unpacker.decompress(rest, PIECE)
            except zlib.error:
                raise aiohttp.ClientPayloadError("no gzip") from None
            rest = unpacker.unconsumed_tail
        if rest or unpacker.unused_data:
            raise aiohttp.ClientPayloadError("something behind the gzip")
    if not unpacker.eof:
        raise aiohttp.ClientPayloadError("the gzip breaks off")
