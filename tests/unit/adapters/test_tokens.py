"""The token verifier: the user that a valid token names, the settings, and their warnings."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web
from pydantic import SecretStr

from tests.support.tokens import ALGORITHMS, CLAIMS, NOW, PORTAL, SECRET, USER, Issuer, document, mac, part, public_jwk
from worker.adapters.jwks import open_tokens
from worker.adapters.tokens import TokenVerifier
from worker.domain.tokens import jjwt_key
from worker.errors import ConfigurationError, Unauthenticated, Unavailable
from worker.settings import AuthSettings

Serve = Callable[[Callable[[web.Request], Awaitable[web.StreamResponse]]], Awaitable[str]]

UUID_SECRET = "41f25a3c-5e0d-4d43-9a0c-1a7b8f6f0b11"  # as Graphene's installer makes it


@pytest.mark.parametrize("prefix", ["", "Bearer ", "bearer   ", " BEARER ", "  "])
async def test_a_good_token_names_its_user(prefix: str) -> None:
    """The caller's id and e-mail come from `mlpuser`, with or without Bearer, and are not shown."""
    caller = await PORTAL.verifier().authenticate(prefix + PORTAL.make() + " ", None)
    assert (USER["userId"], USER["email"]) == (caller.user_id, caller.email)
    assert "Caller()" == repr(caller)


def test_a_token_that_was_verified_before_is_only_read() -> None:
    """A token that was verified earlier is only read, without signature and expiry; it must name a user."""
    verifier = PORTAL.verifier()
    old = Issuer("ES256").make({"exp": 1, "mlpuser": USER})
    assert (USER["userId"], USER["email"]) == ((read := verifier.read(old)).user_id, read.email)
    with pytest.raises(Unauthenticated):
        verifier.read(PORTAL.make({"exp": 1}))


@pytest.mark.parametrize("alg", ALGORITHMS)
async def test_each_algorithm_works_where_it_is_configured(alg: str) -> None:
    """A token of the configured algorithm is accepted, and one of any other is not, even if its keys are known."""
    verifier = Issuer(alg).verifier()
    assert USER["email"] == (await verifier.authenticate(Issuer(alg).make(), None)).email
    for other in ALGORITHMS:
        if other != alg:
            with pytest.raises(Unauthenticated) as caught:
                await verifier.authenticate(Issuer(other).make(), None)
            assert "token-algorithm" == caught.value.code


@pytest.mark.parametrize("alg", ["HS512", "RS256", "ES256", "EdDSA"])
async def test_header_fields_that_point_at_keys_are_ignored(alg: str) -> None:
    """A valid signature counts whatever key the header contains, and nothing is fetched."""
    token = Issuer(alg).with_header(jku="http://203.0.113.1/", jwk={"kty": "oct"}, x5u="file:///", x5c=["0"], x5t="0")
    assert USER["email"] == (await Issuer(alg).verifier().authenticate(token, None)).email


async def test_the_portals_secret_is_the_key_whatever_a_token_names() -> None:
    """With one secret, `kid` chooses nothing."""
    token = PORTAL.with_header(kid="../../dev/null")
    assert USER["email"] == (await PORTAL.verifier().authenticate(token, None)).email


@pytest.mark.parametrize("typ", ["JWT", "jwt", "application/jwt"])
async def test_a_token_may_say_that_it_is_one(typ: str) -> None:
    """`typ` of an ordinary token changes nothing."""
    assert USER["email"] == (await PORTAL.verifier().authenticate(PORTAL.with_header(typ=typ), None)).email


async def test_spaces_around_the_email_are_dropped() -> None:
    """Spaces around the e-mail are removed, as the playground does with user names."""
    token = PORTAL.with_user(email=" ada@example.org ")
    assert "ada@example.org" == (await PORTAL.verifier().authenticate(token, None)).email


