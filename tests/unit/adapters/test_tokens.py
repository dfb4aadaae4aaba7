"""Tokens: the key as Java makes it, the strict shape, the claims, and time."""

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from worker.adapters.tokens import MAX_TOKEN, TokenVerifier, in_time, jjwt_key
from worker.errors import ConfigurationError, Unauthenticated
from worker.settings import Auth

VECTORS = Path(__file__).parents[2] / "data" / "jjwt-keys.json"
NOW = 1_800_000_000
SECRET = base64.b64encode(bytes(range(64))).decode()
KEY = bytes(range(64))
USER = {"userId": "8cbeccd0-0b84-4797-8d32-9d66e1d13ed9", "email": "ada@example.org", "apiToken": "canary"}
CLAIMS: dict[str, Any] = {"sub": "ada", "exp": NOW + 60, "created": NOW * 1000, "mlpuser": USER}
UUID_SECRET = "41f25a3c-5e0d-4d43-9a0c-1a7b8f6f0b11"  # what Graphene's installer makes
# Signed with UUID_SECRET by JJWT 0.9.1 on Java 17.
JJWT_TOKEN = (
    "eyJhbGciOiJIUzUxMiJ9.eyJzdWIiOiJhZGEiLCJtbHB1c2VyIjp7InVzZXJJZCI6IjhjYmVjY2QwLTBiODQtNDc5Ny04ZDMyLTlkNjZlMWQxM2"
    "VkOSIsImVtYWlsIjoiYWRhQGV4YW1wbGUub3JnIiwib3JnTmFtZSI6bnVsbH0sImNyZWF0ZWQiOjE4MDAwMDAwMDAwMDAsImV4cCI6MTgwMDAwMD"
    "A2MH0.Pi9yHMhsUatz-_8dxxnFglozpLHi5gzxa7whq4u6TqJ9G1O4Edel32BFmwAoins7Zm-rbSJbPwFOASdWz0SIBw"
)
HASHES = {"HS256": hashlib.sha256, "HS384": hashlib.sha384, "HS512": hashlib.sha512}


def encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def make(claims: Any = CLAIMS, header: Any = None, key: bytes = KEY, alg: str = "HS512") -> str:
    """A signed token; `claims` and `header` may be anything, bytes as they are."""
    header = {"alg": alg} if header is None else header
    parts = [part if isinstance(part, bytes) else json.dumps(part).encode() for part in (header, claims)]
    return sign(".".join(encode(part) for part in parts), key, alg)


def sign(signed: str, key: bytes = KEY, alg: str = "HS512") -> str:
    return f"{signed}.{encode(hmac.digest(key, signed.encode(), HASHES[alg]))}"


def verifier(now: float = NOW, **settings: Any) -> TokenVerifier:
    auth = Auth(**{"secret": SecretStr(SECRET), **settings})
    return TokenVerifier(auth, lambda: now)


def with_claims(**changes: Any) -> str:
    """A good token but for these claims; None leaves one out."""
    claims = {name: value for name, value in {**CLAIMS, **changes}.items() if value is not None}
    return make(claims)


def with_user(**changes: Any) -> str:
    return make({**CLAIMS, "mlpuser": {**USER, **changes}})


def test_keys_are_what_java_makes() -> None:
    """For every secret of the file, made by JAXB on Java 17, the key is the same; null: Java fails."""
    vectors = json.loads(VECTORS.read_text())
    assert len(vectors) > 1000
    for secret, key in vectors:
        if key is None:
            with pytest.raises(ValueError, match=r"ASCII|pads nothing"):
                jjwt_key(secret)
        else:
            assert (secret, key) == (secret, jjwt_key(secret).hex())


@pytest.mark.parametrize("prefix", ["", "Bearer ", "bearer   ", " BEARER ", "  "])
async def test_a_good_token_names_its_user(prefix: str) -> None:
    """The caller's id and e-mail come from `mlpuser`, with or without Bearer, and do not show."""
    caller = await verifier().authenticate(prefix + make() + " ", None)
    assert (USER["userId"], USER["email"]) == (caller.user_id, caller.email)
    assert repr(caller) == "Caller()"


