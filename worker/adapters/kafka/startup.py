"""The worker's way into Kafka: waits for brokers that are away, and ends the worker where waiting does not help.

It ends too when Kafka turns it away while it works: its login and certificates are read at the start only, so that a
new process is what a changed Secret needs, and whoever restarts it sees that something is wrong.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Protocol, TypeVar

import structlog
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaConnectionError, KafkaError

from worker.adapters.kafka.acls import granted, worker_rights
from worker.adapters.kafka.clients import client_options, stop_client
from worker.adapters.kafka.diagnosis import connected
from worker.adapters.kafka.topics import prepare_topics, wanted_topics
from worker.errors import ConfigurationError
from worker.settings import KafkaSettings

STOP_SECONDS = 10
LOOK_SECONDS = 5
REFUSALS = 3  # in a row: an ACL that is replaced is gone for a moment, and one broker may be in trouble by itself

log = structlog.get_logger()


class _Client(Protocol):
    async def start(self) -> None: ...


C = TypeVar("C", bound=_Client)


@asynccontextmanager
async def started(client: C, stop: Callable[[], Awaitable[object]]) -> AsyncIterator[C]:
    """A Kafka client as long as the block runs."""
    try:
        await client.start()
        yield client
    finally:
        if not await stop_client(stop, STOP_SECONDS):
            log.warning("a Kafka client did not stop in time", client=type(client).__name__)


async def prepare_kafka(kafka: KafkaSettings, stop: asyncio.Event) -> str | None:
    """Verify login, rights and topics. The cluster's id, or None when `stop` came first.

    A silent broker holds up nobody. Raises ConfigurationError, KafkaError.
    """
    tasks = prepared, _ = asyncio.create_task(_until_prepared(kafka)), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return prepared.result() if prepared.done() else None
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _until_prepared(kafka: KafkaSettings) -> str:
    """Waits for brokers that are not there yet, or not yet themselves."""
    delay = 0.5
    while True:
        try:
            return await _prepared(kafka)
        except (KafkaError, OSError, TimeoutError) as error:
            if isinstance(error, KafkaError) and not (error.retriable or isinstance(error, KafkaConnectionError)):
                raise
            log.warning("Kafka cannot be reached", error=type(error).__name__, next_try_seconds=delay)
        await asyncio.sleep(delay)
        delay = min(2 * delay, 10)


async def _prepared(kafka: KafkaSettings) -> str:
    async with connected(kafka) as connection:
        rights = worker_rights(kafka)
        present = await granted(connection, kafka, rights)
        admin = AIOKafkaAdminClient(**client_options(kafka))
        async with started(admin, admin.close):
            for warning in await prepare_topics(admin, kafka):
                log.warning(warning)
            cluster_id = str((await admin.describe_cluster())["cluster_id"])
        if len(present) < len(wanted_topics(kafka)):  # of those just made, nothing was said
            await granted(connection, kafka, rights)
        return cluster_id


async def until_turned_away(kafka: KafkaSettings, pause: Callable[[], Awaitable[None]]) -> None:
    """Raises ConfigurationError when Kafka refuses our login or lacks one of our rights REFUSALS times. Never returns.

    `pause`: between two looks. Connections that stand are not asked for their login again, so a password may change
    before the worker's does.
    """
    refusals = 0
    while True:
        try:
            async with connected(kafka) as connection:
                while True:
                    await granted(connection, kafka, worker_rights(kafka))
                    refusals = 0
                    await pause()
        except ConfigurationError:
            refusals += 1
            if refusals >= REFUSALS:
                raise
        except (KafkaError, OSError, TimeoutError):
            refusals = 0  # away: the lanes and the consumer see to that
        await pause()


@asynccontextmanager
async def admitted(kafka: KafkaSettings, stop: asyncio.Event) -> AsyncIterator[None]:
    """Sets `stop` when Kafka turns us away, and raises the reason when the block has ended in good order."""
    looking = asyncio.create_task(until_turned_away(kafka, partial(asyncio.sleep, LOOK_SECONDS)), name="rights")
    looking.add_done_callback(lambda _: stop.set())
    try:
        yield
    except KafkaError:
        await _say_why(kafka)
        raise
    finally:
        looking.cancel()
        (turned_away,) = await asyncio.gather(looking, return_exceptions=True)
    if isinstance(turned_away, Exception):
        raise turned_away


async def _say_why(kafka: KafkaSettings) -> None:
    """Raises ConfigurationError when it is about our login or rights."""
    with suppress(KafkaError, OSError, TimeoutError):
        async with connected(kafka) as connection:
            await granted(connection, kafka, worker_rights(kafka))
