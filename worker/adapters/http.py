"""A single bounded HTTP exchange, and GETs from dependencies that are only read.

An answer is cut off when its decompressed body exceeds a limit in bytes. Redirects are not followed, because they would
carry credentials elsewhere. Connections are kept alive, and aiohttp repeats a GET when a connection proves to be stale.
"""

import asyncio
import re
import zlib
from collections.abc import AsyncIterable, AsyncIterator, Container, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from hashlib import sha1
from typing import Any

import aiohttp
from opentelemetry.trace import get_current_span
from yarl import URL

from worker.domain.solution import ByteLimit, Unproven
from worker.errors import CODES, ConfigurationError, Stage, Unavailable, WorkerError
from worker.observability import telemetry
from worker.observability.metrics import HTTP_REQUESTS
from worker.settings import ArtifactsSettings, CatalogSettings

# This module decompresses answers, because aiohttp takes a truncated gzip stream for a complete one.
SESSION: Mapping[str, Any] = {"headers": {"Accept-Encoding": "gzip"}, "auto_decompress": False}
PIECE = 64 * 1024  # bytes decompressed at a time

CONNECTIONS = 32  # concurrent, to one dependency; further requests wait, and their time-out starts after the wait

Body = bytes | AsyncIterable[bytes]

_SHA1 = re.compile(r"\{SHA1\{([0-9a-f]{40})\}\}")  # in a file's ETag, as Nexus 2 and 3 write it
# White space, byte order marks, and the NUL bytes of UTF-16 and UTF-32.
_BEFORE_TEXT = b"\xef\xbb\xbf\xfe\xff\0 \t\r\n\f\v"

_NO_HEADERS: Mapping[str, str] = {}


class TooLarge(WorkerError):
    """An answer that is longer than the limit."""

    begins = b""  # the first bytes of the body
    headers: Mapping[str, str] = {}


class NotAFile(WorkerError):
    """A file that is a web page, or empty."""


class TooLargeTogether(WorkerError):
    """Several answers that together are longer than the limit for all of them."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A server's answer."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)  # longer than the limit if the answer was cut off


@asynccontextmanager
async def dependency_session() -> AsyncIterator[aiohttp.ClientSession]:
    """Open a session for servers other than the playground, such as CCDS and Nexus.

    Connections are kept alive. Cookies are dropped, so that none passes from one user's request to another user's.
    """
    connector = aiohttp.TCPConnector(limit=0)  # each Dependency has its own limit
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), **SESSION) as session:
        yield session


def cause_of(error: Exception) -> str:
    """Return why there is no answer, for the log: the error's class, and the system's description.

    The error's own text is left out, because it may contain a path with user ids.
    """
    inner = getattr(error, "os_error", error)
    words = inner.strerror if isinstance(inner, OSError) else None
    return f"{type(error).__name__}: {words}" if words else type(error).__name__


def configured_url(text: str, variable: str) -> URL:
    """Return a client's base URL. Raises ConfigurationError, which names the variable, if the URL is invalid."""
    try:
        url = URL(text)
        usable = bool(url.host and url.port)  # yarl checks both only on access
    except ValueError:
        usable = False
    if not usable:
        raise ConfigurationError(f"{variable}: this is not a valid URL; check its host and port.")
    return url


async def exchange(
    session: aiohttp.ClientSession,
    dependency: str,
    method: str,
    url: URL,
    *,
    headers: Mapping[str, str],
    limits: aiohttp.ClientTimeout,
    max_bytes: int,
    data: Body | None = None,
    left: Sequence[ByteLimit] = (),
) -> Answer:
    """Send a request and read its answer. The request is counted, and traced if tracing is enabled.

    `data` is sent unchanged, with the length given in `headers`. The decompressed bytes of the body are subtracted
    from `left` as they arrive, which may raise the limit's error.
    The body is read for status 200, and if data was sent for every status, because it explains why the data was
    rejected.
    Raises aiohttp.ClientError or TimeoutError if there is no answer, or if the answer is incomplete and its body
    matters.
    """
    outcome = "error"
    try:
        with telemetry.client_span(dependency, method) if telemetry.Spans.tracer else nullcontext(_NO_HEADERS) as trace:
            async with session.request(
                method,
                url,
                headers={**headers, **trace},
                data=data,
                timeout=limits,
                allow_redirects=False,
            ) as response:
                get_current_span().set_attribute("http.response.status_code", response.status)
                body = bytearray()
                if response.status == 200 or data is not None:
                    await _read(response, body, max_bytes, left)
        outcome = f"{response.status // 100}xx"
        return Answer(response.status, response.headers, bytes(body))
    except TimeoutError:
        outcome = "timeout"
        raise
    except WorkerError:  # a limit in `left` is exceeded
        outcome = "2xx"
        raise
    except asyncio.CancelledError:
        outcome = ""  # it says nothing about the dependency
        raise
    finally:
        if outcome:
            HTTP_REQUESTS.labels(dependency, outcome).inc()


