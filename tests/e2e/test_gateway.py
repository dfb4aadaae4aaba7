"""The front door with a worker behind it: a click becomes one deployment, however often it is repeated."""

import asyncio
import io
import re
import zipfile
from collections import Counter
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.support.builders import blueprint_document, node, protobufs
from tests.support.stage import Stage, open_stage
from tests.support.topics import unique_name
from tests.support.worker_process import WorkerProcess
from worker.sandbox.graphene_data import Stored, make_pipeline
from worker.sandbox.playground import ANY_USER, PLAYGROUND_FAULTS
from worker.sandbox.users import SANDBOX_USER, STRANGER, User, sandbox_token

BROWSER = {"Accept": "text/html", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}


def stored(stage: Stage, name: str = "Sudoku") -> Stored:
    document = blueprint_document(node("a"), node("b"))
    pipeline = make_pipeline(name, document, protobufs(document))
    stage.graphene.add(pipeline)
    return pipeline


def address(gateway: WorkerProcess, asked: Stored, token: str = "") -> str:
    query = f"?jwtToken={token}" if token else ""
    return f"{gateway.url}/deploy/{asked.solution_id}/{asked.revision_id}{query}"


def token(user: User = SANDBOX_USER) -> str:
    return sandbox_token(datetime.now(UTC), user=user)


async def get(session: aiohttp.ClientSession, url: str, **headers: str) -> tuple[int, str, str]:
    """Return status, Location and text."""
    async with session.get(url, headers=headers, allow_redirects=False) as response:
        return response.status, response.headers.get("Location", ""), await response.text()


def browser() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(headers=BROWSER, cookie_jar=aiohttp.CookieJar(unsafe=True))


async def test_the_old_portal_gets_what_the_java_deployer_answers(kafka: str, tmp_path: Path) -> None:
    """The old portal gets the Java deployer's answers, and the zip for download is the deployed zip.

    The answers are 302 to the dashboard, 404 with a sentence, and 401.
    """
    async with AsyncExitStack() as stack:
        stage = await stack.enter_async_context(open_stage(kafka, unique_name(), tmp_path))
        await stack.enter_async_context(stage.worker(tmp_path / "worker.log"))
        gateway = await stack.enter_async_context(stage.gateway(tmp_path / "gateway.log", WAIT_SECONDS="30"))
        session = await stack.enter_async_context(aiohttp.ClientSession())
        asked = stored(stage)
        status, location, _ = await get(session, address(gateway, asked), jwtToken=token())
        assert (302, True) == (status, location.startswith(f"{stage.playground_url}/dashboard?selected_deployment_id="))
        status, _, text = await get(session, address(gateway, asked), jwtToken=token(STRANGER))
        assert (404, True) == (status, text.endswith("[no-access]\n"))
        status, _, text = await get(session, address(gateway, asked), jwtToken="a.b.c")
        assert (401, True) == (status, "[token-malformed]" in text)
        path = f"/getSolutionZip/{asked.solution_id}/{asked.revision_id}"
        async with session.get(gateway.url + path, headers={"Cookie": f"authToken= Bearer {token()}"}) as response:
            downloaded = await response.read()
        status, _, text = await get(session, gateway.url + path, jwtToken=token(STRANGER))
        assert (404, True) == (status, text.endswith("[no-access]\n"))
        (deployment,) = stage.playground.deployments.values()
        with zipfile.ZipFile(io.BytesIO(downloaded)) as archive:
            assert set(deployment.files) == set(archive.namelist())


async def test_repeats_make_one_deployment(kafka: str, tmp_path: Path) -> None:
    """Repeated clicks cause one deployment.

    The repeats are 20 reloads at each of two replicas, a proxy's five retries, a prefetch, a HEAD and a restored tab.
    """
    given = token()
    async with AsyncExitStack() as stack:
        stage = await stack.enter_async_context(open_stage(kafka, unique_name(), tmp_path))
        replicas = [
            await stack.enter_async_context(stage.gateway(tmp_path / f"gateway-{it}.log", WAIT_SECONDS="0"))
            for it in (1, 2)
        ]
        session = await stack.enter_async_context(browser())
        asked = stored(stage)
        for gateway in replicas:
            prefetched = await get(session, address(gateway, asked, given), **{"Sec-Purpose": "prefetch"})
            assert 403 == prefetched[0]
            async with session.head(address(gateway, asked, given)) as response:
                assert 405 == response.status
        pages = [
            page
            for _, page, _ in await asyncio.gather(
                *(get(session, address(gateway, asked, given)) for gateway in replicas for _ in range(20)),
                *(get(session, address(replicas[0], asked), jwtToken=given) for _ in range(5)),
            )
        ]
        assert 1 == len(set(pages)), Counter(pages)
        await stack.enter_async_context(stage.worker(tmp_path / "worker.log"))
        request_id = pages[0].rpartition("/")[2]
        await stage.until_final([request_id])
        restored = [await get(session, address(gateway, asked, given)) for gateway in replicas]
        assert {302, 303} >= {status for status, _, _ in restored}
        assert 1 == len(stage.playground.deployments)
        assert [request_id] == list(stage.statuses.by_request())


