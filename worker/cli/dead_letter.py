"""`dead-letter list | show | replay`: records that could not be read, and requests whose retries ran out."""

import argparse
import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiokafka import AIOKafkaConsumer, TopicPartition

from schemas import ReplayPermitted
from worker.adapters.kafka.acls import Operation
from worker.adapters.kafka.clients import client_options, fetch_record, open_reader
from worker.adapters.kafka.partition_store import record_of
from worker.cli.client import OutgoingRequest, RequestPublisher, open_publisher, partition_count
from worker.cli.dead_letter_reader import DeadLetterFilter, StoredDeadLetter, read_dead_letters
from worker.cli.error_messages import CommandError
from worker.cli.submit import read_token
from worker.cli.terminal import configure_logging, run
from worker.domain.dead_letter import MAX_REPLAYS
from worker.domain.request import Request, read_request
from worker.domain.tokens import strip_bearer
from worker.errors import one_line
from worker.settings import ClientSettings, KafkaSettings, read_settings


def execute(arguments: argparse.Namespace) -> int:
    """Do what was asked to all matching dead letters; return 1 if one of them failed."""
    configure_logging()
    wanted = read_filter(arguments)
    if arguments.action == "replay" and wanted.matches_all and not arguments.all:
        raise CommandError("dead-letter replay: which ones? Choose with --offset, --code or the like, or give --all.")
    kafka = read_settings(os.environ, ClientSettings).kafka
    if arguments.action == "list":
        return run(_list(kafka, wanted, as_json=arguments.json))
    if arguments.action == "show":
        return run(_show(kafka, wanted))
    token = read_token(arguments.token_file, {}, None) if arguments.token_file else None
    return run(_replay(kafka, wanted, ReplayOptions(token, arguments.rate, arguments.dry_run, arguments.force)))


def read_filter(arguments: argparse.Namespace) -> DeadLetterFilter:
    """Return the conditions on the command line."""
    if arguments.action == "show":
        return DeadLetterFilter(frozenset(arguments.places))
    key = arguments.key
    return DeadLetterFilter(
        frozenset((*arguments.places, *(arguments.offset or ()))),
        arguments.code,
        None if key is None else key.encode(errors="surrogateescape"),  # any bytes that the shell passed
        arguments.request_id,
        arguments.since,
    )


async def _list(kafka: KafkaSettings, wanted: DeadLetterFilter, *, as_json: bool) -> int:
    async for letter in read_dead_letters(kafka, wanted):
        print(letter.json() if as_json else letter.line(), flush=True)
    return 0


async def _show(kafka: KafkaSettings, wanted: DeadLetterFilter) -> int:
    missing = set(wanted.places)
    async for letter in read_dead_letters(kafka, wanted):
        missing.discard(letter.place)
        print(letter.json(indent=2), flush=True)
    if missing:
        names = ", ".join(sorted(map(str, missing)))
        raise CommandError(f"There is no dead letter at {names}. List them with: playground-deployer dead-letter list.")
    return 0


# ----------------------------------------------------------------------------------------------------------- replay


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """How to replay. Without a token, each request is sent with the token of its original record."""

    token: str | None = field(repr=False)
    rate: float  # requests per second
    dry_run: bool
    force: bool


async def _replay(kafka: KafkaSettings, wanted: DeadLetterFilter, options: ReplayOptions) -> int:
    """Print one line per dead letter, then their number; return 1 if one of them could not be replayed."""
    letters = [letter async for letter in read_dead_letters(kafka, wanted)]
    ids: dict[tuple[str, int], str] = {}  # of two letters of one request no two deployments must come
    replayed = refused = 0
    async with open_publisher(kafka) as publisher, open_originals(kafka) as originals:
        try:
            for letter in letters:
                try:
                    request = await build_replay(letter, originals, options, ids)
                except CommandError as error:
                    refused += 1
                    print(f"{letter.title()}: {error}", file=sys.stderr, flush=True)
                    continue
                if not options.dry_run:
                    await asyncio.sleep(1 / options.rate if replayed else 0)
                    await _send(publisher, request, letter, permitted=options.token is None)
                replayed += 1
                print(f"{letter.title()} → {request.request_id}", flush=True)
        finally:  # even when interrupted
            print(f"{replayed} {'would be' if options.dry_run else 'were'} replayed, {refused} not.", flush=True)
    return 1 if refused else 0


