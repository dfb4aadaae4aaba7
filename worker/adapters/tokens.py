"""The keys and signatures with which tokens are verified.

One algorithm is configured. Nothing in a token can select another algorithm, or a key that does not come from the
settings: jku, jwk, x5u and x5c are ignored, and `kid` is only compared.

This module uses PyJWT's algorithm objects instead of `jwt.decode`, which is lenient about a token's shape, and lets the
token's header influence the choice of the algorithm.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeAlias, cast

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from worker.domain.tokens import TokenAuthenticator, decoded, jjwt_key
from worker.errors import ConfigurationError, WorkerError
from worker.settings import AuthSettings

PublicKey: TypeAlias = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey | Ed448PublicKey
Key: TypeAlias = bytes | PublicKey
"""The bytes of an HMAC secret, or a public key."""

MIN_KEY_BYTES = 16  # bytes of an HMAC secret
MIN_RSA_BITS = 2048  # RFC 7518 3.3
MAX_NUMBER = 1366  # characters of base64url, or 8192 bits; with larger numbers, one verification takes milliseconds

_CURVES = {"ES256": {"P-256"}, "ES384": {"P-384"}, "ES512": {"P-521"}, "EdDSA": {"Ed25519", "Ed448"}}
_PRIVATE = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})


class UnusableKey(WorkerError):
    """A key for our algorithm that must not be used. The message gives the reason, and reveals nothing of the key."""


class Signatures:
    """Verifies signatures with one pinned algorithm, and selects the published keys for that algorithm."""

    def __init__(self, algorithm: str) -> None:
        """Select the algorithm by its name in RFC 7518, such as HS512 or RS256."""
        self.algorithm = algorithm
        self._jwt = jwt.get_algorithm_by_name(algorithm)
        # The arguments are the signed bytes, a key and the signature; the result is whether the signature is valid.
        # HMACs are compared in constant time.
        self.verify: Callable[[bytes, Key, bytes], bool] = self._jwt.verify

    def public_key(self, jwk: object) -> PublicKey | None:
        """Return the key in an entry of a JWKS (RFC 7517 4), or None if the entry has another purpose.

        Raises:
            UnusableKey: the key is for this algorithm, but is broken, too weak, or has a published private part.
        """
        if not isinstance(jwk, dict) or not self._meant_for_us(jwk):
            return None
        if _PRIVATE & jwk.keys():
            raise UnusableKey("its private part is published, so anyone can sign with it")
        for name in ("n", "e") if jwk["kty"] == "RSA" else ("x", "y"):
            _check_number(jwk, name, optional=jwk["kty"] == "OKP" and name == "y")
        try:
            key = cast("PublicKey", self._jwt.from_jwk(jwk))  # without a private part, the key is public
        except (ValueError, jwt.InvalidKeyError, UnsupportedAlgorithm):
            raise UnusableKey("its numbers are not a key") from None
        if isinstance(key, RSAPublicKey):
            _check_rsa(key)
        return key

    def _meant_for_us(self, jwk: Mapping[str, Any]) -> bool:
        """Check `kty` and `crv`, and also `use`, `key_ops` and `alg` if they are present."""
        curves = _CURVES.get(self.algorithm)
        kty = "RSA" if curves is None else "OKP" if self.algorithm == "EdDSA" else "EC"
        operations = jwk.get("key_ops", ["verify"])
        return (
            jwk.get("kty") == kty
            and (curves is None or jwk.get("crv") in list(curves))  # a list, because the value may not be hashable
            and jwk.get("use", "sig") == "sig"
            and isinstance(operations, list)
            and "verify" in operations
            and jwk.get("alg", self.algorithm) == self.algorithm
        )


def _check_number(jwk: Mapping[str, Any], name: str, *, optional: bool) -> None:
    value = jwk.get(name)
    if optional and value is None:
        return
    if not isinstance(value, str) or len(value) > MAX_NUMBER or not decoded(value):
        raise UnusableKey(f"its `{name}` is not a number in base64url, or too long")


def _check_rsa(key: RSAPublicKey) -> None:
    if key.key_size < MIN_RSA_BITS:
        raise UnusableKey(f"it has {key.key_size} bits, fewer than {MIN_RSA_BITS}")
    if key.public_numbers().n % 2 == 0:
        raise UnusableKey("its numbers are not a key")


class Keys(Protocol):
    """The source of the keys for verification."""

    async def find(self, kid: str | None) -> Key | None:
        """Return the key for a token that names `kid`, or None if there is none. Raises Unavailable."""
        ...

    async def refresh(self) -> None:
        """Read the keys from their source again. Raises Unavailable."""
        ...


class TokenVerifier(TokenAuthenticator):
    """Verifies tokens with one algorithm. `warnings` are for the operator, at startup."""

    def __init__(self, settings: AuthSettings, clock: Callable[[], float], keys: Keys | None = None) -> None:
        """Use `keys` if they are given, and otherwise the secret in the settings. `clock` returns unix seconds.

        Raises ConfigurationError if the secret cannot or must not be used.
        """
        self._keys = keys
        secret = None if keys is not None else _secret_key(settings)
        verify = Signatures(settings.algorithm).verify
        super().__init__(settings, clock, verify, secret if keys is None else keys.find)
        self.warnings = _key_warnings(settings) if secret is None else _secret_warnings(settings, secret)

    async def refresh(self) -> None:
        """Read the issuer's keys now, if keys are read from an issuer. Raises Unavailable."""
        if self._keys is not None:
            await self._keys.refresh()


def _secret_key(settings: AuthSettings) -> bytes:
    secret = settings.secret.get_secret_value() if settings.secret else ""
    if "-----BEGIN" in secret or secret.startswith("ssh-"):
        raise ConfigurationError(
            "DEPLOYER_AUTH__SECRET: this is a key file and not the portal's `jwt.auth.secret.key`; "
            "a public key is not a secret, use DEPLOYER_AUTH__JWKS_URL for it."
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
    if len(key) < MIN_KEY_BYTES and not settings.allow_weak_secret:
        raise ConfigurationError(
            f"DEPLOYER_AUTH__SECRET: it decodes to {len(key)} bytes, fewer than {MIN_KEY_BYTES}; choose a longer one "
            "in the portal and here, or set DEPLOYER_AUTH__ALLOW_WEAK_SECRET=true."
        )
    return key


def _secret_warnings(settings: AuthSettings, key: bytes) -> list[str]:
    """Return warnings for the operator about the secret."""
    wanted = int(settings.algorithm.removeprefix("HS")) // 8  # RFC 7518 3.2
    weakness = (
        f"DEPLOYER_AUTH__SECRET decodes to {len(key)} bytes and {settings.algorithm} wants {wanted}. "
        "Choose a longer one in the portal and here."
    )
    return [weakness] if len(key) < wanted else []


def _key_warnings(settings: AuthSettings) -> list[str]:
    """Return warnings about risks of the configured key source."""
    warnings = []
    if settings.jwks_url and settings.jwks_url.startswith("http:"):
        warnings.append("DEPLOYER_AUTH__JWKS_URL is not https: anyone on the way can replace the keys. Use https.")
    if settings.audience is None:
        warnings.append(
            "DEPLOYER_AUTH__AUDIENCE is not set: every token of the issuer is accepted, whoever it is for. Set it."
        )
    return warnings
