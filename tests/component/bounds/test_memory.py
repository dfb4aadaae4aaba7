"""The memory that many large solutions take in a worker, measured in a separate process from start to end."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any
from uuid import UUID

import pytest
from aiohttp import web

from tests.component.bounds.growth import growth
from tests.support.builders import PROTOBUF, blueprint_document, node, operation
from worker.build import SMALL_BYTES
from worker.sandbox.environment import graphene_environment
from worker.sandbox.graphene import GRAPHENE, graphene_app
from worker.sandbox.graphene_data import Stored, make_pipeline
from worker.sandbox.http_server import served

LIMIT_MIB = 512  # set by the chart
MIB = 1024 * 1024


@asynccontextmanager
async def playground(seconds: float) -> AsyncIterator[str]:
    """Run a playground that reads each bundle and answers after a delay; yield its address."""

    async def deploy(request: web.Request) -> web.Response:
        async for _ in request.content.iter_any():
            pass
        await asyncio.sleep(seconds)
        return web.Response(text="/dashboard?selected_deployment_id=a")

    app = web.Application()
    app.router.add_post("/deploy_solution", deploy)
    async with served(app) as address:
        yield address


async def measured(stored: Stored, users: int) -> Any:
    """Return the report of a worker-like process after this number of users requested the solution at once."""
    app = graphene_app()
    app[GRAPHENE].add(stored)
    async with served(app) as graphene, playground(0.5) as posts:
        environment = graphene_environment(graphene) | {"DEPLOYER_PLAYGROUND__DEPLOY_URL": f"{posts}/deploy_solution"}
        asked = map(str, (users, stored.revision_id, stored.solution_id))
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.support.heavy_worker", *asked,
            env={name: value for name, value in os.environ.items() if not name.startswith("DEPLOYER_")} | environment,
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, _ = await process.communicate()
    return json.loads(out.splitlines()[-1])


def protobufs(count: int) -> Stored:
    """Return a pipeline with this number of incompressible protobufs of nearly a megabyte, none of which looks like
    a page."""
    names = [f"n{number}" for number in range(count)]
    nodes = (node(name, operation(f"run-{name}")) for name in names)
    contents = {name: b"n" + Random(name).randbytes(MIB - 2) for name in names}
    return make_pipeline("large", blueprint_document(*nodes), contents)


def described(catalogs: int) -> Stored:
    """Return a small pipeline whose descriptions are large, and blank except for the last."""
    stored = make_pipeline("described", blueprint_document(node("a")), {"a": PROTOBUF}, description="x")
    ids = [str(UUID(int=number + 1)) for number in range(catalogs)]
    stored.catalogs[:] = [{"catalogId": it} for it in ids]
    stored.descriptions.clear()
    stored.descriptions.update(dict.fromkeys(ids[:-1], " " * 4_000_000) | {ids[-1]: "ä" * 2_000_000})
    return stored


@pytest.mark.parametrize(
    ("stored", "users"),
    [
        (lambda: protobufs(15), 32),
        (lambda: described(32), 8),
        (
            lambda: make_pipeline(
                "pictured",
                blueprint_document(node("a")),
                {"a": PROTOBUF},
                icon=b"\x89PNG\r\n\x1a\n" + bytes(SMALL_BYTES * 7),
            ),
            64,
        ),
    ],
    ids=["15 MiB of protobufs", "32 catalogs", "a picture"],
)
async def test_many_large_solutions_stay_below_the_limit(stored: Any, users: int) -> None:
    """All requests are deployed, and the worker never exceeds 300 MiB of the 512 MiB that the chart allows."""
    said = await measured(stored(), users)
    assert users == sum(count for end, count in said["ends"].items() if end.startswith("deployed"))
    assert 0 == said["reserved"]
    assert said["peak"] < 0.6 * LIMIT_MIB


def test_no_answer_takes_much_memory() -> None:
    """All hostile answers in sequence, servers included, take less than 32 MiB in a separate process."""
    code = """
async def main():
    for ask in CODES:
        await wrong_at_once(ask)
        await wrong_when_slow(ask, 0.4)
        for speak in UNWANTED.values():
            await verdict(ask, speak, 0.4)
asyncio.run(main())
"""
    before = "from tests.component.bounds.test_answers import *\nasyncio.run(verdict(catalog, GONE['nothing'], 5))"
    assert growth(code, before) < 32


def test_no_description_takes_much_memory() -> None:
    """All hostile descriptions in sequence take less than 64 MiB in a separate process."""
    code = "from tests.unit.refusals.test_descriptions import COSTLY, shown\nfor text in COSTLY.values(): shown(text)"
    assert growth(code, "import tests.unit.refusals.test_descriptions") < 64


def test_what_is_too_large_takes_little_memory() -> None:
    """Rejecting all oversized inputs in sequence takes less than 32 MiB, without the inputs themselves."""
    code = "for _, case in CASES.values(): refusal(case)"
    before = "from tests.unit.refusals.test_limits import *\nrefusal(blueprint_case(doc()))"
    assert growth(code, before) < 32