async def _send(
    publisher: RequestPublisher, request: OutgoingRequest, letter: StoredDeadLetter, *, permitted: bool
) -> None:
    """Publish it where its user's requests belong; before it, that it is a replay of what was accepted once."""
    if permitted and letter.fingerprint and request.replay_of:
        permit = ReplayPermitted(
            request_id=request.request_id, replay_of=request.replay_of, fingerprint=letter.fingerprint
        )
        await publisher.permit(permit, letter.key or b"")
    await publisher.publish(request, key=letter.key)


async def build_replay(
    letter: StoredDeadLetter, originals: "OriginalRecords", options: ReplayOptions, ids: dict[tuple[str, int], str]
) -> OutgoingRequest:
    """Build the request to send; `ids` are those that other letters of the same request have led to.

    Raises KafkaError, or CommandError when the letter cannot be replayed.
    """
    replay, requested = letter.next_replay(), letter.requested
    if replay is None or requested is None:
        raise CommandError(
            f"the record could not be read ({one_line(letter.code)}), so there is nothing to replay. "
            "Ask its sender to send it again."
        )
    if letter.key is None:
        raise CommandError("it has no key, so its user is unknown. Ask its sender to send it again.")
    if replay.number > MAX_REPLAYS and not options.force:
        raise CommandError(f"it has already been replayed {MAX_REPLAYS} times. Find out why it fails, or add --force.")
    originals.require_origin(letter)
    token = options.token or await originals.token(letter)
    if token is None:
        raise CommandError("Kafka has deleted its record, and the token with it. Give a token with --token-file.")
    request_id = ids.setdefault((replay.original, replay.number), replay.request_id)
    request = OutgoingRequest(request_id, requested.solution_id, requested.revision_id, token, replay.original)
    if options.token and request.user_id.encode() != letter.key:
        raise CommandError(
            "it belongs to another user than the token. Choose with --key, or give that user's --token-file."
        )
    return request


class OriginalRecords:
    """The records of the dead letters' requests, as long as Kafka keeps them."""

    def __init__(self, reader: AIOKafkaConsumer, topic: str, partitions: int) -> None:
        self._reader = reader
        self._topic = topic
        self._partitions = partitions

    def require_origin(self, letter: StoredDeadLetter) -> None:
        """Verify that the request came from a partition of this topic. Raises CommandError."""
        if letter.topic != self._topic:
            raise CommandError(
                f"its request came from the topic '{one_line(letter.topic)}'. "
                "Set DEPLOYER_KAFKA__REQUESTS_TOPIC to that topic."
            )
        if letter.original.partition not in range(self._partitions):
            raise CommandError(
                f"'{self._topic}' has no partition {letter.original.partition}. Send it again with: "
                "playground-deployer submit."
            )

    async def token(self, letter: StoredDeadLetter) -> str | None:
        """Return the token of the original record; None when the record is gone. Raises KafkaError."""
        tp = TopicPartition(self._topic, letter.original.partition)
        record = await fetch_record(self._reader, tp, letter.original.offset)
        if record is None or record.timestamp != letter.original_ms:  # another record, in a topic created since
            return None
        request = read_request(record_of("", record))
        return strip_bearer(request.token) if isinstance(request, Request) else None


@asynccontextmanager
async def open_originals(kafka: KafkaSettings) -> AsyncIterator[OriginalRecords]:
    """Open the requests topic for reading. Raises KafkaError, or ConfigurationError when it does not exist."""
    partitions = await partition_count(kafka, "DEPLOYER_KAFKA__REQUESTS_TOPIC", kafka.requests_topic, Operation.READ)
    async with open_reader(client_options(kafka), []) as reader:
        yield OriginalRecords(reader, kafka.requests_topic, partitions)