@pytest.mark.parametrize(
    ("settings", "claims", "good"),
    [
        ({}, {"iss": "anyone", "aud": "anyone"}, True),
        ({"issuer": "graphene"}, {"iss": "graphene"}, True),
        ({"issuer": "graphene"}, {"iss": "Graphene"}, False),
        ({"issuer": "graphene"}, {"iss": "graphene/"}, False),
        ({"issuer": "graphene"}, {"iss": ["graphene"]}, False),
        ({"issuer": "graphene"}, {}, False),
        ({"audience": "playground"}, {"aud": "playground"}, True),
        ({"audience": "playground"}, {"aud": ["other", "playground"]}, True),
        ({"audience": "playground"}, {"aud": "my playground"}, False),
        ({"audience": "playground"}, {"aud": []}, False),
        ({"audience": "playground"}, {"aud": [["playground"]]}, False),
        ({"audience": "playground"}, {"aud": {"playground": 1}}, False),
        ({"audience": "playground"}, {}, False),
    ],
)
async def test_issuer_and_audience_count_when_configured(
    settings: dict[str, Any], claims: dict[str, Any], good: bool
) -> None:
    """A configured issuer or audience must be in the token; otherwise neither is checked."""
    authenticated = PORTAL.verifier(**settings).authenticate(PORTAL.with_claims(**claims), None)
    if good:
        await authenticated
    else:
        with pytest.raises(Unauthenticated) as caught:
            await authenticated
        assert "token-claims" == caught.value.code


ACCESS_TOKEN = {"iss": "i", "aud": ["a"], "sub": "s", "client_id": "c", "iat": NOW, "jti": "j"}


@pytest.mark.parametrize("typ", ["at+jwt", "AT+JWT", "application/at+jwt"])
async def test_a_whole_access_token_counts(typ: str) -> None:
    """An access token with all the claims of RFC 9068 is accepted."""
    token = PORTAL.make({**CLAIMS, **ACCESS_TOKEN}, PORTAL.header(typ=typ))
    assert USER["email"] == (await PORTAL.verifier().authenticate(token, None)).email


@pytest.mark.parametrize(
    "changes",
    [
        *({name: None} for name in (*ACCESS_TOKEN, "exp")),
        *({"iss": 1}, {"iss": ""}, {"aud": []}, {"aud": [""]}, {"aud": {"a": 1}}, {"sub": 7}, {"client_id": ["c"]}),
        *({"iat": True}, {"iat": "now"}, {"jti": 1}),
    ],
    ids=str,
)
async def test_an_access_token_that_is_not_whole_is_refused(changes: dict[str, Any]) -> None:
    """An access token must have each claim of RFC 9068, with its type."""
    claims = {name: value for name, value in {**CLAIMS, **ACCESS_TOKEN, **changes}.items() if value is not None}
    with pytest.raises(Unauthenticated) as caught:
        await PORTAL.verifier().authenticate(PORTAL.make(claims, PORTAL.header(typ="at+jwt")), None)
    assert "token-claims" == caught.value.code


@pytest.mark.parametrize(
    ("secret", "allow", "message"),
    [
        ("secret", False, "3 bytes, fewer than 16"),
        ("abc", True, "decodes to nothing"),
        ("", True, "decodes to nothing"),
        ("c2VjcmV0é", True, "beyond ASCII"),
        ("QUJDQQ=", True, "pads nothing"),
        ("-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE", True, "a public key is not a secret"),
        ("ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQ", True, "a public key is not a secret"),
    ],
)
def test_a_secret_that_cannot_be_used_stops_the_start(secret: str, allow: bool, message: str) -> None:
    """An unusable secret stops the start; the error has the variable and the reason, but not the secret."""
    with pytest.raises(ConfigurationError, match=rf"^DEPLOYER_AUTH__SECRET: .*{message}") as caught:
        PORTAL.verifier(secret=SecretStr(secret), allow_weak_secret=allow)
    assert len(secret) < 4 or f"{secret!r}" not in f"{caught.value!r}"