async def _read(response: aiohttp.ClientResponse, body: bytearray, max_bytes: int, left: Sequence[ByteLimit]) -> None:
    """Append the decompressed content to `body`, until it is longer than `max_bytes`."""
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    unpacker = None if encoding == "identity" else zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    try:
        if encoding not in ("identity", "gzip", "x-gzip"):
            raise aiohttp.ClientPayloadError("an encoding that was not asked for")
        async for piece in response.content.iter_any():
            before = len(body)
            if unpacker is None:
                body += piece
            else:
                _unpack(unpacker, piece, body, max_bytes)
            spend(left, len(body) - before)
            if len(body) > max_bytes:  # enough to know that it is too long
                return
        if unpacker is not None and not unpacker.eof:
            raise aiohttp.ClientPayloadError("the gzip stream breaks off")
    except (aiohttp.ClientError, TimeoutError):
        if response.status == 200 or response.status >= 500:
            raise  # for every other status, the status alone is sufficient


def _unpack(unpacker: Any, packed: bytes, body: bytearray, max_bytes: int) -> None:
    """Decompress and append one piece at a time, so that a decompression bomb never grows far beyond the limit."""
    while packed and not unpacker.eof:
        try:
            body += unpacker.decompress(packed, PIECE)
        except zlib.error:
            raise aiohttp.ClientPayloadError("not gzip") from None
        if len(body) > max_bytes:  # a bomb, perhaps
            return
        packed = unpacker.unconsumed_tail
    if packed or unpacker.unused_data:
        raise aiohttp.ClientPayloadError("something after the gzip stream")


def spend(left: Sequence[ByteLimit], size: int) -> None:
    """Subtract received bytes from each limit. Raises the error of the first limit that is exceeded."""
    for limit in left:
        limit.remaining -= size
        if limit.remaining < 0 and limit.error:
            raise limit.error


