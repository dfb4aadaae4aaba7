"""The sandbox's substitute for Graphene's portal: a click sends the gateway the same request as the real portal."""

from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from aiohttp.test_utils import TestClient, TestServer
from pydantic import SecretStr

from worker.adapters.tokens import TokenVerifier
from worker.sandbox.graphene import graphene_app
from worker.sandbox.graphene_data import CASES
from worker.sandbox.playground import playground_app
from worker.sandbox.portal import DEPLOY, add_portal
from worker.sandbox.users import JWT_SECRET, SANDBOX_USER
from worker.settings import AuthSettings

NOW = datetime(2026, 11, 24, 12, 30, tzinfo=UTC)
GATEWAY = "http://gateway.example"


class Links(HTMLParser):
    """The addresses of a page's links with their targets."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: dict[str, str | None] = {}
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "a":
            self.found[given["href"] or ""] = given.get("target")


async def test_each_solution_is_deployed_in_a_new_tab() -> None:
    """Each solution opens in a new tab, as in the Design Studio; the last link is the gateway's list."""
    app = graphene_app()
    add_portal(app, GATEWAY)
    async with TestClient(TestServer(app)) as client, client.get("/") as response:
        links = Links(await response.text()).found
    assert {f"{DEPLOY}{key}": "_blank" for key in CASES} | {f"{GATEWAY}/requests": None} == links


@pytest.mark.parametrize("key", CASES)
async def test_a_click_is_a_navigation_with_a_new_token(key: str) -> None:
    """A click navigates to the solution's address at the gateway with a new token, which no other page learns."""
    app = graphene_app()
    add_portal(app, GATEWAY, lambda: NOW)
    async with TestClient(TestServer(app)) as client:
        response = await client.get(DEPLOY + key, allow_redirects=False)
    address = urlsplit(response.headers["Location"])
    assert (302, "no-referrer") == (response.status, response.headers["Referrer-Policy"])
    assert f"/deploy/{CASES[key].solution_id}/{CASES[key].revision_id}" == address.path
    [token] = parse_qs(address.query)["jwtToken"]
    verifier = TokenVerifier(AuthSettings(secret=SecretStr(JWT_SECRET)), NOW.timestamp)
    assert SANDBOX_USER.user_id == (await verifier.authenticate(token, None)).user_id


async def test_an_unknown_solution_is_not_found() -> None:
    """An unknown solution is answered with 404."""
    app = graphene_app()
    add_portal(app, GATEWAY)
    async with TestClient(TestServer(app)) as client:
        assert 404 == (await client.get(f"{DEPLOY}none", allow_redirects=False)).status


@pytest.mark.parametrize("portal", [None, "http://127.0.0.1:1"])
async def test_the_playground_links_to_the_portal(portal: str | None, tmp_path: Path) -> None:
    """The playground links to the portal if a portal is configured."""
    async with TestClient(TestServer(playground_app(tmp_path, portal=portal))) as client, client.get("/") as response:
        assert ({portal} if portal else set()) == set(Links(await response.text()).found)
