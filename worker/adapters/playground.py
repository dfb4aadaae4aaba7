"""SUBMIT: send the bundle to the playground server in a single POST.

A POST is never repeated here, and no connection is reused. A kept-alive connection that the server has just closed
would fail after bytes were sent, and then it would be unknown whether the server deployed the bundle. `judge`
classifies the answers. The user receives the server's own words shortened, on one line, without the user's name, and
without text repeated from the bundle.
"""

import asyncio
import base64
import json
import re
import ssl
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path
from urllib.parse import quote

import aiohttp

from schemas import DeploymentInfo
from worker.adapters.http import SESSION, cause_of, configured_url, exchange
from worker.concurrency import in_thread
from worker.errors import CODES, ConfigurationError, DeploymentError, OutcomeUnknown, PlaygroundRefused, Unavailable
from worker.observability.logs import without_encoded
from worker.settings import PlaygroundSettings

MAX_ANSWER = 1024 * 1024  # bytes that are read; an answer contains the whole output of a failed script
MAX_REASON = 500  # characters of the server's own words
MAX_READ = 8 * 1024  # characters at each end of an answer that are examined: cleaning a megabyte takes 0.3 s
MAX_RETRY_AFTER = 3600  # seconds
PIECE = 48 * 1024  # bytes of a bundle encoded in base64 at a time; a multiple of 6, because 6 bytes are 8 characters
LARGE = 512 * 1024  # bytes: searching an answer for the words of a larger bundle takes over 20 ms
MIN_MAILBOX = 8  # characters: a shorter first part of an e-mail address may be an ordinary word
CONNECT_SECONDS = 30

_PATH = "/deploy_solution"
_DASHBOARD = "/dashboard?selected_deployment_id="
_DEPLOYED = re.compile(re.escape(_DASHBOARD) + r"([a-z0-9-]{1,63})")
_FAILED = "deploy solution failed with:"
_WAY_OUT = "Correct that, or tell the operator."
_WORD_AT_END, _WORD_AT_START = re.compile(r"\S*\Z"), re.compile(r"\A\S*")
_BASE64 = re.compile(r"[A-Za-z0-9+/=]{16,}")


@asynccontextmanager
async def playground_session(settings: PlaygroundSettings) -> AsyncIterator[aiohttp.ClientSession]:
    """Open a session in which every request has its own connection. Raises ConfigurationError for a bad CA file."""
    connector = aiohttp.TCPConnector(limit=0, force_close=True, ssl=_trusted(settings.ca_file))
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), **SESSION) as session:
        yield session


def _trusted(ca_file: Path | None) -> ssl.SSLContext | bool:
    try:
        return ssl.create_default_context(cafile=ca_file) if ca_file else True
    except OSError as error:  # includes ssl.SSLError
        raise ConfigurationError(
            f"DEPLOYER_PLAYGROUND__CA_FILE: cannot be read as PEM certificates ({type(error).__name__})."
        ) from None


_now = partial(datetime.now, UTC)