async def test_a_token_that_jjwt_signed() -> None:
    """What the portal's own library makes of the installer's secret verifies, and not with another secret."""
    caller = await verifier(secret=SecretStr(UUID_SECRET)).authenticate(JJWT_TOKEN, None)
    assert USER["email"] == caller.email
    with pytest.raises(Unauthenticated, match="signature"):
        await verifier().authenticate(JJWT_TOKEN, None)


@pytest.mark.parametrize("alg", ["HS256", "HS384", "HS512"])
async def test_each_configured_algorithm_works(alg: str) -> None:
    """The one configured algorithm is the one that is accepted."""
    caller = await verifier(algorithm=alg).authenticate(make(alg=alg), None)
    assert USER["email"] == caller.email


async def test_header_fields_that_point_at_keys_are_ignored() -> None:
    """A good signature with our key counts whatever key the header names; nothing is fetched."""
    header = {
        "alg": "HS512",
        "typ": "JWT",
        "kid": "../../dev/null",
        "jku": "http://203.0.113.1/",
        "jwk": {"kty": "oct"},
    }
    assert USER["email"] == (await verifier().authenticate(make(header=header), None)).email


async def test_spaces_around_the_email_are_dropped() -> None:
    """The playground strips user names; so do we."""
    assert (await verifier().authenticate(with_user(email=" ada@example.org "), None)).email == "ada@example.org"


def tampered() -> str:
    header, _, signature = make().split(".")
    return f"{header}.{encode(json.dumps({**CLAIMS, 'sub': 'eve'}).encode())}.{signature}"


def halved() -> str:
    signed, _, signature = make().rpartition(".")
    return f"{signed}.{encode(base64.urlsafe_b64decode(signature + '==')[:32])}"


def spare_bits() -> str:
    """The signature's last character with a bit that carries nothing set: 64 bytes leave 4 of them."""
    token = make()
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return token[:-1] + alphabet[alphabet.index(token[-1]) | 1]


def deep(levels: int) -> bytes:
    return b'{"exp":1,"a":' + b"[" * levels + b"]" * levels + b"}"


def stripped(alg: str) -> str:
    return make(header={"alg": alg}).rpartition(".")[0] + "."


