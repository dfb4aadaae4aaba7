"""People with browsers, and the gateway, the worker and the sandboxes that they use; shared by all tests."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
import pytest_asyncio

from tests.extended.browser.chromium import axe, chromium, packages, running_chromium
from tests.extended.browser.people import ADMIN_ROLE, Person, World, portal_app
from tests.support.kept import needed
from tests.support.stage import open_stage
from tests.support.topics import unique_name
from worker.sandbox.http_server import served
from worker.sandbox.kafka_node import unused_ports

NewPerson = Callable[..., Awaitable[Person]]


@pytest.fixture(scope="session", autouse=True)
def browser_installed() -> None:
    """Skip tests that need a browser if there is none; in CI, fail them."""
    for get in (chromium, packages, axe):
        needed(get)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser(browser_installed: None) -> AsyncIterator[object]:
    """Yield one browser for all people; each person has a separate profile."""
    async with running_chromium() as it:
        yield it


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def portal() -> AsyncIterator[str]:
    """Yield the address of a page of another origin, where people click."""
    async with served(portal_app()) as address:
        yield address


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def world(
    kafka: str, portal: str, browser: object, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[World]:
    """Yield everything behind the pages."""
    folder = tmp_path_factory.mktemp("world")
    async with AsyncExitStack() as stack:
        stage = await stack.enter_async_context(open_stage(kafka, unique_name(), folder))
        await stack.enter_async_context(stage.worker(folder / "worker.log"))
        gateway = stage.gateway(folder / "gateway.log", next(unused_ports(1)), WAIT_SECONDS="0", ADMIN_ROLE=ADMIN_ROLE)
        url = (await stack.enter_async_context(gateway)).url
        yield World(stage, url, portal)


@pytest_asyncio.fixture(loop_scope="session")
async def person(browser: object) -> AsyncIterator[NewPerson]:
    """Yield a function that creates people. At the end, no page of theirs may have reported an error."""
    people: list[Person] = []

    async def make(**options: Any) -> Person:
        people.append(await Person.arrives(browser, **options))
        return people[-1]

    yield make
    for it in people:
        await it.context.close()
    assert [] == [complaint for it in people for complaint in it.complaints]
