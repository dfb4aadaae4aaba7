"""Settlements of POSTs whose outcome is unknown, for `resolve` and the gateway."""

from dataclasses import dataclass

from schemas import DeploymentInfo, DeploymentSettled, DeploymentStatus, State
from worker.adapters.kafka.acls import Operation
from worker.adapters.kafka.clients import send
from worker.client.requests import open_producer, partition_count, published_statuses, status_partitions
from worker.errors import CommandError, ConfigurationError, WrongUsage, one_line
from worker.observability import logs
from worker.settings import KafkaSettings

SOURCE = "/playground-deployer/resolve"
RESOLVABLE_STATES = (State.PARKED, State.SUBMITTING)


@dataclass(frozen=True, slots=True)
class OperatorStatement:
    """An operator's statement about the attempt, which is published in the status."""

    reason: str | None  # None: the operator gave no reason
    by: str  # the operator's name
    deployment: DeploymentInfo | None = None


def build_settlement(last: DeploymentStatus, outcome: str, statement: OperatorStatement) -> DeploymentSettled:
    """Build the settlement of the last attempt. Raises CommandError when the request cannot be resolved."""
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


async def last_status(kafka: KafkaSettings, request_id: str, partition: int | None) -> DeploymentStatus:
    """Return the request's last status. Raises CommandError unless exactly one request has this id."""
    count = await status_partitions(kafka)
    if partition is not None and partition not in range(count):
        raise CommandError(
            f"--partition: '{kafka.status_topic}' has the partitions 0 to {count - 1}. Choose one of them."
        )
    last = {
        event.status.source.partition: event.status
        async for event in published_statuses(kafka, [request_id], partition)
    }
    if not last:
        raise CommandError(no_status(request_id))
    if len(last) > 1:
        states = ", ".join(f"{number} ({last[number].state})" for number in sorted(last))
        raise CommandError(f"{request_id} is in the partitions {states}. Choose one with --partition.")
    return next(iter(last.values()))


def no_status(request_id: str) -> str:
    """Return the message for an id without a status, with the possible reasons."""
    return (
        f"{request_id}: no status has this id. The worker may not have read the request yet, or rejected it before "
        "accepting it (then its id is record-…), or the topic no longer has its statuses: "
        "docs/what-became-of-a-request.md, 7."
    )


def publishable(option: str, text: str, max_length: int) -> str:
    """Return the text as one line that may be published. Raises WrongUsage, which does not repeat the text."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise WrongUsage(f"{option}: the text is not UTF-8. Type it again.") from None
    text = one_line(text).strip()
    if not 0 < len(text) <= max_length:
        raise WrongUsage(f"{option}: the text has {len(text)} characters. Write 1 to {max_length}.")
    if logs.without_encoded(text) != text:
        raise WrongUsage(f"{option}: the text will be public, and part of it looks like a token. Leave that part out.")
    return text
