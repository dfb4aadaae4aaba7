"""A worker on topics that change while it runs: it says what is wrong, and goes on by itself when they are right."""

import asyncio
from pathlib import Path

import aiohttp
import pytest

from tests.support.builders import blueprint_document, node
from tests.support.stage import open_stage
from tests.support.statuses import ended, followed_statuses
from tests.support.topics import admin_client, create_worker_topics
from tests.support.worker_process import WorkerProcess
from worker.sandbox.graphene_data import make_pipeline

STORED = make_pipeline("Watched", blueprint_document(node("a")), {"a": "syntax = 'proto3';"})


async def page(worker: WorkerProcess, path: str) -> str:
    async with aiohttp.ClientSession() as session, session.get(f"{worker.url}{path}") as answer:
        return f"{answer.status} {await answer.text()}"


async def until(worker: WorkerProcess, path: str, text: str, *, there: bool = True) -> None:
    """Wait until the page holds the text, or no longer does."""
    async with asyncio.timeout(60):
        while (text in await page(worker, path)) != there:  # noqa: ASYNC110 - nothing tells but asking again
            await asyncio.sleep(0.2)


@pytest.mark.parametrize("word", ["requests", "status"])
async def test_a_topic_that_is_deleted_and_made_anew(word: str, kafka: str, unique: str, tmp_path: Path) -> None:
    """While it is gone `/ready` and the log name it; a request that comes after it is deployed."""
    async with open_stage(kafka, unique, tmp_path, partitions=2) as stage:
        stage.graphene.add(STORED)
        async with stage.worker(tmp_path / "log") as worker:
            await stage.ask(STORED, "before")
            await stage.until(["before"], ended)
            name = f"{unique}.{word}"
            async with admin_client(kafka) as admin:
                await admin.delete_topics([name])
            await until(worker, "/ready", f"the topic '{name}' does not exist")
            assert "playground_deployer_topics_wrong 1.0" in await page(worker, "/metrics")
            await create_worker_topics(stage.topics)
            await until(worker, "/ready", "200", there=True)
            async with followed_statuses(kafka, stage.topics.status_topic, 2) as statuses, asyncio.timeout(60):
                await stage.ask(STORED, "after")
                await statuses.until(["after"], ended)
            assert "the topics are right again" in worker.log.read_text()
