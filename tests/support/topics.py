"""Topics for a single test, and the offsets that a group has committed in them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from uuid import uuid4

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import for_code
from aiokafka.partitioner import DefaultPartitioner

from worker.adapters.kafka.topics import prepare_topics
from worker.sandbox.users import User
from worker.settings import KafkaSettings


class Topics:
    """Names that no other test uses, and topics with these names."""

    def __init__(self, bootstrap_servers: str, unique: str) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._unique = unique

    def name(self, word: str) -> str:
        """Return a unique name, the same for the same word within a test; also for groups and transactional ids."""
        return f"{self._unique}.{word}"

    async def create(self, word: str, partitions: int = 1, **configs: str) -> str:
        """Create the topic and return its name; `cleanup_policy="compact"` sets cleanup.policy. Raises KafkaError."""
        name = self.name(word)
        topic = NewTopic(name, partitions, 1, topic_configs={key.replace("_", "."): it for key, it in configs.items()})
        await create_topics(self._bootstrap_servers, topic)
        return name


def unique_name() -> str:
    """Return a name that starts with a letter and is short enough for every suffix."""
    return f"t{uuid4().hex[:12]}"


async def create_topics(bootstrap_servers: str, *topics: NewTopic) -> None:
    """Create topics and wait until the metadata list them; before that, a group assigns none of their partitions.

    Raises KafkaError.
    """
    async with admin_client(bootstrap_servers) as admin:
        answer = await admin.create_topics([*topics])
        for name, code, reason in answer.topic_errors:
            if code:  # aiokafka does not raise these errors
                raise for_code(code)(f"{name}: {reason}")
        names = [topic.name for topic in topics]
        while not all(map(_has_leaders, await admin.describe_topics(names))):  # noqa: ASYNC110 - the broker does not tell
            await asyncio.sleep(0.02)


def _has_leaders(topic: dict[str, object]) -> bool:
    partitions = topic["partitions"]
    assert isinstance(partitions, list)
    return not topic["error_code"] and not any(it["error_code"] or it["leader"] < 0 for it in partitions)


async def create_worker_topics(kafka: KafkaSettings) -> None:
    """Create the topics of a worker, as the worker does with CREATE_TOPICS."""
    async with admin_client(kafka.bootstrap_servers) as admin:
        await prepare_topics(admin, kafka)


async def committed_offsets(bootstrap_servers: str, group: str) -> dict[int, int]:
    """Return the group's offsets by partition; a worker's group reads one topic."""
    async with admin_client(bootstrap_servers) as admin:
        offsets = await admin.list_consumer_group_offsets(group)
        return {place.partition: offset.offset for place, offset in offsets.items()}


@asynccontextmanager
async def admin_client(bootstrap_servers: str) -> AsyncIterator[AIOKafkaAdminClient]:
    """Yield a connected client."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    try:
        await admin.start()
        yield admin
    finally:
        await admin.close()


def user_of(partition: int, partitions: int) -> User:
    """Return the first of user-0, user-1 … whose key maps to the partition."""
    chosen, names = DefaultPartitioner(), (f"user-{number}" for number in count())
    name = next(it for it in names if chosen(it.encode(), [*range(partitions)], []) == partition)
    return User(name, name, f"{name}@graphene.example")
