"""`bundle`: the solution.zip of one revision, without a playground and without Kafka."""

import argparse
import errno
import os
import secrets
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from fnmatch import fnmatch
from pathlib import Path

from schemas import Kind
from worker.app import open_builder
from worker.cli.terminal import configure_logging, run
from worker.domain.bundle.archive import Bundle
from worker.domain.bundle.plan import NODE_NAME_LIMIT, PIPELINE_NAME_LIMIT, Plan
from worker.errors import CommandError, one_line
from worker.sandbox.environment import graphene_environment
from worker.sandbox.graphene import graphene_app
from worker.sandbox.http_server import served
from worker.settings import BuilderSettings, read_settings

_FOLDER = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC
STDOUT = 1  # the descriptor, because sys.stdout is for text and the zip is binary


def execute(arguments: argparse.Namespace) -> int:
    """Build the bundle and write it; return 1 when the revision cannot be deployed."""
    configure_logging()
    if arguments.dir and not arguments.force:
        require_empty(arguments.dir)
    results: list[tuple[Plan, Bundle]] = []
    if code := run(_build(arguments, results)):
        return code
    # Written outside the event loop, so that Ctrl-C also interrupts the wait for the reader of a FIFO or a pipe.
    [(plan, bundle)] = results
    to_stdout = arguments.output is not None and is_stdout(arguments.output)
    messages = sys.stderr if to_stdout else sys.stdout
    if arguments.explain:
        print("\n".join(explain(plan, bundle)), file=messages)
    if to_stdout:
        write_stdout(bundle)
        destination = "stdout"
    elif arguments.output is not None:
        destination = str(write_zip(bundle, Path(arguments.output)))
    else:
        destination = str(write_files(bundle, arguments.dir))
    size = f"{len(bundle.files)} files, {len(bundle.data)} bytes as a zip, sha256 {bundle.sha256}"
    print(f"{destination}: {size}", file=messages)
    return 0


async def _build(arguments: argparse.Namespace, results: list[tuple[Plan, Bundle]]) -> int:
    async with _settings(sandbox=arguments.sandbox) as settings, open_builder(settings) as builder:
        results.append(await builder.build(arguments.solution_id, arguments.revision_id, None))
    return 0


@asynccontextmanager
async def _settings(*, sandbox: bool) -> AsyncIterator[BuilderSettings]:
    if not sandbox:
        yield read_settings(os.environ, BuilderSettings)
        return
    bundle_settings = {name: value for name, value in os.environ.items() if name.startswith("DEPLOYER_BUNDLE__")}
    async with served(graphene_app()) as address:
        yield read_settings(bundle_settings | graphene_environment(address), BuilderSettings)


# ---------------------------------------------------------------------------------------------------------- writing


def require_empty(folder: Path) -> None:
    """Verify that the folder is empty or does not exist. Raises CommandError, or OSError if the path is no folder."""
    if folder.exists() and any(folder.iterdir()):
        raise CommandError(f"{folder} is not empty. Choose another folder, or add --force to write into this folder.")


def is_stdout(output: str) -> bool:
    """Return whether `output` is `-`, or another name of stdout's file, such as /dev/stdout."""
    try:
        return output == "-" or os.path.samestat(Path(output).stat(), os.fstat(STDOUT))
    except OSError:
        return False


def write_stdout(bundle: Bundle) -> None:
    """Write the zip, and nothing else, to stdout. Raises OSError."""
    with open(STDOUT, "wb", closefd=False) as stdout:
        stdout.write(bundle.data)


def write_zip(bundle: Bundle, path: Path) -> Path:
    """Write the zip, and return `path`. Raises CommandError, OSError.

    A regular file is written atomically: under a temporary name, then renamed. A device, a FIFO or a link is opened
    and written in place, because a rename would replace it.
    """
    if path.is_dir():
        raise CommandError(f"{path} cannot be written: it is a folder.")
    if not path.parent.is_dir():
        raise CommandError(f"{path} cannot be written: {path.parent} is not a folder.")
    if path.is_symlink() or (path.exists() and not path.is_file()):
        path.write_bytes(bundle.data)
        return path
    _replace(path.name, bundle.data, path.parent)
    return path


