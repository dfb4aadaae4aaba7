"""`dead-letter replay`: the requests of dead letters once more, each under an id of its own."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiokafka import AIOKafkaConsumer, TopicPartition

from worker.adapters.kafka.acls import Operation
from worker.adapters.kafka.clients import client_options
from worker.adapters.kafka.partition_store import record_of
from worker.cli.client import Ask, Requests, open_requests, partition_count, running
from worker.cli.failures import CommandError
from worker.cli.letters import Choice, Letter, letters
from worker.cli.view import plain
from worker.domain.dead_letter import MAX_REPLAYS
from worker.domain.request import Record, Request, read_request
from worker.settings import KafkaSettings


@dataclass(frozen=True, slots=True)
class Replays:
    """How to replay. Without a token each request gets the one of its original record."""

    token: str | None = field(repr=False)
    rate: float  # a second
    dry_run: bool
    force: bool


async def replay(kafka: KafkaSettings, choice: Choice, how: Replays) -> int:
    """One line per dead letter, and how many they were; 1 when one of them could not be replayed."""
    chosen = [letter async for letter in letters(kafka, choice)]
    done = refused = 0
    async with open_requests(kafka) as requests, open_originals(kafka) as originals:
        try:
            for letter in chosen:
                try:
                    ask = await repeated(letter, originals, how)
                except CommandError as error:
                    refused += 1
                    print(f"{letter.title()}: {error}", file=sys.stderr, flush=True)
                    continue
                if not how.dry_run:
                    await _send(requests, ask, letter, pause=1 / how.rate if done else 0)
                done += 1
                print(f"{letter.title()} → {ask.request_id}", flush=True)
        finally:  # also when it is interrupted
            print(f"{done} {'would be' if how.dry_run else 'were'} replayed, {refused} not.", flush=True)
    return 1 if refused else 0


async def _send(requests: Requests, ask: Ask, letter: Letter, pause: float) -> None:
    """Into the original's partition: its journal knows whether that was accepted once."""
    await asyncio.sleep(pause)
    await requests.publish(ask, key=letter.key, partition=letter.original.partition)


async def repeated(letter: Letter, originals: "Originals", how: Replays) -> Ask:
    """The request to be sent. Raises KafkaError, CommandError that says why there is none."""
    following, asked = letter.following(), letter.asked
    if following is None or asked is None:
        raise CommandError(
            f"the record could not be read ({plain(letter.code)}), so there is nothing to replay. "
            "Have its sender send it again."
        )
    if letter.key is None:
        raise CommandError("it has no key, so its user is unknown. Have its sender send it again.")
    if following.number > MAX_REPLAYS and not how.force:
        raise CommandError(f"it was replayed {MAX_REPLAYS} times already. Look for the reason, or add --force.")
    originals.check(letter)
    token = how.token or await originals.token(letter)
    if token is None:
        raise CommandError("Kafka has deleted its record, and the token with it. Give one with --token-file.")
    ask = Ask(following.request_id, asked.solution_id, asked.revision_id, token, following.original)
    if how.token and ask.user_id.encode() != letter.key:
        raise CommandError("it is another user's than the token. Choose with --key, or give that user's --token-file.")
    return ask


class Originals:
    """The records that the letters are about, as long as Kafka has them."""

    def __init__(self, reader: AIOKafkaConsumer, topic: str, partitions: int) -> None:
        self._reader = reader
        self._topic = topic
        self._partitions = partitions

    def check(self, letter: Letter) -> None:
        """Raises CommandError when its request came from elsewhere."""
        if letter.topic != self._topic:
            raise CommandError(
                f"its request came from the topic '{plain(letter.topic)}'. Set DEPLOYER_KAFKA__REQUESTS_TOPIC to that."
            )
        if letter.original.partition not in range(self._partitions):
            raise CommandError(
                f"'{self._topic}' has no partition {letter.original.partition}. Send it again with: "
                "playground-deployer submit."
            )

    async def token(self, letter: Letter) -> str | None:
        """Of the original record; None when that is gone. Raises KafkaError."""
        record = await self._fetch(letter.original.partition, letter.original.offset)
        if record is None or record.timestamp_ms != letter.original_ms:  # that of another one, in a newer topic
            return None
        _, request = read_request(record)
        return bare(request.token) if isinstance(request, Request) else None

    async def _fetch(self, partition: int, offset: int) -> Record | None:
        place = TopicPartition(self._topic, partition)
        self._reader.assign([place])
        first = (await self._reader.beginning_offsets([place]))[place]
        end = (await self._reader.end_offsets([place]))[place]
        if not first <= offset < end:
            return None
        self._reader.seek(place, offset)
        while await self._reader.position(place) <= offset:
            for records in (await self._reader.getmany(timeout_ms=100, max_records=1)).values():
                return record_of("", records[0]) if records[0].offset == offset else None
        return None  # it is no record, but the end of a transaction


def bare(token: str) -> str:
    """Without the "Bearer " that is put before it anew; what else it may hold is for the worker to judge."""
    token = token.strip(" \t\r\n")
    scheme, blank, rest = token.partition(" ")
    return rest.lstrip(" ") if blank and scheme.lower() == "bearer" else token


@asynccontextmanager
async def open_originals(kafka: KafkaSettings) -> AsyncIterator[Originals]:
    """Raises KafkaError, ConfigurationError when the topic does not exist."""
    partitions = await partition_count(kafka, "DEPLOYER_KAFKA__REQUESTS_TOPIC", kafka.requests_topic, Operation.READ)
    reader = AIOKafkaConsumer(
        **client_options(kafka), group_id=None, enable_auto_commit=False, auto_offset_reset="earliest"
    )
    async with running(reader):
        yield Originals(reader, kafka.requests_topic, partitions)
