"""`DeployerClient` on Apache Kafka, with a stand-in for the worker that answers as the test specifies."""

import asyncio
from datetime import UTC, datetime

import pytest
from aiokafka.admin import NewPartitions

from schemas import DeploymentStatus, ErrorInfo, State
from tests.component.cli.test_commands import REVISION, SOLUTION, Desk, token
from tests.support.topics import admin_client, user_of
from worker.client import DeployerClient
from worker.client.requests import OutgoingRequest, open_publisher
from worker.domain.request import record_id
from worker.errors import CommandError, ConfigurationError
from worker.sandbox.users import sandbox_token

WHOLE = (State.ACCEPTED, State.BUILDING, State.SUBMITTING, State.DEPLOYED)


async def refuse(desk: Desk) -> None:
    """Answer one request with a rejection, as a worker does before `accepted`."""
    await desk.answer()
    record, _ = desk.seen[-1]
    status = DeploymentStatus(
        request_id=record_id(record),
        sequence=0,
        state=State.REJECTED,
        time=datetime.now(UTC),
        attempt=1,
        message="It has expired.",
        error=ErrorInfo(code="token-expired", message="It has expired.", stage="authenticate", retryable=False),
        source=record.source,
    )
    message = status.to_message(desk.kafka.status_topic, "/tests")
    await desk.producer.send_and_wait(
        message.topic, message.value, key=message.key, partition=message.partition, headers=[*message.headers]
    )


async def test_a_request_is_sent_and_followed(desk: Desk) -> None:
    """A request can be followed to its end, both live and again afterwards."""
    async with DeployerClient(desk.kafka) as client:
        request_id = await client.submit(SOLUTION, str(REVISION), f"Bearer {token()}")
        final, _ = await asyncio.gather(client.wait(request_id, timeout=60), desk.answer(*WHOLE))
        assert (request_id, State.DEPLOYED) == (final.request_id, final.state)
        assert [*WHOLE] == [it.state async for it in client.follow(request_id)]


async def test_partitions_that_are_added_are_sent_to(desk: Desk) -> None:
    """A running sender uses new partitions within seconds.

    Until then it sends to partitions that no longer match its users' keys.
    """
    async with open_publisher(desk.kafka) as publisher, admin_client(desk.kafka.bootstrap_servers) as admin:
        before = publisher.partitions
        await admin.create_partitions({desk.kafka.requests_topic: NewPartitions(2 * before)})
        async with asyncio.timeout(30):
            while publisher.partitions == before:  # noqa: ASYNC110 - nothing notifies us, so poll
                await asyncio.sleep(0.05)
        user = user_of(partition=before, partitions=2 * before)
        request = OutgoingRequest("r-1", SOLUTION, REVISION, sandbox_token(datetime.now(UTC), user=user))
        assert before == (await publisher.send(request)).partition


async def test_what_is_refused_ends_by_its_place(desk: Desk) -> None:
    """The client finds the rejection of its request, although that status has a record id instead of the request id."""
    async with DeployerClient(desk.kafka) as client:
        request_id = await client.submit(SOLUTION, REVISION, token(), request_id="r-1")
        await refuse(desk)
        final = await client.wait(request_id, timeout=60)
        assert (State.REJECTED, True) == (final.state, final.request_id.startswith("record-"))


async def test_a_request_of_before_is_followed(desk: Desk) -> None:
    """A request that another client sent can be followed in any state, and so can the same request sent again."""
    async with DeployerClient(desk.kafka, follows=False) as sender:
        await sender.submit(SOLUTION, REVISION, token(), request_id="r-1")
    await desk.answer(*WHOLE)
    async with DeployerClient(desk.kafka, sends=False) as reader:
        assert [*WHOLE] == [it.state async for it in reader.follow("r-1")]
    async with DeployerClient(desk.kafka) as again:
        await again.submit(SOLUTION, REVISION, token(), request_id="r-1")
        assert State.DEPLOYED == (await again.wait("r-1", timeout=60)).state


async def test_many_wait_at_once(desk: Desk) -> None:
    """Several concurrent waits each return the final status of their own request."""
    async with DeployerClient(desk.kafka) as client:
        ids = [await client.submit(SOLUTION, REVISION, token()) for _ in range(5)]
        waiting = [asyncio.create_task(client.wait(it, timeout=60)) for it in ids]
        for _ in ids:
            await desk.answer(*WHOLE)
        assert ids == [(await it).request_id for it in waiting]


async def test_waiting_ends_in_time(desk: Desk) -> None:
    """A wait that times out raises TimeoutError, and the client stays usable."""
    async with DeployerClient(desk.kafka) as client:
        request_id = await client.submit(SOLUTION, REVISION, token())
        with pytest.raises(TimeoutError):
            await client.wait(request_id, timeout=0.2)
        await desk.answer(*WHOLE)
        assert State.DEPLOYED == (await client.wait(request_id, timeout=60)).state


async def test_what_cannot_be_sent_is_said(desk: Desk) -> None:
    """A token without a user, an invalid id and a missing topic each raise an error that names the problem."""
    async with DeployerClient(desk.kafka) as client:
        with pytest.raises(CommandError, match="names no user"):
            await client.submit(SOLUTION, REVISION, "a.b.c")
        with pytest.raises(ValueError, match="UUID"):
            await client.submit("sudoku", REVISION, token())
    missing = desk.kafka.model_copy(update={"status_topic": "nothing-1"})
    with pytest.raises(ConfigurationError, match="'nothing-1' does not exist"):
        async with DeployerClient(missing):
            pass
