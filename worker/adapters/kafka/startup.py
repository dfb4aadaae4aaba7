"""The worker's startup on Kafka, and the checks of its access and of the topics while it runs.

Startup waits for brokers that cannot be reached, and fails if waiting does not help. Access that is denied later also
stops the worker. The worker reads its login and certificates only at startup, so a changed Secret requires a new
process anyway, and the restart shows operators that something is wrong.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial

import structlog
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaConnectionError, KafkaError

from worker.adapters.kafka.acls import verify_acls, worker_acls
from worker.adapters.kafka.clients import client_options, running_client
from worker.adapters.kafka.diagnosis import connected
from worker.adapters.kafka.topics import prepare_topics, required_topics, verify_topics
from worker.errors import ConfigurationError
from worker.observability.metrics import TOPICS_WRONG
from worker.settings import KafkaSettings

FIRST_RETRY_SECONDS, MAX_RETRY_SECONDS = 0.5, 10
CHECK_SECONDS = 5
LOOK_EVERY, LOOK_SECONDS = 3, 10  # verify the topics with every third check only, because that takes a separate login
MAX_DENIALS = 3  # in a row: an ACL is gone for a moment while it is replaced, and a single broker may have a problem

log = structlog.get_logger()


async def prepare_once(kafka: KafkaSettings) -> str:
    """Verify the login, ACLs and topics. Return the cluster's id. Raises ConfigurationError, KafkaError, OSError."""
    async with connected(kafka) as connection:
        existing = await verify_acls(connection, kafka, worker_acls(kafka))
        async with running_client(AIOKafkaAdminClient(**client_options(kafka))) as admin:
            await prepare_topics(admin, kafka)
            cluster_id = str((await admin.describe_cluster())["cluster_id"])
        if len(existing) < len(required_topics(kafka)):  # the ACLs of new topics could not be checked before
            await verify_acls(connection, kafka, worker_acls(kafka))
        return cluster_id


async def prepare_kafka(
    kafka: KafkaSettings, stop: asyncio.Event, prepare: Callable[[KafkaSettings], Awaitable[str]] = prepare_once
) -> str | None:
    """Wait for brokers and prepare Kafka. Return the cluster's id, or None if `stop` was set first.

    A broker that does not answer never delays a stop. Raises ConfigurationError, KafkaError.
    """
    tasks = prepared, _ = asyncio.create_task(_retry(prepare, kafka)), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return prepared.result() if prepared.done() else None
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _retry(prepare: Callable[[KafkaSettings], Awaitable[str]], kafka: KafkaSettings) -> str:
    """Retry while brokers cannot be reached or are still starting, with a growing delay."""
    delay = FIRST_RETRY_SECONDS
    while True:
        try:
            return await prepare(kafka)
        except (KafkaError, OSError, TimeoutError) as error:
            if isinstance(error, KafkaError) and not (error.retriable or isinstance(error, KafkaConnectionError)):
                raise
            servers, why = kafka.bootstrap_servers, str(error)[:200]
            log.warning(
                "Kafka unreachable", servers=servers, error=type(error).__name__, why=why, retry_in_seconds=delay
            )
        await asyncio.sleep(delay)
        delay = min(2 * delay, MAX_RETRY_SECONDS)


@asynccontextmanager
async def watch_kafka(
    kafka: KafkaSettings, stop: asyncio.Event, on_topics: Callable[[str | None], None]
) -> AsyncIterator[None]:
    """Set `stop` once Kafka denies us access, and raise the reason after the block's graceful shutdown.

    `on_topics` is called with the problem of the topics, or None, whenever that changes.
    """
    sleep = partial(asyncio.sleep, CHECK_SECONDS)
    topics = TopicsWatch(kafka, on_topics)
    watch = asyncio.create_task(until_access_denied(kafka, sleep, topics.look), name="watch Kafka")
    watch.add_done_callback(lambda _: stop.set())
    try:
        yield
    except KafkaError:
        with suppress(KafkaError, OSError, TimeoutError):
            await _verify_access(kafka)  # its ConfigurationError is more specific
        raise
    finally:
        watch.cancel()
        (denial,) = await asyncio.gather(watch, return_exceptions=True)
    if isinstance(denial, Exception):
        raise denial


class TopicsWatch:
    """Verifies the topics while the worker runs, and reports each change of the problem once."""

    def __init__(self, kafka: KafkaSettings, on_change: Callable[[str | None], None]) -> None:
        self._kafka = kafka
        self._on_change = on_change
        self._problem: str | None = None
        self._checks = 0

    async def look(self) -> None:
        """Verify the topics on the first and every third call after it.

        Raises KafkaError, OSError or TimeoutError if the topics could not be verified.
        """
        self._checks += 1
        if self._checks % LOOK_EVERY != 1:
            return
        problem = None
        async with asyncio.timeout(LOOK_SECONDS):
            async with running_client(AIOKafkaAdminClient(**client_options(self._kafka))) as admin:
                try:
                    await verify_topics(admin, self._kafka)
                except ConfigurationError as error:
                    problem = str(error)
        if problem != self._problem:
            if problem:
                log.error("the topics are no longer right", problem=problem)
            else:
                log.info("the topics are right again")
            self._problem = problem
            TOPICS_WRONG.set(problem is not None)
            self._on_change(problem)


async def until_access_denied(
    kafka: KafkaSettings, sleep: Callable[[], Awaitable[None]], look: Callable[[], Awaitable[None]]
) -> None:
    """Check our access repeatedly. Raises ConfigurationError once access was denied MAX_DENIALS times in a row.

    `sleep` waits between two checks, and `look` is called after each check to verify the topics. An open connection
    does not log in again, so the password may change in Kafka before it changes here.
    """
    denials = 0
    while True:
        try:
            async with connected(kafka) as connection:
                while True:
                    await verify_acls(connection, kafka, worker_acls(kafka))
                    denials = 0
                    await look()
                    await sleep()
        except ConfigurationError:
            denials += 1
            if denials >= MAX_DENIALS:
                raise
        except (KafkaError, OSError, TimeoutError):
            denials = 0  # unreachable, which the partition processors and the consumer handle
        await sleep()


async def _verify_access(kafka: KafkaSettings) -> None:
    async with connected(kafka) as connection:
        await verify_acls(connection, kafka, worker_acls(kafka))
