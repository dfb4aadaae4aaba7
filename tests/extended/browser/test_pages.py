"""Every page in every state: its accessibility, and its behaviour while its request changes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.extended.browser.chromium import axe
from tests.extended.browser.conftest import NewPerson
from tests.extended.browser.people import Person
from tests.extended.browser.scenes import (
    DEPLOYMENT,
    PORTAL,
    SCENES,
    THEMES,
    WIDTHS,
    WITHOUT_SESSION,
    click,
    open_scenes,
)
from tests.unit.gateway.door import Door, token
from worker.sandbox.users import STRANGER

pytestmark = pytest.mark.asyncio(loop_scope="session")

PARKED = SCENES["parked"]

# Sends the form "Deploy again" from whatever page is open.
_AGAIN = """address => {
  const form = Object.assign(document.createElement("form"), { method: "post", action: address });
  form.append(Object.assign(document.createElement("input"), { name: "nonce", value: "n".repeat(16) }));
  document.body.append(form);
  form.submit();
}"""


@asynccontextmanager
async def scenes_for(someone: Person, **changes: Any) -> AsyncIterator[tuple[Door, str]]:
    """Yield the scenes and then close the person's pages: an open page would fail to connect, and complain."""
    async with open_scenes(**changes) as found:
        try:
            yield found
        finally:
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


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("theme", THEMES)
async def test_nothing_is_against_a_page(theme: str, width: int, person: NewPerson) -> None:
    """axe-core accepts every page (names, roles, order of headings, contrast), and each width shows all of it."""
    someone = await person(color_scheme=theme, viewport={"width": width, "height": 740})
    page = await someone.context.new_page()
    found = []
    async with scenes_for(someone) as (door, address):
        for path in (*WITHOUT_SESSION.values(), click(), *SCENES.values()):
            await page.goto(address + path)
            for details in await page.locator("summary").all():
                await details.click()
            found += await violations(page)
            if await page.evaluate("document.documentElement.scrollWidth > innerWidth"):
                found.append(f"{page.url}: wider than {width}")
        await someone.forgives("401")
        await someone.forgives("404")
        door.reader.is_connected = False
        for path in (SCENES["list"], SCENES["building"]):
            await page.goto(address + path)
            assert await page.locator("[role=alert]").count()
            found += await violations(page)
    assert [] == found


@pytest.mark.parametrize("theme", THEMES)
async def test_nothing_is_against_the_pages_of_a_user(theme: str, person: NewPerson) -> None:
    """axe-core accepts the pages of a user who is no operator, and the empty list, which leads back to the portal."""
    someone = await person(color_scheme=theme)
    page = await someone.context.new_page()
    found = []
    async with scenes_for(someone, admin_role=None) as (door, address):
        await logged_in(page, address)
        for name, path in SCENES.items():
            answer = await page.goto(address + path)
            assert (404 if name in ("parked-list", "unknown") else 200) == answer.status, name
            assert 0 == await page.locator("text=To resolve").count()
            found += await violations(page)
        door.publisher.is_away = True  # a session without a request
        await page.goto(address + click(token(STRANGER)))
        await page.goto(address + SCENES["list"])
        assert PORTAL == await page.locator(".empty a").get_attribute("href")
        found += await violations(page)
    for status in ("404", "503"):
        await someone.forgives(status)
    assert [] == found


@pytest.mark.parametrize("theme", THEMES)
async def test_nothing_is_against_the_page_of_an_error(theme: str, person: NewPerson) -> None:
    """axe-core accepts the pages of each error: another site's form, not finished, a limit, and Kafka unavailable."""
    someone = await person(color_scheme=theme)
    page = await someone.context.new_page()
    found, statuses = [], []
    async with scenes_for(someone, max_open_requests=5) as (door, address):
        await logged_in(page, address)
        for origin in ("data:text/html,<title>Another site</title>", address + SCENES["building"]):
            await page.goto(origin)
            async with page.expect_navigation() as navigation:
                await page.evaluate(_AGAIN, f"{address}{SCENES['building']}/again")
            statuses.append((await navigation.value).status)
            found += await violations(page)
        door.say(0, request_id="one-more", offset=50)
        for is_away in (False, True):
            door.publisher.is_away = is_away
            door.gateway._settings = door.gateway._settings.model_copy(update={"max_open_requests": 5 + is_away})
            answer = await page.goto(address + click(token()).replace("1111", "1112", 1))
            statuses.append(answer.status)
            found += await violations(page)
    for status in statuses:
        await someone.forgives(str(status))
    assert [403, 409, 429, 503] == statuses
    assert [] == found


async def test_a_session_ends_while_its_page_is_open(person: NewPerson) -> None:
    """An open page says that its session has expired, keeps what it shows, and shows no later status."""
    someone = await person()
    pages = [await someone.context.new_page() for _ in range(2)]
    async with scenes_for(someone) as (door, address):
        await logged_in(pages[0], address)
        for page, name in zip(pages, ("deploying", "list"), strict=True):
            async with page.expect_response(lambda it: it.url.endswith("/events")):
                await page.goto(address + SCENES[name])
        door.clock.later = 24 * 3600
        say(door, 3, deployment=DEPLOYMENT)
        for page in pages:
            await page.wait_for_selector("#connection:has-text('Your session has expired')")
            assert await page.locator(".chip.submitting").count()
        assert 0 == await pages[0].locator(".chip.deployed").count()


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