ATTACKS: dict[str, tuple[Callable[[], str], str]] = {
    "empty": (lambda: "", "token-missing"),
    "spaces": (lambda: "  ", "token-missing"),
    "only Bearer": (lambda: "Bearer ", "token-missing"),
    "Basic": (lambda: "Basic " + make(), "token-malformed"),
    "Bearer twice": (lambda: "Bearer Bearer " + make(), "token-malformed"),
    "one part": (lambda: "abc", "token-malformed"),
    "two parts": (lambda: make().rpartition(".")[0], "token-malformed"),
    "four parts": (lambda: make() + ".AAAA", "token-malformed"),
    "five parts, as an encrypted one": (lambda: make() + ".AAAA.AAAA", "token-malformed"),
    "empty parts": (lambda: "..", "token-malformed"),
    "padded": (lambda: make() + "==", "token-malformed"),
    "padded in the middle": (lambda: make().replace(".", "=.", 1), "token-malformed"),
    "spare bits": (spare_bits, "token-malformed"),
    "one character over": (lambda: make() + "A" * 3, "token-malformed"),
    "line break": (lambda: make().replace(".", ".\n", 1), "token-malformed"),
    "plain base64": (lambda: sign(make().rpartition(".")[0] + "+/"), "token-malformed"),
    "beyond ASCII": (lambda: make() + "é", "token-malformed"),
    "NUL": (lambda: make() + "\0", "token-malformed"),
    "lone surrogate": (lambda: make() + "\ud800", "token-malformed"),
    "too long": (lambda: with_claims(pad="x" * MAX_TOKEN), "token-malformed"),
    "header is no JSON": (lambda: make(header=b"{alg}"), "token-malformed"),
    "header is a list": (lambda: make(header=["HS512"]), "token-malformed"),
    "header is empty": (lambda: make(header=b""), "token-malformed"),
    "alg twice": (lambda: make(header=b'{"alg":"none","alg":"HS512"}'), "token-malformed"),
    "payload is no JSON": (lambda: make(b"exp"), "token-malformed"),
    "payload is a string": (lambda: make("exp"), "token-malformed"),
    "payload is not UTF-8": (lambda: make(b'{"exp":"\xff"}'), "token-malformed"),
    "exp twice": (lambda: make(b'{"exp":1,"exp":9999999999}'), "token-malformed"),
    "NaN": (lambda: make(b'{"exp":NaN}'), "token-malformed"),
    "nine levels": (lambda: make(deep(8)), "token-malformed"),
    "thousands of levels": (lambda: make(deep(1000)), "token-malformed"),
    "exp of 10^400": (lambda: make(b'{"exp":1' + b"0" * 400 + b"}"), "token-malformed"),
    "crit": (lambda: make(header={"alg": "HS512", "crit": ["exp"]}), "token-malformed"),
    "crit empty": (lambda: make(header={"alg": "HS512", "crit": []}), "token-malformed"),
    "b64 false": (lambda: make(header={"alg": "HS512", "b64": False}), "token-malformed"),
    "alg none": (lambda: stripped("none"), "token-algorithm"),
    "alg None": (lambda: stripped("None"), "token-algorithm"),
    "alg NONE": (lambda: stripped("NONE"), "token-algorithm"),
    "alg nOnE": (lambda: stripped("nOnE"), "token-algorithm"),
    "alg none, signed": (lambda: make(header={"alg": "none"}), "token-algorithm"),
    "alg lower case": (lambda: make(header={"alg": "hs512"}), "token-algorithm"),
    "alg with a space": (lambda: make(header={"alg": "HS512 "}), "token-algorithm"),
    "alg missing": (lambda: make(header={"typ": "JWT"}), "token-algorithm"),
    "alg null": (lambda: make(header={"alg": None}), "token-algorithm"),
    "alg is a list": (lambda: make(header={"alg": ["HS512"]}), "token-algorithm"),
    "weaker algorithm, same key": (lambda: make(alg="HS256"), "token-algorithm"),
    "asymmetric algorithm": (lambda: make(header={"alg": "RS256"}), "token-algorithm"),
    "other key": (lambda: make(key=b"x" * 64), "token-signature"),
    "blank key": (lambda: make(key=b""), "token-signature"),
    "the secret's text as key": (lambda: make(key=SECRET.encode()), "token-signature"),
    "key out of the header": (
        lambda: make(header={"alg": "HS512", "jwk": {"kty": "oct", "k": encode(b"x" * 64)}}, key=b"x" * 64),
        "token-signature",
    ),
    "kid of an empty file": (
        lambda: make(header={"alg": "HS512", "kid": "../../../../dev/null"}, key=b""),
        "token-signature",
    ),
    "no signature": (lambda: stripped("HS512"), "token-signature"),
    "half a signature": (halved, "token-signature"),
    "signature of zeros": (lambda: make().rpartition(".")[0] + "." + encode(bytes(64)), "token-signature"),
    "tampered claims": (tampered, "token-signature"),
    "wrong key and no claims": (lambda: make({}, key=b"x" * 64), "token-signature"),
    "no claims": (lambda: make({}), "token-claims"),
    "exp missing": (lambda: with_claims(exp=None), "token-claims"),
    "exp null": (lambda: make({**CLAIMS, "exp": None}), "token-claims"),
    "exp is a numeric string": (lambda: with_claims(exp=str(NOW + 60)), "token-claims"),
    "exp is a float": (lambda: with_claims(exp=NOW + 60.0), "token-claims"),
    "exp is true": (lambda: with_claims(exp=True), "token-claims"),
    "exp is a list": (lambda: with_claims(exp=[NOW + 60]), "token-claims"),
    "exp in milliseconds": (lambda: with_claims(exp=NOW * 1000), "token-claims"),
    "exp of 10^200": (lambda: with_claims(exp=10**200), "token-claims"),
    "exp before Christ": (lambda: with_claims(exp=-(10**11)), "token-claims"),
    "nbf is a string": (lambda: with_claims(nbf=str(NOW)), "token-claims"),
    "nbf in milliseconds": (lambda: with_claims(nbf=NOW * 1000), "token-claims"),
    "iat is false": (lambda: with_claims(iat=False), "token-claims"),
    "no user": (lambda: with_claims(mlpuser=None), "token-claims"),
    "user is a string": (lambda: with_claims(mlpuser="ada"), "token-claims"),
    "user is a list": (lambda: with_claims(mlpuser=[USER]), "token-claims"),
    "user id missing": (lambda: make({**CLAIMS, "mlpuser": {"email": "ada@example.org"}}), "token-claims"),
    "user id empty": (lambda: with_user(userId=""), "token-claims"),
    "user id is a number": (lambda: with_user(userId=7), "token-claims"),
    "user id climbs": (lambda: with_user(userId=".."), "token-claims"),
    "user id with a line break": (lambda: with_user(userId="a\r\nb"), "token-claims"),
    "user id too long": (lambda: with_user(userId="x" * 129), "token-claims"),
    "email missing": (lambda: make({**CLAIMS, "mlpuser": {"userId": "ada"}}), "token-claims"),
    "email null": (lambda: with_user(email=None), "token-claims"),
    "email blank": (lambda: with_user(email="  "), "token-claims"),
    "email is a list": (lambda: with_user(email=["ada@example.org"]), "token-claims"),
    "email with NUL": (lambda: with_user(email="ada\0@example.org"), "token-claims"),
    "email written right to left": (lambda: with_user(email="ada\u202e@example.org"), "token-claims"),
    "email too long": (lambda: with_user(email="a" * 255), "token-claims"),
    "not valid yet": (lambda: with_claims(nbf=NOW + 31), "token-not-yet-valid"),
    "expired": (lambda: with_claims(exp=NOW - 31), "token-expired"),
}