class PlaygroundClient:
    """Posts bundles. It needs a `playground_session`. Never call `submit` concurrently for one user."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        settings: PlaygroundSettings,
        now: Callable[[], datetime] = _now,
    ) -> None:
        """Raise ConfigurationError if the URL is invalid. `now` returns the time, for a Retry-After that is a date."""
        self._session = session
        self._now = now
        self._deploy_url = settings.deploy_url
        self._public_url = settings.public_url
        self._url = configured_url(settings.deploy_url, "DEPLOYER_PLAYGROUND__DEPLOY_URL")

    async def submit(self, bundle: bytes, username: str, request_id: str, seconds: float) -> DeploymentInfo:
        """Deploy one solution.zip for one user.

        Args:
            bundle: the zip.
            username: the e-mail address with which the user logs in to the playground.
            request_id: sent as Idempotency-Key, for servers that support it.
            seconds: the time limit for the answer.

        Raises:
            Unavailable: nothing was deployed, and the same POST may succeed later.
            PlaygroundRefused: the server rejected the request.
            OutcomeUnknown: bytes were sent, and there was no answer, or a 5xx answer that does not show the outcome.
        """
        start, end = b'{"solution":"', b'","username":%b}' % json.dumps(username).encode()
        length = len(start) + (len(bundle) + 2) // 3 * 4 + len(end)
        headers = {"Content-Type": "application/json", "Content-Length": f"{length}", "Idempotency-Key": request_id}
        # Connecting has the shorter limit, so that the longer limit can only expire after bytes were sent.
        limits = aiohttp.ClientTimeout(total=seconds, connect=min(CONNECT_SECONDS, seconds / 2))
        post = exchange(
            self._session,
            "playground",
            "POST",
            self._url,
            headers=headers,
            limits=limits,
            max_bytes=MAX_ANSWER,
            data=_body(start, bundle, end) if len(bundle) > LARGE else start + base64.b64encode(bundle) + end,
        )
        server, code = str(self._url.origin()), "playground-unavailable"  # without the path: the sandbox's is secret
        try:
            answer = await asyncio.create_task(post)  # in its own task, so that the caller is resumed only once
        except aiohttp.ClientSSLError as error:
            message = "The playground's certificate is not trusted. Tell the operator."
            raise Unavailable(code, message, "submit", dependency_wide=True).because(server, cause_of(error)) from None
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise Unavailable(code, CODES[code], "submit", dependency_wide=True).because(
                server, cause_of(error)
            ) from None
        except (aiohttp.ClientError, TimeoutError) as error:
            raise OutcomeUnknown(CODES["outcome-unknown"]).because(server, cause_of(error)) from None
        judged = partial(
            judge,
            answer.status,
            answer.headers,
            answer.body[:MAX_ANSWER],
            deploy_url=self._deploy_url,
            public_url=self._public_url,
            username=username,
            bundle=bundle,
            now=self._now(),
        )
        verdict = await in_thread(judged) if len(bundle) > LARGE and answer.status != 200 else judged()
        if isinstance(verdict, DeploymentError):
            raise verdict.because(server, f"status {answer.status}")
        return verdict


async def _body(start: bytes, bundle: bytes, end: bytes) -> AsyncIterator[bytes]:
    """Write JSON by hand, one piece at a time: the whole text is larger than the bundle, and would exist twice."""
    yield start
    for piece in _base64(bundle):
        yield piece
    yield end


def _base64(bundle: bytes) -> Iterator[bytes]:
    view = memoryview(bundle)
    for start in range(0, len(bundle), PIECE):
        yield base64.b64encode(view[start : start + PIECE])


def judge(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    deploy_url: str,
    public_url: str | None = None,
    username: str,
    bundle: bytes = b"",
    now: datetime | None = None,
) -> DeploymentInfo | DeploymentError:
    """Classify the server's answer.

    Args:
        status: the answer's status.
        headers: the answer's headers.
        body: the answer's body.
        deploy_url: the URL of the POST.
        public_url: the server's URL for users, if it differs.
        username: the user name that was sent, which must not appear in an error message.
        bundle: the bundle that was sent, which must not appear in an error message.
        now: the time of the answer, in UTC. If None, a Retry-After that is a date is ignored.
    """
    text = body.decode(errors="replace")
    if status == 200:
        return _judge_success(text, public_url or deploy_url.removesuffix(_PATH), username, bundle)
    if status in (401, 403):
        return Unavailable(
            "playground-unauthorized",
            "The playground refuses this worker. Tell the operator.",
            "submit",
            dependency_wide=status == 401,  # 403 may come from a filter in front of the server, because of the body
        )
    if status == 429 or (status == 503 and "retry-after" in {name.lower() for name in headers}):
        return Unavailable(
            "playground-busy", CODES["playground-busy"], "submit", retry_after=_retry_after(headers, now)
        )
    if 300 <= status < 400:
        return PlaygroundRefused("playground-redirected", CODES["playground-redirected"])
    if status == 500 and _FAILED in text:
        reason = _reason(text.partition(_FAILED)[2], username, bundle)
        return PlaygroundRefused(
            "deployment-failed", f"The bundle's script failed on the playground: {reason} {_WAY_OUT}"
        )
    if status >= 500:
        return OutcomeUnknown(CODES["outcome-unknown"])
    return _refused(status, _reason(text, username, bundle), len(bundle))


def _judge_success(text: str, public_url: str, username: str, bundle: bytes) -> DeploymentInfo | DeploymentError:
    if text == f"{_DASHBOARD}None":
        return PlaygroundRefused("playground-name-taken", CODES["playground-name-taken"])
    deployed = _DEPLOYED.fullmatch(text)
    if not deployed:
        return _refused(200, _reason(text, username, bundle), len(bundle))
    return DeploymentInfo(id=deployed[1], url=public_url.rstrip("/") + text)


def _refused(status: int, reason: str, size: int) -> PlaygroundRefused:
    which = f"the bundle of {size} bytes" if status == 413 else "the bundle"
    return PlaygroundRefused(
        "playground-refused", f"The playground refused {which} with status {status}: {reason} {_WAY_OUT}"
    )


def _reason(text: str, username: str, bundle: bytes) -> str:
    """Return the server's words on one line: the beginning, and the end, where a traceback shows the error."""
    if len(text) > 2 * MAX_READ:  # without words that are cut in two: half a name or a token would not be recognised
        text = f"{_WORD_AT_END.sub('', text[:MAX_READ])} … {_WORD_AT_START.sub('', text[-MAX_READ:])}"
    if text.lstrip().startswith("<"):
        return "a web page instead of a reason."
    text = _without_user(without_encoded(text), username.strip())
    words = "".join(char if char.isprintable() else " " for char in text)
    line = " ".join(words.split())
    if len(line) > MAX_REASON:
        start = MAX_REASON // 3
        line = f"{line[:start]} … {line[start + 3 - MAX_REASON :]}"
    return f"{_without_bundle(line, bundle).removesuffix('.') or 'no reason given'}."


