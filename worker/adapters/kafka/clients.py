"""The lifecycle of aiokafka's clients: arguments from the settings, start, and a stop with a time limit."""

import asyncio
import ssl
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.consumer import fetcher
from aiokafka.errors import KafkaConnectionError, KafkaTimeoutError
from pydantic import ValidationError

from schemas import DeploymentStatus, Message, ReplayPermitted
from worker import settings
from worker.delivery.consumer import Batches
from worker.errors import ConfigurationError

FETCHED: Mapping[str, int] = {"fetch_max_bytes": 1024 * 1024, "max_partition_fetch_bytes": 2 * Message.MAX_BYTES}
"""The fetch limits of every consumer, in raw bytes per broker and per partition.

Fetched bytes may be 40 times as large in memory: a header of two bytes becomes a tuple of 72 bytes, and aiokafka
creates all records of a poll before it returns the first.
"""
POLLED = 500  # records at once; between two such batches, the event loop can run other tasks
SKIPPED = 100  # unwanted records that are read and skipped, because a seek would fetch them and the following again

fetcher.MemoryRecords = Batches
"""Replaces aiokafka's reader of record batches, for which aiokafka has no option.

Every consumer of the worker, the gateway and the commands gets its options from this module, so all of them read
batches within bounds.
"""

METADATA_MS = 10_000  # within which deleted or recreated topics and new partitions are noticed; the default is 5 min
STOP_SECONDS = 2
FETCH_SECONDS = 60  # for one record
WORKER_STOP_SECONDS = 10  # for the clients that run as long as the worker, because one of them leaves its group

log = structlog.get_logger()

Client = TypeVar("Client", AIOKafkaAdminClient, AIOKafkaConsumer, AIOKafkaProducer)
Event = TypeVar("Event", DeploymentStatus, ReplayPermitted)


def client_options(kafka: settings.KafkaSettings) -> dict[str, Any]:
    """Return the arguments that every aiokafka client takes.

    Raises ConfigurationError if a certificate cannot be read or a login is incomplete.
    """
    options: dict[str, Any] = {
        "bootstrap_servers": kafka.bootstrap_servers,
        "security_protocol": kafka.security_protocol,
    }
    if "SSL" in kafka.security_protocol.split("_"):
        options["ssl_context"] = _ssl_context(kafka)
    if kafka.security_protocol.startswith("SASL_"):
        if not kafka.sasl_username or kafka.sasl_password is None:
            raise ConfigurationError(
                "DEPLOYER_KAFKA__SASL_USERNAME and DEPLOYER_KAFKA__SASL_PASSWORD: both are needed "
                f"with DEPLOYER_KAFKA__SECURITY_PROTOCOL={kafka.security_protocol}"
            )
        options["sasl_mechanism"] = kafka.sasl_mechanism
        options["sasl_plain_username"] = kafka.sasl_username
        options["sasl_plain_password"] = kafka.sasl_password.get_secret_value()
    return options


async def stop_client(stop: Callable[[], Awaitable[object]], seconds: float) -> bool:
    """Stop an aiokafka client, which would wait for brokers indefinitely. Return whether it stopped in time.

    While aiokafka waits for tasks that it has cancelled, it cannot distinguish their CancelledError from ours. Without
    brokers, it raises theirs. Otherwise, it swallows ours. The number of our own cancellations shows which is the case.
    """
    task = asyncio.current_task()
    cancelled = task.cancelling() if task else 0
    try:
        async with asyncio.timeout(seconds) as limit:
            await stop()
    except TimeoutError:
        return False
    except asyncio.CancelledError:
        pass
    if task and task.cancelling() > cancelled:
        raise asyncio.CancelledError
    return not limit.expired()


@asynccontextmanager
async def running_client(
    client: Client, *, start_seconds: float | None = None, stop_seconds: float = STOP_SECONDS
) -> AsyncIterator[Client]:
    """Start an aiokafka client, and stop it at the end of the block.

    Raises KafkaError. Raises KafkaConnectionError after `start_seconds`, because with some brokers, aiokafka retries
    indefinitely.
    """
    stop = client.close if isinstance(client, AIOKafkaAdminClient) else client.stop
    try:
        try:
            async with asyncio.timeout(start_seconds):
                await client.start()
        except TimeoutError:
            raise KafkaConnectionError from None
        yield client
    finally:
        if not await stop_client(stop, stop_seconds):
            log.info("Kafka client did not stop in time", client=type(client).__name__)


def _ssl_context(kafka: settings.KafkaSettings) -> ssl.SSLContext:
    with _reading("DEPLOYER_KAFKA__SSL_CA_FILE: it"):
        context = ssl.create_default_context(cafile=kafka.ssl_ca_file)
    if kafka.ssl_cert_file:
        with _reading("DEPLOYER_KAFKA__SSL_CERT_FILE and DEPLOYER_KAFKA__SSL_KEY_FILE: they"):
            # `str` returns an empty password. Without it, OpenSSL prompts on the terminal for an encrypted key's.
            context.load_cert_chain(kafka.ssl_cert_file, kafka.ssl_key_file, password=str)
    return context


