"""`resolve`: say what became of a POST without an answer, for the worker to go on from."""

import argparse
import asyncio
import getpass
import os
import re
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass

from aiokafka import AIOKafkaProducer, TopicPartition

from schemas import FINAL_STATES, DeploymentInfo, DeploymentSettled, DeploymentStatus, State
from worker.adapters.kafka.acls import Operation
from worker.adapters.kafka.clients import client_options, read_all
from worker.cli.client import Event, open_statuses, partition_count, read_status, running
from worker.cli.failures import CommandError
from worker.cli.submit import TIMED_OUT
from worker.cli.terminal import quiet, run
from worker.cli.view import line, plain
from worker.domain.messages import settlement_message
from worker.errors import ConfigurationError
from worker.observability import logs
from worker.settings import ClientSettings, KafkaSettings, read_settings

SOURCE = "/playground-deployer/resolve"
OPEN = (State.PARKED, State.SUBMITTING)
REASONS: Mapping[str, str] = {
    "deployed": "The playground shows the deployment.",
    "failed": "The playground shows no deployment.",
    "retry": "The playground shows no deployment; it is sent again.",
}


@dataclass(frozen=True, slots=True)
class Words:
    """What the operator says of it; everybody can read it."""

    reason: str
    by: str
    deployment: DeploymentInfo | None = None


def execute(arguments: argparse.Namespace) -> int:
    """0 when published, or with --wait when it ended as said; 1 when it ended otherwise, 3 when time ran out."""
    quiet()
    words = read_words(arguments, getpass.getuser)
    return run(_resolve(read_settings(os.environ, ClientSettings).kafka, arguments, words))


async def _resolve(kafka: KafkaSettings, arguments: argparse.Namespace, words: Words) -> int:
    last = await _last_status(kafka, arguments.request_id, arguments.partition)
    settled = settlement(last, arguments.outcome, words)
    if not arguments.wait:
        await _publish(kafka, settled, last.source.partition)
        return 0
    # From the beginning: the final status may be there before the settlement is.
    async with open_statuses(kafka, [last.source.partition], from_beginning=True) as events:
        await _publish(kafka, settled, last.source.partition)
        try:
            async with asyncio.timeout(arguments.timeout):
                return await _follow(events, last, settled)
        except TimeoutError:
            print(
                f"playground-deployer: no final status within {arguments.timeout:g} s. Go on with: "
                f"playground-deployer watch --from-beginning --request-id {last.request_id}",
                file=sys.stderr,
            )
            return TIMED_OUT


async def _publish(kafka: KafkaSettings, settled: DeploymentSettled, partition: int) -> None:
    """Raises KafkaError, ConfigurationError when the topic has no such partition."""
    setting = "DEPLOYER_KAFKA__SETTLEMENTS_TOPIC"
    if partition >= await partition_count(kafka, setting, kafka.settlements_topic, Operation.WRITE):
        raise ConfigurationError(
            f"{setting}: '{kafka.settlements_topic}' has fewer partitions than '{kafka.status_topic}'. Add partitions."
        )
    message = settlement_message(settled, kafka.settlements_topic, partition, SOURCE)
    async with running(AIOKafkaProducer(**client_options(kafka), enable_idempotence=True)) as producer:
        await producer.send_and_wait(
            message.topic, message.value, key=message.key, partition=partition, headers=list(message.headers)
        )
    print(f"{settled.request_id}: attempt {settled.attempt} is settled as {settled.outcome}.", flush=True)


def read_words(arguments: argparse.Namespace, user: Callable[[], str]) -> Words:
    """Of the command line; `user` is who works on this machine. Raises CommandError."""
    given = (arguments.deployment_id, arguments.deployment_url)
    if (given[0] is None) != (given[1] is None):
        raise CommandError("--deployment-id and --deployment-url: give both, or neither.")
    if given[0] is not None and arguments.outcome != "deployed":
        raise CommandError(
            f"--deployment-id and --deployment-url: a request that is settled as {arguments.outcome} has no "
            "deployment. Leave them out, or use --as deployed."
        )
    return Words(
        text("--reason", REASONS[arguments.outcome] if arguments.reason is None else arguments.reason, 1000),
        text("--by", _user(user) if arguments.by is None else arguments.by, 200),
        None if given[0] is None else _deployment(*given),
    )


