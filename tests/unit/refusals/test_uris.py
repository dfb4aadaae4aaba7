"""Artifact URIs by corpus: only plain paths below the repository are fetched."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest
from aiohttp import web
from pydantic import SecretStr

from tests.support.builders import OPTIONS, SHIPPED, blueprint, node, solution
from tests.support.corpus import record
from tests.support.fakes import FakeCatalog
from tests.support.servers import Serve, ServeRaw
from tests.support.ways_out import tells_what_to_do
from tests.unit.refusals.uris import AWAY
from worker.adapters.graphene import ArtifactsClient
from worker.adapters.http import dependency_session
from worker.build import Builder
from worker.domain.solution import ByteLimit
from worker.errors import DeploymentError, Unavailable
from worker.settings import ArtifactsSettings

Fetch = Callable[[ArtifactsClient, str], Awaitable[object]]


class Listener:
    """A server that must not be called; counts connections."""

    def __init__(self) -> None:
        self.connections = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx")


async def fetch(client: ArtifactsClient, uri: str) -> None:
    """Fetch the URI as a blueprint's or a single model's, as it comes from CCDS."""
    await client.fetch([uri])


async def build(client: ArtifactsClient, uri: str) -> None:
    """Fetch the URI as a node's, as it comes from the blueprint."""
    data = blueprint(node("a", proto_uri=uri), node("b", proto_uri="good.proto"))
    await Builder(FakeCatalog(solution()), Blueprints(client, data), SHIPPED, OPTIONS).build(
        solution().solution_id, solution().revision_id, None
    )


class Blueprints:
    """The real repository with a given blueprint."""

    def __init__(self, client: ArtifactsClient, data: bytes) -> None:
        self._client = client
        self._data = data

    async def fetch(self, uris: Sequence[str], left: ByteLimit, size: int | None = None) -> list[bytes | None]:
        return [self._data] if uris == [solution().blueprint_uri] else await self._client.fetch(uris, left, size)


@pytest.mark.parametrize("way", [fetch, build])
async def test_no_uri_leads_away(serve: Serve, serve_raw: ServeRaw, way: Fetch) -> None:
    """A hostile URI is rejected before a connection is made, to the repository or to any other server."""
    paths: list[str] = []

    async def repository(request: web.Request) -> web.Response:
        paths.append(request.raw_path)
        return web.Response(body=b"x")

    listener = Listener()
    host = await serve_raw(listener)
    options = ArtifactsSettings(
        url=f"{await serve(repository)}/repository/models", username="u", password=SecretStr("p"), timeout_seconds=5
    )
    wrong = []
    async with dependency_session() as session:
        client = ArtifactsClient(session, options)
        for text in AWAY:
            uri = text.replace("{host}", host).replace("{port}", host.rpartition(":")[2])
            said = await outcome(way(client, uri))
            if said not in REFUSED[way.__name__] or set(paths) - {GOOD}:
                wrong.append((uri, said, set(paths)))
            paths.clear()
    record(f"artifact uris that lead away ({way.__name__})", len(AWAY), len(wrong) + listener.connections)
    assert ([], 0) == (wrong, listener.connections)
    assert len(set(AWAY)) >= 200


GOOD = "/repository/models/good.proto"
REFUSED = {
    "fetch": {("artifact-uri-invalid", True)},
    "build": {
        ("artifact-uri-invalid", True),
        ("proto-missing", True),  # an empty URI counts as missing
        ("blueprint-invalid", True),  # longer than a string may be, or not Unicode
    },
}


async def outcome(work: Awaitable[object]) -> tuple[str, bool] | None:
    """Return the error's code, and whether its message advises what to do."""
    try:
        await work
    except DeploymentError as error:
        return error.code, tells_what_to_do(error.message)
    return None


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_leads_nowhere(serve: Serve, serve_raw: ServeRaw, status: int) -> None:
    """A redirect is not followed, because the credentials would be sent along."""
    listener = Listener()
    host = await serve_raw(listener)

    async def repository(request: web.Request) -> web.Response:
        return web.Response(status=status, headers={"Location": f"http://{host}{request.path}"})

    options = ArtifactsSettings(url=await serve(repository), username="u", password=SecretStr("p"), timeout_seconds=5)
    async with dependency_session() as session:
        with pytest.raises(Unavailable) as caught:
            await ArtifactsClient(session, options).fetch(["good.proto"])
    assert ("artifacts-error", 0) == (caught.value.code, listener.connections)
