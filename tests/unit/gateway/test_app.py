"""The gateway's process: its probes, and its builder, which is opened on first use."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

import worker.app
from tests.support.builders import REVISION_ID, SOLUTION_ID
from tests.unit.gateway.door import FakeReader
from worker.gateway import app as app_module
from worker.gateway.app import BUILDS, add_probes


@pytest.mark.parametrize("missing", ["", "stop", "access", "reader", "publisher"])
async def test_it_is_ready_when_nothing_is_missing(missing: str) -> None:
    """`/ready` answers 503 with a reason while the gateway is stopping, lacks access, still reads, or cannot publish.

    `/live` answers 200 in all of these cases.
    """
    app, stop, reader = web.Application(), asyncio.Event(), FakeReader()
    access: Any = SimpleNamespace(problem="an ACL is missing" if missing == "access" else None)
    publisher: Any = SimpleNamespace(get=lambda: None if missing == "publisher" else object())
    reader.is_complete = missing != "reader"
    if missing == "stop":
        stop.set()
    add_probes(app, access, reader, publisher, stop)  # type: ignore[arg-type]
    async with TestClient(TestServer(app)) as client:
        response = await client.get("/ready")
        assert (503 if missing else 200) == response.status
        assert bool(missing) == bool((await response.json()).get("reason"))
        assert 200 == (await client.get("/live")).status


async def test_few_bundles_are_built_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """At most BUILDS bundles are built at once, because a large bundle takes 130 MB; the builder is opened once."""
    building = most = opened = 0

    class Slow:
        async def build(self, *args: Any) -> tuple[None, None]:
            nonlocal building, most
            building += 1
            most = max(most, building)
            for _turn in range(5):
                await asyncio.sleep(0)
            building -= 1
            return None, None

    @asynccontextmanager
    async def open_builder(_: Any) -> AsyncIterator[Slow]:
        nonlocal opened
        opened += 1
        yield Slow()

    monkeypatch.setattr(worker.app, "open_builder", open_builder)
    settings: Any = None
    async with AsyncExitStack() as stack:
        builder = app_module._LazyBuilder(stack, settings)
        await asyncio.gather(*(builder.build(SOLUTION_ID, REVISION_ID, None) for _ in range(6)))
    assert (BUILDS, 1) == (most, opened)
