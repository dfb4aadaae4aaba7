"""Hostile and broken tokens, each with the code under which it is rejected.

The kinds are those of the attack tools (none, null signature, blank password, key confusion, injected and spoofed keys,
`kid` injection), of RFC 8725, and of tokens that lenient readers accept.
"""

import base64
import json
from typing import TypeAlias

import jwt
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.support.tokens import (
    CLAIMS,
    HASHES,
    KEY,
    NOW,
    SECRET,
    USER,
    Issuer,
    decode,
    encode,
    mac,
    part,
    private_key,
    public_jwk,
)
from worker.domain.tokens import MAX_TOKEN

MISSING, MALFORMED, ALGORITHM = "token-missing", "token-malformed", "token-algorithm"
SIGNATURE, WRONG_CLAIMS, EXPIRED = "token-signature", "token-claims", "token-expired"

Attacks: TypeAlias = dict[str, tuple[str, str]]
"""Name → token, code."""

P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
WORDS = ("", "secret", "password", "null", "undefined", "0", "changeme", "your-256-bit-secret", SECRET)
KIDS = {
    "an empty file": "../../../../dev/null",
    "a file with a known content": "/proc/sys/kernel/randomize_va_space",
    "SQL": "x' UNION SELECT 'x' -- ",
    "a shell": "key-1|/usr/bin/id;`id`$(id)",
    "LDAP": "*)(kid=*",
    "an address": "http://203.0.113.1/key",
    "a template": "{{7*7}}${7*7}",
    "a log": "key-1\r\nlevel=error",
    "upper case": "KEY-1",
    "a space": "key-1 ",
    "a NUL": "key-1\0",
    "nothing": "",
    "Python": "__class__",
}


def attacks(i: Issuer) -> Attacks:
    """Return all attacks against a worker that is configured for this issuer."""
    against = {
        "HS512": lambda: against_secrets(i),
        "RS256": lambda: against_public_keys(i) | against_rsa(i),
        "ES256": lambda: against_public_keys(i) | against_curves(i),
    }
    return everywhere(i) | against[i.alg]()


