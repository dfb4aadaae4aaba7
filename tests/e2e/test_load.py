"""Many bundles built at the same moment, compared by content.

The Java service mixed up 58 to 90 % of such bundles.
"""

import asyncio
from pathlib import Path

from schemas import State
from tests.support.builders import blueprint_document, edge, mount_volume, node, operation, protobuf, shared_folder
from tests.support.stage import open_stage
from worker.sandbox.graphene_data import Stored, make_model, make_pipeline
from worker.sandbox.users import User

REQUESTS = 200
USERS = [User(f"user-{number}", f"user{number}", f"user{number}@graphene.example") for number in range(10)]


def solution(number: int) -> Stored:
    """Return a solution: three of four are pipelines, two of four have a shared folder; names and protobufs repeat."""
    proto = f"{protobuf(operation())}// of solution {number}\n"
    if number % 4 == 3:
        return make_model(f"Model {number}", f"registry.example/model:{number}", proto)
    names = [f"node-{index}" for index in range(1, 2 + number % 5)]
    runs = [operation("run", edge(name)) for name in names[1:] + names[:1]]
    nodes = [node(name, run, image=f"registry.example/node:{number}") for name, run in zip(names, runs, strict=True)]
    if number % 4 in (0, 1):
        nodes[0]["operation_signature_list"].append(mount_volume())
        nodes.append(shared_folder(f"/data/{number}", names[0]))
    return make_pipeline(f"Pipeline {number}", blueprint_document(*nodes), dict.fromkeys(names, proto))


async def test_every_user_gets_the_bundle_they_asked_for(kafka: str, unique: str, tmp_path: Path) -> None:
    """With 200 requests of 10 users at once and two workers, each zip is byte for byte the zip that is built alone."""
    solutions = [solution(number) for number in range(40)]
    async with open_stage(kafka, unique, tmp_path) as stage:
        for stored in solutions:
            stage.graphene.add(stored)
        expected = [(await stage.bundle_alone(stored)).data for stored in solutions]
        asked = {f"r-{number}": (number % 40, USERS[number * 7 % 10]) for number in range(REQUESTS)}
        async with stage.worker(tmp_path / "worker-1.log"), stage.worker(tmp_path / "worker-2.log") as second:
            await second.until_ready()
            await asyncio.gather(*(stage.ask(solutions[it], name, user) for name, (it, user) in asked.items()))
            statuses = await stage.until_final(list(asked))
        arrived = {one.request_id: one for one in stage.playground.deployments.values()}

        assert set(asked) == set(statuses) == set(arrived)
        assert len(stage.playground.deployments) == REQUESTS
        wrong = [name for name, (it, _) in asked.items() if arrived[name].archive.read_bytes() != expected[it]]
        assert [] == wrong
        assert {name: user.email for name, (_, user) in asked.items()} == {
            name: one.username for name, one in arrived.items()
        }
        path = [(0, State.ACCEPTED), (1, State.BUILDING), (2, State.SUBMITTING), (3, State.DEPLOYED)]
        assert [] == [name for name, of in statuses.items() if [(it.sequence, it.state) for it in of] != path]
        assert 0 == stage.playground.overlaps
        assert await stage.committed() == REQUESTS
