"""`resolve`: say what became of a POST whose outcome is unknown, so that the worker can continue."""

import argparse
import getpass
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from aiokafka import TopicPartition

from schemas import DeploymentInfo, DeploymentSettled, DeploymentStatus, State
from worker.adapters.kafka.acls import Operation
from worker.adapters.kafka.clients import client_options, event_of, read_all, send
from worker.cli.client import open_producer, open_statuses, partition_count
from worker.cli.error_messages import CommandError
from worker.cli.submit import follow
from worker.cli.terminal import configure_logging, run
from worker.errors import ConfigurationError, one_line
from worker.observability import logs
from worker.settings import ClientSettings, KafkaSettings, read_settings

SOURCE = "/playground-deployer/resolve"
RESOLVABLE_STATES = (State.PARKED, State.SUBMITTING)
DEFAULT_REASONS: Mapping[str, str] = {
    "deployed": "The playground shows the deployment.",
    "failed": "The playground shows no deployment.",
    "retry": "The playground shows no deployment; it is sent again.",
}


@dataclass(frozen=True, slots=True)
class OperatorStatement:
    """What the operator says about the attempt; everybody can read it."""

    reason: str
    by: str
    deployment: DeploymentInfo | None = None


def execute(arguments: argparse.Namespace) -> int:
    """Publish a settlement; return 0, or with --wait 0 if the request ends accordingly, 1 if not, 3 on a timeout."""
    configure_logging()
    statement = read_statement(arguments, getpass.getuser)
    return run(_resolve(read_settings(os.environ, ClientSettings).kafka, arguments, statement))


async def _resolve(kafka: KafkaSettings, arguments: argparse.Namespace, statement: OperatorStatement) -> int:
    last = await _last_status(kafka, arguments.request_id, arguments.partition)
    settled = build_settlement(last, arguments.outcome, statement)
    if not arguments.wait:
        await publish_settlement(kafka, settled, last.source.partition)
        return 0
    # From the beginning, because the final status may be published before the settlement is.
    async with open_statuses(kafka, [last.source.partition], from_beginning=True) as events:
        await publish_settlement(kafka, settled, last.source.partition)
        return await follow(
            events,
            lambda status: status.request_id == last.request_id and status.sequence > last.sequence,
            State.FAILED if settled.outcome == "failed" else State.DEPLOYED,
            last.request_id,
            arguments.timeout,
        )


async def publish_settlement(kafka: KafkaSettings, settled: DeploymentSettled, partition: int) -> None:
    """Publish a settlement. Raises KafkaError, or ConfigurationError when the topic has no such partition."""
    setting = "DEPLOYER_KAFKA__SETTLEMENTS_TOPIC"
    if partition >= await partition_count(kafka, setting, kafka.settlements_topic, Operation.WRITE):
        raise ConfigurationError(
            f"{setting}: '{kafka.settlements_topic}' has fewer partitions than '{kafka.status_topic}'. Add partitions."
        )
    message = settled.to_message(kafka.settlements_topic, SOURCE, partition)
    async with open_producer(kafka) as producer:
        await send(producer, message)
    print(f"{settled.request_id}: attempt {settled.attempt} is settled as {settled.outcome}.", flush=True)


def read_statement(arguments: argparse.Namespace, user: Callable[[], str]) -> OperatorStatement:
    """Read the command line; `user` returns the name of this machine's user. Raises CommandError."""
    namespace, url = arguments.deployment_id, arguments.deployment_url
    if (namespace is None) != (url is None):
        raise CommandError("--deployment-id and --deployment-url: give both, or neither.")
    if namespace is not None and arguments.outcome != "deployed":
        raise CommandError(
            f"--deployment-id and --deployment-url: a request that is settled as {arguments.outcome} has no "
            "deployment. Leave them out, or use --outcome deployed."
        )
    reason = DEFAULT_REASONS[arguments.outcome] if arguments.reason is None else arguments.reason
    return OperatorStatement(
        publishable("--reason", reason, 1000),
        publishable("--by", _user_name(user) if arguments.by is None else arguments.by, 200),
        None if namespace is None else _deployment(namespace, url),
    )


def _deployment(namespace: str, url: str) -> DeploymentInfo:
    if not re.fullmatch(r"[a-z0-9-]{1,63}", namespace):
        raise CommandError(
            "--deployment-id: it is not a namespace (a-z, 0-9 and -). Copy it from the dashboard's address."
        )
    url = publishable("--deployment-url", url, 2000)
    if not re.match(r"https?://[^\s/]", url):
        raise CommandError("--deployment-url: it is not the address of a page. Start it with https:// or http://.")
    return DeploymentInfo(id=namespace, url=url)


def _user_name(user: Callable[[], str]) -> str:
    try:
        return user()
    except (ImportError, KeyError, OSError):  # which of them depends on the Python version
        raise CommandError("--by: the user of this machine has no name. Say who you are.") from None


def publishable(option: str, text: str, max_length: int) -> str:
    """Return the text on one line if it may be published. Raises CommandError, which does not repeat the text."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise CommandError(f"{option}: it is not UTF-8. Type it again.") from None
    text = one_line(text).strip()
    if not 0 < len(text) <= max_length:
        raise CommandError(f"{option}: it has {len(text)} characters. Write 1 to {max_length}.")
    if logs.without_encoded(text) != text:
        raise CommandError(f"{option}: everybody can read it, and part of it looks like a token. Leave that out.")
    return text


def build_settlement(last: DeploymentStatus, outcome: str, statement: OperatorStatement) -> DeploymentSettled:
    """Build the settlement of the last attempt. Raises CommandError when there is nothing to settle."""
    if last.state not in RESOLVABLE_STATES:
        raise CommandError(
            f"{last.request_id} is {last.state}, and only a parked request can be resolved. "
            f"Follow it with: playground-deployer watch --from-beginning --request-id {last.request_id}"
        )
    return DeploymentSettled.model_validate(
        {
            "request_id": last.request_id,
            "attempt": last.attempt,
            "outcome": outcome,
            "deployment": statement.deployment,
            "reason": statement.reason,
            "by": statement.by,
        }
    )


async def _last_status(kafka: KafkaSettings, request_id: str, partition: int | None) -> DeploymentStatus:
    """Return the request's last status. Raises CommandError unless exactly one request has this id."""
    count = await partition_count(kafka, "DEPLOYER_KAFKA__STATUS_TOPIC", kafka.status_topic, Operation.READ)
    if partition is not None and partition not in range(count):
        raise CommandError(
            f"--partition: '{kafka.status_topic}' has the partitions 0 to {count - 1}. Choose one of them."
        )
    tps = [TopicPartition(kafka.status_topic, it) for it in range(count) if partition in (None, it)]
    found: dict[int, DeploymentStatus] = {}
    async for record in read_all(client_options(kafka), tps):
        status = event_of(record, DeploymentStatus) if record.key == request_id.encode() else None
        if status is not None:
            found[record.partition] = status
    if not found:
        raise CommandError(f"{request_id}: no status has this id. Give the request id of a status.")
    if len(found) > 1:
        states = ", ".join(f"{it} ({found[it].state})" for it in sorted(found))
        raise CommandError(f"{request_id} is in the partitions {states}. Choose one with --partition.")
    return next(iter(found.values()))