def everywhere(i: Issuer) -> Attacks:
    """Return the attacks that do not depend on the kind of key."""
    right, stranger = i.signature(signed_part(i)), i.stranger()
    return {
        # not tokens
        "empty": ("", MISSING),
        "spaces": ("  ", MISSING),
        "only Bearer": ("Bearer ", MISSING),
        "Basic": ("Basic " + i.make(), MALFORMED),
        "Bearer twice": ("Bearer Bearer " + i.make(), MALFORMED),
        "two tokens": (f"{i.make()}, {i.make()}", MALFORMED),
        "one part": ("abc", MALFORMED),
        "two parts": (signed_part(i), MALFORMED),
        "header and signature": ("{0}.{2}".format(*i.make().split(".")), MALFORMED),
        "claims and signature": (i.make().partition(".")[2], MALFORMED),
        "four parts": (i.make() + ".AAAA", MALFORMED),
        "an empty fourth part": (i.make() + ".", MALFORMED),
        "five parts, as an encrypted one": (i.make() + ".AAAA.AAAA", MALFORMED),
        "empty parts": ("..", MALFORMED),
        "header left out": ("." + i.make().partition(".")[2], MALFORMED),
        "claims left out": ("{0}..{2}".format(*i.make().split(".")), MALFORMED),
        "flat JSON serialisation": (serialised(i, flat=True), MALFORMED),
        "general JSON serialisation": (serialised(i, flat=False), MALFORMED),
        "a PASETO": ("v2.public." + encode(bytes(96)), MALFORMED),
        "too long": (i.with_claims(pad="x" * MAX_TOKEN), MALFORMED),
        "a megabyte of dots": ("." * 1_000_000, MALFORMED),
        # base64url in another spelling
        "padded": (i.make() + "==", MALFORMED),
        "padded in the middle": (i.make().replace(".", "=.", 1), MALFORMED),
        "spare bits": (spare_bits(i), MALFORMED),
        "one character over": (i.make() + "A" * 3, MALFORMED),
        "line break": (i.make().replace(".", ".\n", 1), MALFORMED),
        "plain base64": (plain_base64(i), MALFORMED),
        "beyond ASCII": (i.make() + "é", MALFORMED),
        "full-width dots": (i.make().replace(".", "\uff0e"), MALFORMED),
        "NUL": (i.make() + "\0", MALFORMED),
        "zero-width space": ("\u200b" + i.make(), MALFORMED),
        "percent-encoded": (i.make().replace(".", "%2E"), MALFORMED),
        "lone surrogate": (i.make() + "\ud800", MALFORMED),
        # JSON that parsers disagree on
        "header is no JSON": (i.make(header=b"{alg}"), MALFORMED),
        "header is a list": (i.make(header=[i.alg]), MALFORMED),
        "header is empty": (i.make(header=b""), MALFORMED),
        "header is null": (i.make(header=b"null"), MALFORMED),
        "header with a byte order mark": (i.make(header=b"\xef\xbb\xbf" + decode(part(i.header()))), MALFORMED),
        "header in UTF-16": (i.make(header=json.dumps(i.header()).encode("utf-16")), MALFORMED),
        "alg twice": (i.make(header=f'{{"alg":"none","alg":"{i.alg}"}}'.encode()), MALFORMED),
        "alg twice, once escaped": (
            i.make(header=f'{{"alg":"{i.alg}","\\u0061lg":"none"}}'.encode()),
            MALFORMED,
        ),
        "kid twice": (i.make(header=f'{{"alg":"{i.alg}","kid":"a","kid":"key-1"}}'.encode()), MALFORMED),
        "payload is no JSON": (i.make(b"exp"), MALFORMED),
        "payload is a string": (i.make("exp"), MALFORMED),
        "payload is a list": (i.make([CLAIMS]), MALFORMED),
        "payload is not UTF-8": (i.make(b'{"exp":"\xff"}'), MALFORMED),
        "two values": (i.make(json.dumps(CLAIMS).encode() * 2), MALFORMED),
        "a comment": (i.make(json.dumps(CLAIMS).encode() + b"//"), MALFORMED),
        "exp twice": (i.make(b'{"exp":1,"exp":9999999999}'), MALFORMED),
        "user twice": (i.make(b'{"mlpuser":{"userId":"a"},"mlpuser":{"userId":"b"}}'), MALFORMED),
        "user id twice": (i.make(b'{"mlpuser":{"userId":"a","userId":"b"}}'), MALFORMED),
        "NaN": (i.make(b'{"exp":NaN}'), MALFORMED),
        "Infinity": (i.make(b'{"exp":Infinity}'), MALFORMED),
        "exp of 1e999": (i.make(b'{"exp":1e999}'), MALFORMED),
        "exp of 10^400": (i.make(b'{"exp":1' + b"0" * 400 + b"}"), MALFORMED),
        "nine levels": (i.make(deep(8)), MALFORMED),
        "thousands of levels": (i.make(deep(1000)), MALFORMED),
        # headers that change how the rest is read
        "crit": (i.with_header(crit=["exp"]), MALFORMED),
        "crit empty": (i.with_header(crit=[]), MALFORMED),
        "crit null": (i.with_header(crit=None), MALFORMED),
        "b64 false": (i.with_header(b64=False, crit=["b64"]), MALFORMED),
        "b64 true": (i.with_header(b64=True), MALFORMED),
        "zip": (i.with_header(zip="DEF"), MALFORMED),
        "JJWT's calg": (i.with_header(calg="GZIP"), MALFORMED),
        "enc": (i.with_header(enc="A256GCM"), MALFORMED),
        "a token in the token": (i.make(json.dumps(i.make()).encode(), header=i.header(cty="JWT")), MALFORMED),
        "cty alone": (i.with_header(cty="JWT"), MALFORMED),
        # tokens of another kind
        "typ of a logout token": (i.with_header(typ="logout+jwt"), MALFORMED),
        "typ of a proof": (i.with_header(typ="dpop+jwt"), MALFORMED),
        "typ of an encrypted token": (i.with_header(typ="JWE"), MALFORMED),
        "typ of a security event": (i.with_header(typ="application/secevent+jwt"), MALFORMED),
        "typ with a space": (i.with_header(typ="JWT "), MALFORMED),
        "typ empty": (i.with_header(typ=""), MALFORMED),
        "typ is a list": (i.with_header(typ=["JWT"]), MALFORMED),
        "typ null": (i.with_header(typ=None), MALFORMED),
        "an access token that is none": (i.with_header(typ="at+jwt"), WRONG_CLAIMS),
        # the algorithm
        "alg none": (unsigned(i, "none"), ALGORITHM),
        "alg None": (unsigned(i, "None"), ALGORITHM),
        "alg NONE": (unsigned(i, "NONE"), ALGORITHM),
        "alg nOnE": (unsigned(i, "nOnE"), ALGORITHM),
        "alg none, signed": (i.with_header(alg="none"), ALGORITHM),
        "alg empty": (i.with_header(alg=""), ALGORITHM),
        "alg in lower case": (i.with_header(alg=i.alg.lower()), ALGORITHM),
        "alg with a space": (i.with_header(alg=i.alg + " "), ALGORITHM),
        "alg with a NUL": (i.with_header(alg=i.alg + "\0"), ALGORITHM),
        "alg missing": (i.make(header={"typ": "JWT"}), ALGORITHM),
        "Alg for alg": (i.make(header={"Alg": i.alg}), ALGORITHM),
        "alg null": (i.with_header(alg=None), ALGORITHM),
        "alg is a list": (i.with_header(alg=[i.alg]), ALGORITHM),
        "alg is a number": (i.with_header(alg=512), ALGORITHM),
        # the signature
        "no signature": (signed_part(i) + ".", SIGNATURE),
        "half a signature": (with_signature(i, right[: len(right) // 2]), SIGNATURE),
        "signature and a byte more": (
            with_signature(i, right + b"\0"),
            SIGNATURE,
        ),
        "signature after a byte": (with_signature(i, b"\0" + right), SIGNATURE),
        "signature twice": (with_signature(i, right * 2), SIGNATURE),
        "signature of zeros": (with_signature(i, bytes(len(right))), SIGNATURE),
        "signature of ones": (with_signature(i, b"\xff" * len(right)), SIGNATURE),
        "signature of one byte": (with_signature(i, b"\0"), SIGNATURE),
        "tampered claims": (tampered(i), SIGNATURE),
        "another header": (other_header(i), SIGNATURE),
        "signature of the claims alone": (
            with_signature(i, i.signature(part(CLAIMS))),
            SIGNATURE,
        ),
        "signature of another token": (with_signature(i, i.signature(f"{part(i.header())}.e30")), SIGNATURE),
        # keys that the attacker supplies
        "other key": (i.make(key=stranger), SIGNATURE),
        "other key and no claims": (i.make({}, key=stranger), SIGNATURE),
        "jwk in the header": (
            i.with_header(jwk={"kty": "oct", "k": encode(b"x" * 64)}, key=stranger),
            SIGNATURE,
        ),
        "jku of the attacker": (i.with_header(jku="http://203.0.113.1/k", key=stranger), SIGNATURE),
        "jku of a file": (i.with_header(jku="file:///dev/null", key=stranger), SIGNATURE),
        "x5u of the attacker": (i.with_header(x5u="http://203.0.113.1/c", key=stranger), SIGNATURE),
        "x5c of the attacker": (
            i.with_header(x5c=[base64.b64encode(b"0").decode()], key=stranger),
            SIGNATURE,
        ),
        "x5t of the attacker": (i.with_header(**{"x5t#S256": encode(bytes(32))}, key=stranger), SIGNATURE),
        "kid is a number": (i.with_header(kid=1), MALFORMED),
        "kid is null": (i.with_header(kid=None), MALFORMED),
        "kid is a list": (i.with_header(kid=["key-1"]), MALFORMED),
        "kid is an object": (i.with_header(kid={"$ne": ""}), MALFORMED),
        "kid is long": (i.with_header(kid="k" * 257), MALFORMED),
        # claims: correctly signed, but not acceptable
        "no claims": (i.make({}), WRONG_CLAIMS),
        "exp missing": (i.with_claims(exp=None), WRONG_CLAIMS),
        "exp null": (i.make({**CLAIMS, "exp": None}), WRONG_CLAIMS),
        "exp is a numeric string": (i.with_claims(exp=str(NOW + 60)), WRONG_CLAIMS),
        "exp is a float": (i.with_claims(exp=NOW + 60.0), WRONG_CLAIMS),
        "exp is 1e308": (i.with_claims(exp=1e308), WRONG_CLAIMS),
        "exp is true": (i.with_claims(exp=True), WRONG_CLAIMS),
        "exp is a list": (i.with_claims(exp=[NOW + 60]), WRONG_CLAIMS),
        "exp is an object": (i.with_claims(exp={"$gt": 0}), WRONG_CLAIMS),
        "exp is a date": (i.with_claims(exp="2100-01-01T00:00:00Z"), WRONG_CLAIMS),
        "exp in milliseconds": (i.with_claims(exp=NOW * 1000), WRONG_CLAIMS),
        "exp of 10^200": (i.with_claims(exp=10**200), WRONG_CLAIMS),
        "exp of -10^200": (i.with_claims(exp=-(10**200)), WRONG_CLAIMS),
        "exp before Christ": (i.with_claims(exp=-(10**11)), WRONG_CLAIMS),
        "Exp for exp": (i.make({"Exp": NOW + 60, "mlpuser": USER}), WRONG_CLAIMS),
        "nbf is a string": (i.with_claims(nbf=str(NOW)), WRONG_CLAIMS),
        "nbf null": (i.make({**CLAIMS, "nbf": None}), WRONG_CLAIMS),
        "nbf in milliseconds": (i.with_claims(nbf=NOW * 1000), WRONG_CLAIMS),
        "iat is false": (i.with_claims(iat=False), WRONG_CLAIMS),
        "iat is text": (i.with_claims(iat="now"), WRONG_CLAIMS),
        "no user": (i.with_claims(mlpuser=None), WRONG_CLAIMS),
        "user is a string": (i.with_claims(mlpuser="ada"), WRONG_CLAIMS),
        "user is JSON in a string": (i.with_claims(mlpuser=json.dumps(USER)), WRONG_CLAIMS),
        "user is a list": (i.with_claims(mlpuser=[USER]), WRONG_CLAIMS),
        "user id missing": (i.make({**CLAIMS, "mlpuser": {"email": "ada@example.org"}}), WRONG_CLAIMS),
        "user id in the claims themselves": (i.make({"exp": NOW + 60, **USER}), WRONG_CLAIMS),
        "user id empty": (i.with_user(userId=""), WRONG_CLAIMS),
        "user id is a number": (i.with_user(userId=7), WRONG_CLAIMS),
        "user id is true": (i.with_user(userId=True), WRONG_CLAIMS),
        "user id is an object": (i.with_user(userId={"$ne": None}), WRONG_CLAIMS),
        "user id climbs": (i.with_user(userId=".."), WRONG_CLAIMS),
        "user id with a line break": (i.with_user(userId="a\r\nb"), WRONG_CLAIMS),
        "user id too long": (i.with_user(userId="x" * 129), WRONG_CLAIMS),
        "email missing": (i.make({**CLAIMS, "mlpuser": {"userId": "ada"}}), WRONG_CLAIMS),
        "email null": (i.with_user(email=None), WRONG_CLAIMS),
        "email blank": (i.with_user(email="  "), WRONG_CLAIMS),
        "email is a list": (i.with_user(email=["ada@example.org"]), WRONG_CLAIMS),
        "email with NUL": (i.with_user(email="ada\0@example.org"), WRONG_CLAIMS),
        "email written right to left": (i.with_user(email="ada\u202e@example.org"), WRONG_CLAIMS),
        "email too long": (i.with_user(email="a" * 255), WRONG_CLAIMS),
        "not valid yet": (i.with_claims(nbf=NOW + 31), "token-not-yet-valid"),
        "expired": (i.with_claims(exp=NOW - 31), EXPIRED),
        "expired in 1970": (i.with_claims(exp=0), EXPIRED),
    }


def against_secrets(i: Issuer) -> Attacks:
    """HMACs: weaker hashes with the same key, guessed keys, keys that `kid` points to."""
    found: Attacks = {}
    for alg in ("HS256", "HS384"):
        found[f"{alg} with the same key"] = (mac(f"{part(i.header(alg=alg))}.{part(CLAIMS)}", KEY, alg), ALGORITHM)
        found[f"HS512 in the header, {alg} in the signature"] = (mac(signed_part(i), KEY, alg), SIGNATURE)
    for alg in ("HS256", "RS256", "ES256", "PS512", "EdDSA"):
        found[f"{alg} in the header, HS512 in the signature"] = (i.with_header(alg=alg), ALGORITHM)
    for word in WORDS:
        found[f"the word {word[:12]!r} as key"] = (i.make(key=word.encode()), SIGNATURE)
    for name, kid in KIDS.items():
        for key in (b"", b"x", b"2\n"):
            found[f"kid for {name}, key {key!r}"] = (i.with_header(kid=kid, key=key), SIGNATURE)
    return found


def against_public_keys(i: Issuer) -> Attacks:
    """Public keys as secrets, other algorithms with the same key, keys that `kid` points to."""
    found: Attacks = {}
    for form, key in public_forms(i.alg).items():
        for name in HASHES:
            signed = f"{part(i.header(alg=f'HS{name}'))}.{part(CLAIMS)}"
            found[f"HS{name} with the public key as secret: {form}"] = (mac(signed, key, f"HS{name}"), ALGORITHM)
        found[f"an HMAC in place of the signature: {form}"] = (mac(signed_part(i), key, "HS256"), SIGNATURE)
    for name, kid in KIDS.items():
        found[f"kid for {name}, a stranger's key"] = (i.with_header(kid=kid, key=i.stranger()), SIGNATURE)
        found[f"kid for {name}, the issuer's key"] = (i.with_header(kid=kid), SIGNATURE)
    stranger = public_jwk(i.alg, "stranger", kid="key-1")
    found["the stranger's public key in the header"] = (i.with_header(jwk=stranger, key=i.stranger()), SIGNATURE)
    return found


def against_curves(i: Issuer) -> Attacks:
    """Signatures with numbers that verify everything if they are not checked, and other encodings."""
    order = P256_ORDER
    pairs = {
        "r=s=0": (0, 0),
        "r=0": (0, 1),
        "s=0": (1, 0),
        "r=s=1": (1, 1),
        "r=s=n": (order, order),
        "r=n, s=1": (order, 1),
        "r=1, s=n": (1, order),
        "r=s=n-1": (order - 1, order - 1),
        "r=s=n+1": (order + 1, order + 1),
        "r=s=2^256-1": (2**256 - 1, 2**256 - 1),
    }
    found: Attacks = {
        name: (with_signature(i, r.to_bytes(32, "big") + s.to_bytes(32, "big")), SIGNATURE)
        for name, (r, s) in pairs.items()
    }
    right = i.signature(signed_part(i))
    der = jwt.utils.raw_to_der_signature(right, private_key(i.alg).curve)
    found["DER in place of r and s"] = (with_signature(i, der), SIGNATURE)
    found["s before r"] = (with_signature(i, right[32:] + right[:32]), SIGNATURE)
    found["numbers of 48 bytes"] = (with_signature(i, bytes(16) + right[:32] + bytes(16) + right[32:]), SIGNATURE)
    return found


def against_rsa(i: Issuer) -> Attacks:
    """Signatures that are numbers made without a key, and other algorithms with the same key."""
    modulus = private_key(i.alg).public_key().public_numbers().n
    found: Attacks = {
        f"the signature {name}": (with_signature(i, number.to_bytes(256, "big")), SIGNATURE)
        for name, number in {"1": 1, "n-1": modulus - 1, "n": modulus, "2^2048-1": 2**2048 - 1}.items()
    }
    for alg in ("RS384", "RS512", "PS256", "PS384", "PS512"):
        algorithm, key = jwt.get_algorithm_by_name(alg), private_key(i.alg)
        honest = f"{part(i.header(alg=alg))}.{part(CLAIMS)}"
        found[f"{alg}, and it says so"] = (f"{honest}.{encode(algorithm.sign(honest.encode(), key))}", ALGORITHM)
        found[f"{alg}, and it says RS256"] = (
            with_signature(i, algorithm.sign(signed_part(i).encode(), key)),
            SIGNATURE,
        )
    return found


def public_forms(alg: str) -> dict[str, bytes]:
    """Return the public parts of a key, in all spellings that a verifier could mistake for a secret."""
    public, jwk = private_key(alg).public_key(), public_jwk(alg)
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    number = jwk["n"] if "n" in jwk else jwk["x"]
    return {
        "PEM": pem,
        "PEM without its last line break": pem.rstrip(b"\n"),
        "PEM with CRLF": pem.replace(b"\n", b"\r\n"),
        "DER": public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        "OpenSSH": public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH),
        "JWK": json.dumps(jwk).encode(),
        "JWK without spaces": json.dumps(jwk, separators=(",", ":")).encode(),
        "its number": decode(number),
        "its number as text": number.encode(),
        "nothing": b"",
    }


def signed_part(i: Issuer) -> str:
    """Return header and claims of a good token."""
    return i.make().rpartition(".")[0]


def with_signature(i: Issuer, signature: bytes) -> str:
    """Return a token with a good header, good claims and this signature."""
    return f"{signed_part(i)}.{encode(signature)}"


def tampered(i: Issuer) -> str:
    """Return changed claims under the signature of good claims."""
    header, _, signature = i.make().split(".")
    return f"{header}.{part({**CLAIMS, 'sub': 'eve'})}.{signature}"


def other_header(i: Issuer) -> str:
    """Return a changed header under the signature of a good header."""
    _, claims, signature = i.make().split(".")
    return f"{part(i.header(typ='JWT'))}.{claims}.{signature}"


def spare_bits(i: Issuer) -> str:
    """Return a good token whose signature's last character has an unused bit set."""
    token = i.make()
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return token[:-1] + alphabet[alphabet.index(token[-1]) | 1]


def plain_base64(i: Issuer) -> str:
    """Return a token signed over a spelling with `+` and `/`."""
    claims = base64.b64encode(b'{"a":"' + b"~?" * 30 + b'"}').decode()
    return i.sign(f"{part(i.header())}.{claims}")


def deep(levels: int) -> bytes:
    """Return claims with lists nested `levels` deep."""
    return b'{"exp":1,"a":' + b"[" * levels + b"]" * levels + b"}"


def unsigned(i: Issuer, alg: str) -> str:
    """Return a token without a signature, whose header declares that."""
    return f"{part(i.header(alg=alg))}.{part(CLAIMS)}."


def serialised(i: Issuer, *, flat: bool) -> str:
    """Return a good token in a JSON serialisation (RFC 7515 7.2)."""
    header, claims, signature = i.make().split(".")
    signatures = {"protected": header, "signature": signature}
    return json.dumps({"payload": claims, **(signatures if flat else {"signatures": [signatures]})})
