"""The public keys of an issuer, read from its JWKS address (RFC 7517) and kept for a while.

- Keys are read when the first token comes, and again when they are older than FRESH_SECONDS or a token names a key
  that is not among them: an issuer may rotate its keys at any time. At most one read runs, and at most one begins in
  MIN_INTERVAL, whatever tokens say.
- During an outage of the issuer the keys of before count, up to STALE_SECONDS. After that, and for keys that could not
  be looked up, the request fails as our fault and not as the token's.
- The address comes from the settings. No redirect is followed, and nothing in a token.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import aiohttp
import structlog
from yarl import URL

from worker.adapters.http import cause_of, configured_url, dependency_session, exchange
from worker.adapters.tokens import PublicKey, Signatures, TokenVerifier, UnusableKey
from worker.domain.strict_json import JsonError, loads
from worker.errors import CODES, Unavailable, WorkerError
from worker.settings import AuthSettings

FRESH_SECONDS = 600.0
STALE_SECONDS = 3600.0  # how long an outage of the issuer may last, and how long a withdrawn key may still count
MIN_INTERVAL = 10.0  # seconds from the start of one read to the start of the next
TIMEOUT_SECONDS = 5.0
PATIENCE_SECONDS = 1.0  # with a read that runs: meanwhile who names an unknown key is among the records that are read
MAX_BODY = 256 * 1024  # bytes; a key with its certificates has 5 KiB
MAX_KEYS = 100
MAX_STRING = 16 * 1024  # bytes: certificates in x5c are long

Read = Callable[[], Awaitable[bytes]]
"""Reads the JWKS document. Raises KeysUnreadable."""

log = structlog.get_logger()


class KeysUnreadable(WorkerError):
    """The issuer's keys could not be read; the message says why, for the log."""


@dataclass(frozen=True, slots=True)
class _Known:
    """What one read found: keys that may be used, by name, and those without one."""

    read_at: float = float("-inf")
    named: dict[str, PublicKey] = field(default_factory=dict)
    nameless: tuple[PublicKey, ...] = ()

    def find(self, kid: str | None) -> PublicKey | None:
        """Find a key; without `kid` the token can only mean the single key there is."""
        if kid is not None:
            return self.named.get(kid)
        keys = (*self.named.values(), *self.nameless)
        return keys[0] if len(keys) == 1 else None

    def __bool__(self) -> bool:
        return bool(self.named or self.nameless)


