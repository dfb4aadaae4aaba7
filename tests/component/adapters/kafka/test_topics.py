from collections.abc import AsyncIterator

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from tests.support.topics import create_topics
from worker import settings
from worker.adapters.kafka.topics import SAFE_CONFIGS, prepare_topics, verify_topics
from worker.errors import ConfigurationError


@pytest.fixture
async def admin(kafka: str) -> AsyncIterator[AIOKafkaAdminClient]:
    client = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await client.start()
    yield client
    await client.close()


def options(kafka: str, unique: str, **changes: object) -> settings.KafkaSettings:
    names = {f"{name}_topic": f"{unique}.{name}" for name in ("requests", "status", "settlements", "dead_letter")}
    values = {"bootstrap_servers": kafka, "create_topics": True, "partitions": 3, "replication_factor": 1, **names}
    return settings.KafkaSettings.model_validate(values | changes)


async def configs(admin: AIOKafkaAdminClient, topic: str) -> dict[str, str]:
    answers = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
    return {entry[0]: entry[1] for answer in answers for resource in answer.resources for entry in resource[4]}


async def test_missing_topics_are_made_as_the_contract_wants_them(
    kafka: str, unique: str, admin: AIOKafkaAdminClient
) -> None:
    """Missing topics are created with the contract's settings, and a second start changes nothing.

    All have the broker's timestamps and bounded records; the status topic is compacted.
    """
    wanted = options(kafka, unique)
    await prepare_topics(admin, wanted)
    await prepare_topics(admin, wanted)
    requests, status = await configs(admin, wanted.requests_topic), await configs(admin, wanted.status_topic)
    assert "delete" == requests["cleanup.policy"]
    for topic in (wanted.requests_topic, wanted.status_topic, wanted.settlements_topic, wanted.dead_letter_topic):
        assert SAFE_CONFIGS.items() <= (await configs(admin, topic)).items()
    assert {"compact", "delete"} == set(status["cleanup.policy"].split(","))
    assert int(requests["retention.ms"]) < int(status["retention.ms"]) == 7 * 24 * 3600 * 1000
    assert "86400000" == status["min.compaction.lag.ms"]


async def test_missing_topics_are_named(kafka: str, unique: str, admin: AIOKafkaAdminClient) -> None:
    """A missing topic is reported with the setting that creates it."""
    with pytest.raises(ConfigurationError, match=rf"REQUESTS_TOPIC: the topic '{unique}.requests'.*CREATE_TOPICS=true"):
        await prepare_topics(admin, options(kafka, unique, create_topics=False))


async def test_kafka_s_own_reason_is_told(kafka: str, unique: str, admin: AIOKafkaAdminClient) -> None:
    """When Kafka rejects a topic, the error contains Kafka's reason, with the number, and the responsible settings."""
    with pytest.raises(
        ConfigurationError, match=r"InvalidReplicationFactor.*[Rr]eplication factor.*REPLICATION_FACTOR"
    ):
        await prepare_topics(admin, options(kafka, unique, replication_factor=100))


async def test_too_few_status_partitions_are_told(kafka: str, unique: str, admin: AIOKafkaAdminClient) -> None:
    """Too few status partitions are reported, but the worker starts and processes the other partitions.

    A status goes to the partition number of its request.
    """
    wanted = options(kafka, unique)
    topics = [NewTopic(wanted.requests_topic, 5, 1), NewTopic(wanted.status_topic, 3, 1)]
    await create_topics(kafka, *(NewTopic(it.name, it.num_partitions, 1, topic_configs=SAFE_CONFIGS) for it in topics))
    await prepare_topics(admin, wanted)
    with pytest.raises(ConfigurationError, match=r"STATUS_TOPIC: .* has 3 partitions, fewer than the 5"):
        await verify_topics(admin, wanted)


async def test_a_compacted_requests_topic_is_refused(kafka: str, unique: str, admin: AIOKafkaAdminClient) -> None:
    """A compacted requests topic is refused: compaction would keep only the last request of each user."""
    wanted = options(kafka, unique)
    await admin.create_topics([NewTopic(wanted.requests_topic, 3, 1, topic_configs={"cleanup.policy": "compact"})])
    with pytest.raises(ConfigurationError, match="is compacted"):
        await prepare_topics(admin, wanted)


@pytest.mark.parametrize("word", ["requests", "status", "settlements", "dead_letter"])
@pytest.mark.parametrize(
    ("config", "value"),
    [
        ("max.message.bytes", "1048588"),
        ("message.timestamp.type", "CreateTime"),
    ],
)
async def test_a_topic_that_bounds_nothing_is_refused(
    kafka: str, unique: str, admin: AIOKafkaAdminClient, word: str, config: str, value: str
) -> None:
    """A topic without the required bounds is refused with its setting, its name, and the command that corrects it."""
    wanted = options(kafka, unique)
    configs = {**SAFE_CONFIGS, config: value}
    await create_topics(kafka, NewTopic(f"{unique}.{word}", 3, 1, topic_configs=configs))
    with pytest.raises(ConfigurationError) as refusal:
        await prepare_topics(admin, wanted)
    assert str(refusal.value) == (
        f"DEPLOYER_KAFKA__{word.upper()}_TOPIC: '{unique}.{word}' has {config}={value}. Set: kafka-configs.sh "
        f"--bootstrap-server {kafka} --alter --entity-type topics --entity-name {unique}.{word} "
        f"--add-config {config}={SAFE_CONFIGS[config]}"
    )
