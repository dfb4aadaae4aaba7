"""Signatures and public keys: all that PyJWT does for us.

Its algorithm objects are used, not `jwt.decode`: that one is lenient about a token's shape, and lets the token's
header take part in the choice of the algorithm. Here the configuration alone chooses.
"""

from collections.abc import Mapping
from typing import Any, TypeAlias, cast

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from worker.domain.token_shape import decoded

PublicKey: TypeAlias = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey | Ed448PublicKey
Key: TypeAlias = bytes | PublicKey
"""The bytes of an HMAC secret, or a public key."""

LEAST_RSA_BITS = 2048  # RFC 7518 3.3
LONGEST_NUMBER = 1366  # characters of base64url: 8192 bits, above which one verification takes milliseconds

_CURVES = {"ES256": {"P-256"}, "ES384": {"P-384"}, "ES512": {"P-521"}, "EdDSA": {"Ed25519", "Ed448"}}
_PRIVATE = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})


class UnusableKey(ValueError):
    """A key that is meant for our algorithm must not be used; the message says why and shows nothing of it."""


class Signatures:
    """One algorithm, pinned: whether a signature is right, and which published keys are for it."""

    def __init__(self, algorithm: str) -> None:
        """`algorithm` as RFC 7518 names it: HS512, RS256, …"""
        self.algorithm = algorithm
        self._jwt = jwt.get_algorithm_by_name(algorithm)

    def right(self, signed: bytes, key: Key, signature: bytes) -> bool:
        """Whether `signature` was made over `signed` with this key; HMACs are compared in constant time."""
        return self._jwt.verify(signed, key, signature)

    def public_key(self, jwk: object) -> PublicKey | None:
        """The key in an entry of a JWKS (RFC 7517 4); None when it is meant for something else.

        Raises:
            UnusableKey: it is meant for this algorithm and broken, too weak, or not public at all.
        """
        if not isinstance(jwk, dict) or not self._meant_for_us(jwk):
            return None
        if _PRIVATE & jwk.keys():
            raise UnusableKey("its private part is published, so anyone can sign with it")
        for name in ("n", "e") if jwk["kty"] == "RSA" else ("x", "y"):
            _check_number(jwk, name, optional=jwk["kty"] == "OKP" and name == "y")
        try:
            key = cast("PublicKey", self._jwt.from_jwk(jwk))  # without a private part it is a public one
        except (ValueError, jwt.InvalidKeyError, UnsupportedAlgorithm):
            raise UnusableKey("its numbers are no key") from None
        if isinstance(key, RSAPublicKey):
            _check_rsa(key)
        return key

    def _meant_for_us(self, jwk: Mapping[str, Any]) -> bool:
        """By `kty` and `crv`, and by `use`, `key_ops` and `alg` where they are given."""
        curves = _CURVES.get(self.algorithm)
        kty = "RSA" if curves is None else "OKP" if self.algorithm == "EdDSA" else "EC"
        operations = jwk.get("key_ops", ["verify"])
        return (
            jwk.get("kty") == kty
            and (curves is None or jwk.get("crv") in list(curves))  # a list: what is compared may not be hashable
            and jwk.get("use", "sig") == "sig"
            and isinstance(operations, list)
            and "verify" in operations
            and jwk.get("alg", self.algorithm) == self.algorithm
        )


def _check_number(jwk: Mapping[str, Any], name: str, *, optional: bool) -> None:
    value = jwk.get(name)
    if optional and value is None:
        return
    if not isinstance(value, str) or len(value) > LONGEST_NUMBER or not decoded(value):
        raise UnusableKey(f"its `{name}` is no number in base64url, or too long")


def _check_rsa(key: RSAPublicKey) -> None:
    if key.key_size < LEAST_RSA_BITS:
        raise UnusableKey(f"it has {key.key_size} bits, fewer than {LEAST_RSA_BITS}")
    if key.public_numbers().n % 2 == 0:
        raise UnusableKey("its numbers are no key")
