"""Every page in every state: its accessibility, and its behaviour while its request changes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.extended.browser.chromium import axe
from tests.extended.browser.conftest import NewPerson
from tests.extended.browser.people import Person
from tests.extended.browser.scenes import DEPLOYMENT, SCENES, THEMES, WITHOUT_SESSION, click, open_scenes
from tests.unit.gateway.door import Door

pytestmark = pytest.mark.asyncio(loop_scope="session")

PARKED = SCENES["parked"]


@asynccontextmanager
async def scenes_for(someone: Person) -> AsyncIterator[tuple[Door, str]]:
    """Yield the scenes and then close the person's pages: an open page would fail to connect, and complain."""
    async with open_scenes() as found:
        yield found
        await someone.context.close()


async def violations(page: Any) -> list[str]:
    """Return axe-core's complaints about the page in its present state."""
    await page.evaluate(axe())
    found = await page.evaluate("axe.run({ resultTypes: ['violations'] })")
    return [
        f"{page.url}: {it['id']}: {place['html']} {place['failureSummary']}"
        for it in found["violations"]
        for place in it["nodes"]
    ]


@pytest.mark.parametrize("theme", THEMES)
async def test_nothing_is_against_a_page(theme: str, person: NewPerson) -> None:
    """axe-core accepts every page (names, roles, order of headings, contrast), and a telephone shows its full width."""
    someone = await person(color_scheme=theme, viewport={"width": 360, "height": 740})
    page = await someone.context.new_page()
    found = []
    async with scenes_for(someone) as (door, address):
        for path in (*WITHOUT_SESSION.values(), click(), *SCENES.values()):
            await page.goto(address + path)
            for details in await page.locator("summary").all():
                await details.click()
            found += await violations(page)
            if await page.evaluate("document.documentElement.scrollWidth > innerWidth"):
                found.append(f"{page.url}: wider than a telephone")
        await someone.forgives("401")
        await someone.forgives("404")
        door.reader.is_connected = False
        for path in (SCENES["list"], SCENES["building"]):
            await page.goto(address + path)
            assert await page.locator("[role=alert]").count()
            found += await violations(page)
    assert [] == found


async def test_what_somebody_types_stays(person: NewPerson) -> None:
    """Focus and text of a form survive changes of the request, and details stay open."""
    someone = await person()
    page = await someone.context.new_page()
    async with scenes_for(someone) as (door, address):
        await logged_in(page, address)
        await page.goto(address + PARKED)
        await page.click("summary")
        await page.get_by_label("How you know").press_sequentially("I have")
        door.reader.is_connected = False
        await page.wait_for_selector("[role=alert]")
        await page.keyboard.type(" looked")
        assert "I have looked" == await page.get_by_label("How you know").input_value()
        assert await page.locator("details[open]").count()
        door.reader.is_connected = True
        await page.wait_for_selector("[role=alert]", state="detached")
        async with page.expect_navigation():
            await page.get_by_role("button", name="It is deployed").click()
        assert [("settle", PARKED.rpartition("/")[2], "deployed", "I have looked")] == [
            it[:4] for it in door.operations.done
        ]


async def test_each_state_is_read_aloud_once(person: NewPerson) -> None:
    """Each state is read aloud once, from a separate region that only a new state changes."""
    someone = await person()
    page = await someone.context.new_page()
    async with scenes_for(someone) as (door, address):
        await logged_in(page, address)
        await page.goto(address + SCENES["deploying"])
        await page.wait_for_selector("#spoken:not(:empty)", state="attached")
        await page.evaluate(
            """window.said = [];
            new MutationObserver(() => said.push(document.querySelector("#spoken").textContent))
              .observe(document.querySelector("#spoken"), { childList: true, subtree: true, characterData: true });"""
        )
        door.reader.is_connected = False
        await page.wait_for_selector("[role=alert]")
        say(door, 3, deployment=DEPLOYMENT)
        await page.wait_for_selector(".chip.deployed")
        assert [
            "Deployed. The solution is on the playground. Its containers may take a few minutes to start."
        ] == await page.evaluate("said")


async def test_a_lost_connection_is_said_and_found_again(person: NewPerson) -> None:
    """A page shows a lost connection, and after reconnecting it is up to date."""
    someone = await person()
    page = await someone.context.new_page()
    async with scenes_for(someone) as (door, address):
        await logged_in(page, address)
        await page.goto(address + SCENES["deploying"])
        await page.wait_for_selector("#spoken:not(:empty)", state="attached")
        await someone.context.set_offline(True)
        server = door.client.server.handler
        for connection in server.connections if server else ():
            if connection.transport:
                connection.transport.abort()
        await page.wait_for_selector("#connection:not([hidden])")
        say(door, 3, deployment=DEPLOYMENT)
        await someone.context.set_offline(False)
        await page.wait_for_selector(".chip.deployed")
        assert await page.locator("#connection").is_hidden()
    await someone.forgives("ERR_")


async def test_leaving_ends_the_session(person: NewPerson) -> None:
    """Logging out ends the session; the button is a form of the gateway's own page, as every browser must confirm."""
    someone = await person()
    page = await someone.context.new_page()
    async with scenes_for(someone) as (_, address):
        await logged_in(page, address)
        await page.click("text=Log out here")
        await page.wait_for_selector("text=Log in first")
    await someone.forgives("401")


async def logged_in(page: Any, address: str) -> None:
    """Sign in."""
    await page.goto(address + click())


def say(door: Door, sequence: int, **changes: Any) -> None:
    """Complete the request that is being deployed."""
    door.say(
        sequence,
        "deployed",
        request_id=SCENES["deploying"].rpartition("/")[2],
        revision_id="22222222-0000-4000-8000-000000000005",
        offset=5,
        solution_name="Sudoku Tutorial",
        kind="pipeline",
        **changes,
    )
