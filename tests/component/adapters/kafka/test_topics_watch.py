"""A worker whose topics, senders or clock fail while it runs reports the problem and recovers by itself.

This worker checks the topics more often than usual, so that the tests need not wait.
"""

import asyncio
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import NewPartitions

from schemas import FINAL_STATES, DeploymentStatus, SourceInfo, State, fingerprint
from tests.support.builders import blueprint_document, node, operation, protobuf
from tests.support.stage import open_stage
from tests.support.statuses import ended, followed_statuses
from tests.support.topics import admin_client, create_worker_topics, user_of
from tests.support.worker_process import HURRIED, WorkerProcess, running_worker, start_worker
from worker.client.requests import open_statuses
from worker.sandbox.graphene_data import make_pipeline
from worker.sandbox.users import SANDBOX_USER, sandbox_token

STORED = make_pipeline("Watched", blueprint_document(node("a")), {"a": protobuf(operation())})


async def page(worker: WorkerProcess, path: str) -> str:
    """Return the page's status and text, or an empty string while the worker does not serve it."""
    try:
        async with aiohttp.ClientSession() as session, session.get(f"{worker.url}{path}") as answer:
            return f"{answer.status} {await answer.text()}"
    except aiohttp.ClientConnectionError:
        return ""


async def until(worker: WorkerProcess, path: str, text: str, *, there: bool = True) -> None:
    """Wait until the page contains the text, or no longer contains it."""
    async with asyncio.timeout(60):
        while (text in await page(worker, path)) != there:  # noqa: ASYNC110 - nothing notifies us, so poll
            await asyncio.sleep(0.2)


@pytest.mark.parametrize("word", ["requests", "status"])
async def test_a_topic_that_is_deleted_and_made_anew(word: str, kafka: str, unique: str, tmp_path: Path) -> None:
    """While a topic is deleted, `/ready` and the log name it; a request sent after it is recreated is deployed."""
    async with open_stage(kafka, unique, tmp_path, partitions=2) as stage:
        stage.graphene.add(STORED)
        async with running_worker(stage.env, tmp_path / "log", HURRIED) as worker:
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


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_partition_that_only_the_requests_topic_has(
    restarted: bool, kafka: str, unique: str, tmp_path: Path
) -> None:
    """A partition that only the requests topic has is reported, and processed once the other topics have it.

    Metrics, log and `/ready` report the partition. The other partitions are processed, also after a restart.
    """
    user = user_of(partition=2, partitions=3)
    async with open_stage(kafka, unique, tmp_path, partitions=2) as stage, admin_client(kafka) as admin:
        stage.graphene.add(STORED)
        if restarted:
            await admin.create_partitions({stage.topics.requests_topic: NewPartitions(3)})
        worker = await start_worker(stage.env, tmp_path / "log", HURRIED)
        try:
            if not restarted:
                await worker.until_ready()
                await admin.create_partitions({stage.topics.requests_topic: NewPartitions(3)})
            await until(worker, "/ready", f"'{stage.topics.status_topic}' has 2 partitions")
            await until(worker, "/metrics", "playground_deployer_topic_partitions 3.0")
            await until(worker, "/metrics", 'partition_unprocessed_seconds{partition="2"} 0.0', there=False)
            await until(worker, "/metrics", 'partition_unprocessed_seconds{partition="0"} 0.0')
            await stage.ask(STORED, "elsewhere", user_of(partition=0, partitions=3))
            await stage.until(["elsewhere"], ended)
            await stage.producer.client.force_metadata_update()
            await stage.ask(STORED, "behind", user)
            await until(worker, "/metrics", 'consumer_lag_records{partition="2"} 1.0')
            rest = (stage.topics.status_topic, stage.topics.settlements_topic, stage.topics.dead_letter_topic)
            await admin.create_partitions({topic: NewPartitions(3) for topic in rest})
            await until(worker, "/metrics", 'partition_unprocessed_seconds{partition="2"} 0.0')
            async with asyncio.timeout(60), open_statuses(stage.topics, from_beginning=True) as events:
                states = (it.status.state async for it in events if it.status.request_id == "behind")
                async for state in states:
                    if state in FINAL_STATES:
                        break
            assert State.DEPLOYED is state
            await worker.stop()
            assert stage.topics.status_topic in worker.log.read_text()
        finally:
            await worker.kill()