@pytest.mark.parametrize(("token", "code"), ATTACKS.values(), ids=ATTACKS)
async def test_what_proves_nothing_is_refused(token: Callable[[], str], code: str) -> None:
    """Every hostile or broken token ends in one exception type, under its own code, and none of it shows."""
    given = token()
    with pytest.raises(Unauthenticated) as caught:
        await verifier().authenticate(given, None)
    error = caught.value
    assert code == error.code
    assert error.__cause__ is None
    shown = f"{error} {error!r} {error.info()!r}"
    parts = [part for part in re.split(r"[.\s]+", given) if len(part) >= 12]
    for hidden in [*parts, "ada@example", USER["userId"], "canary", SECRET]:
        assert hidden not in shown


@pytest.mark.parametrize(
    ("settings", "claims", "good"),
    [
        ({}, {"iss": "anyone", "aud": "anyone"}, True),
        ({"issuer": "graphene"}, {"iss": "graphene"}, True),
        ({"issuer": "graphene"}, {"iss": "Graphene"}, False),
        ({"issuer": "graphene"}, {"iss": ["graphene"]}, False),
        ({"issuer": "graphene"}, {}, False),
        ({"audience": "playground"}, {"aud": "playground"}, True),
        ({"audience": "playground"}, {"aud": ["other", "playground"]}, True),
        ({"audience": "playground"}, {"aud": "my playground"}, False),
        ({"audience": "playground"}, {"aud": []}, False),
        ({"audience": "playground"}, {"aud": {"playground": 1}}, False),
        ({"audience": "playground"}, {}, False),
    ],
)
async def test_issuer_and_audience_count_when_configured(
    settings: dict[str, Any], claims: dict[str, Any], good: bool
) -> None:
    """A configured issuer or audience must be in the token; without configuration neither is looked at."""
    authenticated = verifier(**settings).authenticate(with_claims(**claims), None)
    if good:
        await authenticated
    else:
        with pytest.raises(Unauthenticated) as caught:
            await authenticated
        assert caught.value.code == "token-claims"


