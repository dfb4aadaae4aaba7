"""What one GET to a dependency shows about the settings."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from pydantic import SecretStr

from worker.cli.connectivity import check_artifacts, check_catalog, check_catalog_login, check_playground
from worker.errors import ConfigurationError
from worker.sandbox.graphene import CCDS_LOGIN, CCDS_PATH, GRAPHENE, NEXUS_LOGIN, NEXUS_PATH, Graphene, graphene_app
from worker.sandbox.http_server import Fault, served
from worker.sandbox.playground import playground_app
from worker.settings import ArtifactsSettings, CatalogSettings, PlaygroundSettings


@pytest.fixture
def app() -> web.Application:
    """A Graphene whose answers a test can change."""
    return graphene_app()


@pytest.fixture
async def address(app: web.Application) -> AsyncIterator[str]:
    """The address of that Graphene."""
    async with served(app) as address:
        yield address


def catalog(address: str, **changes: Any) -> CatalogSettings:
    """Return settings for CCDS."""
    values = {"url": address + CCDS_PATH, "username": CCDS_LOGIN[0], "password": SecretStr(CCDS_LOGIN[1])}
    return CatalogSettings(**(values | changes))


def artifacts(address: str, **changes: Any) -> ArtifactsSettings:
    """Return settings for Nexus."""
    values = {"url": address + NEXUS_PATH, "username": NEXUS_LOGIN[0], "password": SecretStr(NEXUS_LOGIN[1])}
    return ArtifactsSettings(**(values | changes))


async def test_all_is_well(address: str, tmp_path: Path) -> None:
    """With the right settings every dependency answers, with or without a slash at the end of its URL."""
    assert (await check_catalog(catalog(address))).endswith("/ccds/healthcheck answers")
    assert "the credentials are accepted" == await check_catalog_login(catalog(address, url=f"{address}{CCDS_PATH}/"))
    assert "accepted" in await check_artifacts(artifacts(address))
    assert "accepted" in await check_artifacts(artifacts(address, url=f"{address}{NEXUS_PATH}/"))
    async with served(playground_app(tmp_path)) as playground:
        assert "answers" in await check_playground(PlaygroundSettings(deploy_url=f"{playground}/deploy_solution"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"password": SecretStr("wrong")},
            "DEPLOYER_CATALOG__USERNAME and DEPLOYER_CATALOG__PASSWORD: the server refuses them",
        ),
        ({"username": "a:b"}, "DEPLOYER_CATALOG__USERNAME: HTTP Basic allows no colon"),
    ],
)
async def test_a_refused_login_to_ccds(changes: dict[str, Any], said: str, address: str) -> None:
    """Rejected credentials for CCDS are reported by their variables, without the password."""
    with pytest.raises(ConfigurationError, match=said) as refused:
        await check_catalog_login(catalog(address, **changes))
    assert "wrong" not in str(refused.value)


async def test_a_refused_login_to_nexus(address: str) -> None:
    """Rejected credentials for Nexus are reported by their variables."""
    with pytest.raises(ConfigurationError, match="DEPLOYER_ARTIFACTS__USERNAME and DEPLOYER_ARTIFACTS__PASSWORD"):
        await check_artifacts(artifacts(address, password=SecretStr("wrong")))


async def test_a_base_that_lacks_the_context_path(address: str) -> None:
    """A missing context path, the usual mistake with CCDS, is suggested as the reason."""
    with pytest.raises(ConfigurationError, match=r"answers 404\. Does it include the context path"):
        await check_catalog(catalog(address, url=address))


async def test_a_repository_that_does_not_exist(address: str) -> None:
    """A missing repository is reported, because every request would fail as `blueprint-missing`."""
    with pytest.raises(ConfigurationError, match=r"answers 404\. The repository does not exist"):
        await check_artifacts(artifacts(address, url=f"{address}{NEXUS_PATH}/other"))


async def test_an_outage_is_no_login(address: str, app: web.Application) -> None:
    """A dependency in trouble does not count as accepting the credentials."""
    graphene: Graphene = app[GRAPHENE]
    graphene.faults["/"] = Fault(503)
    for check in (check_catalog(catalog(address)), check_catalog_login(catalog(address))):
        with pytest.raises(ConfigurationError, match="answers 503"):
            await check
    with pytest.raises(ConfigurationError, match="answers 503"):
        await check_artifacts(artifacts(address))


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://127.0.0.1:1/deploy_solution", "cannot be reached: connection refused"),
        ("http://localhost:1/deploy_solution", "cannot be reached: connection refused"),
        ("http://nowhere.invalid/deploy_solution", "names a host that does not exist"),
        ("http://127.0.0.1:100000/deploy_solution", "did not answer over HTTP"),
    ],
)
async def test_a_playground_that_is_not_there(url: str, said: str) -> None:
    """An unreachable playground is reported with the network's own reason."""
    with pytest.raises(ConfigurationError, match=f"DEPLOYER_PLAYGROUND__DEPLOY_URL: {url} {said}"):
        await check_playground(PlaygroundSettings(deploy_url=url))


async def test_a_playground_under_another_path(address: str) -> None:
    """A server without the playground's page is not the playground."""
    with pytest.raises(ConfigurationError, match="answers 404"):
        await check_playground(PlaygroundSettings(deploy_url=f"{address}/deploy_solution"))