async def test_the_page_follows_the_request(kafka: str, tmp_path: Path) -> None:
    """The page follows a request live to its end, and can deploy a failed request again; other users get 404."""
    async with AsyncExitStack() as stack:
        stage = await stack.enter_async_context(open_stage(kafka, unique_name(), tmp_path))
        gateway = await stack.enter_async_context(stage.gateway(tmp_path / "gateway.log", WAIT_SECONDS="0"))
        mine, theirs = [await stack.enter_async_context(browser()) for _ in range(2)]
        asked = stored(stage)
        stage.playground.faults[ANY_USER] = PLAYGROUND_FAULTS["302"]
        _, page, _ = await get(mine, address(gateway, asked, token()))
        await get(theirs, address(gateway, asked, token(STRANGER)))
        shown: list[str] = []
        async with mine.get(f"{gateway.url}{page}/events") as stream:
            await stack.enter_async_context(stage.worker(tmp_path / "worker.log"))
            async for line in stream.content:
                shown += re.findall(r'chip (\w+)"', line.decode())
                if line.startswith(b"event: over"):
                    break
        assert ["sent", "failed"] == [shown[0], shown[-1]]
        assert 404 == (await get(theirs, gateway.url + page))[0]
        stage.playground.faults.clear()
        _, _, html = await get(mine, gateway.url + page)
        found = re.search(r'name="nonce" value="([^"]+)"', html)
        assert found is not None
        again: set[str] = set()
        for _ in range(2):  # a second click on the same page joins the same request
            async with mine.post(
                f"{gateway.url}{page}/again", data={"nonce": found[1]}, allow_redirects=False
            ) as response:
                assert 303 == response.status, await response.text()
                again.add(response.headers["Location"])
        (new,) = again
        ended = await stage.until_final([new.rpartition("/")[2]])
        assert "deployed" == ended[new.rpartition("/")[2]][-1].state
        assert 1 == len(stage.playground.deployments)


async def test_an_administrator_settles_a_parked_request(kafka: str, tmp_path: Path) -> None:
    """An administrator settles a parked request on its page, under their own name, and the request ends at once."""
    async with AsyncExitStack() as stack:
        stage = await stack.enter_async_context(open_stage(kafka, unique_name(), tmp_path))
        stage.playground.faults[ANY_USER] = PLAYGROUND_FAULTS["reset"]
        await stack.enter_async_context(stage.worker(tmp_path / "worker.log"))
        gateway = await stack.enter_async_context(
            stage.gateway(tmp_path / "gateway.log", WAIT_SECONDS="30", ADMIN_ROLE="MLP System User")
        )
        session = await stack.enter_async_context(browser())
        status, page, _ = await get(session, address(gateway, stored(stage), token()))
        assert 303 == status
        form = {"outcome": "failed", "reason": "The dashboard has none."}
        async with session.post(f"{gateway.url}{page}/settle", data=form, allow_redirects=False) as response:
            assert 303 == response.status, await response.text()
        ended = await stage.until_final([page.rpartition("/")[2]])
        last = ended[page.rpartition("/")[2]][-1]
        assert ("failed", "resolved-as-failed") == (last.state, last.error and last.error.code)
        assert SANDBOX_USER.email in last.message


@pytest.mark.parametrize("kind", ["page", "api"])
async def test_statuses_of_before_are_read_first(kafka: str, tmp_path: Path, kind: str) -> None:
    """A gateway is ready once it has read the earlier statuses, and shows them to their user."""
    async with AsyncExitStack() as stack:
        stage = await stack.enter_async_context(open_stage(kafka, unique_name(), tmp_path))
        async with stage.worker(tmp_path / "worker.log"):
            asked = stored(stage)
            await stage.ask(asked, "before-1")
            await stage.until_final(["before-1"])
        gateway = await stack.enter_async_context(stage.gateway(tmp_path / "gateway.log"))
        session = await stack.enter_async_context(browser())
        headers: dict[str, Any] = {"Authorization": f"Bearer {token()}"}
        if kind == "api":
            async with session.get(f"{gateway.url}/v1/deployments/before-1", headers=headers) as response:
                assert "deployed" == (await response.json())["state"]
        else:
            status, location, _ = await get(session, address(gateway, asked, token()))  # joined: it has just ended
            assert 302 == status, location
            assert "before-1" in (await get(session, f"{gateway.url}/requests"))[2]
