"""SIGTERM: running POSTs finish, all other requests are left to the next worker, and none is lost or deployed twice."""

import asyncio
import json
import signal
from pathlib import Path

import pytest

from schemas import State
from tests.support.builders import blueprint_document, node, operation, protobuf
from tests.support.faults.world import open_world
from tests.support.stage import open_stage
from tests.support.worker_process import start_worker
from worker.cli import INTERRUPTED
from worker.sandbox.graphene_data import make_pipeline

STORED = make_pipeline("Slow", blueprint_document(node("a")), {"a": protobuf(operation())})


async def test_sigterm_leaves_what_is_built_to_the_next_worker(kafka: str, unique: str, tmp_path: Path) -> None:
    """A request that SIGTERM interrupts while it is built is deployed by the next worker.

    A status reports the stop, and no interruption is counted.
    """
    async with open_stage(kafka, unique, tmp_path) as stage:
        stage.graphene.add(STORED)
        stage.graphene.latency = 0.5
        async with stage.worker(tmp_path / "worker.log"):
            await stage.ask(STORED, "r-1")
            await stage.until(["r-1"], lambda of: State.BUILDING in [status.state for status in of])
        assert 0 == await stage.committed()
        stage.graphene.latency = 0
        async with stage.worker(tmp_path / "next.log"):
            statuses = (await stage.until_final(["r-1"]))["r-1"]
        path = [State.ACCEPTED, State.BUILDING, State.RETRYING, State.BUILDING, State.SUBMITTING, State.DEPLOYED]
        assert path == [status.state for status in statuses]
        assert [None] * 6 == [status.interruptions for status in statuses]
        assert 1 == len(stage.playground.deployments)
        assert 1 == await stage.committed()


async def test_sigterm_finishes_what_posts(kafka: str, tmp_path: Path) -> None:
    """The worker waits for a running POST, reports and commits its outcome, and then exits with 0."""
    async with open_world(kafka, tmp_path) as world:
        received, may_answer = asyncio.Event(), asyncio.Event()

        async def answer(_: str) -> None:
            received.set()
            await may_answer.wait()

        world.playground.answer = answer
        worker = await world.start()
        await world.ask("r-1")
        await received.wait()
        worker.signal(signal.SIGTERM)
        done, _ = await asyncio.wait([asyncio.create_task(worker.process.wait())], timeout=0.5)
        assert not done
        may_answer.set()
        assert 0 == await worker.process.wait()
        await world.until_ended(["r-1"])
        path = [State.ACCEPTED, State.BUILDING, State.SUBMITTING, State.DEPLOYED]
        assert path == [it.state for it in world.statuses["r-1"]]
        assert 1 == sum((await world.committed()).values())


@pytest.mark.parametrize("at_once", [False, True])
async def test_the_log_tells_of_a_stop_and_of_a_post_that_it_abandons(
    at_once: bool, kafka: str, tmp_path: Path
) -> None:
    """The log reports a stop step by step, and the POST that a second signal abandons.

    The steps are the signal, the POSTs that the worker waits for, the second signal, the abandoned request, and the
    end. The reported cause is the stop, not the connection that the worker itself closes. The second signal may arrive
    with the first.
    """
    async with open_world(kafka, tmp_path) as world:
        received = asyncio.Event()

        async def answer(_: str) -> None:
            received.set()
            await asyncio.Event().wait()

        world.playground.answer = answer
        worker = await start_worker(
            world.env | {"DEPLOYER_PLAYGROUND__TIMEOUT_SECONDS": "30", "DEPLOYER_RUNTIME__DRAIN_SECONDS": "60"},
            tmp_path / "worker.log",
        )
        world.workers.append(worker)
        await worker.until_ready()
        await world.ask("r-1")
        await received.wait()
        signals = {signal.SIGTERM: "finishing running deployments", signal.SIGINT: "stopping at once"}
        for number, wanted in signals.items():
            worker.signal(number)
            if at_once and number is signal.SIGTERM:
                continue
            async with asyncio.timeout(10):
                while wanted not in worker.log.read_text():  # noqa: ASYNC110 - a file sends no notification
                    await asyncio.sleep(0.05)
        assert INTERRUPTED == await worker.process.wait()
        lines = [json.loads(line) for line in worker.log.read_text().splitlines()]
        by_event = {line["event"]: line for line in lines}
        assert {it.name for it in signals} == {by_event[it]["signal"] for it in ("stopping", "stopping at once")}
        assert 1 == by_event["finishing running deployments"]["posts"]
        abandoned = [line for line in lines if line.get("request_id") == "r-1"]
        assert ["a POST runs without its request", "the outcome of a POST is unknown"] == [
            it["event"] for it in abandoned
        ]
        fields = ("code", "attempt", "level", "cause")
        assert ("outcome-unknown", 1, "warning", "this worker was stopped") == tuple(abandoned[-1][it] for it in fields)
        assert [] == [line for line in lines if "exception" in line or line["level"] in ("error", "critical")]
        assert "stopped" == lines[-1]["event"]
