from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from worker.sandbox.graphene import graphene_app
from worker.sandbox.http_server import own_names, served
from worker.sandbox.playground import playground_app


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    """A client of a server that answers OK as `playground` and localhost."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(text="OK")

    app = web.Application(middlewares=[own_names("playground")])
    app.router.add_get("/", answer)
    async with served(app) as url, aiohttp.ClientSession(url) as session:
        yield session


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1:8000", "127.0.0.1", "localhost:1", "LOCALHOST", "[::1]:8000", "[::1]", "192.0.2.1", "playground:8000"],
)
async def test_addresses_and_own_names_are_answered(client: aiohttp.ClientSession, host: str) -> None:
    """The server answers under every address and name that people and workers use."""
    async with client.get("/", headers={"Host": host}) as response:
        assert (200, "OK") == (response.status, await response.text())


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8000",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "playground.evil.example",
        "localhost.",
        "127.0.0.1@evil.example",
        "evil.example:127.0.0.1",
        "2130706433",
        "0x7f.1",
        "[::1",
        "",
        "evil@127.0.0.1",
        "evil@localhost",
        "evil.example@[::1]:8000",
        "localhost#.evil",
        "localhost/.evil",
        "localhost?.evil",
        "127.0.0.1#evil",
        "[127.0.0.1]",
        "[::1]evil",
        "[::1%25evil]",
        "::1",
        "localhost:",
        "localhost:80:80",
        "localhost:evil",
        "localhost:\u0661",
        "localho\u017ft",
        "localhost playground",
    ],
)
async def test_other_names_are_refused(client: aiohttp.ClientSession, host: str) -> None:
    """A foreign domain that points to this machine is rejected, and the answer names the accepted hosts."""
    async with client.get("/", headers={"Host": host}) as response:
        assert 421 == response.status
        assert "This server answers only as localhost or playground, or by its address." == await response.text()


async def test_both_sandboxes_know_their_names(tmp_path: Path) -> None:
    """Neither the playground nor Graphene answers any path for another host."""
    for app in (graphene_app(), playground_app(tmp_path)):
        async with served(app) as url, aiohttp.ClientSession(url, headers={"Host": "evil.example"}) as session:
            for path in ("/", "/ccds/healthcheck", "/api/deployments", "/none"):
                async with session.get(path) as response:
                    assert 421 == response.status
