"""Requests of one user never delay other users, on Apache Kafka."""

import asyncio
import json
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

from schemas import State
from tests.support.builders import blueprint_document, node, operation, protobuf
from tests.support.corpus import say
from tests.support.stage import Stage, open_stage
from tests.support.statuses import ended
from worker.sandbox.graphene_data import make_pipeline
from worker.sandbox.users import SANDBOX_USER, User, sandbox_token

STORED = make_pipeline("Fair", blueprint_document(node("a")), {"a": protobuf(operation())})
OTHERS = [User(f"other-{number}", f"other{number}", f"other{number}@graphene.example") for number in range(3)]
MANY = 1100
OPEN = 50


async def flood(stage: Stage) -> None:
    """Send many requests of one user, each with its own id."""
    header = ("authorization", f"Bearer {sandbox_token(datetime.now(UTC))}".encode())
    ids = {"solutionId": str(STORED.solution_id), "revisionId": str(STORED.revision_id)}
    for number in range(MANY):
        value = json.dumps({"requestId": f"greedy-{number}", **ids}).encode()
        sent = await stage.producer.send(
            stage.topics.requests_topic, value, key=SANDBOX_USER.user_id.encode(), headers=[header]
        )
        stage.statuses.places[f"greedy-{number}"] = (0, number)
    assert (await sent).offset == MANY - 1


async def test_one_users_flood_holds_up_nobody(kafka: str, unique: str, tmp_path: Path) -> None:
    """One user's flood does not delay other users, whose requests begin within a second.

    50 requests wait for the first, which is slow. The rest is rejected as `too-many-requests`.
    """
    async with open_stage(kafka, unique, tmp_path, partitions=1) as stage:
        stage.graphene.add(STORED)
        stage.graphene.latency = 3.0
        async with stage.worker(tmp_path / "log"):
            await flood(stage)
            names = [f"greedy-{number}" for number in range(MANY)]
            await stage.until([names[-1]], lambda of: of[-1].state is State.REJECTED)
            said = Counter(
                (of[-1].error.code if of[-1].error else "") for of in map(stage.statuses.about, names[OPEN:])
            )
            assert {"too-many-requests": MANY - OPEN} == said
            began = time.monotonic()
            await asyncio.gather(*(stage.ask(STORED, it.user_id, it) for it in OTHERS))
            await stage.until([it.user_id for it in OTHERS], lambda of: State.BUILDING in {it.state for it in of})
            seconds = time.monotonic() - began
            say(f"others begin after {seconds:.2f} s")
            assert seconds < 1
            stage.graphene.latency = 0.0
            await stage.until([*names[:OPEN], *(it.user_id for it in OTHERS)], ended)
            again = names[-1]
            await stage.ask(STORED, again)
            await stage.until([again], ended)
        assert State.DEPLOYED is stage.statuses.about(again)[-1].state
        assert {State.DEPLOYED} == {stage.statuses.about(it)[-1].state for it in names[:OPEN]}


async def test_a_record_in_another_partition_is_refused(kafka: str, unique: str, tmp_path: Path) -> None:
    """A record in a partition that does not match its key is rejected.

    Otherwise a sender could have several partitions deploy one user's requests at the same time.
    """
    async with open_stage(kafka, unique, tmp_path, partitions=4) as stage:
        stage.graphene.add(STORED)
        async with stage.worker(tmp_path / "log"):
            await stage.ask(STORED, "right")
            right, _ = stage.statuses.places["right"]
            header = ("authorization", f"Bearer {sandbox_token(datetime.now(UTC))}".encode())
            ids = {"solutionId": str(STORED.solution_id), "revisionId": str(STORED.revision_id)}
            for partition in {*range(4)} - {right}:
                sent = await stage.producer.send_and_wait(
                    stage.topics.requests_topic,
                    json.dumps({"requestId": f"wrong-{partition}", **ids}).encode(),
                    key=SANDBOX_USER.user_id.encode(),
                    headers=[header],
                    partition=partition,
                )
                stage.statuses.places[f"wrong-{partition}"] = (sent.partition, sent.offset)
            wrong = [it for it in stage.statuses.places if it.startswith("wrong")]
            await stage.until(["right", *wrong], ended)
        assert State.DEPLOYED is stage.statuses.about("right")[-1].state
        assert ["wrong-partition"] * 3 == [error.code for it in wrong if (error := stage.statuses.about(it)[-1].error)]
