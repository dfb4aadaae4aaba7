"""The checks of `check`: one call to each dependency, and what its answer shows about the worker's settings."""

import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any
from uuid import UUID

import aiohttp
from aiokafka.protocol.metadata import MetadataRequest
from yarl import URL

from worker.adapters.http import dependency_session
from worker.adapters.jwks import open_tokens
from worker.adapters.kafka.acls import verify_acls, worker_acls
from worker.adapters.kafka.diagnosis import connected
from worker.adapters.kafka.topics import required_topics, verify_topics
from worker.adapters.network import network_reason
from worker.adapters.overrides_file import load_overrides
from worker.adapters.playground import playground_session
from worker.client.requests import open_admin
from worker.errors import ConfigurationError
from worker.settings import ArtifactsSettings, CatalogSettings, PlaygroundSettings, Settings

ANSWER_SECONDS = 10.0
UNUSED_ID = UUID(int=0)  # no solution has this id


async def check_catalog(settings: CatalogSettings) -> str:
    """Verify that CCDS answers; the health check needs no login. Raises ConfigurationError."""
    url = f"{settings.url.rstrip('/')}/healthcheck"
    async with dependency_session() as session:
        status = await _get(session, "DEPLOYER_CATALOG__URL", url)
    if status != 200:
        hint = " Does it include the context path (/ccds)?" if status == 404 else ""
        raise ConfigurationError(f"DEPLOYER_CATALOG__URL: {url} answers {status}.{hint}")
    return f"{url} answers"


async def check_catalog_login(settings: CatalogSettings) -> str:
    """Verify that CCDS accepts the credentials, by reading an id that no solution has. Raises ConfigurationError."""
    url = f"{settings.url.rstrip('/')}/solution/{UNUSED_ID}"
    async with dependency_session() as session:
        status = await _get(session, "DEPLOYER_CATALOG__URL", url, _login("CATALOG", settings))
    _require_authorized("CATALOG", status)
    if status not in (200, 400, 404):  # CCDS reports "not found" with any of these
        raise ConfigurationError(f"DEPLOYER_CATALOG__URL: {url} answers {status}.")
    return "the credentials are accepted"


async def check_artifacts(settings: ArtifactsSettings) -> str:
    """Verify that Nexus has the repository and accepts the credentials. Raises ConfigurationError."""
    url = f"{settings.url.rstrip('/')}/"
    async with dependency_session() as session:
        status = await _get(session, "DEPLOYER_ARTIFACTS__URL", url, _login("ARTIFACTS", settings))
    _require_authorized("ARTIFACTS", status)
    if status != 200:
        hint = " The repository does not exist." if status == 404 else ""
        raise ConfigurationError(f"DEPLOYER_ARTIFACTS__URL: {url} answers {status}.{hint}")
    return f"{url} answers, the credentials are accepted"


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
            f"DEPLOYER_{group}__USERNAME: HTTP Basic allows no colon in a user name; use another."
        ) from None


def _require_authorized(group: str, status: int) -> None:
    if status in (401, 403):
        raise ConfigurationError(
            f"DEPLOYER_{group}__USERNAME and DEPLOYER_{group}__PASSWORD: the server refuses them ({status})."
        )


async def _get(session: aiohttp.ClientSession, setting: str, url: str, headers: dict[str, str] | None = None) -> int:
    """Return the status of the answer, and ignore its body. Raises ConfigurationError."""
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
        problem = f"cannot be reached: {network_reason(error.os_error)}"
    except (aiohttp.ClientError, ValueError):
        problem = "did not answer over HTTP"
    raise ConfigurationError(f"{setting}: {url} {problem}.")


async def _check_tokens(settings: Settings) -> str:
    """Verify that the secret is usable, or that the issuer publishes a key for the algorithm."""
    auth = settings.auth
    async with open_tokens(auth, time.time) as tokens:
        await tokens.refresh()
    keys = f", {auth.jwks_url} has a key for this algorithm" if auth.jwks_url else ""
    return "\n".join([f"tokens are verified with {auth.algorithm}{keys}", *tokens.warnings])


async def _check_kafka(settings: Settings) -> str:
    async with connected(settings.kafka) as connection:
        brokers = (await connection.send(MetadataRequest([]))).brokers
    return f"{settings.kafka.bootstrap_servers} answers, brokers: {len(brokers)}"


async def _check_topics(settings: Settings) -> str:
    """Verify topics and ACLs as the worker does at startup, but create no topic."""
    kafka = settings.kafka
    async with connected(kafka) as connection:
        await verify_acls(connection, kafka, worker_acls(kafka))
    async with open_admin(kafka) as admin:
        present = await admin.list_topics()
        missing = [topic.name for topic in required_topics(kafka) if topic.name not in present]
        if missing and kafka.create_topics:
            return f"the worker will create {', '.join(missing)}"
        topics = await verify_topics(admin, kafka)
    remarks = topics.remarks(kafka, settings.playground.park_max_seconds)
    return "\n".join(["configured as the worker needs them", *remarks])


async def _check_overrides(settings: Settings) -> str:
    entries = load_overrides(settings.bundle).entries
    return f"{len(entries)}, all valid" if entries else "none"


Check = Callable[[Settings], Coroutine[Any, Any, str]]
"""Returns a sentence about what works. Raises an error that `error_message` can explain."""

CHECKS: Mapping[str, Check] = {
    "tokens": _check_tokens,
    "Kafka": _check_kafka,
    "topics": _check_topics,
    "CCDS": lambda settings: check_catalog(settings.catalog),
    "CCDS login": lambda settings: check_catalog_login(settings.catalog),
    "Nexus": lambda settings: check_artifacts(settings.artifacts),
    "playground": lambda settings: check_playground(settings.playground),
    "overrides": _check_overrides,
}
