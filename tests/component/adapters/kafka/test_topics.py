from collections.abc import AsyncIterator

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from worker import settings
from worker.adapters.kafka.topics import prepare_topics
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
    """Broker time for requests, compaction for statuses; a second start finds nothing to do."""
    wanted = options(kafka, unique)
    assert [] == await prepare_topics(admin, wanted)
    assert [] == await prepare_topics(admin, wanted)
    requests, status = await configs(admin, wanted.requests_topic), await configs(admin, wanted.status_topic)
    assert ("LogAppendTime", "delete") == (requests["message.timestamp.type"], requests["cleanup.policy"])
    assert {"compact", "delete"} == set(status["cleanup.policy"].split(","))
    assert int(requests["retention.ms"]) < int(status["retention.ms"]) == 7 * 24 * 3600 * 1000
    assert "86400000" == status["min.compaction.lag.ms"]


async def test_missing_topics_are_named(kafka: str, unique: str, admin: AIOKafkaAdminClient) -> None:
    """With the setting that makes them."""
    with pytest.raises(ConfigurationError, match=rf"REQUESTS_TOPIC: the topic '{unique}.requests'.*CREATE_TOPICS=true"):
        await prepare_topics(admin, options(kafka, unique, create_topics=False))


async def test_too_few_status_partitions_are_refused(kafka: str, unique: str, admin: AIOKafkaAdminClient) -> None:
    """A status goes to the partition number of its request."""
    wanted = options(kafka, unique)
    await admin.create_topics([NewTopic(wanted.requests_topic, 5, 1), NewTopic(wanted.status_topic, 3, 1)])
    with pytest.raises(ConfigurationError, match=r"STATUS_TOPIC: .* has 3 partitions, fewer than the 5"):
        await prepare_topics(admin, wanted)


async def test_a_compacted_requests_topic_is_refused(kafka: str, unique: str, admin: AIOKafkaAdminClient) -> None:
    """Compaction would keep only the last request of a user."""
    wanted = options(kafka, unique)
    await admin.create_topics([NewTopic(wanted.requests_topic, 3, 1, topic_configs={"cleanup.policy": "compact"})])
    with pytest.raises(ConfigurationError, match="is compacted"):
        await prepare_topics(admin, wanted)


async def test_a_topic_with_the_producers_time_is_warned_about(
    kafka: str, unique: str, admin: AIOKafkaAdminClient
) -> None:
    """Without the broker's own time there is no grace for tokens that expire in the queue."""
    wanted = options(kafka, unique)
    await admin.create_topics([NewTopic(wanted.requests_topic, 3, 1)])
    warnings = await prepare_topics(admin, wanted)
    assert 1 == len(warnings)
    assert "LogAppendTime" in warnings[0]
