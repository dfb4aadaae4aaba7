"""One GET to each HTTP dependency, and what the answer says about the worker's settings."""

import os
from uuid import UUID

import aiohttp
from yarl import URL

from worker.adapters.http import dependency_session
from worker.adapters.playground import playground_session
from worker.errors import ConfigurationError
from worker.settings import ArtifactsSettings, CatalogSettings, PlaygroundSettings

ANSWER_SECONDS = 10.0
UNUSED_ID = UUID(int=0)  # no solution has it


async def check_catalog(settings: CatalogSettings) -> str:
    """Verify that CCDS answers; its health check needs no login. Raises ConfigurationError."""
    url = f"{settings.url.rstrip('/')}/healthcheck"
    async with dependency_session() as session:
        status = await _get(session, "DEPLOYER_CATALOG__URL", url)
    if status != 200:
        hint = " Does it include the context path (/ccds)?" if status == 404 else ""
        raise ConfigurationError(f"DEPLOYER_CATALOG__URL: {url} answers {status}.{hint}")
    return f"{url} answers"


async def check_catalog_login(settings: CatalogSettings) -> str:
    """Verify that CCDS accepts the credentials, with a solution that does not exist. Raises ConfigurationError."""
    url = f"{settings.url.rstrip('/')}/solution/{UNUSED_ID}"
    async with dependency_session() as session:
        status = await _get(session, "DEPLOYER_CATALOG__URL", url, _login("CATALOG", settings))
    _require_authorized("CATALOG", status)
    if status not in (200, 400, 404):  # CCDS's ways to say "not found"
        raise ConfigurationError(f"DEPLOYER_CATALOG__URL: {url} answers {status}.")
    return "our credentials are accepted"


async def check_artifacts(settings: ArtifactsSettings) -> str:
    """Verify that Nexus has the repository and accepts the credentials. Raises ConfigurationError."""
    url = f"{settings.url.rstrip('/')}/"
    async with dependency_session() as session:
        status = await _get(session, "DEPLOYER_ARTIFACTS__URL", url, _login("ARTIFACTS", settings))
    _require_authorized("ARTIFACTS", status)
    if status != 200:
        hint = " The repository does not exist." if status == 404 else ""
        raise ConfigurationError(f"DEPLOYER_ARTIFACTS__URL: {url} answers {status}.{hint}")
    return f"{url} answers, our credentials are accepted"


async def check_playground(settings: PlaygroundSettings) -> str:
    """Verify that the playground server answers a GET, which deploys nothing. Raises ConfigurationError."""
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


def _require_authorized(group: str, status: int) -> None:
    if status in (401, 403):
        raise ConfigurationError(
            f"DEPLOYER_{group}__USERNAME and DEPLOYER_{group}__PASSWORD: they are refused ({status})."
        )


async def _get(session: aiohttp.ClientSession, setting: str, url: str, headers: dict[str, str] | None = None) -> int:
    """Return the status of the answer; its body does not matter."""
    try:
        async with session.get(
            URL(url, encoded=True),
            headers={"Accept": "*/*", **(headers or {})},
            timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS),
            allow_redirects=False,
        ) as response:
            return response.status
    except TimeoutError:
        problem = f"did not answer within {ANSWER_SECONDS:g} s"
    except aiohttp.ClientConnectorDNSError:
        problem = "names a host that does not exist"
    except aiohttp.ClientSSLError:
        problem = "has a certificate that is not trusted"
    except aiohttp.ClientConnectorError as error:
        problem = f"cannot be reached: {os.strerror(error.errno or 0)}"
    except (aiohttp.ClientError, ValueError):
        problem = "did not answer in HTTP"
    raise ConfigurationError(f"{setting}: {url} {problem}.")
