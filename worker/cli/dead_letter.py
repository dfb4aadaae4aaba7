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
    """List, show or replay all matching dead letters; return 1 if a replay failed."""
    configure_logging()
    wanted = read_filter(arguments)
    if arguments.action == "replay" and wanted.matches_all and not arguments.all:
        raise WrongUsage(
            "dead-letter replay: no dead letter is selected. Give --offset, --code or another filter, or --all."
        )
    kafka = read_settings(os.environ, ClientSettings).kafka
    if arguments.action == "list":
        return run(_list(kafka, wanted, as_json=arguments.json))
    if arguments.action == "show":
        return run(_show(kafka, wanted))
    token = read_token(arguments.token_file, {}, None) if arguments.token_file else None
    return run(_replay(kafka, wanted, ReplayOptions(token, arguments.rate, arguments.dry_run, arguments.force)))


def read_filter(arguments: argparse.Namespace) -> DeadLetterFilter:
    """Return the command line's conditions."""
    if arguments.action == "show":
        return DeadLetterFilter(frozenset(arguments.positions))
    key = arguments.key
    return DeadLetterFilter(
        frozenset((*arguments.positions, *(arguments.offset or ()))),
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
    missing = set(wanted.positions)
    async for letter in read_dead_letters(kafka, wanted):
        missing.discard(letter.position)
        print(letter.json(indent=2), flush=True)
    if missing:
        names = ", ".join(sorted(map(str, missing)))
        raise CommandError(f"There is no dead letter at {names}. List them with: playground-deployer dead-letter list.")
    return 0


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """Options of `replay`. Without a token, each request is sent with the token of its original record."""

    token: str | None = field(repr=False)
    rate: float  # requests per second
    dry_run: bool
    force: bool


async def _replay(kafka: KafkaSettings, wanted: DeadLetterFilter, options: ReplayOptions) -> int:
    """Print one line per dead letter, then the totals; return 1 if a dead letter could not be replayed."""
    letters = [letter async for letter in read_dead_letters(kafka, wanted)]
    ids: dict[tuple[str, int], str] = {}  # two dead letters of one request must not cause two deployments
    planned = [replay.request_id for letter in letters if (replay := letter.next_replay())]
    known = {event.status.request_id: event.status.state async for event in published_statuses(kafka, planned)}
    replayed = refused = repeated = 0
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
                    repeated += 1
                    print(f"{letter.title()}: already replayed as {request.request_id}, which is {state}.")
                    continue
                if not options.dry_run:
                    await asyncio.sleep(1 / options.rate if replayed else 0)
                    await send_replay(publisher, request, letter, permitted=options.token is None)
                replayed += 1
                print(f"{letter.title()} → {request.request_id}", flush=True)
        finally:  # even when interrupted
            success, failure = (
                ("Would be replayed", "Cannot be sent") if options.dry_run else ("Replayed", "Could not be sent")
            )
            print(f"{success}: {replayed}. {failure}: {refused}. Already replayed: {repeated}.", flush=True)
    return 1 if refused else 0
