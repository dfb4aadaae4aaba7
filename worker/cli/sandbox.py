"""`sandbox`: one of the demo's dependencies alone, for a worker in a container."""

import argparse
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

from aiohttp import web

from worker.cli.terminal import configure_logging, run, until_stopped
from worker.errors import CommandError
from worker.sandbox.graphene import graphene_app
from worker.sandbox.http_server import served
from worker.sandbox.playground import playground_app
from worker.sandbox.playground_confinement import NOT_RUN, Confinement, find_confinement
from worker.sandbox.users import SANDBOX_USER, UNANSWERED_USER, sandbox_token

TOKEN_LIFETIME = timedelta(hours=12)


def execute(arguments: argparse.Namespace) -> int:
    """Print a token, or serve until a stop signal; return the exit code."""
    if arguments.part == "token":
        user = UNANSWERED_USER if arguments.parked else SANDBOX_USER
        print(sandbox_token(datetime.now(UTC), TOKEN_LIFETIME, user))
        return 0
    configure_logging()
    host, _, port = arguments.listen.rpartition(":")
    secret, confinement = None, None
    if arguments.part == "playground":
        secret, confinement = read_secret(arguments.secret_file), find_confinement()
        print(confinement.about if confinement else NOT_RUN)
    with open_dependency(arguments.part, host, secret, confinement) as app:
        return run(_serve(arguments.part, app, host, int(port)))


def read_secret(file: Path) -> str:
    """Read the secret part of the playground's path. Raises CommandError, OSError."""
    secret = file.read_text(encoding="utf-8", errors="replace").strip()
    if not re.fullmatch(r"[A-Za-z0-9_-]{16,}", secret):
        raise CommandError(f"{file} needs one line of 16 or more letters, digits, hyphens and underscores.")
    return secret


@contextmanager
def open_dependency(
    part: str, host: str, secret: str | None = None, confinement: Confinement | None = None
) -> Iterator[web.Application]:
    """Create the application of `part`, for the address `host`, in a container named `part`."""
    if part == "graphene":
        yield graphene_app(names=[part])
        return
    # On an address that other machines can reach, their POSTs are accepted.
    allowed = ("127.0.0.1", host) if IPv4Address(host).is_loopback else None
    with tempfile.TemporaryDirectory(prefix="playground-") as folder:
        yield playground_app(
            Path(folder), allowed_addresses=allowed, confinement=confinement, secret=secret, names=[part]
        )


async def _serve(part: str, app: web.Application, host: str, port: int) -> int:
    async with served(app, host, port) as address:
        print(f"{part}: {address}", flush=True)
        await until_stopped()
    return 0
