from pathlib import Path

from schemas import State
from tests.builders import blueprint_document, node
from tests.e2e.stage import open_stage
from worker.sandbox.graphene_data import make_pipeline


async def test_sigterm_finishes_what_runs(kafka: str, unique: str, tmp_path: Path) -> None:
    """A request in the middle of its work is deployed, committed and reported before the worker ends with 0."""
    stored = make_pipeline("Slow", blueprint_document(node("a")), {"a": "syntax = 'proto3';"})
    async with open_stage(kafka, unique, tmp_path) as stage:
        stage.graphene.add(stored)
        stage.graphene.latency = 0.5
        async with stage.worker(tmp_path / "worker.log"):
            await stage.ask(stored, "r-1")
            await stage.until(["r-1"], lambda of: State.BUILDING in [status.state for status in of])
        statuses = await stage.until_final(["r-1"])
        states = [status.state for status in statuses["r-1"]]
        assert [State.ACCEPTED, State.BUILDING, State.SUBMITTING, State.DEPLOYED] == states
        assert 1 == await stage.committed()