class IssuerKeys:
    """Finds the issuer's key for a token."""

    def __init__(
        self,
        read: Read,
        signatures: Signatures,
        clock: Callable[[], float],
        patience: float = PATIENCE_SECONDS,
        url: str = "",
    ) -> None:
        """Start without keys. `clock` gives seconds that never go back; `patience` is for unknown keys.

        `url`: where `read` reads, for the log.
        """
        self._read = read
        self._url = url
        self._signatures = signatures
        self._clock = clock
        self._patience = patience
        self._known = _Known()
        self._read_began = float("-inf")
        self._reading = asyncio.Lock()

    async def find(self, kid: str | None) -> PublicKey | None:
        """Return the key a token names, or None when the issuer has no such key. Raises Unavailable when unknown."""
        key = (await self._known_since(FRESH_SECONDS, STALE_SECONDS)).find(kid)
        if key is None:
            # An unknown key may be new: only what was read just now can say that it does not exist.
            key = (await self._known_since(MIN_INTERVAL, MIN_INTERVAL, dependency_wide=False)).find(kid)
        return key

    async def refresh(self) -> None:
        """Read the keys unless that was done just now. Raises Unavailable when no key is for our algorithm."""
        await self._known_since(MIN_INTERVAL, MIN_INTERVAL)

    async def _known_since(self, fresh: float, stale: float, *, dependency_wide: bool = True) -> _Known:
        """Return what was read at most `fresh` seconds ago, or when that fails, at most `stale` seconds ago.

        `dependency_wide`: without that no token can be verified, whichever key it names.
        """
        begun = self._reading.locked() and self._age() < stale
        if self._age() >= fresh and not begun and await self._turn(None if dependency_wide else self._patience):
            try:
                if self._age() >= fresh and self._clock() - self._read_began >= MIN_INTERVAL:
                    await self._read_again()
            finally:
                self._reading.release()
        if self._age() >= stale or not self._known:
            raise Unavailable(
                "keys-unavailable", CODES["keys-unavailable"], stage="authenticate", dependency_wide=dependency_wide
            )
        return self._known

    async def _turn(self, seconds: float | None) -> bool:
        """Wait for a read that runs. Return whether it has ended within so many seconds."""
        try:
            async with asyncio.timeout(seconds):
                return await self._reading.acquire()
        except TimeoutError:
            return False

    def _age(self) -> float:
        return self._clock() - self._known.read_at

    async def _read_again(self) -> None:
        self._read_began = now = self._clock()
        try:
            entries = _entries(await self._read())
        except KeysUnreadable as error:
            log.warning("the issuer's keys cannot be read", url=self._url, why=str(error))
            return
        self._known = self._usable(entries, now)
        if not self._known:
            log.warning("the issuer publishes no key for the configured algorithm", keys=len(entries))

    def _usable(self, entries: list[Any], now: float) -> _Known:
        """Choose the entries that may be used; log why another may not, with its place in the list."""
        named: list[tuple[str, PublicKey]] = []
        nameless: list[PublicKey] = []
        for place, entry in enumerate(entries):
            try:
                key = self._signatures.public_key(entry)
                if key is None:
                    continue
                if "kid" in entry:
                    named.append((_name(entry["kid"]), key))
                else:
                    nameless.append(key)
            except UnusableKey as error:
                log.warning("a key of the issuer is left out", place=place, why=str(error))
        times = Counter(name for name, _ in named)
        if len(times) < len(named):
            log.warning("keys of the issuer are left out", why="several have the same name")
        return _Known(now, {name: key for name, key in named if times[name] == 1}, tuple(nameless))


def _name(kid: object) -> str:
    if not isinstance(kid, str):
        raise UnusableKey("its name is not a text")
    return kid


def _entries(body: bytes) -> list[Any]:
    try:
        document = loads(body, max_bytes=MAX_BODY, max_string=MAX_STRING)
    except JsonError as error:
        raise KeysUnreadable(f"the answer is {error}") from None
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise KeysUnreadable("the answer has no list `keys`")
    if len(entries) > MAX_KEYS:
        raise KeysUnreadable(f"the answer has more than {MAX_KEYS} keys")
    return entries


async def read_document(session: aiohttp.ClientSession, url: URL, seconds: float = TIMEOUT_SECONDS) -> bytes:
    """GET the JWKS document within this many seconds. Raises KeysUnreadable."""
    try:
        answer = await exchange(
            session,
            "issuer",
            "GET",
            url,
            headers={"Accept": "application/jwk-set+json, application/json"},
            limits=aiohttp.ClientTimeout(total=seconds),
            max_bytes=MAX_BODY,
        )
    except TimeoutError:
        raise KeysUnreadable(f"no answer within {seconds:g} s") from None
    except aiohttp.ClientConnectionError as error:
        raise KeysUnreadable(f"no connection: {cause_of(error)}") from None
    except aiohttp.ClientError:
        raise KeysUnreadable("the answer is not valid HTTP or broke off") from None
    if answer.status != 200:
        raise KeysUnreadable(f"the answer has status {answer.status}")
    if len(answer.body) > MAX_BODY:
        raise KeysUnreadable(f"the answer is longer than {MAX_BODY} bytes")
    return answer.body


@asynccontextmanager
async def open_tokens(settings: AuthSettings, clock: Callable[[], float]) -> AsyncIterator[TokenVerifier]:
    """Open a verifier with what its keys need: a connection to the issuer when JWKS_URL is set.

    Raises ConfigurationError when the secret or the address cannot be used.
    """
    if settings.jwks_url is None:
        yield TokenVerifier(settings, clock)
        return
    url = configured_url(settings.jwks_url, "DEPLOYER_AUTH__JWKS_URL")
    async with dependency_session() as session:
        read = partial(read_document, session, url)
        keys = IssuerKeys(read, Signatures(settings.algorithm), time.monotonic, url=settings.jwks_url)
        yield TokenVerifier(settings, clock, keys)
