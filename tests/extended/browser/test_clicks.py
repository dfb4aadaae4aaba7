"""The pages after a click in the portal, in a browser."""

import time

import pytest

from tests.extended.browser.conftest import NewPerson
from tests.extended.browser.people import World, hide
from worker.sandbox.playground import PLAYGROUND_FAULTS

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_click_shows_its_page_within_a_second(world: World, person: NewPerson) -> None:
    """A click shows its page in a new tab within a second; the fastest of three counts, because machines are busy."""
    someone = await person()
    taken = []
    for number in range(3):
        solution = world.solution(f"Quick {number}")
        page = await someone.clicks(world, solution)
        await page.wait_for_selector("#state")
        taken.append(time.monotonic() - someone.clicked)
    assert min(taken) < 1, taken


async def test_the_page_follows_to_the_dashboard(world: World, person: NewPerson) -> None:
    """The page follows each step without a reload, has each read aloud once, and finally links to the dashboard."""
    someone = await person()
    world.stage.graphene.latency = 0.2
    try:
        page = await someone.clicks(world, world.solution("Followed"))
        await page.wait_for_load_state()
        loads: list[str] = []
        page.on("load", lambda it: loads.append(it.url))
        await page.wait_for_selector(".chip.deployed")
    finally:
        world.stage.graphene.latency = 0
    states = await page.evaluate("states")
    assert states[-1] == "Deployed" and "Building" in states
    assert states == sorted(states, key=["Sent", "Accepted", "Building", "Deploying", "Deployed"].index)
    assert [] == loads
    assert "Deployed · Followed" == await page.title()
    assert (
        "Deployed. The solution is on the playground. Its containers may take a few minutes to start."
        == await page.text_content("#spoken")
    )
    assert someone.user.email in await page.text_content(".verdict")
    await page.click("text=Open in the playground")
    await page.wait_for_url(f"{world.stage.playground_url}/dashboard?*")
    [deployment] = world.deployments(someone)
    assert deployment.namespace in await page.inner_text("body")


async def test_without_scripts_a_reload_shows_the_same(world: World, person: NewPerson) -> None:
    """Without scripts, reloads show the same states, and "Deploy again" leads to the new request."""
    someone = await person(java_script_enabled=False)
    page = await someone.context.new_page()
    world.stage.graphene.latency = 0.1
    try:
        await page.goto(someone.address(world.gateway, world.solution("Plain")))
        assert "Reload this page" in await page.inner_text("noscript")
        while not await page.locator(".chip.deployed").count():
            await page.reload()
    finally:
        world.stage.graphene.latency = 0
    first = page.url
    assert await page.locator("text=Open in the playground").count()
    await page.click("text=Deploy again")
    await page.wait_for_selector("#state")
    assert first != page.url
    while not await page.locator(".chip.deployed").count():
        await page.reload()
    assert 2 == len(world.deployments(someone))


async def test_twenty_reloads_make_one_deployment(world: World, person: NewPerson) -> None:
    """Twenty reloads of the deploying address, and of the page that it leads to, make one deployment."""
    someone = await person()
    page = await someone.context.new_page()
    solution = world.solution("Reloaded")
    address = someone.address(world.gateway, solution)
    world.stage.playground.faults[someone.user.email] = PLAYGROUND_FAULTS["302"]  # its result is a page, no dashboard
    seen = set()
    for _ in range(20):
        await page.goto(address)
        await page.reload()
        seen.add(page.url)
    await page.wait_for_selector(".chip.failed")
    assert 1 == len(seen)
    requests = world.stage.statuses.by_request()
    assert [seen.pop().rpartition("/")[2]] == [
        name for name, statuses in requests.items() if statuses[0].solution_id == solution.solution_id
    ]


async def test_a_failed_one_is_deployed_again_from_its_page(world: World, person: NewPerson) -> None:
    """The page of a failed request shows the sentence, the code, and a button that leads to the new request."""
    someone = await person()
    faults = world.stage.playground.faults
    faults[someone.user.email] = PLAYGROUND_FAULTS["302"]
    page = await someone.clicks(world, world.solution("Failing"))
    await page.wait_for_selector(".chip.failed")
    assert await page.text_content(".verdict code")
    assert await page.locator(".milestones .stopped").count()
    del faults[someone.user.email]
    failed = page.url
    await page.click("text=Deploy again")
    await page.wait_for_selector(".chip.deployed")
    assert failed != page.url
    await page.click("text=Your deployments")
    assert ["Deployed", "Failed"] == await page.locator(".requests .chip").all_text_contents()


async def test_a_rejected_one_says_what_to_do(world: World, person: NewPerson) -> None:
    """The page of a rejected request shows what to do, and nothing has been sent to the playground."""
    someone = await person()
    solution = world.solution("Private")
    world.stage.graphene.private.add(str(solution.solution_id))
    page = await someone.clicks(world, solution)
    await page.wait_for_selector(".chip.rejected")
    assert "no-access" == await page.text_content(".verdict code")
    assert "Ask its owner for access" in await page.text_content(".verdict")
    assert [] == world.deployments(someone)


async def test_a_parked_one_is_settled_by_an_operator(world: World, person: NewPerson) -> None:
    """An operator settles a parked request on the operators' page; the user's open page shows it and the operator."""
    someone, operator = await person(), await person(admin=True)
    world.stage.playground.faults[someone.user.email] = PLAYGROUND_FAULTS["reset"]
    page = await someone.clicks(world, world.solution("Parked"))
    await page.wait_for_selector(".chip.parked")
    assert 0 == await page.locator(".settle").count()
    theirs = await operator.clicks(world, world.solution("Of the operator"))
    await theirs.click("text=To resolve")
    card = theirs.locator("li", has_text="Parked")
    await card.get_by_label("How you know").fill("The dashboard has none.")
    await card.get_by_role("button", name="It is not deployed", exact=True).click()
    await theirs.wait_for_selector(".chip.failed")
    await page.wait_for_selector(".chip.failed")
    assert operator.user.email in await page.text_content(".verdict .sentence")


async def test_a_hidden_tab_gives_its_stream_back(world: World, person: NewPerson) -> None:
    """A hidden tab closes its stream, because a browser has six connections per host; shown again, it is up to date."""
    someone, operator = await person(), await person(admin=True)
    world.stage.playground.faults[someone.user.email] = PLAYGROUND_FAULTS["reset"]
    page = await someone.clicks(world, world.solution("Hidden"))
    await page.wait_for_selector(".chip.parked")
    await world.until_streams(1)
    for hidden in (True, False) * 15:  # a tab that is hidden only briefly keeps its stream
        await hide(page, hidden=hidden)
    await hide(page)
    await world.until_streams(0)
    theirs = await operator.context.new_page()
    await theirs.goto(operator.address(world.gateway, world.solution("Of another operator")))
    await theirs.goto(page.url)
    await theirs.get_by_label("How you know").fill("It has one.")
    await theirs.get_by_role("button", name="It is deployed").click()
    await theirs.wait_for_selector(".chip.deployed")
    await operator.context.close()
    assert ["Waiting for an operator"] == (await page.evaluate("states"))[-1:]
    await hide(page, hidden=False)
    await page.wait_for_selector(".chip.deployed")
