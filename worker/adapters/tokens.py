"""AUTHENTICATE: a Graphene token → the user it names.

Shape first, then the signature, then the claims; no error repeats anything of a token. One algorithm is configured
and nothing in a token chooses another, nor a key beyond those of the settings: neither jku, jwk, x5u nor x5c is
looked at, and `kid` is only compared.
"""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Protocol

from worker.adapters.http import configured_url, neighbour_session
from worker.adapters.jwks import IssuerKeys, read_document
from worker.adapters.signatures import Key, Signatures
from worker.domain.jjwt_key import jjwt_key
from worker.domain.solution import Caller
from worker.domain.token_claims import caller_of, check_access_token, check_parties, check_times
from worker.domain.token_shape import ACCESS_TOKEN, Token, read_token
from worker.errors import ConfigurationError, Unauthenticated
from worker.settings import Auth

# `jjwt_key` is part of this module's face: what a secret becomes is asked for where tokens are verified.
__all__ = ["Keys", "SecretKey", "TokenVerifier", "jjwt_key", "open_tokens"]

LEAST_KEY = 16  # bytes


class Keys(Protocol):
    """Where the key to verify with comes from."""

    async def find(self, kid: str | None) -> Key | None:
        """The key for a token that names `kid`; None when there is none. Raises Unavailable when nobody can say."""
        ...

    async def refresh(self) -> None:
        """Look at the source itself, where there is one. Raises Unavailable."""
        ...


class SecretKey:
    """The one HMAC key of the settings, whatever a token names."""

    def __init__(self, settings: Auth) -> None:
        """Raises ConfigurationError when the secret cannot or must not be used."""
        self._algorithm = settings.algorithm
        self._key = _secret_key(settings)

    async def find(self, kid: str | None) -> bytes:  # noqa: ARG002 - nothing in a token chooses the key
        """The key."""
        return self._key

    async def refresh(self) -> None:
        """It is always at hand."""

    def weaknesses(self) -> list[str]:
        """What an operator should know about the secret."""
        wanted = int(self._algorithm.removeprefix("HS")) // 8  # RFC 7518 3.2
        given = len(self._key)
        weakness = (
            f"DEPLOYER_AUTH__SECRET decodes to {given} bytes and {self._algorithm} wants {wanted}. "
            "Choose a longer one in the portal and here."
        )
        return [weakness] if given < wanted else []


class TokenVerifier:
    """Verifies tokens with one algorithm. `warnings` are for the operator, at the start."""

    def __init__(self, settings: Auth, clock: Callable[[], float], keys: Keys | None = None) -> None:
        """`clock` gives unix seconds; without `keys` the settings' secret is the key.

        Raises ConfigurationError when the secret cannot or must not be used.
        """
        self._settings = settings
        self._clock = clock
        self._signatures = Signatures(settings.algorithm)
        self._keys: Keys = SecretKey(settings) if keys is None else keys
        self.warnings = self._keys.weaknesses() if isinstance(self._keys, SecretKey) else _open_doors(settings)

    async def authenticate(self, token: str, appended_at: float | None, *, times: bool = True) -> Caller:
        """The user a token names.

        Args:
            token: with or without "Bearer " before it.
            appended_at: the broker's append time of the request in unix seconds, None if it is not the broker's.
            times: whether `exp` and `nbf` are judged; a request that was accepted before is not judged again.

        Raises:
            Unauthenticated: the token proves nothing; `code` says why.
            Unavailable: the issuer's keys cannot be read.
        """
        settings = self._settings
        read = read_token(token)
        await self._verify(read)
        caller = caller_of(read.claims)
        check_parties(read.claims, settings.issuer, settings.audience)
        if read.kind == ACCESS_TOKEN:
            check_access_token(read.claims)
        if times:
            now = self._clock()
            check_times(read.claims, now, appended_at, settings.leeway_seconds, settings.max_queue_age_seconds)
        return caller

    async def refresh(self) -> None:
        """Read the issuer's keys now, where they are read at all. Raises Unavailable."""
        await self._keys.refresh()

    async def _verify(self, token: Token) -> None:
        if token.header.get("alg") != self._settings.algorithm:
            raise Unauthenticated(
                "token-algorithm", f"The token is not signed with {self._settings.algorithm}. Log in to Graphene again."
            )
        key = await self._keys.find(token.kid)
        if key is None or not self._signatures.right(token.signed, key, token.signature):
            raise Unauthenticated(
                "token-signature", "The token's signature is wrong. Log in to Graphene again and send the new token."
            )


@asynccontextmanager
async def open_tokens(settings: Auth, clock: Callable[[], float]) -> AsyncIterator[TokenVerifier]:
    """A verifier with what its keys need: a connection to the issuer when JWKS_URL is set.

    Raises ConfigurationError when the secret or the address cannot be used.
    """
    if settings.jwks_url is None:
        yield TokenVerifier(settings, clock)
        return
    url = configured_url(settings.jwks_url, "DEPLOYER_AUTH__JWKS_URL")
    async with neighbour_session() as session:
        keys = IssuerKeys(partial(read_document, session, url), Signatures(settings.algorithm), time.monotonic)
        yield TokenVerifier(settings, clock, keys)


def _secret_key(settings: Auth) -> bytes:
    secret = settings.secret.get_secret_value() if settings.secret else ""
    if "-----BEGIN" in secret or secret.startswith("ssh-"):
        raise ConfigurationError(
            "DEPLOYER_AUTH__SECRET: this is a key file and not the portal's `jwt.auth.secret.key`; "
            "a public key is no secret, use DEPLOYER_AUTH__JWKS_URL for it."
        )
    try:
        key = jjwt_key(secret)
    except ValueError as error:
        raise ConfigurationError(
            f"DEPLOYER_AUTH__SECRET: it has {error}, which the portal's JJWT cannot decode; "
            "copy `jwt.auth.secret.key` exactly."
        ) from None
    if not key:
        raise ConfigurationError(
            "DEPLOYER_AUTH__SECRET: it decodes to nothing; copy the portal's `jwt.auth.secret.key` exactly."
        )
    if len(key) < LEAST_KEY and not settings.allow_weak_secret:
        raise ConfigurationError(
            f"DEPLOYER_AUTH__SECRET: it decodes to {len(key)} bytes, fewer than {LEAST_KEY}; choose a longer one "
            "in the portal and here, or set DEPLOYER_AUTH__ALLOW_WEAK_SECRET=true."
        )
    return key


def _open_doors(settings: Auth) -> list[str]:
    """What is risky about reading keys as configured."""
    warnings = []
    if settings.jwks_url and settings.jwks_url.startswith("http:"):
        warnings.append("DEPLOYER_AUTH__JWKS_URL is not https: whoever sits between can name the keys. Use https.")
    if settings.audience is None:
        warnings.append(
            "DEPLOYER_AUTH__AUDIENCE is not set: every token of the issuer counts, whomever it is for. Set it."
        )
    return warnings