@pytest.mark.parametrize(
    ("expires", "appended_at", "good", "why"),
    [
        (+1, None, True, "still valid"),
        (+1, -5000, True, "still valid, however long it waited"),
        (0, None, True, "valid up to the second"),
        (-30, None, True, "within the leeway"),
        (-31, None, False, "beyond the leeway, and the wait is not the broker's word"),
        (-31, 0, False, "expired before it reached the broker"),
        (-31, -2, True, "ran out in the queue; the leeway counts there, too"),
        (-31, -1, True, "ran out in the queue, valid to the second with the leeway"),
        (-800, -800, True, "ran out in the queue"),
        (-800, -900, True, "waited exactly as long as allowed"),
        (-800, -901, False, "waited too long"),
        (-99_999, -10, False, "expired long before"),
        (-31, +60, False, "the broker's clock is ahead: later than the token's end"),
        (+60, +120, True, "still valid, whatever the broker's clock says"),
    ],
)
def test_expiry_with_a_wait_in_the_queue(expires: int, appended_at: float | None, good: bool, why: str) -> None:
    """The truth table of expiry; times are seconds from now, the leeway 30, the longest wait 900."""
    appended = None if appended_at is None else NOW + appended_at
    assert (good, why) == (in_time(NOW + expires, NOW, appended, leeway=30, max_queue_age=900), why)


async def test_a_token_that_ran_out_in_the_queue_counts() -> None:
    """The settings' leeway and longest wait reach the rule."""
    token = with_claims(exp=NOW - 100)
    await verifier(max_queue_age_seconds=200).authenticate(token, NOW - 150)
    with pytest.raises(Unauthenticated, match="expired"):
        await verifier(max_queue_age_seconds=140).authenticate(token, NOW - 150)


@pytest.mark.parametrize(
    ("secret", "allow", "message"),
    [
        ("secret", False, "3 bytes, fewer than 16"),
        ("abc", True, "decodes to nothing"),
        ("", True, "decodes to nothing"),
        ("c2VjcmV0é", True, "beyond ASCII"),
        ("QUJDQQ=", True, "pads nothing"),
    ],
)
def test_a_secret_that_cannot_be_used_stops_the_start(secret: str, allow: bool, message: str) -> None:
    """The error names the variable and what is wrong, and does not show the secret."""
    with pytest.raises(ConfigurationError, match=rf"^DEPLOYER_AUTH__SECRET: .*{message}") as caught:
        verifier(secret=SecretStr(secret), allow_weak_secret=allow)
    assert len(secret) < 4 or f"{secret!r}" not in f"{caught.value!r}"


@pytest.mark.parametrize(
    ("secret", "algorithm", "warned"),
    [
        (SECRET, "HS512", False),
        (UUID_SECRET, "HS512", True),
        (SECRET[:44], "HS256", False),
        ("secret", "HS512", True),
    ],
)
async def test_a_short_secret_is_a_warning(secret: str, algorithm: str, warned: bool) -> None:
    """A key below the algorithm's size works when allowed, says so once at the start, and warns nobody later."""
    tokens = verifier(secret=SecretStr(secret), algorithm=algorithm, allow_weak_secret=True)
    assert warned == (len(tokens.warnings) == 1)
    assert secret not in "".join(tokens.warnings).removeprefix("DEPLOYER_AUTH__SECRET") or secret == "secret"
    await tokens.authenticate(make(key=jjwt_key(secret), alg=algorithm), None)


def test_the_verifier_does_not_show_its_key() -> None:
    """Neither repr nor str holds the secret."""
    assert SECRET not in f"{verifier()!r}{verifier()}"
