"""`submit`: publish one deployment request, and with --wait follow it."""

import argparse
import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import TextIO

from schemas import FINAL_STATES, DeploymentStatus, State
from worker.cli.status_line import status_line
from worker.cli.terminal import configure_logging, run
from worker.client import DeployerClient
from worker.domain.tokens import strip_bearer
from worker.errors import CommandError
from worker.settings import ClientSettings, KafkaSettings, read_settings

TIMED_OUT = 3
TOKEN_VARIABLE = "DEPLOYER_TOKEN"  # noqa: S105 - the variable's name


def execute(arguments: argparse.Namespace) -> int:
    """Publish; return 0, or with --wait 0 if the request is deployed, 1 if not, 3 on a timeout."""
    configure_logging()
    kafka = read_settings(os.environ, ClientSettings).kafka
    token = read_token(arguments.token_file, os.environ, sys.stdin if arguments.token_stdin else None)
    return run(_submit(kafka, arguments, token))


def read_token(file: Path | None, environ: Mapping[str, str], stdin: TextIO | None) -> str:
    """Return the token from the file, else from stdin, else from the environment. Raises CommandError.

    The command line is no source, because other users of the machine can see it.
    """
    try:
        if file is not None:
            text = file.read_text(encoding="utf-8")
        else:
            text = stdin.read() if stdin else environ.get(TOKEN_VARIABLE, "")
    except OSError as error:  # does not repeat the file's name, which may be the token itself
        reason = error.strerror or "the file cannot be read"
        raise CommandError(f"--token-file: {reason}. Give the name of a file.") from None
    except UnicodeDecodeError:
        raise CommandError("The token is not text. Give the token as Graphene issued it.") from None
    token = strip_bearer(" ".join(text.split()))
    if not token or " " in token:
        problem = "The input has more than one word" if token else "There is no token"
        raise CommandError(f"{problem}. Give one token with --token-file or --token-stdin, or set {TOKEN_VARIABLE}.")
    return token


async def _submit(kafka: KafkaSettings, arguments: argparse.Namespace, token: str) -> int:
    # With --wait, statuses must be readable before anything is published.
    async with DeployerClient(kafka, follows=arguments.wait) as client:
        request_id = await client.submit(
            arguments.solution_id, arguments.revision_id, token, request_id=arguments.request_id
        )
        print(request_id, flush=True)
        if not arguments.wait:
            return 0
        async with aclosing(client.follow(request_id)) as statuses:
            return await follow(statuses, State.DEPLOYED, request_id, arguments.timeout)


async def follow(statuses: AsyncIterator[DeploymentStatus], expected: State, request_id: str, seconds: float) -> int:
    """Print the statuses up to the final status; return 0 if its state is `expected`, 1 if not, 3 on a timeout."""
    try:
        async with asyncio.timeout(seconds):
            async for status in statuses:
                print(status_line(status), flush=True)
                if status.state in FINAL_STATES:
                    return 0 if status.state is expected else 1
    except TimeoutError:
        print(
            f"playground-deployer: no final status within {seconds:g} s. Continue with: "
            f"playground-deployer watch --from-beginning --request-id {request_id}",
            file=sys.stderr,
        )
        return TIMED_OUT
    raise AssertionError("aiokafka closed an endless stream")
