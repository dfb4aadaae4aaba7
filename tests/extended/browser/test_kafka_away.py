"""Apache Kafka fails and comes back while people use the pages."""

from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.extended.browser.conftest import NewPerson
from tests.extended.browser.people import World
from tests.support.stage import open_stage
from tests.support.topics import unique_name
from worker.sandbox.kafka import EmbeddedKafka
from worker.sandbox.kafka_node import unused_ports

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_kafka_goes_and_comes_back(person: NewPerson, portal: str, tmp_path: Path) -> None:
    """Open pages show the outage, a click's page offers a safe reload, and each reload leads to the same request."""
    someone = await person()
    async with AsyncExitStack() as stack:
        kafka = await stack.enter_async_context(EmbeddedKafka(short_lived=True))
        stage = await stack.enter_async_context(open_stage(kafka.bootstrap_servers, unique_name(), tmp_path))
        gateway = stage.gateway(tmp_path / "gateway.log", next(unused_ports(1)), WAIT_SECONDS="0")
        world = World(stage, (await stack.enter_async_context(gateway)).url, portal)
        before = await someone.clicks(world, world.solution("Before"))
        await before.wait_for_selector(".chip.sent")

        await kafka.kill()
        await before.wait_for_selector("[role=alert]:has-text('is not available at the moment')")
        while_away = await someone.clicks(world, world.solution("While it was away"))
        await while_away.wait_for_selector("text=Reload this page to try again")
        await while_away.reload()
        await while_away.wait_for_selector("text=kafka-unavailable")
        await someone.forgives("503")

        await kafka.start()
        await before.wait_for_selector("[role=alert]", state="detached")
        address, pages = while_away.url, set()
        for _ in range(3):
            await while_away.goto(address)
            await while_away.wait_for_selector("#state")
            pages.add(while_away.url)
        assert 1 == len(pages)

        await stack.enter_async_context(stage.worker(tmp_path / "worker.log"))
        for page in (before, while_away):
            await page.wait_for_selector(".chip.deployed")
        assert 2 == len(world.deployments(someone))