@pytest.mark.parametrize(
    ("secret", "algorithm", "warned"),
    [
        (SECRET, "HS512", False),
        (UUID_SECRET, "HS512", True),
        (SECRET[:44], "HS256", False),
        (SECRET[:44], "HS384", True),
        ("secret", "HS512", True),
    ],
)
async def test_a_short_secret_is_a_warning(secret: str, algorithm: str, warned: bool) -> None:
    """A secret below the algorithm's size works if allowed, with one warning at the start."""
    tokens = PORTAL.verifier(secret=SecretStr(secret), algorithm=algorithm, allow_weak_secret=True)
    assert warned == (len(tokens.warnings) == 1)
    assert secret not in "".join(tokens.warnings).removeprefix("DEPLOYER_AUTH__SECRET") or secret == "secret"
    await tokens.authenticate(mac(f"{part({'alg': algorithm})}.{part(CLAIMS)}", jjwt_key(secret), algorithm), None)


@pytest.mark.parametrize(
    ("changes", "warned"),
    [
        ({"audience": "playground"}, []),
        ({}, ["DEPLOYER_AUTH__AUDIENCE"]),
        ({"jwks_url": "http://issuer/keys", "audience": "playground"}, ["DEPLOYER_AUTH__JWKS_URL"]),
        ({"jwks_url": "http://issuer/keys"}, ["DEPLOYER_AUTH__JWKS_URL", "DEPLOYER_AUTH__AUDIENCE"]),
    ],
)
def test_doors_left_open_are_warnings(changes: dict[str, Any], warned: list[str]) -> None:
    """Public keys over plain http and a missing audience have warnings at the start."""
    assert warned == [warning.split()[0] for warning in Issuer("RS256").verifier(**changes).warnings]


def test_the_verifier_does_not_show_its_key() -> None:
    """Neither repr nor str contains the secret."""
    assert SECRET not in f"{PORTAL.verifier()!r}{PORTAL.verifier()}"


async def test_a_token_is_verified_with_the_key_at_the_address(serve: Serve) -> None:
    """The issuer's key is fetched once, over HTTP, when the first token arrives."""
    asked = []

    async def keys(request: web.Request) -> web.Response:
        asked.append((request.path, request.headers["Accept"], request.headers.get("Authorization")))
        return web.Response(body=document(public_jwk("ES256")), content_type="application/jwk-set+json")

    auth = AuthSettings(jwks_url=f"{await serve(keys)}/realms/graphene/certs", algorithm="ES256", audience="playground")
    async with open_tokens(auth, lambda: NOW) as tokens:
        assert [] == asked
        for _ in range(3):
            caller = await tokens.authenticate(Issuer("ES256").with_claims(aud="playground"), None)
            assert USER["email"] == caller.email
    assert [("/realms/graphene/certs", "application/jwk-set+json, application/json", None)] == asked


async def test_an_issuer_that_is_away_is_not_the_tokens_fault(serve: Serve) -> None:
    """Without keys a request fails as retryable, and `refresh` reports the same to `check`."""

    async def away(_: web.Request) -> web.Response:
        return web.Response(status=503)

    async with open_tokens(AuthSettings(jwks_url=await serve(away), algorithm="RS256"), lambda: NOW) as tokens:
        for asked in (tokens.authenticate(Issuer("RS256").make(), None), tokens.refresh()):
            with pytest.raises(Unavailable) as caught:
                await asked
            assert ("keys-unavailable", "authenticate", True) == (
                caught.value.code,
                caught.value.stage,
                caught.value.retryable,
            )


async def test_a_secret_needs_no_connection() -> None:
    """Without JWKS_URL there is nothing to connect to and nothing to refresh."""
    async with open_tokens(PORTAL.settings(), lambda: NOW) as tokens:
        await tokens.refresh()
        await tokens.authenticate(PORTAL.make(), None)
    assert isinstance(tokens, TokenVerifier)


async def test_an_address_that_is_none_stops_the_start() -> None:
    """A URL without a usable port stops the start, and the error names the variable."""
    with pytest.raises(ConfigurationError, match=r"^DEPLOYER_AUTH__JWKS_URL: "):
        async with open_tokens(AuthSettings(jwks_url="http://issuer:99999/keys", algorithm="RS256"), lambda: NOW):
            pass