def write_files(bundle: Bundle, folder: Path) -> Path:
    """Write the zip's files into the folder and return it; other files stay. Raises CommandError, OSError.

    The folder itself may be a link. Links in the folder are not followed: a linked file is replaced, a linked folder
    refused.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in bundle.files.items():
        *folders, file = name.split("/")
        opened = [os.open(folder, _FOLDER)]
        try:
            for depth, part in enumerate(folders, start=1):
                opened.append(_open_folder(opened[-1], part, folder.joinpath(*folders[:depth])))
            _replace(file, data, opened[-1])
        except IsADirectoryError:
            raise CommandError(f"{folder / name} cannot be written: it is a folder.") from None
        finally:
            for descriptor in opened:
                os.close(descriptor)
    return folder


def _open_folder(parent: int, name: str, path: Path) -> int:
    """Open a folder in a folder, created if missing. Raises CommandError for a link or a file, OSError."""
    with suppress(FileExistsError):
        os.mkdir(name, dir_fd=parent)
    try:
        return os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=parent)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENOTDIR):
            raise
    raise CommandError(f"{path} is a link or a file, and nothing is written through it. Remove it.")


def _replace(name: str, data: bytes, folder: int | Path) -> None:
    """Write a file atomically, under a temporary name first. No link is followed. Raises OSError."""
    parent = folder if isinstance(folder, int) else os.open(folder, _FOLDER)
    temporary = f".{secrets.token_hex(8)}.tmp"  # no one can plant a file of an unknown name
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(temporary, flags, 0o666, dir_fd=parent), "wb") as file:
            try:
                file.write(data)
                file.flush()
                os.replace(temporary, name, src_dir_fd=parent, dst_dir_fd=parent)
            except BaseException:
                os.unlink(temporary, dir_fd=parent)
                raise
    finally:
        if parent is not folder:
            os.close(parent)


# --------------------------------------------------------------------------------------------------------- --explain

# Pattern of an entry → purpose of the entry; the first match counts.
PURPOSES = (
    ("blueprint.json", "the pipeline, as the orchestrator runs it"),
    ("dockerinfo.json", "where the orchestrator finds each node"),
    ("deployments/pvc*.yaml", "the claim of a shared folder"),
    ("deployments/*service.yaml", "the Service of a node"),
    ("deployments/*deployment.yaml", "the container of a node"),
    ("microservice/*.proto", "the protobuf of a node"),
    ("orchestrator_client/*", "starts and watches the pipeline on the target"),
    ("protobuf/*", "the orchestrator's interface"),
    ("kubernetes-client-script.py", "deploys the bundle on the target"),
    ("requirements*.txt", "Python packages that the scripts need"),
    ("deployment-readme.txt", "how to deploy by hand"),
    ("modelname.txt", "the model's name, for older playground servers"),
    ("solution_icon.png", "the solution's picture"),
    ("solution_description.html", "the solution's description, sanitised"),
    ("*url*", "where the solution came from"),
    ("MANIFEST.json", "the solution's ids, and each file's sha256"),
)

RENAMED = " is called "  # in the warnings of worker.domain.bundle.plan
NAMES = (
    f"A node's name must be a DNS label: lower-case letters, digits and hyphens, a letter first, at most "
    f"{NODE_NAME_LIMIT} characters. A pipeline's name must fit a namespace: at most {PIPELINE_NAME_LIMIT} characters. "
    "Any other name is replaced by a readable form and a short hash."
)


def explain(plan: Plan, bundle: Bundle) -> Iterator[str]:
    """Yield lines that list the bundle's contents, and its differences from the author's solution with the reasons."""
    kind = "A single model" if plan.kind is Kind.SINGLE_MODEL else "A pipeline"
    yield one_line(plan.solution_name)
    yield f"{kind}: solution {plan.solution_id}, revision {plan.revision_id}."
    yield ""
    yield "What runs"
    for container in plan.containers:
        yield f"  {container.name}  {container.image}"
    for folder in plan.shared_folders:
        yield f"  shared folder {folder.path}: claim {folder.claim}, mounted in every model"
    yield ""
    yield "What differs from the author's solution"
    yield from (f"  {one_line(warning)}" for warning in plan.warnings or ("Nothing: every name is unchanged.",))
    if any(RENAMED in warning for warning in plan.warnings):
        yield f"  {NAMES}"
    yield ""
    if bundle.overridden:
        yield "What the operator's overrides changed"
        yield from (f"  {name}: {_entries(numbers)}" for name, numbers in bundle.overridden.items())
        yield ""
    yield "Files"
    width = max(map(len, bundle.files))
    yield from (f"  {name:<{width}}  {purpose(name)}" for name in sorted(bundle.files))
    yield ""


def purpose(name: str) -> str:
    """Return the purpose of an entry of the zip; empty for an unknown entry."""
    return next((text for pattern, text in PURPOSES if fnmatch(name, pattern)), "")


def _entries(numbers: tuple[int, ...]) -> str:
    return f"{'entry' if len(numbers) == 1 else 'entries'} {', '.join(map(str, numbers))}"
