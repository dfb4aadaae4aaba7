"""SUBMIT: the bundle → the playground server, in one POST.

A POST is never repeated here, and no connection is used twice: a kept-alive one that the server has just closed
would fail after bytes were sent, and then nobody knows whether the server deployed. `judge` is the table of what
an answer means; the server's own words reach the user shortened, on one line and without the user's name.
"""

import base64
import io
import json
import re
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from schemas import DeploymentInfo
from worker.adapters.http import configured_url
from worker.errors import CODES, ConfigurationError, DeploymentError, OutcomeUnknown, PlaygroundRefused, Unavailable
from worker.settings import Playground

MAX_ANSWER = 1024 * 1024  # bytes that are read; a failed script's whole output is in it
MAX_REASON = 500  # characters of the server's own words
CONNECT_SECONDS = 30

_PATH = "/deploy_solution"
_DASHBOARD = "/dashboard?selected_deployment_id="
_DEPLOYED = re.compile(re.escape(_DASHBOARD) + r"([a-z0-9-]{1,63})")
_FAILED = "deploy solution failed with:"
_WAY_OUT = "Correct that, or tell the operator."


@asynccontextmanager
async def playground_session(settings: Playground) -> AsyncIterator[aiohttp.ClientSession]:
    """A session in which every request has a connection of its own. Raises ConfigurationError for a bad CA file."""
    connector = aiohttp.TCPConnector(limit=0, force_close=True, ssl=_trusted(settings.ca_file))
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:
        yield session


def _trusted(ca_file: Path | None) -> ssl.SSLContext | bool:
    try:
        return ssl.create_default_context(cafile=ca_file) if ca_file else True
    except OSError as error:  # ssl.SSLError is one
        raise ConfigurationError(
            f"DEPLOYER_PLAYGROUND__CA_FILE: cannot be read as PEM certificates ({type(error).__name__})."
        ) from None


class PlaygroundClient:
    """Posts bundles. Use it with `playground_session`, and never twice at once for one user."""

    def __init__(self, session: aiohttp.ClientSession, settings: Playground) -> None:
        """Raises ConfigurationError when the URL is none."""
        self._session = session
        self._deploy_url = settings.deploy_url
        total = settings.timeout_seconds
        # Connecting has the shorter limit, so that the longer one can only run out after something was sent.
        self._timeout = aiohttp.ClientTimeout(total=total, connect=min(CONNECT_SECONDS, total / 2))
        self._url = configured_url(settings.deploy_url, "DEPLOYER_PLAYGROUND__DEPLOY_URL")

    async def submit(self, bundle: bytes, username: str, request_id: str) -> DeploymentInfo:
        """Deploy one solution.zip for one user.

        Args:
            bundle: the zip.
            username: the e-mail address the user logs in to the playground with.
            request_id: sent as Idempotency-Key, for servers that understand it.

        Raises:
            Unavailable: nothing was deployed; the same POST may succeed later.
            PlaygroundRefused: the server said no.
            OutcomeUnknown: something was sent, and no answer tells what became of it.
        """
        # Put together by hand, because the encoder would look at every character of the base64 text.
        body = b'{"solution":"%b","username":%b}' % (base64.b64encode(bundle), json.dumps(username).encode())
        headers = {"Content-Type": "application/json", "Idempotency-Key": request_id}
        try:
            async with self._session.post(
                self._url, data=io.BytesIO(body), headers=headers, timeout=self._timeout, allow_redirects=False
            ) as response:
                status, answered, text = response.status, response.headers, await _read(response)
        except aiohttp.ClientSSLError:
            raise Unavailable(
                "playground-unavailable", "The playground's certificate is not trusted. Tell the operator.", "submit"
            ) from None
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
            raise Unavailable("playground-unavailable", CODES["playground-unavailable"], "submit") from None
        except (aiohttp.ClientError, TimeoutError):
            raise OutcomeUnknown(CODES["outcome-unknown"]) from None
        verdict = judge(status, answered, text, deploy_url=self._deploy_url, username=username)
        if isinstance(verdict, DeploymentError):
            raise verdict
        return verdict


def judge(
    status: int, headers: Mapping[str, str], body: bytes, *, deploy_url: str, username: str
) -> DeploymentInfo | DeploymentError:
    """What the server's answer means. `username` is the one that must not show in an error's message."""
    text = body.decode(errors="replace")
    if status == 200:
        return _judge_success(text, deploy_url, username)
    if status in (401, 403):
        return Unavailable(
            "playground-unauthorized", "The playground refuses this worker. Tell the operator.", "submit"
        )
    if status == 429 or (status == 503 and "retry-after" in {name.lower() for name in headers}):
        return Unavailable("playground-busy", CODES["playground-busy"], "submit")
    if 300 <= status < 400:
        return PlaygroundRefused("playground-redirected", CODES["playground-redirected"])
    if status == 500 and _FAILED in text:
        reason = _reason(text.partition(_FAILED)[2], username)
        return PlaygroundRefused(
            "deployment-failed", f"The bundle's script failed on the playground: {reason} {_WAY_OUT}"
        )
    if status >= 500:
        return OutcomeUnknown(CODES["outcome-unknown"])
    return _refused(status, text, username)


def _judge_success(text: str, deploy_url: str, username: str) -> DeploymentInfo | DeploymentError:
    if text == f"{_DASHBOARD}None":
        return PlaygroundRefused("playground-name-taken", CODES["playground-name-taken"])
    deployed = _DEPLOYED.fullmatch(text)
    if not deployed:
        return _refused(200, text, username)
    return DeploymentInfo(id=deployed[1], url=deploy_url.removesuffix(_PATH) + text)


def _refused(status: int, text: str, username: str) -> PlaygroundRefused:
    reason = _reason(text, username)
    return PlaygroundRefused(
        "playground-refused", f"The playground refused the bundle with status {status}: {reason} {_WAY_OUT}"
    )


def _reason(text: str, username: str) -> str:
    """The server's words on one line: their beginning, and their end, where a traceback says what was wrong."""
    if text.lstrip().startswith("<"):
        return "a web page instead of a reason."
    words = "".join(char if char.isprintable() else " " for char in text)
    line = " ".join(words.split())
    user = username.strip().lower()
    for name in (username.strip(), user.encode().hex()):  # the server's paths have it in hexadecimal
        line = re.sub(re.escape(name), "(user)", line, flags=re.IGNORECASE) if name else line
    if len(line) > MAX_REASON:
        start = MAX_REASON // 3
        line = f"{line[:start]} … {line[start + 3 - MAX_REASON :]}"
    return f"{line.removesuffix('.') or 'no reason given'}."


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """The body's beginning. One that breaks off matters only where the body tells success from failure."""
    body = bytearray()
    try:
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) >= MAX_ANSWER:
                break
    except (aiohttp.ClientError, TimeoutError):
        if response.status == 200 or response.status >= 500:
            raise
    return bytes(body[:MAX_ANSWER])
