"""docs/two-playgrounds.md: a worker and a gateway for each of two playgrounds, with one Graphene and one Kafka."""

from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path

import aiohttp

from tests.support.stage import Stage, open_stage
from tests.support.topics import unique_name
from tests.support.worker_process import WorkerProcess
from worker.sandbox.graphene_data import stored_case
from worker.sandbox.users import sandbox_token

BROWSER = {"Accept": "text/html", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
BOTH, FIRST = stored_case("sudoku"), stored_case("entity-recogniser")
NAMES = ("playground-a", "playground-b")


class Browser:
    """One user's browser, which opens both gateways on one host."""

    def __init__(self, session: aiohttp.ClientSession, gateways: list[WorkerProcess]) -> None:
        self._session = session
        self._urls = [f"{it.url}/{name}" for it, name in zip(gateways, NAMES, strict=True)]

    async def click(self, number: int, path: str) -> str:
        """Open the deploy link and return the Location of the redirect."""
        url = f"{self._urls[number]}/deploy/{path}?jwtToken={sandbox_token(datetime.now(UTC))}"
        async with self._session.get(url, allow_redirects=False) as response:
            assert 302 == response.status, await response.text()
            return response.headers["Location"]

    async def page(self, number: int, path: str = "/requests") -> tuple[int, str]:
        """Return the page's status and text."""
        async with self._session.get(self._urls[number] + path, allow_redirects=False) as response:
            return response.status, await response.text()


async def test_each_playground_gets_what_was_asked_of_it(kafka: str, tmp_path: Path) -> None:
    """Each playground gets its own requests, and each gateway shows only those, in its own session.

    One solution is requested on both playgrounds, another on the first only.
    """
    async with AsyncExitStack() as stack:
        stages: list[Stage] = []
        for name in NAMES:
            (tmp_path / name).mkdir()
            stages.append(await stack.enter_async_context(open_stage(kafka, unique_name(), tmp_path / name)))
        first, second = stages
        for group in ("CATALOG", "ARTIFACTS"):  # one Graphene for both
            second.env[f"DEPLOYER_{group}__URL"] = first.env[f"DEPLOYER_{group}__URL"]
        gateways = []
        for stage, name in zip(stages, NAMES, strict=True):
            await stack.enter_async_context(stage.worker(tmp_path / f"{name}-worker.log"))
            settings: dict[str, str] = {
                "PUBLIC_URL": f"http://127.0.0.1/{name}",
                "SESSION_KEY": f"the key of the sessions of {name}",
                "WAIT_SECONDS": "30",
            }
            gateways.append(
                await stack.enter_async_context(stage.gateway(tmp_path / f"{name}-gateway.log", 0, **settings))
            )
        jar = aiohttp.CookieJar(unsafe=True)
        browser = Browser(
            await stack.enter_async_context(aiohttp.ClientSession(headers=BROWSER, cookie_jar=jar)), gateways
        )

        solution = f"{BOTH.solution_id}/{BOTH.revision_id}"
        places = [await browser.click(number, solution) for number in (0, 1)]
        assert [it.playground_url for it in stages] == [place.partition("/dashboard")[0] for place in places]
        await browser.click(0, f"{FIRST.solution_id}/{FIRST.revision_id}")

        assert [2, 1] == [len(it.playground.deployments) for it in stages]
        shown = [await browser.page(number) for number in (0, 1)]
        assert [200, 200] == [status for status, _ in shown]
        own = [set(it.statuses.by_request()) for it in stages]
        assert not own[0] & own[1]
        for number, (_, html) in enumerate(shown):
            assert all(it in html for it in own[number])
            assert not any(it in html for it in own[1 - number])
        assert {f"/{name}" for name in NAMES} == {cookie["path"].rstrip("/") for cookie in jar}
        (foreign,) = own[1]
        assert 404 == (await browser.page(0, f"/requests/{foreign}"))[0]