def _deployment(namespace: str, url: str) -> DeploymentInfo:
    if not re.fullmatch(r"[a-z0-9-]{1,63}", namespace):
        raise CommandError(
            "--deployment-id: it is no namespace (a-z, 0-9 and -). Take it from the dashboard's address."
        )
    url = text("--deployment-url", url, 2000)
    if not re.match(r"https?://[^\s/]", url):
        raise CommandError("--deployment-url: it is no address of a page. Give it with https:// or http://.")
    return DeploymentInfo(id=namespace, url=url)


def _user(user: Callable[[], str]) -> str:
    try:
        return user()
    except (ImportError, KeyError, OSError):  # which of them depends on the Python
        raise CommandError("--by: the user of this machine has no name. Say who you are.") from None


def text(option: str, given: str, most: int) -> str:
    """On one line and fit to be published. Raises CommandError; it repeats nothing."""
    try:
        given.encode()
    except UnicodeEncodeError:
        raise CommandError(f"{option}: it is not UTF-8. Write it anew.") from None
    given = plain(given).strip()
    if not 0 < len(given) <= most:
        raise CommandError(f"{option}: it has {len(given)} characters. Write 1 to {most}.")
    if logs.without_encoded(given) != given:
        raise CommandError(f"{option}: everybody can read it, and a part of it looks like a token. Leave that out.")
    return given


def settlement(last: DeploymentStatus, outcome: str, words: Words) -> DeploymentSettled:
    """Of the last attempt. Raises CommandError when there is nothing to settle."""
    if last.state not in OPEN:
        raise CommandError(
            f"{last.request_id} is {last.state}, and only a request that is parked can be settled. "
            f"Look with: playground-deployer watch --from-beginning --request-id {last.request_id}"
        )
    return DeploymentSettled.model_validate(
        {
            "requestId": last.request_id,
            "attempt": last.attempt,
            "as": outcome,
            "deployment": words.deployment,
            "reason": words.reason,
            "by": words.by,
        }
    )


async def _last_status(kafka: KafkaSettings, request_id: str, partition: int | None) -> DeploymentStatus:
    """The request's last status. Raises CommandError when there is none, or more than one request has the id."""
    count = await partition_count(kafka, "DEPLOYER_KAFKA__STATUS_TOPIC", kafka.status_topic, Operation.READ)
    if partition is not None and partition not in range(count):
        raise CommandError(f"--partition: '{kafka.status_topic}' has the partitions 0 to {count - 1}. Use one of them.")
    places = [TopicPartition(kafka.status_topic, it) for it in range(count) if partition in (None, it)]
    found: dict[int, DeploymentStatus] = {}
    async for record in read_all(client_options(kafka), places):
        status = read_status(record) if record.key == request_id.encode() else None
        if status is not None:
            found[record.partition] = status
    if not found:
        raise CommandError(f"{request_id}: no status has this id. Give the request id that the status shows.")
    if len(found) > 1:
        states = ", ".join(f"{it} ({found[it].state})" for it in sorted(found))
        raise CommandError(f"{request_id} is in the partitions {states}. Say which one with --partition.")
    return next(iter(found.values()))


async def _follow(events: AsyncIterator[Event], last: DeploymentStatus, settled: DeploymentSettled) -> int:
    wanted = State.FAILED if settled.outcome == "failed" else State.DEPLOYED
    async for event in events:
        status = event.status
        if status.request_id == last.request_id and status.sequence > last.sequence:
            print(line(status), flush=True)
            if status.state in FINAL_STATES:
                return 0 if status.state is wanted else 1
    raise AssertionError("aiokafka ended a stream without end")
