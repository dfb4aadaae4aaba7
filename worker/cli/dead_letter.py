"""`dead-letter list | show | replay`: records that could not be read, and requests whose retries ran out."""

import argparse
import asyncio
import os
import sys
from dataclasses import dataclass, field

from worker.cli.submit import read_token
from worker.cli.terminal import configure_logging, run
from worker.client.dead_letters import DeadLetterFilter, build_replay, open_originals, read_dead_letters, send_replay
from worker.client.requests import open_publisher, published_statuses
from worker.errors import CommandError, WrongUsage
from worker.settings import ClientSettings, KafkaSettings, read_settings


def execute(arguments: argparse.Namespace) -> int:
    """Do what was asked to all matching dead letters; return 1 if one of them failed."""
    configure_logging()
    wanted = read_filter(arguments)
    if arguments.action == "replay" and wanted.matches_all and not arguments.all:
        raise WrongUsage("dead-letter replay: which ones? Choose with --offset, --code or the like, or give --all.")
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
    planned = [replay.request_id for letter in letters if (replay := letter.next_replay())]
    known = {it.status.request_id: it.status.state async for it in published_statuses(kafka, planned)}
    replayed = refused = before = 0
    async with open_publisher(kafka) as publisher, open_originals(kafka) as originals:
        try:
            for letter in letters:
                try:
                    request = await build_replay(letter, originals, ids, options.token, force=options.force)
                except CommandError as error:
                    refused += 1
                    print(f"{letter.title()}: {error}", file=sys.stderr, flush=True)
                    continue
                if state := known.get(request.request_id):
                    before += 1
                    print(f"{letter.title()}: it was replayed before as {request.request_id}, which is {state}.")
                    continue
                if not options.dry_run:
                    await asyncio.sleep(1 / options.rate if replayed else 0)
                    await send_replay(publisher, request, letter, permitted=options.token is None)
                replayed += 1
                print(f"{letter.title()} → {request.request_id}", flush=True)
        finally:  # even when interrupted
            sent, not_sent = (
                ("Would be replayed", "Cannot be sent") if options.dry_run else ("Replayed", "Could not be sent")
            )
            print(f"{sent}: {replayed}. {not_sent}: {refused}. Replayed before: {before}.", flush=True)
    return 1 if refused else 0
