"""One GET to each dependency over HTTP, and what its answer says about our settings."""

import os
from uuid import UUID

import aiohttp
from yarl import URL

from worker.adapters.http import dependency_session
from worker.adapters.playground import playground_session
from worker.errors import ConfigurationError
from worker.settings import ArtifactsSettings, CatalogSettings, PlaygroundSettings

SECONDS = 10.0  # for one answer
NOBODY = UUID(int=0)


async def ping_catalog(settings: CatalogSettings) -> str:
    """CCDS answers; its health check asks for no login. Raises ConfigurationError."""
    url = f"{settings.url.rstrip('/')}/healthcheck"
    async with dependency_session() as session:
        status = await _get(session, "DEPLOYER_CATALOG__URL", url)
    if status != 200:
        hint = " Is the context path (/ccds) in it?" if status == 404 else ""
        raise ConfigurationError(f"DEPLOYER_CATALOG__URL: {url} answers {status}.{hint}")
    return f"{url} answers"


async def ping_catalog_login(settings: CatalogSettings) -> str:
    """CCDS takes our credentials: asks for a solution nobody has. Raises ConfigurationError."""
    url = f"{settings.url.rstrip('/')}/solution/{NOBODY}"
    async with dependency_session() as session:
        status = await _get(session, "DEPLOYER_CATALOG__URL", url, _login("CATALOG", settings))
    _refuse_unauthorized("CATALOG", status)
    if status not in (200, 400, 404):  # CCDS's ways to say "not found"
        raise ConfigurationError(f"DEPLOYER_CATALOG__URL: {url} answers {status}.")
    return "our credentials are accepted"


async def ping_artifacts(settings: ArtifactsSettings) -> str:
    """Nexus has the repository, shows its start page and takes our credentials. Raises ConfigurationError."""
    url = f"{settings.url.rstrip('/')}/"
    async with dependency_session() as session:
        status = await _get(session, "DEPLOYER_ARTIFACTS__URL", url, _login("ARTIFACTS", settings))
    _refuse_unauthorized("ARTIFACTS", status)
    if status != 200:
        hint = " There is no such repository." if status == 404 else ""
        raise ConfigurationError(f"DEPLOYER_ARTIFACTS__URL: {url} answers {status}.{hint}")
    return f"{url} answers, our credentials are accepted"


async def ping_playground(settings: PlaygroundSettings) -> str:
    """The playground server answers a GET, which deploys nothing. Raises ConfigurationError."""
    async with playground_session(settings) as session:
        status = await _get(session, "DEPLOYER_PLAYGROUND__DEPLOY_URL", settings.deploy_url)
    if status == 404 or status >= 500:
        raise ConfigurationError(f"DEPLOYER_PLAYGROUND__DEPLOY_URL: {settings.deploy_url} answers {status}.")
    return f"{settings.deploy_url} answers"


def _login(group: str, settings: CatalogSettings | ArtifactsSettings) -> dict[str, str]:
    try:
        return {"Authorization": aiohttp.encode_basic_auth(settings.username, settings.password.get_secret_value())}
    except ValueError:
        raise ConfigurationError(
            f"DEPLOYER_{group}__USERNAME: HTTP Basic allows no colon in it; use another."
        ) from None


def _refuse_unauthorized(group: str, status: int) -> None:
    if status in (401, 403):
        raise ConfigurationError(
            f"DEPLOYER_{group}__USERNAME and DEPLOYER_{group}__PASSWORD: they are refused ({status})."
        )


async def _get(session: aiohttp.ClientSession, setting: str, url: str, headers: dict[str, str] | None = None) -> int:
    """The status of the answer; its body does not matter."""
    try:
        async with session.get(
            URL(url, encoded=True),
            headers={"Accept": "*/*", **(headers or {})},
            timeout=aiohttp.ClientTimeout(total=SECONDS),
            allow_redirects=False,
        ) as response:
            return response.status
    except TimeoutError:
        problem = f"gave no answer within {SECONDS:g} s"
    except aiohttp.ClientConnectorDNSError:
        problem = "has a host that nobody knows"
    except aiohttp.ClientSSLError:
        problem = "has a certificate that is not trusted"
    except aiohttp.ClientConnectorError as error:
        problem = f"cannot be reached: {os.strerror(error.errno or 0)}"
    except (aiohttp.ClientError, ValueError):
        problem = "did not answer in HTTP"
    raise ConfigurationError(f"{setting}: {url} {problem}.")
