"""`submit`: publish one deployment request, and follow it when asked to."""

import argparse
import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import TextIO
from uuid import uuid4

from schemas import FINAL_STATES, DeploymentStatus, State
from worker.cli.client import Ask, Event, open_requests, open_statuses
from worker.cli.failures import CommandError
from worker.cli.terminal import quiet, run
from worker.cli.view import line
from worker.delivery.progress import identity
from worker.settings import ClientSettings, KafkaSettings, read_settings

TIMED_OUT = 3
TOKEN_VARIABLE = "DEPLOYER_TOKEN"  # noqa: S105 - the variable's name


def execute(arguments: argparse.Namespace) -> int:
    """0 when published, or with --wait when deployed; 1 when it ended otherwise, 3 when time ran out."""
    quiet()
    kafka = read_settings(os.environ, ClientSettings).kafka
    token = read_token(arguments.token_file, os.environ, sys.stdin if arguments.token_stdin else None)
    ask = Ask(arguments.request_id or str(uuid4()), arguments.solution_id, arguments.revision_id, token)
    if not arguments.wait:
        return run(_submit(kafka, ask))
    return run(_submit_and_wait(kafka, ask, arguments.timeout, from_beginning=arguments.request_id is not None))


def read_token(file: Path | None, environ: Mapping[str, str], stdin: TextIO | None) -> str:
    """The token, from the first of them that is given; never from the command line, where others could read it.

    Raises CommandError.
    """
    try:
        if file is not None:
            token = file.read_text(encoding="utf-8")
        else:
            token = stdin.read() if stdin else environ.get(TOKEN_VARIABLE, "")
    except OSError as error:  # the file's name is not repeated: it may be the token itself
        raise CommandError(f"--token-file: {error.strerror or 'it cannot be read'}. Give the name of a file.") from None
    except UnicodeDecodeError:
        raise CommandError("What should be a token is no text. Give it as Graphene issued it.") from None
    words = token.split()
    if len(words) == 2 and words[0].lower() == "bearer":
        words = words[1:]
    if len(words) != 1:
        problem = "There is more than a token" if words else "There is no token"
        raise CommandError(f"{problem}. Give one with --token-file or --token-stdin, or set {TOKEN_VARIABLE}.")
    return words[0]


async def _submit(kafka: KafkaSettings, ask: Ask) -> int:
    async with open_requests(kafka) as requests:
        await requests.publish(ask)
    print(ask.request_id, flush=True)
    return 0


async def _submit_and_wait(kafka: KafkaSettings, ask: Ask, seconds: float, *, from_beginning: bool) -> int:
    """A request id that was given may have been used before: then its status may be there already."""
    async with (
        open_requests(kafka) as requests,
        # Opened before the request is published, so that not one status is missed.
        open_statuses(kafka, [requests.partition(ask)], from_beginning=from_beginning) as events,
    ):
        offset = await requests.publish(ask)
        print(ask.request_id, flush=True)
        try:
            async with asyncio.timeout(seconds):
                return await _follow(events, ask, offset)
        except TimeoutError:
            print(
                f"playground-deployer: no final status within {seconds:g} s. Go on with: "
                f"playground-deployer watch --from-beginning --request-id {ask.request_id}",
                file=sys.stderr,
            )
            return TIMED_OUT


async def _follow(events: AsyncIterator[Event], ask: Ask, offset: int) -> int:
    async for event in events:
        status = event.status
        if is_about(status, ask, offset):
            print(line(status), flush=True)
            if status.state in FINAL_STATES:
                return 0 if status.state is State.DEPLOYED else 1
    raise AssertionError("aiokafka ended a stream without end")


def is_about(status: DeploymentStatus, ask: Ask, offset: int) -> bool:
    """Whether a status is about the record at this offset, or about the same request sent earlier."""
    if status.source.offset == offset:
        return True
    same = identity(ask.user_id, ask.solution_id, ask.revision_id)
    return status.request_id == ask.request_id and status.identity == same
