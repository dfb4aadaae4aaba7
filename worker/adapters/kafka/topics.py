"""The topics: verified at the start, made when the operator allows it."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import NoError, TopicAlreadyExistsError, TopicAuthorizationFailedError, for_code

from worker import settings
from worker.adapters.kafka.acls import Operation, Resource, Right, without
from worker.errors import ConfigurationError

_DAY_MS = 24 * 60 * 60 * 1000
_LOOKS, _LOOK_SECONDS = 50, 0.1


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic as the contract wants it. Requests are kept for a shorter time than their statuses."""

    setting: str
    name: str
    configs: Mapping[str, str] = field(default_factory=dict)


def wanted_topics(kafka: settings.KafkaSettings) -> tuple[Topic, ...]:
    """The four topics, requests first."""
    week = {"cleanup.policy": "delete", "retention.ms": str(7 * _DAY_MS)}
    return (
        Topic(
            "DEPLOYER_KAFKA__REQUESTS_TOPIC",
            kafka.requests_topic,
            {
                "cleanup.policy": "delete",
                "message.timestamp.type": "LogAppendTime",
                "retention.ms": str(3 * _DAY_MS),
            },
        ),
        Topic(
            "DEPLOYER_KAFKA__STATUS_TOPIC",
            kafka.status_topic,
            {**week, "cleanup.policy": "compact,delete", "min.compaction.lag.ms": str(_DAY_MS)},
        ),
        Topic("DEPLOYER_KAFKA__SETTLEMENTS_TOPIC", kafka.settlements_topic, week),
        Topic("DEPLOYER_KAFKA__DEAD_LETTER_TOPIC", kafka.dead_letter_topic, week),
    )


async def prepare_topics(admin: AIOKafkaAdminClient, kafka: settings.KafkaSettings) -> list[str]:
    """Make missing topics (with CREATE_TOPICS), then verify them all.

    Returns warnings. Raises ConfigurationError, naming the setting and the topic.
    """
    topics = wanted_topics(kafka)
    present = await _partitions(admin, topics)
    missing = [topic for topic in topics if topic.name not in present]
    if missing and kafka.create_topics:
        await _create(admin, missing, kafka, present.get(kafka.requests_topic))
        present = await _until_visible(admin, topics)
        missing = [topic for topic in topics if topic.name not in present]
    if missing:
        raise ConfigurationError(
            "\n".join(
                f"{topic.setting}: the topic '{topic.name}' does not exist. "
                "Make it, or set DEPLOYER_KAFKA__CREATE_TOPICS=true"
                for topic in missing
            )
        )
    _check_partitions(topics, present)
    return _check_requests(kafka, await _configs(admin, kafka))


async def _partitions(admin: AIOKafkaAdminClient, topics: tuple[Topic, ...]) -> dict[str, int]:
    """Partitions of the topics there are. Raises ConfigurationError for one that we may not see."""
    settings_of = {topic.name: topic.setting for topic in topics}
    present = {}
    for one in await admin.describe_topics(list(settings_of)):
        name, error = one["topic"], for_code(one["error_code"])
        if error is NoError:
            present[name] = len(one["partitions"])
        elif error is TopicAuthorizationFailedError:
            raise ConfigurationError(f"{settings_of[name]}: we may not see the topic '{name}'. Add the ACL DESCRIBE")
    return present


async def _until_visible(admin: AIOKafkaAdminClient, topics: tuple[Topic, ...]) -> dict[str, int]:
    """A broker answers "made" a moment before its metadata says so."""
    for _ in range(_LOOKS):
        present = await _partitions(admin, topics)
        if len(present) == len(topics):
            break
        await asyncio.sleep(_LOOK_SECONDS)
    return present


async def _create(
    admin: AIOKafkaAdminClient, topics: list[Topic], kafka: settings.KafkaSettings, requests_partitions: int | None
) -> None:
    """Two workers may try at once: a topic that exists by now is as good."""
    partitions = requests_partitions or kafka.partitions
    answer = await admin.create_topics(
        [NewTopic(it.name, partitions, kafka.replication_factor, topic_configs=dict(it.configs)) for it in topics]
    )
    for name, code, *_ in answer.topic_errors:  # aiokafka does not raise these
        error = for_code(code)
        if error is TopicAuthorizationFailedError:
            raise ConfigurationError(without(Right(Operation.CREATE, Resource.TOPIC, name), kafka))
        if code and error is not TopicAlreadyExistsError:
            raise ConfigurationError(
                f"DEPLOYER_KAFKA__CREATE_TOPICS: the topic '{name}' cannot be made: {error.__name__}. "
                "Check DEPLOYER_KAFKA__REPLICATION_FACTOR"
            )


def _check_partitions(topics: tuple[Topic, ...], present: Mapping[str, int]) -> None:
    """A status and a settlement have the partition number of their request."""
    requests, status, settlements, _ = topics
    for topic in (status, settlements):
        if present[topic.name] < present[requests.name]:
            raise ConfigurationError(
                f"{topic.setting}: '{topic.name}' has {present[topic.name]} partitions, fewer than the "
                f"{present[requests.name]} of '{requests.name}'. Add partitions"
            )


def _check_requests(kafka: settings.KafkaSettings, configs: Mapping[str, str]) -> list[str]:
    if "compact" in configs.get("cleanup.policy", ""):
        raise ConfigurationError(
            f"DEPLOYER_KAFKA__REQUESTS_TOPIC: '{kafka.requests_topic}' is compacted, which would drop requests of one "
            "user. Set its cleanup.policy to delete"
        )
    if configs.get("message.timestamp.type") == "LogAppendTime":
        return []
    warning = (
        f"'{kafka.requests_topic}' does not use LogAppendTime: a token that expires while its request waits is "
        "refused. Set message.timestamp.type=LogAppendTime"
    )
    return [warning]


async def _configs(admin: AIOKafkaAdminClient, kafka: settings.KafkaSettings) -> dict[str, str]:
    """Of the requests topic."""
    topic = kafka.requests_topic
    (answer,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
    ((code, _, _, _, entries),) = answer.resources
    if for_code(code) is TopicAuthorizationFailedError:
        raise ConfigurationError(without(Right(Operation.DESCRIBE_CONFIGS, Resource.TOPIC, topic), kafka))
    return {entry[0]: entry[1] for entry in entries}
