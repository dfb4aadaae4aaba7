"""The public keys of an issuer, read from its JWKS address (RFC 7517) and cached.

- The keys are read when the first token arrives. They are read again when they are older than FRESH_SECONDS, or when a
  token names an unknown key, because an issuer may rotate its keys at any time. At most one read runs at a time, and at
  most one starts per MIN_INTERVAL, whatever keys the tokens name.
- During an outage of the issuer, the cached keys are used for up to STALE_SECONDS. After that, and for a key that could
  not be looked up, the error is `keys-unavailable`, which does not blame the token.
- The address comes from the settings only. No redirect is followed, and no address in a token.
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
STALE_SECONDS = 3600.0  # how long an outage of the issuer may last, and how long a withdrawn key may remain valid
MIN_INTERVAL = 10.0  # seconds from the start of one read to the start of the next
TIMEOUT_SECONDS = 5.0
PATIENCE_SECONDS = 1.0  # how long a token with an unknown key waits for a read, as a buffered record
MAX_BODY = 256 * 1024  # bytes; a key with its certificates has 5 KiB
MAX_KEYS = 100
MAX_STRING = 16 * 1024  # bytes, because certificates in x5c are long

Read = Callable[[], Awaitable[bytes]]
"""Reads the JWKS document. Raises KeysUnreadable."""

log = structlog.get_logger()


class KeysUnreadable(WorkerError):
    """The issuer's keys could not be read. The message gives the reason, for the log."""


@dataclass(frozen=True, slots=True)
class _Known:
    """The usable keys that one read found: keys by name, and keys without a name."""

    read_at: float = float("-inf")
    named: dict[str, PublicKey] = field(default_factory=dict)
    nameless: tuple[PublicKey, ...] = ()

    def find(self, kid: str | None) -> PublicKey | None:
        """Find a key. Without `kid`, a key is found only if there is exactly one."""
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
        """Start without keys.

        Args:
            read: reads the JWKS document.
            signatures: selects the keys for the configured algorithm.
            clock: returns monotonic seconds.
            patience: how many seconds a token with an unknown key waits for a running read.
            url: the address that `read` uses, for the log.
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
        """Return the key that a token names, or None if the issuer has no such key.

        Raises Unavailable if the keys could not be read.
        """
        key = (await self._known_since(FRESH_SECONDS, STALE_SECONDS)).find(kid)
        if key is None:
            # An unknown key may be new: only a recent read proves that the key does not exist.
            key = (await self._known_since(MIN_INTERVAL, MIN_INTERVAL, dependency_wide=False)).find(kid)
        return key

    async def refresh(self) -> None:
        """Read the keys, unless they were read within MIN_INTERVAL.

        Raises Unavailable if the keys cannot be read, or if none is for the configured algorithm.
        """
        await self._known_since(MIN_INTERVAL, MIN_INTERVAL)

    async def _known_since(self, fresh: float, stale: float, *, dependency_wide: bool = True) -> _Known:
        """Return keys that were read at most `fresh` seconds ago, or if reading fails, at most `stale` seconds ago.

        `dependency_wide`: whether a failure means that no token can be verified, whichever key it names.
        Raises Unavailable.
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
        """Wait for a running read, then acquire the lock. Return whether that succeeded within `seconds`."""
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
        """Select the usable entries. For each unusable entry, log the reason and its index in the list."""
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
    """GET the JWKS document within `seconds`. Raises KeysUnreadable."""
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
    """Open a token verifier, with a session for the issuer if JWKS_URL is set.

    Raises ConfigurationError if the secret or the address cannot be used.
    """
    if settings.jwks_url is None:
        yield TokenVerifier(settings, clock)
        return
    url = configured_url(settings.jwks_url, "DEPLOYER_AUTH__JWKS_URL")
    async with dependency_session() as session:
        read = partial(read_document, session, url)
        keys = IssuerKeys(read, Signatures(settings.algorithm), time.monotonic, url=settings.jwks_url)
        yield TokenVerifier(settings, clock, keys)