class Dependency:
    """A read-only server at one base URL, with HTTP Basic credentials."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        settings: CatalogSettings | ArtifactsSettings,
        *,
        name: str,
        called: str,
        nothing: Container[int],
    ) -> None:
        """Check the settings.

        Args:
            session: holds the connections.
            settings: the group `name` of the settings.
            name: the prefix of the dependency's error codes.
            called: the dependency's name in messages.
            nothing: the statuses that mean that the dependency does not have the requested file.

        Raises:
            ConfigurationError: the URL is invalid, or HTTP Basic cannot transmit the user name.
        """
        self._session = session
        self._name = name
        self._called = called
        self.ignore = nothing
        # Connecting has the shorter limit, because a failed connection is more informative than a missing answer.
        self._limits = aiohttp.ClientTimeout(total=settings.timeout_seconds, sock_connect=settings.timeout_seconds / 2)
        self._slots = asyncio.Semaphore(CONNECTIONS)
        self._asked: dict[tuple[str, str, int], asyncio.Future[tuple[Answer | None] | None]] = {}
        variable = f"DEPLOYER_{name.upper()}__"
        self._base = configured_url(settings.url.rstrip("/") + "/", f"{variable}URL")
        try:
            self._credentials = aiohttp.encode_basic_auth(settings.username, settings.password.get_secret_value())
        except ValueError:
            raise ConfigurationError(f"{variable}USERNAME: HTTP Basic allows no colon in it; use another.") from None

    async def get(
        self,
        path: str,
        *,
        accept: str,
        max_bytes: int,
        stage: Stage = "fetch",
        left: Sequence[ByteLimit] = (),
    ) -> Answer | None:
        """GET one file. Returns None if the dependency does not have it.

        Concurrent requests for the same file share one GET, except for access checks (stage `authorise`). Only an
        answer is shared. If the GET fails, each waiting request sends its own GET.

        Args:
            path: the path below the base, percent-encoded, without a leading slash.
            accept: the header `Accept`.
            max_bytes: the maximum length of the body.
            stage: the stage of the request, for the error.
            left: limits from which received bytes are subtracted, which may raise.

        Raises:
            TooLarge: the body is longer than `max_bytes`.
            Unavailable: there is no usable answer in time, or our credentials are rejected.
        """
        key = path, accept, max_bytes
        if (asked := self._asked.get(key)) and (shared := await asyncio.shield(asked)):
            spend(left, len(shared[0].body) if shared[0] else 0)
            return shared[0]
        mine = asyncio.get_running_loop().create_future()
        if stage == "fetch":
            self._asked.setdefault(key, mine)
        try:
            answer = await self._get(path, accept, max_bytes, stage, left)
            mine.set_result((answer,))
            return answer
        finally:
            if self._asked.get(key) is mine:
                del self._asked[key]
            if not mine.done():
                mine.set_result(None)

    async def _get(
        self, path: str, accept: str, max_bytes: int, stage: Stage, left: Sequence[ByteLimit]
    ) -> Answer | None:
        url = self._below_base(path)
        headers = {"Accept": accept, "Authorization": self._credentials}
        try:
            async with self._slots:
                answer = await exchange(
                    self._session,
                    self._name,
                    "GET",
                    url,
                    headers=headers,
                    limits=self._limits,
                    max_bytes=max_bytes,
                    left=left,
                )
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise self._unavailable("unavailable", stage, cause_of(error), dependency_wide=True) from None
        except TimeoutError as error:
            raise self._unavailable("timeout", stage, cause_of(error)) from None
        except aiohttp.ClientConnectionError as error:
            raise self._unavailable("unavailable", stage, cause_of(error)) from None
        except aiohttp.ClientError:
            raise self.error("its answer is not valid HTTP or broke off", stage) from None
        if answer.status in (401, 403):
            wide = answer.status == 401  # 403 may concern only the path, which depends on the solution
            raise self._unavailable("unauthorized", stage, f"status {answer.status}", dependency_wide=wide)
        if answer.status in self.ignore:
            return None
        if answer.status != 200:
            raise self.error(f"status {answer.status}", stage)
        if len(answer.body) > max_bytes:
            too_large = TooLarge(f"longer than {max_bytes} bytes")
            too_large.begins, too_large.headers = answer.body[:100], answer.headers
            raise too_large
        return answer

    async def get_all(
        self, paths: Sequence[str], *, accept: str, max_bytes: int, left: Sequence[ByteLimit]
    ) -> list[Answer | None]:
        """GET several files concurrently, each as `get` does. The first failure cancels all of them.

        If several GETs fail at the same time, the error of the first path is raised, so that the error does not depend
        on timing.
        """
        if not paths:
            return []
        tasks = [asyncio.create_task(self.get(path, accept=accept, max_bytes=max_bytes, left=left)) for path in paths]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            return [task.result() for task in tasks if task.done()]
        finally:
            await stop(*tasks)

    def file(self, answer: Answer, size: int | None) -> bytes:
        """Return the file in an answer, unless a proxy sent a login page, a maintenance page or nothing in its place.

        A file is proven by its checksum, or by `size`, which comes from another server. Any other file is `Unproven`.
        A different size disproves nothing, because Graphene's database has impossible sizes such as -1.
        Raises Unavailable for an answer in place of the file. Raises NotAFile if the dependency itself has a web page,
        or nothing, under that name.
        """
        body, checksum = answer.body, _SHA1.search(answer.headers.get("ETag", ""))
        if checksum and checksum[1] != sha1(body, usedforsecurity=False).hexdigest():
            raise self.error("the content does not match the checksum in its ETag")
        genuine = checksum is not None or len(body) == size
        begins = body.lstrip(_BEFORE_TEXT)[:1]
        if not begins:
            what = "nothing"
        elif begins == b"<" or (not genuine and _is_html(answer.headers)):
            what = "a web page"
        else:
            return body if genuine else Unproven(body)
        if genuine:
            raise NotAFile(what)
        raise self._in_place_of_a_file(what)

    def check_too_large(self, error: TooLarge) -> None:
        """Raise Unavailable for a web page, which may exceed the limit for files. A checksum proves a file."""
        page = error.begins.lstrip(_BEFORE_TEXT)[:1] == b"<" or _is_html(error.headers)
        if page and not _SHA1.search(error.headers.get("ETag", "")):
            raise self._in_place_of_a_file("a long web page") from None

    def _in_place_of_a_file(self, what: str) -> Unavailable:
        return self.error(f"{what} came in place of a file. If the file itself is that, on-board its model again")

    def error(self, problem: str, stage: Stage = "fetch") -> Unavailable:
        """Return the error for an unusable answer."""
        message = f"{self._called} gave no usable answer: {problem}. Send the request again later."
        return Unavailable(f"{self._name}-error", message, stage).because(str(self._base), problem)

    def _unavailable(self, kind: str, stage: Stage, cause: str, *, dependency_wide: bool = False) -> Unavailable:
        code = f"{self._name}-{kind}"
        return Unavailable(code, CODES[code], stage, dependency_wide=dependency_wide).because(str(self._base), cause)

    def _below_base(self, path: str) -> URL:
        """Return the URL of a path. All URLs are built here, as a second check: callers already pass clean paths."""
        url = URL(str(self._base) + path, encoded=True)
        kept = url.origin() == self._base.origin() and url.raw_path == self._base.raw_path + path
        if not kept or {".", ".."} & set(path.split("/")):
            raise ValueError("a path leads away from the configured base")
        return url


def _is_html(headers: Mapping[str, str]) -> bool:
    return "html" in headers.get("Content-Type", "").lower()


async def stop(*work: "asyncio.Future[Any]") -> None:
    """Cancel all unfinished work and wait for it, so that no work outlives its request."""
    if not all(one.done() and (one.cancelled() or one.exception() is None) for one in work):
        for one in work:
            one.cancel()
        await asyncio.gather(*work, return_exceptions=True)
