"""An issuer's public keys: the log about a key document shows no secret, whatever the document contains."""

import json
from functools import partial
from io import StringIO
from typing import Any

import pytest
from yarl import URL

from tests.component.leaks import canaries
from tests.component.leaks.canaries import USER, Watch, token
from tests.component.leaks.test_requests import WIRE
from tests.component.leaks.world import environment, mirror, shown
from worker.adapters.http import dependency_session
from worker.adapters.jwks import IssuerKeys, read_document
from worker.adapters.tokens import Signatures, TokenVerifier
from worker.errors import DeploymentError
from worker.observability import logs
from worker.observability.logs import Format
from worker.settings import Settings, read_settings

SECRET = canaries.JWT_SECRET
KEY = {"kty": "RSA", "n": "AQAB", "e": "AQAB"}
DOCUMENTS: dict[str, Any] = {
    "a token": canaries.TOKEN,
    "an object with a token": {"token": canaries.TOKEN},
    "keys that are a text": {"keys": SECRET},
    "keys that are tokens": {"keys": [canaries.TOKEN, SECRET]},
    "a private key": {"keys": [KEY | {"d": SECRET}]},
    "a symmetric key": {"keys": [{"kty": "oct", "k": SECRET}, KEY | {"k": SECRET}]},
    "a key whose number is a secret": {"keys": [KEY | {"n": SECRET}]},
    "a key whose name is a secret": {"keys": [KEY | {"kid": SECRET}, KEY | {"kid": SECRET}]},
    "a key whose name is a list": {"keys": [KEY | {"kid": [SECRET]}]},
    "a key for a secret algorithm": {"keys": [KEY | {"alg": SECRET, "use": SECRET}]},
}


def settings(url: str) -> Settings:
    """Return settings that verify tokens with the keys at this address."""
    changes = {
        "DEPLOYER_AUTH__SECRET": "",
        "DEPLOYER_AUTH__JWKS_URL": url,
        "DEPLOYER_AUTH__ALGORITHM": "RS256",
    }
    return read_settings(environment("http://ccds", "http://nexus", "http://playground") | changes, Settings)


async def refusal(url: str) -> str:
    """Return the error and warnings for a token whose key cannot be fetched."""
    auth = settings(url).auth
    async with dependency_session() as session:
        keys = IssuerKeys(partial(read_document, session, URL(url), 0.3), Signatures("RS256"), lambda: 0.0)
        verifier = TokenVerifier(auth, lambda: 0.0, keys)
        with pytest.raises(DeploymentError) as refused:
            await verifier.authenticate(token(algorithm="HS512").replace(canaries.TOKEN.split(".")[0], RS256), None)
        return f"{shown(refused.value)} {verifier.warnings}"


RS256 = "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9"  # {"alg":"RS256","typ":"JWT"}


@pytest.mark.parametrize("log_format", ["json", "console"])
async def test_issuers(log_format: Format, watch: Watch) -> None:
    """For documents with secrets in every position, and answers that are no HTTP, only our own words are logged."""
    answers = {
        name: f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n{body}".replace("{", "{{").replace("}", "}}")
        for name, body in ((name, json.dumps(document)) for name, document in DOCUMENTS.items())
    }
    for name, answer in (answers | WIRE).items():
        log = StringIO()
        logs.configure("debug", log_format, log)
        async with mirror(answer) as url:
            said = await refusal(url)
        assert log.getvalue()
        watch.check(f"issuer: {name} ({log_format})", log.getvalue(), said)
        assert USER.email not in said
