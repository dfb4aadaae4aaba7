"""`bundle`: the solution.zip of one revision, without a playground and without Kafka."""

import argparse
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from worker.app import open_builder
from worker.cli.explain import explain
from worker.cli.failures import CommandError
from worker.cli.terminal import quiet, run
from worker.domain.bundle.archive import Bundle
from worker.sandbox.graphene import graphene_app
from worker.sandbox.serving import served
from worker.sandbox.stage import graphene_environment
from worker.settings import BuilderSettings, read_settings


def execute(arguments: argparse.Namespace) -> int:
    """Build it, then write it; 1 when the revision makes no bundle."""
    quiet()
    return run(_bundle(arguments))


async def _bundle(arguments: argparse.Namespace) -> int:
    if arguments.dir and not arguments.force:
        refuse_filled(arguments.dir)
    async with _settings(sandbox=arguments.sandbox) as settings, open_builder(settings) as builder:
        plan, bundle = await builder.build(arguments.solution_id, arguments.revision_id, None)
    if arguments.explain:
        print("\n".join(explain(plan, bundle)))
    written = write_zip(bundle, arguments.output) if arguments.output else write_files(bundle, arguments.dir)
    print(f"{written}: {len(bundle.files)} files, {len(bundle.data)} bytes as a zip, sha256 {bundle.sha256}")
    return 0


@asynccontextmanager
async def _settings(*, sandbox: bool) -> AsyncIterator[BuilderSettings]:
    if not sandbox:
        yield read_settings(os.environ, BuilderSettings)
        return
    ours = {name: value for name, value in os.environ.items() if name.startswith("DEPLOYER_BUNDLE__")}
    async with served(graphene_app()) as address:
        yield read_settings(ours | graphene_environment(address), BuilderSettings)


def refuse_filled(folder: Path) -> None:
    """Raises CommandError when there is something in the folder, OSError when it is none."""
    if folder.exists() and any(folder.iterdir()):
        raise CommandError(f"{folder} is not empty. Choose another folder, or add --force to write into this one.")


def write_zip(bundle: Bundle, path: Path) -> Path:
    """Beside it first, so that nobody ever reads half a zip. Raises CommandError, OSError."""
    if path.is_dir() or not path.parent.is_dir():
        raise CommandError(
            f"{path} cannot be written: {'it' if path.is_dir() else path.parent} is "
            f"{'a' if path.is_dir() else 'no'} folder."
        )
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_bytes(bundle.data)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    return path


def write_files(bundle: Bundle, folder: Path) -> Path:
    """What unpacking the zip would give; other files in the folder stay. Raises OSError."""
    for name, data in bundle.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder
