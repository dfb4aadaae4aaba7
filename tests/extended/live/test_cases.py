"""The whole path of each sandbox case: from a request to a result."""

import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest

from tests.extended.cluster.api import Api, until
from tests.extended.live.conftest import Seconds, World
from tests.extended.live.people import HOST, SOLUTION, get_json, page, solution, solve, start, timed, until_ready
from tests.support.topics import unique_name
from worker.sandbox.graphene_data import CASES, stored_case
from worker.sandbox.users import sandbox_token

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def deployed(world: World, case: str, seconds: Seconds | None = None) -> str:
    """Publish a request; return the namespace as soon as its status is `deployed`."""
    request_id, begun = unique_name(), time.monotonic()
    await world.stage.ask(stored_case(case), request_id)
    statuses = (await world.stage.until_final([request_id]))[request_id]
    told = time.monotonic()
    assert "deployed" == statuses[-1].state, statuses[-1]
    assert statuses[-1].deployment
    namespace = statuses[-1].deployment.id
    assert begun < world.scripts.done[namespace] < told
    if seconds:
        seconds.note(case, "deployed", told - begun)
    return namespace


async def test_a_click_in_the_portal_ends_in_a_result(world: World, api: Api) -> None:
    """A click through the gateway leads to a deployment that solves a Sudoku."""
    case = CASES["sudoku"]
    url = f"{world.gateway}/deploy/{case.solution_id}/{case.revision_id}"
    headers = {"jwtToken": sandbox_token(datetime.now(UTC))}
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers, allow_redirects=False) as answer:
        location = answer.headers["Location"]
    assert (302, True) == (answer.status, location.startswith(world.stage.playground_url))
    namespace = location.rpartition("=")[2]

    start(api, world.deployment(namespace))

    assert [SOLUTION] == [solution(it) for it in solve(api, namespace)]


async def test_a_sudoku_goes_round(world: World, api: Api, seconds: Seconds) -> None:
    """A Sudoku requested by Kafka is designed on a node's page, evaluated, solved and shown there; then twenty more."""
    namespace = await deployed(world, "sudoku", seconds)
    deployment = world.deployment(namespace)
    seconds.note("sudoku", "pods ready", timed(lambda: until_ready(api, namespace)))

    start(api, deployment)
    begun = time.monotonic()
    [verdict] = solve(api, namespace)
    seconds.note("sudoku", "result", time.monotonic() - begun)

    assert (True, True, SOLUTION) == (verdict["solvable"], verdict["unique"], solution(verdict))
    begun = time.monotonic()
    verdicts = solve(api, namespace, [f"{number % 9 + 1}{'0' * 80}" for number in range(20)])
    seconds.note("sudoku", "20 results", time.monotonic() - begun)
    assert [str(number % 9 + 1) for number in range(20)] == [solution(it)[0] for it in verdicts]
    assert [(True, False)] * 20 == [(it["solvable"], it["unique"]) for it in verdicts]


async def test_three_nodes_share_one_folder(world: World, api: Api, seconds: Seconds, shared_volume: Path) -> None:
    """The classifier reads the broker's file, the third node shows the files of both, and all are on the volume."""
    namespace = await deployed(world, "news-training", seconds)
    seconds.note("news-training", "pods ready", timed(lambda: until_ready(api, namespace)))

    start(api, world.deployment(namespace))
    begun = time.monotonic()
    url = page(api, namespace, "news-tensorboard")
    assert until(lambda: "epoch-2.json" in get_json(url))
    seconds.note("news-training", "result", time.monotonic() - begun)

    learnt = {"counts": {"sports": 1, "weather": 2}, "same_as_file": True}
    shown = get_json(url)
    assert {"articles.json", *(f"epoch-{it}.json" for it in range(3))} == shown.keys()
    assert [learnt] * 3 == [shown[f"epoch-{it}.json"] for it in range(3)]
    assert shown.keys() == {it.name for it in shared_volume.rglob("*.json")}


async def test_a_single_model_answers(world: World, api: Api, seconds: Seconds) -> None:
    """A single model answers a gRPC call at the NodePort, by the protobuf from the bundle."""
    namespace = await deployed(world, "entity-recogniser", seconds)
    seconds.note("entity-recogniser", "pods ready", timed(lambda: until_ready(api, namespace)))

    begun = time.monotonic()
    found = recognise(world, api, namespace, "Ada Lovelace went to London.")
    seconds.note("entity-recogniser", "result", time.monotonic() - begun)

    assert [("Ada Lovelace", "person"), ("London", "place")] == [(it.text, it.kind) for it in found]


def recognise(world: World, api: Api, namespace: str, text: str) -> Sequence[Any]:
    """Call the model as a user does who has unpacked the bundle."""
    [protobuf] = (world.deployment(namespace).folder / "microservice").glob("*.proto")
    module = protobuf.with_name(protobuf.name.replace("-", "_"))  # grpc generates a module from it
    module.write_bytes(protobuf.read_bytes())
    sys.path.insert(0, str(module.parent))
    try:
        messages, services = grpc.protos_and_services(module.name)
    finally:
        sys.path.remove(str(module.parent))
    port = api.get("Service", namespace, protobuf.stem)["spec"]["ports"][0]["nodePort"]
    with grpc.insecure_channel(f"{HOST}:{port}") as channel:
        answer = services.EntityRecogniserStub(channel).recognise(
            messages.Text(text=text, language="en"), timeout=10, wait_for_ready=True
        )
    return list(answer.entities)
