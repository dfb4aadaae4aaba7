"""`resolve` on Apache Kafka, with a stand-in for the worker that continues as the test specifies."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime

import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRecord

from schemas import DeploymentSettled, DeploymentStatus, SourceInfo, State
from tests.component.cli.test_commands import ERRORS, Desk
from tests.support.topics import Topics

URL = "https://playground.example/dashboard?selected_deployment_id=sudoku"
TO_PARKED = (State.ACCEPTED, State.BUILDING, State.SUBMITTING, State.PARKED)


@pytest.fixture
async def settlements(desk: Desk) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer that reads all settlements from the beginning."""
    consumer = AIOKafkaConsumer(
        desk.kafka.settlements_topic, bootstrap_servers=desk.kafka.bootstrap_servers, auto_offset_reset="earliest"
    )
    async with consumer:
        yield consumer


async def publish(desk: Desk, states: Sequence[State], *, first: int = 0, partition: int = 2, attempt: int = 1) -> None:
    """Publish statuses of the request r-1, starting with this sequence number."""
    for sequence, state in enumerate(states, first):
        status = DeploymentStatus(
            request_id="r-1",
            sequence=sequence,
            state=state,
            time=datetime.now(UTC),
            attempt=attempt,
            message=f"It is {state}.",
            error=ERRORS.get(state),
            source=SourceInfo(topic=desk.kafka.requests_topic, partition=partition, offset=7),
        )
        message = status.to_message(desk.kafka.status_topic, "/tests")
        await desk.producer.send_and_wait(
            message.topic, message.value, key=message.key, partition=message.partition, headers=[*message.headers]
        )


def resolve(outcome: str, *options: str) -> Sequence[str]:
    """Return the arguments of `resolve`."""
    return ("resolve", "r-1", "--outcome", outcome, *options)


def settled(record: ConsumerRecord) -> DeploymentSettled:
    """Return the settlement as the worker reads it."""
    return DeploymentSettled.model_validate_json(record.value)


@pytest.mark.parametrize("state", [State.PARKED, State.SUBMITTING])
async def test_the_worker_of_the_partition_is_told(state: State, desk: Desk, settlements: AIOKafkaConsumer) -> None:
    """`resolve` writes one settlement for the last attempt, in the request's partition and under its id.

    The settlement has no field that the operator did not give.
    """
    await publish(desk, [State.ACCEPTED, State.BUILDING], attempt=1)
    await publish(desk, [state], first=2, attempt=3)
    desk.environment["USER"] = "ada"
    code, output, errors = await desk.run(*resolve("deployed", "--deployment-id", "sudoku", "--deployment-url", URL))
    assert (0, ["r-1: attempt 3 is settled as deployed."], "") == (code, output, errors)
    record = await settlements.getone()
    assert (2, b"r-1") == (record.partition, record.key)
    assert ("ce_type", DeploymentSettled.TYPE.encode()) in record.headers
    assert {
        "requestId": "r-1",
        "attempt": 3,
        "outcome": "deployed",
        "deployment": {"id": "sudoku", "url": URL},
        "by": "ada",
    } == json.loads(record.value)


@pytest.mark.parametrize(
    ("outcome", "states", "expected"),
    [
        ("deployed", (State.DEPLOYED,), 0),
        ("deployed", (State.FAILED,), 1),
        ("failed", (State.FAILED,), 0),
        ("failed", (State.DEPLOYED,), 1),
        ("retry", (State.RETRYING, State.BUILDING, State.SUBMITTING, State.DEPLOYED), 0),
        ("retry", (State.RETRYING, State.BUILDING, State.FAILED), 1),
    ],
)
async def test_wait_ends_as_the_operator_said_or_not(
    outcome: str, states: Sequence[State], expected: int, desk: Desk, settlements: AIOKafkaConsumer
) -> None:
    """`--wait` exits with 0 only if the request ends as resolved, and prints every status after the settlement."""
    await publish(desk, TO_PARKED)

    async def go_on() -> DeploymentSettled:
        told = settled(await settlements.getone())
        await publish(desk, states, first=len(TO_PARKED))
        return told

    ended, told = await asyncio.gather(
        desk.run(*resolve(outcome, "--reason", "I looked.", "--by", "ada", "--wait")), go_on()
    )
    assert (outcome, "I looked.", "ada") == (told.outcome, told.reason, told.by)
    code, output, errors = ended
    assert (expected, "") == (code, errors)
    assert [*states] == [line.split()[2] for line in output[1:]]


async def test_wait_gives_up_in_time(desk: Desk) -> None:
    """After the timeout, `--wait` exits with 3 and prints the command that continues to wait."""
    await publish(desk, TO_PARKED)
    code, output, errors = await desk.run(*resolve("retry", "--wait", "--timeout", "0.2"))
    assert (3, ["r-1: attempt 1 is settled as retry."]) == (code, output)
    assert "playground-deployer watch --from-beginning --request-id r-1" in errors


@pytest.mark.parametrize(
    ("states", "said"),
    [
        ((), "r-1: no status has this id."),
        ((State.ACCEPTED,), "r-1 is accepted, and only a parked request can be resolved."),
        ((State.REJECTED,), "r-1 is rejected, and only a parked request can be resolved."),
        ((*TO_PARKED, State.FAILED), "r-1 is failed, and only a parked request can be resolved."),
    ],
)
async def test_nothing_else_is_settled(
    states: Sequence[State], said: str, desk: Desk, settlements: AIOKafkaConsumer
) -> None:
    """A request in any other state is refused with a sentence that names the state, and no settlement is published."""
    await publish(desk, states)
    code, output, errors = await desk.run(*resolve("failed"))
    assert (1, []) == (code, output)
    assert f"playground-deployer: {said}" in errors
    assert not any((await settlements.end_offsets(settlements.assignment())).values())


async def test_an_id_in_two_partitions_needs_one_of_them(desk: Desk, settlements: AIOKafkaConsumer) -> None:
    """When an id exists in two partitions, both are listed with their state, and `--partition` chooses one."""
    await publish(desk, TO_PARKED, partition=0)
    await publish(desk, (*TO_PARKED, State.DEPLOYED), partition=3)
    code, _, errors = await desk.run(*resolve("failed"))
    assert 1 == code
    assert "r-1 is in the partitions 0 (parked), 3 (deployed). Choose one with --partition." in errors
    code, _, errors = await desk.run(*resolve("failed", "--partition", "0"))
    assert (0, "") == (code, errors)
    assert 0 == (await settlements.getone()).partition
    code, _, errors = await desk.run(*resolve("failed", "--partition", "3"))
    assert (1, True) == (code, "r-1 is deployed" in errors)
    code, _, errors = await desk.run(*resolve("failed", "--partition", "-1"))
    assert (1, True) == (code, "--partition: " in errors)


async def test_a_settlements_topic_that_does_not_fit_is_named(desk: Desk, topics: Topics) -> None:
    """A settlements topic that is missing or has too few partitions is named before a settlement is published."""
    await publish(desk, TO_PARKED)
    desk.environment["DEPLOYER_KAFKA__SETTLEMENTS_TOPIC"] = await topics.create("small")
    code, output, errors = await desk.run(*resolve("failed"))
    assert (1, []) == (code, output)
    assert f"DEPLOYER_KAFKA__SETTLEMENTS_TOPIC: '{topics.name('small')}' has fewer partitions" in errors
    desk.environment["DEPLOYER_KAFKA__SETTLEMENTS_TOPIC"] = topics.name("none")
    code, _, errors = await desk.run(*resolve("failed"))
    assert (1, True) == (code, f"the topic '{topics.name('none')}' does not exist" in errors)