def _without_user(text: str, name: str) -> str:
    """Remove the user's name: as plain text, as in URLs, and in hexadecimal, as in the server's paths."""
    mailbox = name.partition("@")[0]
    forms = [name, quote(name), quote(name, safe=""), name.encode().hex(), name.lower().encode().hex()]
    if len(mailbox) >= MIN_MAILBOX:
        forms.append(mailbox)
    known = "|".join(re.escape(form) for form in forms if form)
    return re.sub(known, "(user)", text, flags=re.IGNORECASE) if known else text


def _without_bundle(line: str, bundle: bytes) -> str:
    """Remove the words that repeat 16 or more consecutive characters of the bundle.

    Any 16 consecutive characters contain a whole block of 8, and there are far fewer blocks than positions to compare.
    """
    if not _BASE64.search(line):
        return line
    pieces = {line[start : start + 8].encode() for start in range(len(line) - 7)}
    sent = {
        block.decode()
        for text in _base64(bundle)
        for start in range(0, len(text) - 7, 8)
        if (block := text[start : start + 8]) in pieces
    }
    return _BASE64.sub(lambda word: "(bundle)" if any(block in word[0] for block in sent) else word[0], line)


def _retry_after(headers: Mapping[str, str], now: datetime | None) -> float | None:
    """Return Retry-After (RFC 9110 10.2.3), a number or a date, as seconds up to an hour, or None if it is unusable."""
    value = next((it for name, it in headers.items() if name.lower() == "retry-after"), "").strip()
    if value.isascii() and value.isdigit() and len(value) < 10:
        return float(min(int(value), MAX_RETRY_AFTER))
    try:
        date = parsedate_to_datetime(value[:100])
        seconds = (date.replace(tzinfo=date.tzinfo or UTC) - now).total_seconds() if now else None
    except (ValueError, OverflowError):
        return None
    return None if seconds is None else min(max(seconds, 0.0), MAX_RETRY_AFTER)
