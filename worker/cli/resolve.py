"""`resolve`: say what became of a POST without an answer, for the worker to go on from."""

import argparse
import asyncio
import getpass
import os
import sys
from collections.abc import AsyncIterator

from aiokafka import AIOKafkaProducer, TopicPartition

from schemas import FINAL_STATES, DeploymentInfo, DeploymentSettled, DeploymentStatus, State
from worker.adapters.kafka import client_options
from worker.cli.client import Event, open_statuses, partition_count, read_status, running
from worker.cli.failures import CommandError
from worker.cli.letters import everything
from worker.cli.submit import TIMED_OUT
from worker.cli.terminal import quiet, run
from worker.cli.view import line
from worker.domain.messages import settlement_message
from worker.environment import read_settings
from worker.settings import Kafka, KafkaSettings

SOURCE = "/playground-deployer/resolve"
OPEN = (State.PARKED, State.SUBMITTING)


def execute(arguments: argparse.Namespace) -> int:
    """0 when published, or with --wait when it ended as said; 1 when it ended otherwise, 3 when time ran out."""
    quiet()
    kafka = read_settings(os.environ, KafkaSettings).kafka
    if (arguments.deployment_id is None) != (arguments.deployment_url is None):
        raise CommandError("--deployment-id and --deployment-url: give both, or neither.")
    return run(_resolve(kafka, arguments))


async def _resolve(kafka: Kafka, arguments: argparse.Namespace) -> int:
    last = await _last_status(kafka, arguments.request_id, arguments.partition)
    settled = settlement(last, arguments)
    partition = last.source.partition
    message = settlement_message(settled, kafka.settlements_topic, partition, SOURCE)
    async with (
        running(AIOKafkaProducer(**client_options(kafka), enable_idempotence=True)) as producer,
        open_statuses(kafka, [partition]) as events,
    ):
        await producer.send_and_wait(
            message.topic, message.value, key=message.key, partition=partition, headers=list(message.headers)
        )
        print(f"{last.request_id}: attempt {last.attempt} is settled as {settled.outcome}.", flush=True)
        if not arguments.wait:
            return 0
        try:
            async with asyncio.timeout(arguments.timeout):
                return await _follow(events, last, settled)
        except TimeoutError:
            print(f"playground-deployer: no final status within {arguments.timeout:g} s.", file=sys.stderr)
            return TIMED_OUT


def settlement(last: DeploymentStatus, arguments: argparse.Namespace) -> DeploymentSettled:
    """What is said of the last attempt. Raises CommandError when there is nothing to settle."""
    if last.state not in OPEN:
        raise CommandError(
            f"{last.request_id} is {last.state}, and only a request that is parked can be settled. "
            "Look with: playground-deployer watch --from-beginning."
        )
    deployment = None
    if arguments.deployment_id is not None:
        deployment = DeploymentInfo(id=arguments.deployment_id, url=arguments.deployment_url)
    by = arguments.by or getpass.getuser()
    return DeploymentSettled.model_validate(
        {
            "requestId": last.request_id,
            "attempt": last.attempt,
            "as": arguments.outcome,
            "deployment": deployment,
            "reason": (arguments.reason or "An operator looked at the playground.")[:1000],
            "by": by[:200],
        }
    )


async def _last_status(kafka: Kafka, request_id: str, partition: int | None) -> DeploymentStatus:
    """The request's last status. Raises CommandError when there is none, or more than one request has the id."""
    count = await partition_count(kafka, "DEPLOYER_KAFKA__STATUS_TOPIC", kafka.status_topic)
    if partition is not None and not 0 <= partition < count:
        raise CommandError(f"--partition: '{kafka.status_topic}' has partitions 0 to {count - 1}.")
    places = [TopicPartition(kafka.status_topic, it) for it in range(count) if partition in (None, it)]
    found: dict[int, DeploymentStatus] = {}
    async for record in everything(kafka, places):
        status = read_status(record) if record.key == request_id.encode() else None
        if status is not None:
            found[record.partition] = status
    if not found:
        raise CommandError(f"{request_id}: no status has this id. Give the request id that the status shows.")
    if len(found) > 1:
        raise CommandError(f"{request_id} is in partitions {sorted(found)}. Say which one with --partition.")
    return next(iter(found.values()))


async def _follow(events: AsyncIterator[Event], last: DeploymentStatus, settled: DeploymentSettled) -> int:
    async for event in events:
        status = event.status
        if status.request_id == last.request_id and status.sequence > last.sequence:
            print(line(status), flush=True)
            if status.state in FINAL_STATES:
                wanted = State.FAILED if settled.outcome == "failed" else State.DEPLOYED
                return 0 if status.state is wanted else 1
    raise AssertionError("aiokafka ended a stream without end")