@contextmanager
def _reading(files: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:  # includes SSLError
        reason = getattr(error, "reason", None) or error.strerror or type(error).__name__
        raise ConfigurationError(f"{files} cannot be used: {reason}. Use PEM, and a key without a password") from error


def event_of(record: ConsumerRecord, kind: type[Event]) -> Event | None:
    """Return the event of this kind in a record, or None if there is no such event. Unknown fields are ignored."""
    if ("ce_type", kind.TYPE.encode()) not in record.headers:
        return None
    try:
        return kind.model_validate_json(record.value or b"", extra="ignore")
    except ValidationError:
        return None


async def send(producer: AIOKafkaProducer, message: Message) -> None:
    """Write one record, and wait until all in-sync replicas have it. Raises KafkaError."""
    await producer.send_and_wait(
        message.topic, message.value, key=message.key, partition=message.partition, headers=list(message.headers)
    )


# ----------------------------------------------------------------------------------------------------
# Reading partitions up to their current end, without a group, and only committed records.


@asynccontextmanager
async def open_reader(
    options: Mapping[str, Any], partitions: Sequence[TopicPartition]
) -> AsyncIterator[AIOKafkaConsumer]:
    """Open a consumer of these partitions. `options` come from `client_options`. Raises KafkaError."""
    reader = AIOKafkaConsumer(
        **options,
        group_id=None,
        enable_auto_commit=False,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        fetch_max_wait_ms=50,
        **FETCHED,
    )
    async with running_client(reader):
        reader.assign(partitions)
        yield reader


async def read_all(
    options: Mapping[str, Any], partitions: Sequence[TopicPartition], seconds: float | None = None
) -> AsyncIterator[ConsumerRecord]:
    """Yield every record up to the current end. Control records only advance the position.

    Raises KafkaError. Raises TimeoutError as `read_up_to` does.
    """
    if not partitions:
        return
    async with open_reader(options, partitions) as reader:
        ends = await reader.end_offsets(partitions)
        # Not seek_to_beginning, because the reader's own initial reset may complete later and undo it.
        for tp, first in (await reader.beginning_offsets(partitions)).items():
            reader.seek(tp, first)
        async for record in read_up_to(reader, ends, seconds):
            yield record


async def read_up_to(
    reader: AIOKafkaConsumer, ends: Mapping[TopicPartition, int], seconds: float | None = None
) -> AsyncIterator[ConsumerRecord]:
    """Yield every record from the reader's current position up to, but not including, these offsets.

    Raises KafkaError. Raises TimeoutError if nothing could be read for `seconds`, however much there is to read.
    """
    clock = asyncio.get_running_loop().time
    moved_at = clock()
    async with asyncio.timeout(seconds):  # without a broker, it waits for a valid position
        positions = {tp: await reader.position(tp) for tp in ends}
    while unread := [tp for tp, position in positions.items() if position < ends[tp]]:
        for tp, records in (await reader.getmany(*unread, timeout_ms=100, max_records=POLLED)).items():
            for record in records:
                if record.offset < ends[tp]:
                    yield record
        async with asyncio.timeout(seconds):
            before, positions = positions, positions | {tp: await reader.position(tp) for tp in unread}
        moved_at = moved_at if positions == before else clock()
        if seconds is not None and clock() - moved_at > seconds:
            raise TimeoutError(f"nothing of {unread} could be read for {seconds:g} s")


async def read_some(
    reader: AIOKafkaConsumer, tp: TopicPartition, offsets: Sequence[int], seconds: float
) -> AsyncIterator[ConsumerRecord]:
    """Yield the records at these ascending offsets, except those that are gone. The reader seeks only across wide gaps.

    `reader` is assigned only this partition. Raises KafkaError. Raises TimeoutError if nothing could be read for more
    than `seconds`.
    """
    if not offsets:
        return
    first, end = (await reader.beginning_offsets([tp]))[tp], (await reader.end_offsets([tp]))[tp]
    wanted = deque(offset for offset in offsets if first <= offset < end)
    clock = asyncio.get_running_loop().time
    moved_at, position = clock(), -1 - SKIPPED
    while wanted:
        if not 0 <= wanted[0] - position <= SKIPPED:
            reader.seek(tp, wanted[0])
            position = wanted[0]
        found = (await reader.getmany(tp, timeout_ms=100, max_records=SKIPPED)).get(tp, ())
        async with asyncio.timeout(seconds):
            before, position = position, await reader.position(tp)
        moved_at = moved_at if position == before else clock()
        if clock() - moved_at > seconds:
            raise TimeoutError(f"{tp} could not be read at {position} for {seconds:g} s")
        for record in found:
            while wanted and wanted[0] < record.offset:  # a control record, e.g. the end of a transaction
                wanted.popleft()
            if wanted and record.offset == wanted[0]:
                wanted.popleft()
                yield record
        while wanted and wanted[0] < position:
            wanted.popleft()


async def fetch_record(reader: AIOKafkaConsumer, tp: TopicPartition, offset: int) -> ConsumerRecord | None:
    """Return the record at this offset, or None if the record is gone or there is none at this offset.

    `reader` is assigned only this partition. Raises KafkaError, also if nothing could be read for FETCH_SECONDS.
    """
    reader.assign([tp])
    try:
        found = [record async for record in read_some(reader, tp, [offset], FETCH_SECONDS)]
    except TimeoutError:
        raise KafkaTimeoutError(f"offset {offset} of {tp} could not be read for {FETCH_SECONDS} s") from None
    return found[0] if found else None
