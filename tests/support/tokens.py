"""Tokens and their issuers: a portal with a secret, or issuers with private keys."""

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from pydantic import SecretStr

from worker.adapters.jwks import IssuerKeys
from worker.adapters.tokens import Signatures, TokenVerifier
from worker.settings import AuthSettings

NOW = 1_800_000_000
KEY = bytes(range(64))
SECRET = base64.b64encode(KEY).decode()
USER = {"userId": "8cbeccd0-0b84-4797-8d32-9d66e1d13ed9", "email": "ada@example.org", "apiToken": "canary"}
CLAIMS: dict[str, Any] = {"sub": "ada", "exp": NOW + 60, "created": NOW * 1000, "mlpuser": USER}
ALGORITHMS = (
    *("HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA"),
)
JWKS_URL = "https://issuer.example/keys"
HASHES = {"256": hashlib.sha256, "384": hashlib.sha384, "512": hashlib.sha512}
CURVES: dict[str, ec.EllipticCurve] = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}

Json = dict[str, Any]


def encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def part(value: Any) -> str:
    """Encode a part of a token: bytes unchanged, any other value as JSON."""
    return encode(value if isinstance(value, bytes) else json.dumps(value).encode())


def mac(signed: str, key: bytes = KEY, alg: str = "HS512") -> str:
    """Append an HMAC to a header and claims."""
    return f"{signed}.{encode(hmac.digest(key, signed.encode(), HASHES[alg[2:]]))}"


def private_key(alg: str, name: str = "key-1") -> Any:
    """Return the private key of this name, the same in every test, because RSA keys take a while to make."""
    return _private_key("RSA" if alg[:2] in {"RS", "PS"} else alg, name)


@cache
def _private_key(kind: str, _name: str) -> Any:
    if kind == "RSA":
        return rsa.generate_private_key(65537, 2048)
    return ec.generate_private_key(CURVES[kind]) if kind in CURVES else ed25519.Ed25519PrivateKey.generate()


def public_jwk(alg: str, name: str = "key-1", /, **changes: Any) -> Json:
    """Return the public key as an issuer publishes it; a change to None removes a member."""
    jwk = jwt.get_algorithm_by_name(alg).to_jwk(private_key(alg, name).public_key(), as_dict=True)
    members = {**jwk, "kid": name, "use": "sig", "alg": alg, "key_ops": ["verify"], **changes}
    return {member: value for member, value in members.items() if value is not None}


def document(*keys: Any) -> bytes:
    return json.dumps({"keys": keys}).encode()


@dataclass(frozen=True)
class Issuer:
    """An issuer that signs with one algorithm, and knows the worker's settings for verifying it."""

    alg: str

    @property
    def symmetric(self) -> bool:
        return self.alg.startswith("HS")

    def signature(self, signed: str, key: Any = None) -> bytes:
        """Sign; `key` is another secret or another private key."""
        if self.symmetric:
            return hmac.digest(KEY if key is None else key, signed.encode(), HASHES[self.alg[2:]])
        signature: bytes = jwt.get_algorithm_by_name(self.alg).sign(
            signed.encode(), private_key(self.alg) if key is None else key
        )
        return signature

    def sign(self, signed: str, key: Any = None) -> str:
        return f"{signed}.{encode(self.signature(signed, key))}"

    def make(self, claims: Any = CLAIMS, header: Any = None, key: Any = None) -> str:
        """Return a signed token; `claims` and `header` may be anything, and bytes are used unchanged."""
        return self.sign(f"{part(self.header() if header is None else header)}.{part(claims)}", key)

    def header(self, **changes: Any) -> Json:
        return {"alg": self.alg, **({} if self.symmetric else {"kid": "key-1"}), **changes}

    def with_header(self, key: Any = None, **changes: Any) -> str:
        return self.make(header=self.header(**changes), key=key)

    def with_claims(self, **changes: Any) -> str:
        """Return a good token except for these claims; None removes a claim."""
        return self.make({name: value for name, value in {**CLAIMS, **changes}.items() if value is not None})

    def with_user(self, **changes: Any) -> str:
        return self.make({**CLAIMS, "mlpuser": {**USER, **changes}})

    def stranger(self) -> Any:
        """A key that does not belong to the issuer."""
        return b"x" * 64 if self.symmetric else private_key(self.alg, "stranger")

    def settings(self, **changes: Any) -> AuthSettings:
        keys: Mapping[str, Any] = {"secret": SecretStr(SECRET)} if self.symmetric else {"jwks_url": JWKS_URL}
        return AuthSettings(**{"algorithm": self.alg, **keys, **changes})

    def verifier(self, now: float = NOW, keys: bytes | None = None, **settings: Any) -> TokenVerifier:
        """Return the worker's verifier, configured for this issuer; `keys` replaces the issuer's published key."""
        auth = self.settings(**settings)
        if self.symmetric:
            return TokenVerifier(auth, lambda: now)

        async def read() -> bytes:
            return document(public_jwk(self.alg)) if keys is None else keys

        return TokenVerifier(auth, lambda: now, IssuerKeys(read, Signatures(self.alg), lambda: 0.0))


PORTAL = Issuer("HS512")