async def test_what_a_senders_open_transaction_holds_up_is_told(kafka: str, unique: str, tmp_path: Path) -> None:
    """The records that a sender's open transaction blocks are counted in a metric, and delivered when it ends.

    No record after the transaction's first is delivered before. Afterwards no lag remains.
    """
    held_up, lag = (
        f'playground_deployer_{it}{{partition="0"}}' for it in ("partition_held_up_records", "consumer_lag_records")
    )
    async with open_stage(kafka, unique, tmp_path, partitions=1) as stage:
        stage.graphene.add(STORED)
        async with running_worker(stage.env, tmp_path / "log", HURRIED) as worker:
            sender = AIOKafkaProducer(bootstrap_servers=kafka, transactional_id=f"{unique}-sender")
            async with sender:
                await sender.begin_transaction()
                await sender.send_and_wait(stage.topics.requests_topic, b"{}", partition=0)
                await stage.ask(STORED, "behind")
                await until(worker, "/metrics", f"{held_up} 2.0")
                assert [] == stage.statuses.about("behind")
                await sender.abort_transaction()
            await stage.until(["behind"], ended)
            await until(worker, "/metrics", f"{held_up} 0.0")
            await until(worker, "/metrics", f"{lag} 0.0")


@pytest.mark.parametrize("hours", [-2, 2])
async def test_a_worker_whose_clock_is_wrong_goes_on(hours: int, kafka: str, unique: str, tmp_path: Path) -> None:
    """A worker with a wrong clock still writes its statuses, and reports the difference in log and metric.

    The statuses are accepted because the topics use the broker's time.
    """
    async with open_stage(kafka, unique, tmp_path, partitions=1) as stage:
        stage.graphene.add(STORED)
        stage.env["DEPLOYER_AUTH__MAX_QUEUE_AGE_SECONDS"] = "86400"
        command = (sys.executable, "-m", "tests.support.shifted_worker", str(hours))
        async with running_worker(stage.env, tmp_path / "log", command) as worker:
            await until(worker, "/metrics", "playground_deployer_clock_skew_seconds 0.0", there=False)  # while idle
            for name in ("first", "second"):
                token = sandbox_token(datetime.now(UTC), timedelta(hours=6))
                await stage.ask(STORED, name, token=token)
                await stage.until([name], ended)
            assert [State.DEPLOYED] * 2 == [stage.statuses.about(it)[-1].state for it in ("first", "second")]
            lines = (await page(worker, "/metrics")).splitlines()
            skew = next(
                float(it.split()[1]) for it in lines if it.startswith("playground_deployer_clock_skew_seconds ")
            )
            assert abs(skew - hours * 3600) < 60
            written = [it.time for name in ("first", "second") for it in stage.statuses.about(name)]
            assert all(abs((datetime.now(UTC) - it).total_seconds()) < 120 for it in written)
        assert 1 == worker.log.read_text().count("the clocks of worker and broker differ")
        assert "partition processor failed" not in worker.log.read_text()


async def test_a_worker_whose_clock_is_ahead_waits_for_another_s_post(kafka: str, unique: str, tmp_path: Path) -> None:
    """A worker whose clock is ahead takes over a `submitting` request without a second POST.

    The earlier POST may still be running.
    """
    async with open_stage(kafka, unique, tmp_path, partitions=1) as stage:
        stage.graphene.add(STORED)
        stage.env["DEPLOYER_PLAYGROUND__ON_UNKNOWN_OUTCOME"] = "retry"
        await stage.ask(STORED, "running")
        now, topic = datetime.now(UTC), stage.topics.status_topic
        for sequence, state in enumerate((State.ACCEPTED, State.BUILDING, State.SUBMITTING)):
            status = DeploymentStatus(
                request_id="running",
                sequence=sequence,
                state=state,
                time=now,
                attempt=1,
                message="So far.",
                solution_id=STORED.solution_id,
                revision_id=STORED.revision_id,
                fingerprint=fingerprint(SANDBOX_USER.user_id, STORED.solution_id, STORED.revision_id),
                attempt_deadline=now + timedelta(seconds=330) if state is State.SUBMITTING else None,
                source=SourceInfo(topic=stage.topics.requests_topic, partition=0, offset=0),
            )
            it = status.to_message(topic, "/tests")
            await stage.producer.send_and_wait(topic, it.value, key=it.key, partition=0, headers=[*it.headers])
        command = (sys.executable, "-m", "tests.support.shifted_worker", "2")
        async with running_worker(stage.env, tmp_path / "log", command):
            other = user_of(0, 1)
            token = sandbox_token(datetime.now(UTC), timedelta(hours=6), other)
            await stage.ask(STORED, "behind", other, token=token)
            await stage.until(["behind"], ended)
        assert (State.SUBMITTING, 3) == (
            stage.statuses.about("running")[-1].state,
            len(stage.statuses.about("running")),
        )
