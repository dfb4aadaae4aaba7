"""The topics: verified at startup and while the worker runs, and created when the operator allows it."""

import asyncio
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    NoError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    for_code,
)

from schemas import Message
from worker import settings
from worker.adapters.kafka.acls import AclBinding, Operation, ResourceType, missing_acl
from worker.errors import ConfigurationError, one_line

_DAY_MS = 24 * 60 * 60 * 1000
_PARK_MAX = "DEPLOYER_PLAYGROUND__PARK_MAX_SECONDS"
_POLLS, _POLL_SECONDS = 50, 0.1

SAFE_CONFIGS: Mapping[str, str] = {
    "max.message.bytes": str(Message.MAX_BYTES),
    # With producers' own times, a broker rejects a producer whose clock is an hour ahead, and a time proves nothing.
    "message.timestamp.type": "LogAppendTime",
}
"""The configuration that each of the four topics must have."""


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic as the event contract requires it. Requests are retained for a shorter time than their statuses."""

    setting: str
    name: str
    configs: Mapping[str, str] = field(default_factory=dict)  # at creation; afterwards, only SAFE_CONFIGS must hold


def required_topics(kafka: settings.KafkaSettings) -> tuple[Topic, ...]:
    """Return the four topics: requests, statuses, settlements and dead letters."""
    week = {"cleanup.policy": "delete", "retention.ms": str(7 * _DAY_MS), **SAFE_CONFIGS}
    return (
        Topic(
            "DEPLOYER_KAFKA__REQUESTS_TOPIC",
            kafka.requests_topic,
            {**week, "retention.ms": str(3 * _DAY_MS)},
        ),
        Topic(
            "DEPLOYER_KAFKA__STATUS_TOPIC",
            kafka.status_topic,
            {**week, "cleanup.policy": "compact,delete", "min.compaction.lag.ms": str(_DAY_MS)},
        ),
        Topic("DEPLOYER_KAFKA__SETTLEMENTS_TOPIC", kafka.settlements_topic, week),
        Topic("DEPLOYER_KAFKA__DEAD_LETTER_TOPIC", kafka.dead_letter_topic, week),
    )


async def prepare_topics(admin: AIOKafkaAdminClient, kafka: settings.KafkaSettings) -> None:
    """Create missing topics (with CREATE_TOPICS), and verify all topics except for their partition counts.

    If another topic has fewer partitions than the requests topic, `TopicsWatch` reports that, and the worker processes
    the remaining partitions. A restarted worker thus behaves like a worker that ran when partitions were added.

    Raises KafkaError. Raises ConfigurationError, which names the setting and the topic.
    """
    topics = required_topics(kafka)
    existing = await _partition_counts(admin, topics)
    missing = [topic for topic in topics if topic.name not in existing]
    if missing and kafka.create_topics:
        await _create(admin, missing, kafka, existing.get(kafka.requests_topic))
        existing = await _wait_until_visible(admin, topics)
    await _verify(admin, kafka, existing)


async def verify_topics(admin: AIOKafkaAdminClient, kafka: settings.KafkaSettings) -> "Found":
    """Verify that the four topics exist, have enough partitions, and are configured as the worker requires.

    Raises KafkaError. Raises ConfigurationError, which names the setting, the topic and the fix.
    """
    topics = required_topics(kafka)
    existing = await _partition_counts(admin, topics)
    configs = await _verify(admin, kafka, existing)
    _verify_partitions(topics, existing)
    retention = {name: int(found.get("retention.ms") or -1) for name, found in configs.items()}
    return Found(existing[kafka.requests_topic], retention)


@dataclass(frozen=True, slots=True)
class Found:
    """Properties of verified topics that are valid, but may not fit the other settings."""

    partitions: int  # of the requests topic
    retention_ms: Mapping[str, int]  # by topic; -1: unlimited

    def remarks(self, kafka: settings.KafkaSettings, park_max_seconds: float) -> list[str]:
        """Return a sentence for each setting or topic that should be changed."""
        requests, *followers, _ = required_topics(kafka)
        remarks = []
        if self.partitions != kafka.partitions:
            remarks.append(
                f"DEPLOYER_KAFKA__PARTITIONS is {kafka.partitions}, but '{requests.name}' has {self.partitions} "
                f"partitions. Set it to {self.partitions}."
            )
        of_requests, parked = self._ms(requests.name), park_max_seconds * 1000
        if of_requests < parked:
            remarks.append(
                f"{requests.setting}: '{requests.name}' is retained for {_time(of_requests)}, less than {_PARK_MAX} "
                f"({_time(parked)}), so a parked request may be gone before it can be tried again. {_change(parked)}"
            )
        needed = {f"'{requests.name}'": of_requests, _PARK_MAX: parked}
        for topic in followers:
            for name, least in needed.items():
                if (its := self._ms(topic.name)) < least:
                    remarks.append(
                        f"{topic.setting}: '{topic.name}' is retained for {_time(its)}, less than {name} "
                        f"({_time(least)}), so what became of a request may be forgotten before it is needed. "
                        f"{_change(least)}"
                    )
        return remarks

    def _ms(self, topic: str) -> float:
        return math.inf if self.retention_ms[topic] < 0 else self.retention_ms[topic]


def _time(ms: float) -> str:
    return "for ever" if ms == math.inf else f"{ms / 1000:.15g} s"


def _change(least_ms: float) -> str:
    return "Set retention.ms=-1." if least_ms == math.inf else f"Set retention.ms={math.ceil(least_ms)} or longer."


async def _verify(
    admin: AIOKafkaAdminClient, kafka: settings.KafkaSettings, existing: Mapping[str, int]
) -> Mapping[str, Mapping[str, str]]:
    """Verify that the topics exist and are configured correctly, and return their configurations."""
    topics = required_topics(kafka)
    if missing := [topic for topic in topics if topic.name not in existing]:
        raise ConfigurationError(
            "\n".join(
                f"{topic.setting}: the topic '{topic.name}' does not exist. "
                "Create it, or set DEPLOYER_KAFKA__CREATE_TOPICS=true"
                for topic in missing
            )
        )
    configs = await _configs(admin, topics, kafka)
    _verify_configs(topics, configs, kafka)
    return configs


async def _partition_counts(admin: AIOKafkaAdminClient, topics: tuple[Topic, ...]) -> dict[str, int]:
    """Return the partition counts of the existing topics. Raises ConfigurationError if access is denied."""
    settings_of = {topic.name: topic.setting for topic in topics}
    existing = {}
    for one in await admin.describe_topics(list(settings_of)):
        name, error = one["topic"], for_code(one["error_code"])
        if error is NoError:
            existing[name] = len(one["partitions"])
        elif error is TopicAuthorizationFailedError:
            raise ConfigurationError(
                f"{settings_of[name]}: access to the topic '{name}' is denied. Add the ACL DESCRIBE"
            )
    return existing


async def _wait_until_visible(admin: AIOKafkaAdminClient, topics: tuple[Topic, ...]) -> dict[str, int]:
    """Wait until the metadata lists all topics, which takes a moment after creation, and longer on other brokers."""
    for _ in range(_POLLS):
        existing = await _partition_counts(admin, topics)
        if len(existing) == len(topics):
            break
        await asyncio.sleep(_POLL_SECONDS)
    return existing


async def _create(
    admin: AIOKafkaAdminClient, topics: list[Topic], kafka: settings.KafkaSettings, requests_partitions: int | None
) -> None:
    """Create topics. A topic that another worker creates at the same time is no error."""
    partitions = requests_partitions or kafka.partitions
    answer = await admin.create_topics(
        [NewTopic(it.name, partitions, kafka.replication_factor, topic_configs=dict(it.configs)) for it in topics]
    )
    for name, code, reason, *_ in answer.topic_errors:  # aiokafka does not raise these
        error = for_code(code)
        if error is TopicAuthorizationFailedError:
            raise ConfigurationError(missing_acl(AclBinding(Operation.CREATE, ResourceType.TOPIC, name), kafka))
        if code and error is not TopicAlreadyExistsError:
            raise ConfigurationError(
                f"DEPLOYER_KAFKA__CREATE_TOPICS: the topic '{name}' cannot be created: {error.__name__}: "
                f"{one_line(reason or error.description)[:200].rstrip('. ')}. "
                "Check DEPLOYER_KAFKA__REPLICATION_FACTOR and DEPLOYER_KAFKA__PARTITIONS"
            )


def _verify_partitions(topics: tuple[Topic, ...], existing: Mapping[str, int]) -> None:
    """Verify the partition counts: statuses and settlements are written to the partition number of their request."""
    requests, status, settlements, _ = topics
    for topic in (status, settlements):
        if existing[topic.name] < existing[requests.name]:
            raise ConfigurationError(
                f"{topic.setting}: '{topic.name}' has {existing[topic.name]} partitions, fewer than the "
                f"{existing[requests.name]} of '{requests.name}'. Add partitions"
            )


def _verify_configs(
    topics: tuple[Topic, ...], configs: Mapping[str, Mapping[str, str]], kafka: settings.KafkaSettings
) -> None:
    requests, *_ = topics
    if "compact" in configs[requests.name].get("cleanup.policy", ""):
        raise ConfigurationError(
            f"{requests.setting}: '{requests.name}' is compacted, which would drop requests of one "
            "user. Set its cleanup.policy to delete"
        )
    problems = []
    for topic in topics:
        found = configs[topic.name]
        wrong = [name for name, wanted in SAFE_CONFIGS.items() if found.get(name) != wanted]
        if wrong:
            problems.append(
                f"{topic.setting}: '{topic.name}' has {', '.join(f'{it}={found.get(it)}' for it in wrong)}. Set: "
                f"kafka-configs.sh --bootstrap-server {kafka.bootstrap_servers} --alter --entity-type topics "
                f"--entity-name {topic.name} --add-config {','.join(f'{it}={SAFE_CONFIGS[it]}' for it in wrong)}"
            )
    if problems:
        raise ConfigurationError("\n".join(problems))


async def _configs(
    admin: AIOKafkaAdminClient, topics: tuple[Topic, ...], kafka: settings.KafkaSettings
) -> dict[str, dict[str, str]]:
    """Return the configuration of each topic by name. Retries, because some brokers learn of a new topic later."""
    for _ in range(_POLLS):
        answers = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, it.name) for it in topics])
        resources = [resource for answer in answers for resource in answer.resources]
        if all(for_code(code) is not UnknownTopicOrPartitionError for code, *_ in resources):
            break
        await asyncio.sleep(_POLL_SECONDS)
    configs: dict[str, dict[str, str]] = {topic.name: {} for topic in topics}
    for code, _, _, name, entries in resources:
        if for_code(code) is TopicAuthorizationFailedError:
            acl = AclBinding(Operation.DESCRIBE_CONFIGS, ResourceType.TOPIC, name)
            raise ConfigurationError(missing_acl(acl, kafka))
        if code:
            raise for_code(code)(f"the configuration of '{name}'")
        configs[name] = {entry[0]: entry[1] for entry in entries}
    return configs
