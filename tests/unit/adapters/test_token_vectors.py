"""Recorded and generated verdicts: Project Wycheproof, the portal's own library, and the modes of Wycheproof's JWS."""

import json
from typing import Any

import pytest
from pydantic import SecretStr

from tests.support import corpus
from tests.support.paths import DATA
from tests.support.token_attacks import public_forms, serialised
from tests.support.tokens import (
    ALGORITHMS,
    CLAIMS,
    PORTAL,
    USER,
    Issuer,
    decode,
    document,
    encode,
    mac,
    part,
    public_jwk,
)
from worker.adapters.tokens import Signatures
from worker.domain.tokens import jjwt_key
from worker.errors import Unauthenticated

GROUPS = json.loads((DATA / "wycheproof" / "signatures.json").read_text())
JJWT_TOKENS = json.loads((DATA / "jjwt-tokens.json").read_text())
UUID_SECRET = "41f25a3c-5e0d-4d43-9a0c-1a7b8f6f0b11"  # as Graphene's installer makes it
# Signed with UUID_SECRET by JJWT 0.9.1 on Java 17.
OLD_TOKEN = (
    "eyJhbGciOiJIUzUxMiJ9.eyJzdWIiOiJhZGEiLCJtbHB1c2VyIjp7InVzZXJJZCI6IjhjYmVjY2QwLTBiODQtNDc5Ny04ZDMyLTlkNjZlMWQxM2"
    "VkOSIsImVtYWlsIjoiYWRhQGV4YW1wbGUub3JnIiwib3JnTmFtZSI6bnVsbH0sImNyZWF0ZWQiOjE4MDAwMDAwMDAwMDAsImV4cCI6MTgwMDAwMD"
    "A2MH0.Pi9yHMhsUatz-_8dxxnFglozpLHi5gzxa7whq4u6TqJ9G1O4Edel32BFmwAoins7Zm-rbSJbPwFOASdWz0SIBw"
)
# Signed with the 64 bytes of tests.support.tokens.SECRET by JJWT 0.12.6 on Java 17.
NEW_TOKEN = (
    "eyJhbGciOiJIUzUxMiJ9.eyJtbHB1c2VyIjp7InVzZXJJZCI6IjhjYmVjY2QwLTBiODQtNDc5Ny04ZDMyLTlkNjZlMWQxM2VkOSIsImVtYWlsIj"
    "oiYWRhQGV4YW1wbGUub3JnIn0sImV4cCI6MTgwMDAwMDA2MH0.IkaCuTc5d_WtjiBvrBDk-F7P-QwHwQQKNTPk-H0OPmdcH-KFrvAOlGIHIASJs"
    "KeT4ayZZVmqxpIvb86PolemPQ"
)


def test_wycheproofs_signatures() -> None:
    """Each of Wycheproof's signatures, with altered padding, numbers out of range or shortened HMACs, has its verdict.

    `acceptable` signatures are not judged: their subject (small exponents, leading zeros) goes beyond the signature.
    """
    size, wrong = 0, []
    for group in GROUPS:
        signatures = Signatures(group["algorithm"])
        key = decode(group["key"]) if isinstance(group["key"], str) else signatures.public_key(group["key"])
        assert key is not None
        for number, message, signature, verdict in group["tests"]:
            size += 1
            right = signatures.verify(decode(message), key, decode(signature))
            if verdict not in ("acceptable", "valid" if right else "invalid"):
                wrong.append((group["source"], number, verdict))
    corpus.record("Wycheproof signatures", size, len(wrong))
    assert [] == wrong
    assert size > 2000


