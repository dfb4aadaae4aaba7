"""`dead-letter list | show | replay`: what could not be read, and requests whose retries ran out."""

import argparse
import os

from worker.cli.failures import CommandError
from worker.cli.letters import Choice, letters
from worker.cli.replays import Replays, replay
from worker.cli.submit import read_token
from worker.cli.terminal import quiet, run
from worker.settings import ClientSettings, KafkaSettings, read_settings


def execute(arguments: argparse.Namespace) -> int:
    """0 when everything that was chosen was done; 1 when something was not."""
    quiet()
    choice = chosen(arguments)
    if arguments.action == "replay" and choice.everything and not arguments.all:
        raise CommandError("dead-letter replay: which ones? Choose with --offset, --code or the like, or give --all.")
    kafka = read_settings(os.environ, ClientSettings).kafka
    if arguments.action == "list":
        return run(_list(kafka, choice, as_json=arguments.json))
    if arguments.action == "show":
        return run(_show(kafka, choice))
    token = read_token(arguments.token_file, {}, None) if arguments.token_file else None
    return run(replay(kafka, choice, Replays(token, arguments.rate, arguments.dry_run, arguments.force)))


def chosen(arguments: argparse.Namespace) -> Choice:
    """The command line's conditions."""
    if arguments.action == "show":
        return Choice(frozenset(arguments.places))
    key = arguments.key
    return Choice(
        frozenset((*arguments.places, *(arguments.offset or ()))),
        arguments.code,
        None if key is None else key.encode(errors="surrogateescape"),  # whatever bytes the shell gave
        arguments.request_id,
        arguments.since,
    )


async def _list(kafka: KafkaSettings, choice: Choice, *, as_json: bool) -> int:
    async for letter in letters(kafka, choice):
        print(letter.json() if as_json else letter.line(), flush=True)
    return 0


async def _show(kafka: KafkaSettings, choice: Choice) -> int:
    missing = set(choice.places)
    async for letter in letters(kafka, choice):
        missing.discard(letter.place)
        print(letter.json(indent=2), flush=True)
    if missing:
        names = ", ".join(sorted(map(str, missing)))
        raise CommandError(f"There is no dead letter at {names}. Look with: playground-deployer dead-letter list.")
    return 0
