"""`check`: what it reports about the tokens' keys and about an unreachable Kafka."""

from typing import Any

import pytest
from aiohttp import web

from tests.support.tokens import SECRET, document, public_jwk
from worker.cli import main
from worker.cli.connectivity import CHECKS
from worker.errors import Unavailable
from worker.sandbox.http_server import served
from worker.settings import Settings

OTHERS = {
    "kafka": {"bootstrap_servers": "kafka:9092"},
    "catalog": {"url": "http://ccds/ccds", "username": "u", "password": "p"},
    "artifacts": {"url": "http://nexus/models", "username": "u", "password": "p"},
    "playground": {"deploy_url": "http://playground/deploy_solution"},
}


CHANGE = "Check DEPLOYER_KAFKA__BOOTSTRAP_SERVERS and the related settings."


def issuer(*keys: Any) -> web.Application:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=document(*keys))

    app = web.Application()
    app.router.add_get("/keys", answer)
    return app


async def test_a_secret_is_looked_at() -> None:
    """A secret is checked without any dependency."""
    settings = Settings.model_validate({**OTHERS, "auth": {"secret": SECRET}})
    assert "tokens are verified with HS512" == await CHECKS["tokens"](settings)


async def test_an_issuer_is_asked_for_its_keys() -> None:
    """An issuer with a key for the algorithm passes, and risky settings are reported as well."""
    async with served(issuer(public_jwk("RS256"))) as base:
        auth = {"jwks_url": f"{base}/keys", "algorithm": "RS256", "audience": "playground"}
        first, *more = (await CHECKS["tokens"](Settings.model_validate({**OTHERS, "auth": auth}))).splitlines()
    assert f"tokens are verified with RS256, {base}/keys has a key for this algorithm" == first
    assert ["DEPLOYER_AUTH__JWKS_URL"] == [line.split()[0] for line in more]


@pytest.mark.parametrize("path", ["/keys", "/wrong"])
async def test_an_issuer_without_a_key_for_us_fails(path: str) -> None:
    """Keys for another algorithm, or another page, fail the check."""
    async with served(issuer(public_jwk("ES256"))) as base:
        auth = {"jwks_url": f"{base}{path}", "algorithm": "RS256"}
        with pytest.raises(Unavailable, match="DEPLOYER_AUTH__JWKS_URL"):
            await CHECKS["tokens"](Settings.model_validate({**OTHERS, "auth": auth}))


def test_kafka_s_reason_is_said_once(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each server is reported once with its own reason, and the topics as not checked."""
    for name, value in {
        "KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1,nowhere.invalid:9092",
        "AUTH__SECRET": SECRET,
        "CATALOG__URL": "http://127.0.0.1:1/ccds",
        "CATALOG__USERNAME": "u",
        "CATALOG__PASSWORD": "p",
        "ARTIFACTS__URL": "http://127.0.0.1:1/models",
        "ARTIFACTS__USERNAME": "u",
        "ARTIFACTS__PASSWORD": "p",
        "PLAYGROUND__DEPLOY_URL": "http://127.0.0.1:1/deploy_solution",
    }.items():
        monkeypatch.setenv(f"DEPLOYER_{name}", value)
    assert 1 == main(["check"])
    said = capsys.readouterr().out.splitlines()
    why = "127.0.0.1:1: connection refused; nowhere.invalid:9092: name not known"
    assert [
        f"FAILED  Kafka: Kafka cannot be reached: {why}. {CHANGE}",
        "FAILED  topics: not checked: Kafka cannot be reached",
    ] == [line for line in said if "Kafka" in line]
