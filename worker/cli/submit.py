"""`submit`: publish one deployment request, and follow it if asked to."""

import argparse
import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import TextIO
from uuid import uuid4

from schemas import FINAL_STATES, DeploymentStatus, State, fingerprint
from worker.cli.client import OutgoingRequest, StatusEvent, open_publisher, open_statuses
from worker.cli.error_messages import CommandError
from worker.cli.status_table import status_line
from worker.cli.terminal import configure_logging, run
from worker.domain.tokens import strip_bearer
from worker.settings import ClientSettings, KafkaSettings, read_settings

TIMED_OUT = 3
TOKEN_VARIABLE = "DEPLOYER_TOKEN"  # noqa: S105 - the variable's name


def execute(arguments: argparse.Namespace) -> int:
    """Publish; return 0, or with --wait 0 if the request is deployed, 1 if not, 3 if the time is up first."""
    configure_logging()
    kafka = read_settings(os.environ, ClientSettings).kafka
    token = read_token(arguments.token_file, os.environ, sys.stdin if arguments.token_stdin else None)
    request_id = arguments.request_id or str(uuid4())
    request = OutgoingRequest(request_id, arguments.solution_id, arguments.revision_id, token)
    if not arguments.wait:
        return run(_submit(kafka, request))
    from_beginning = arguments.request_id is not None  # sent before, perhaps: its status may be there already
    return run(_submit_and_wait(kafka, request, arguments.timeout, from_beginning=from_beginning))


def read_token(file: Path | None, environ: Mapping[str, str], stdin: TextIO | None) -> str:
    """Return the token from the first source that is given; never from the command line, which others can see.

    Raises CommandError.
    """
    try:
        if file is not None:
            text = file.read_text(encoding="utf-8")
        else:
            text = stdin.read() if stdin else environ.get(TOKEN_VARIABLE, "")
    except OSError as error:  # does not repeat the file's name, which may be the token itself
        raise CommandError(f"--token-file: {error.strerror or 'it cannot be read'}. Give the name of a file.") from None
    except UnicodeDecodeError:
        raise CommandError("The token is not text. Give it as Graphene issued it.") from None
    token = strip_bearer(" ".join(text.split()))
    if not token or " " in token:
        problem = "There is more than a token" if token else "There is no token"
        raise CommandError(f"{problem}. Give one with --token-file or --token-stdin, or set {TOKEN_VARIABLE}.")
    return token


async def _submit(kafka: KafkaSettings, request: OutgoingRequest) -> int:
    async with open_publisher(kafka) as publisher:
        await publisher.publish(request)
    print(request.request_id, flush=True)
    return 0


async def _submit_and_wait(
    kafka: KafkaSettings, request: OutgoingRequest, seconds: float, *, from_beginning: bool
) -> int:
    async with (
        open_publisher(kafka) as publisher,
        # Opened before the request is published, so that no status is missed.
        open_statuses(kafka, [publisher.partition(request.user_id.encode())], from_beginning=from_beginning) as events,
    ):
        offset = await publisher.publish(request)
        print(request.request_id, flush=True)
        return await follow(
            events,
            lambda status: is_about(status, request, offset),
            State.DEPLOYED,
            request.request_id,
            seconds,
        )


async def follow(
    events: AsyncIterator[StatusEvent],
    is_wanted: Callable[[DeploymentStatus], bool],
    expected: State,
    request_id: str,
    seconds: float,
) -> int:
    """Print the wanted statuses up to the final one; return 0 if it is the expected one, 1 if not, 3 on a timeout."""
    try:
        async with asyncio.timeout(seconds):
            async for event in events:
                if is_wanted(event.status):
                    print(status_line(event.status), flush=True)
                    if event.status.state in FINAL_STATES:
                        return 0 if event.status.state is expected else 1
    except TimeoutError:
        print(
            f"playground-deployer: no final status within {seconds:g} s. Continue with: "
            f"playground-deployer watch --from-beginning --request-id {request_id}",
            file=sys.stderr,
        )
        return TIMED_OUT
    raise AssertionError("aiokafka ended an endless stream")


def is_about(status: DeploymentStatus, request: OutgoingRequest, offset: int) -> bool:
    """Return whether a status is about the record at this offset, or about the same request sent earlier."""
    if status.source.offset == offset:
        return True
    same = fingerprint(request.user_id, request.solution_id, request.revision_id)
    return status.request_id == request.request_id and status.fingerprint == same