def jws_modes(i: Issuer) -> dict[str, tuple[str, bool]]:
    """Return what Wycheproof tries on every JWS library, with this issuer's key."""
    good = i.make()
    header, claims, signature = good.split(".")
    flipped = ("B" if signature[0] != "B" else "C") + signature[1:]
    modes = {
        "valid": (good, True),
        "modified signature": (f"{header}.{claims}.{flipped}", False),
        "missing signature": (f"{header}.{claims}.", False),
        "missing signature and separator": (f"{header}.{claims}", False),
        "modified payload": (f"{header}.{part({**CLAIMS, 'sub': 'eve'})}.{signature}", False),
        "missing payload": (f"{header}..{signature}", False),
        "missing payload and separator": (f"{header}.{signature}", False),
        "modified header": (f"{part(i.header(typ='JWT'))}.{claims}.{signature}", False),
        "missing header": (f".{claims}.{signature}", False),
        "missing header and separator": (f"{claims}.{signature}", False),
        "missing header and signature": (f".{claims}.", False),
        "payload alone": (claims, False),
        "empty string": ("", False),
        "extra empty component": (f"{good}.", False),
        "extra component": (f"{good}.foo", False),
        "none algorithm and missing signature": (f"{part(i.header(alg='none'))}.{claims}.", False),
        "none algorithm and the signature": (f"{part(i.header(alg='none'))}.{claims}.{signature}", False),
        "flat JSON serialisation": (serialised(i, flat=True), False),
        "JSON serialisation": (serialised(i, flat=False), False),
        "padded signature": (f"{good}==", False),
        "padded header": (f"{header}=.{claims}.{signature}", False),
        "another key": (i.make(key=i.stranger()), False),
        "another key, embedded": (i.with_header(jwk=embedded(i), key=i.stranger()), False),
    }
    forms = {} if i.symmetric else public_forms(i.alg)
    for form, key in forms.items():
        forged = mac(f"{part(i.header(alg='HS256'))}.{claims}", key, "HS256")
        modes[f"HMAC with the public key as {form}"] = (forged, False)
    return modes


def embedded(i: Issuer) -> dict[str, Any]:
    """Return the stranger's key as an attacker embeds it."""
    return {"kty": "oct", "k": encode(i.stranger())} if i.symmetric else public_jwk(i.alg, "stranger")


async def test_the_modes_of_wycheproofs_jws() -> None:
    """For each algorithm only the intact JSON Web Signature is accepted, and none of its modified forms."""
    size, wrong = 0, []
    for issuer in map(Issuer, ALGORITHMS):
        verifier = issuer.verifier()
        for name, (token, valid) in jws_modes(issuer).items():
            size += 1
            try:
                await verifier.authenticate(token, None)
                accepted = True
            except Unauthenticated:
                accepted = False
            if valid != accepted:
                wrong.append((issuer.alg, name))
    corpus.record("modes of Wycheproof's JWS", size, len(wrong))
    assert [] == wrong


def test_keys_are_what_java_makes() -> None:
    """Each secret of the file gives the same key as JJWT 0.9.1 on Java 17, or fails if Java does (null)."""
    vectors = json.loads((DATA / "jjwt-keys.json").read_text())
    wrong = []
    for secret, key in vectors:
        try:
            made = jjwt_key(secret).hex()
        except ValueError:
            made = None
        if key != made:
            wrong.append((secret, key, made))
    corpus.record("JJWT keys", len(vectors), len(wrong))
    assert [] == wrong
    assert len(vectors) >= 3000


async def test_a_token_that_the_portals_library_signed() -> None:
    """A token that JJWT 0.9.1 signed with the installer's secret verifies with that secret alone."""
    caller = await PORTAL.verifier(secret=SecretStr(UUID_SECRET)).authenticate(OLD_TOKEN, None)
    assert USER["email"] == caller.email
    with pytest.raises(Unauthenticated, match="signature"):
        await PORTAL.verifier().authenticate(OLD_TOKEN, None)


async def test_a_token_that_the_librarys_successor_signed() -> None:
    """A token of JJWT 0.12, which reads secrets strictly and requires 64 bytes, verifies with the same key."""
    assert USER["email"] == (await PORTAL.verifier().authenticate(NEW_TOKEN, None)).email


@pytest.mark.parametrize("vector", JJWT_TOKENS, ids=lambda vector: f"{vector['alg']}-{vector['jwk'].get('crv', 'RSA')}")
async def test_tokens_of_another_library_with_public_keys(vector: dict[str, Any]) -> None:
    """A token that JJWT signed verifies with its published key, and not with another key of its kind."""
    issuer = Issuer(vector["alg"])
    caller = await issuer.verifier(keys=document(vector["jwk"])).authenticate(vector["token"], None)
    assert USER["email"] == caller.email
    with pytest.raises(Unauthenticated, match="signature"):
        await issuer.verifier().authenticate(vector["token"], None)
