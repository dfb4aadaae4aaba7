"""JSON Web Token Best Current Practices (RFC 8725, BCP 225): one test for each section 3.1 to 3.12."""

import json
from typing import Any, get_args

import pytest
from pydantic import SecretStr, ValidationError

from tests.support.tokens import ALGORITHMS, CLAIMS, KEY, PORTAL, Issuer, document, encode, mac, part, public_jwk
from worker.errors import ConfigurationError, Unauthenticated, Unavailable
from worker.settings import AuthSettings, PublicKeyAlgorithm, SecretAlgorithm


async def refusal(issuer: Issuer, token: str, keys: bytes | None = None, /, **settings: Any) -> str:
    """Return the code under which a token is rejected."""
    with pytest.raises((Unauthenticated, Unavailable)) as caught:
        await issuer.verifier(keys=keys, **settings).authenticate(token, None)
    return caught.value.code


@pytest.mark.parametrize("alg", ["HS512", "RS256"])
async def test_3_1_perform_algorithm_verification(alg: str) -> None:
    """One algorithm for one kind of key is configured; the header must equal it and never chooses."""
    for other in {*ALGORITHMS, "none", ""} - {alg}:
        assert "token-algorithm" == await refusal(Issuer(alg), Issuer(alg).with_header(alg=other))


def test_3_2_use_appropriate_algorithms() -> None:
    """Only algorithms that are not deprecated can be configured, and `none` cannot."""
    assert ALGORITHMS == get_args(SecretAlgorithm) + get_args(PublicKeyAlgorithm)
    for deprecated in ("none", "RS1", "HS1", "ES256K", "RSA1_5", "hs512", ""):
        with pytest.raises(ValidationError):
            AuthSettings.model_validate({"secret": "x" * 86, "algorithm": deprecated})


async def test_3_3_validate_all_cryptographic_operations() -> None:
    """A token has one signature: encrypted and nested tokens, which need more operations, are rejected."""
    signed = PORTAL.make()
    assert "token-malformed" == await refusal(PORTAL, PORTAL.make(signed.encode(), PORTAL.header(cty="JWT")))
    assert "token-malformed" == await refusal(PORTAL, f"{signed}.AAAA.AAAA")
    assert "token-signature" == await refusal(PORTAL, signed[:-4] + "AAAA")


async def test_3_4_validate_cryptographic_inputs() -> None:
    """A published point off its curve is no key; there is no key agreement to attack with it."""
    off_curve = public_jwk("ES256", x=encode(bytes(31) + b"\1"))
    token = Issuer("ES256").make()
    assert "token-signature" == await refusal(Issuer("ES256"), token, document(off_curve, public_jwk("ES256", "key-2")))


def test_3_5_ensure_cryptographic_keys_have_sufficient_entropy() -> None:
    """A secret below 16 bytes stops the start, and one below the hash's length warns; passwords decode to less."""
    with pytest.raises(ConfigurationError, match="fewer than 16"):
        PORTAL.verifier(secret=SecretStr("correct-horse"))
    assert 1 == len(PORTAL.verifier(secret=SecretStr("41f25a3c-5e0d-4d43-9a0c-1a7b8f6f0b11")).warnings)
    assert [] == PORTAL.verifier().warnings


async def test_3_6_avoid_compression_of_encryption_inputs() -> None:
    """Compressed claims are rejected, so no token expands; compression before encryption does not apply."""
    for header in ({"zip": "DEF"}, {"calg": "DEF"}, {"calg": "GZIP"}):
        assert "token-malformed" == await refusal(PORTAL, PORTAL.with_header(**header))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "latin-1", "utf-8-sig"])
async def test_3_7_use_utf_8(encoding: str) -> None:
    """Header and claims must be UTF-8 without a byte order mark."""
    header = '{"alg": "HS512", "x": "\u00e9"}'
    claims = json.dumps({**CLAIMS, "sub": "\u00e9"}, ensure_ascii=False)
    await PORTAL.verifier().authenticate(PORTAL.make(claims.encode(), header.encode()), None)
    assert "token-malformed" == await refusal(PORTAL, PORTAL.make(claims.encode(encoding), header.encode()))
    assert "token-malformed" == await refusal(PORTAL, PORTAL.make(claims.encode(), header.encode(encoding)))


async def test_3_8_validate_issuer_and_subject() -> None:
    """The keys belong to one configured issuer, `iss` must name it if set, and the user is validated.

    The portal's tokens have no `iss`: their issuer is any holder of the secret.
    """
    assert "token-claims" == await refusal(PORTAL, PORTAL.with_claims(iss="https://evil"), issuer="https://good")
    assert "token-claims" == await refusal(PORTAL, PORTAL.make(), issuer="https://good")
    assert "token-claims" == await refusal(PORTAL, PORTAL.with_user(userId=".."))


async def test_3_9_use_and_validate_audience() -> None:
    """`aud` must name this playground if set; with public keys the start warns if it is not set."""
    for claims in ({}, {"aud": "other"}, {"aud": ["other"]}):
        assert "token-claims" == await refusal(PORTAL, PORTAL.with_claims(**claims), audience="playground")
    [warning] = Issuer("RS256").verifier().warnings
    assert warning.startswith("DEPLOYER_AUTH__AUDIENCE is not set")


async def test_3_10_do_not_trust_received_claims() -> None:
    """`kid` is only compared with published names and opens no file or database; jku, x5u and jwk are ignored."""
    issuer = Issuer("ES256")
    for kid in ("../../dev/null", "x' OR 1=1 --", "http://203.0.113.1/"):
        assert "token-signature" == await refusal(issuer, issuer.with_header(kid=kid))
    for header in ({"jku": "http://203.0.113.1/"}, {"x5u": "http://203.0.113.1/"}, {"jwk": public_jwk("ES256", "x")}):
        assert "token-signature" == await refusal(issuer, issuer.with_header(key=issuer.stranger(), **header))


async def test_3_11_use_explicit_typing() -> None:
    """Other types of tokens are rejected, and an `at+jwt` must be a complete access token."""
    for typ in ("logout+jwt", "secevent+jwt", "dpop+jwt", "token-introspection+jwt", "JWE"):
        assert "token-malformed" == await refusal(PORTAL, PORTAL.with_header(typ=typ))
    assert "token-claims" == await refusal(PORTAL, PORTAL.with_header(typ="at+jwt"))


async def test_3_12_use_mutually_exclusive_validation_rules() -> None:
    """Other tokens of the issuer fail a rule: they lack `mlpuser`, `exp` or the audience, or have another key."""
    identity = {name: claim for name, claim in CLAIMS.items() if name != "mlpuser"} | {"email": "ada@example.org"}
    assert "token-claims" == await refusal(PORTAL, PORTAL.make(identity))
    assert "token-claims" == await refusal(PORTAL, PORTAL.with_claims(exp=None))
    published_secret = document(public_jwk("RS256"), {"kty": "oct", "k": encode(KEY), "kid": "key-1", "alg": "RS256"})
    forged = mac(f"{part({'alg': 'RS256', 'kid': 'key-1'})}.{part(CLAIMS)}", KEY, "HS256")
    assert "token-signature" == await refusal(Issuer("RS256"), forged, published_secret)
