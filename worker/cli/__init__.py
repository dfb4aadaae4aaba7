"""The commands: one module each, imported only when it runs, so that `--help` is quick.

    playground-deployer run | demo | submit | watch | bundle | check | resolve
    playground-deployer dead-letter list|show|replay, sandbox graphene|playground|token

Exit codes: 0 it did what was asked, 1 it did not (one sentence on stderr says why), 2 wrong usage,
3 `--wait` ran out of time, 130 Ctrl-C, 143 SIGTERM. A traceback is a defect of ours.
"""

import argparse
import importlib
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from worker import __version__
from worker.cli import words

INTERRUPTED, TERMINATED = 130, 143  # 128 + SIGINT or SIGTERM, as shells have it
WAIT_SECONDS = 600.0  # longer than the playground's own limit, with some time in the queue


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; `argv` is the command line without the program's name. Returns the exit code."""
    arguments = _parser().parse_args(argv)
    if os.getpid() == 1:  # in a container, where the kernel drops what process 1 has no handler for
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))  # until the command has its own
    try:
        execute: Callable[[argparse.Namespace], int] = importlib.import_module(arguments.module).execute
        return execute(arguments)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # `watch | head`: nobody reads on, and the interpreter must not try to flush
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        from worker.cli.failures import explain  # noqa: PLC0415 - slow to import, rarely needed

        sentence = explain(error)
        if sentence is None:
            raise
        print(f"playground-deployer: {sentence}", file=sys.stderr)
        return 1


class _Parser(argparse.ArgumentParser):
    """Repeats no token that stands where none belongs, and no value of an option that does not exist."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and exit with 2."""
        from worker.observability.logs import without_encoded  # noqa: PLC0415 - slow to import, rarely needed

        if message.startswith("unrecognized arguments"):
            message = re.sub(r"(?<=\s)(--?[\w-]+)(?:=|\s+)[^\s-]\S*", r"\1", message)
        super().error(without_encoded(message))


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="playground-deployer",
        description="Turns AI pipelines composed in Eclipse Graphene into running deployments on a playground cluster.",
        epilog="Settings are environment variables DEPLOYER_<GROUP>__<NAME>; README.md lists them. "
        "To see it work on this machine: playground-deployer demo",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add(commands, "run", "the worker: requests in, deployments and their status events out")
    _demo(_add(commands, "demo", "four requests from start to end on this machine; needs nothing but Python"))
    _submit(_add(commands, "submit", "publish one deployment request; --wait follows it to its end"))
    _watch(_add(commands, "watch", "follow the status topic live"))
    _bundle(_add(commands, "bundle", "build the solution.zip of one revision; no playground, no Kafka"))
    _add(commands, "check", "verify the settings and reach every dependency; changes nothing")
    _resolve(_add(commands, "resolve", "settle a parked request: say what became of its POST"))
    _dead_letter(_add(commands, "dead-letter", "list, show and replay what could not be read or was given up"))
    _sandbox(_add(commands, "sandbox", "a Graphene or a playground to try a worker with, as the demo has them"))
    return parser


def _add(commands: "argparse._SubParsersAction[_Parser]", name: str, purpose: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name, help=purpose, description=f"{purpose[0].upper()}{purpose[1:]}.", allow_abbrev=False
    )
    parser.set_defaults(module=f"worker.cli.{name.replace('-', '_')}")
    return parser


def _demo(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--kafka",
        metavar="HOST:PORT",
        type=words.address,
        help="use this Kafka, with topics of its own name, instead of an embedded one",
    )
    parser.add_argument("--keep", action="store_true", help="leave everything up until Ctrl-C, to try more commands")
    parser.add_argument(
        "--output", metavar="DIR", type=Path, default=Path("demo-output"), help="for the zips (default: ./demo-output)"
    )


def _submit(parser: argparse.ArgumentParser) -> None:
    _revision(parser)
    token = parser.add_mutually_exclusive_group()
    token.add_argument("--token-file", metavar="FILE", type=Path, help="holds the user's Graphene token")
    token.add_argument(
        "--token-stdin", action="store_true", help="read the token from stdin; without both: DEPLOYER_TOKEN"
    )
    parser.add_argument("--request-id", metavar="ID", type=words.request_id, help="default: a new one")
    _wait(parser)


def _watch(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--from-beginning", action="store_true", help="show what the topic still holds, then go on")
    parser.add_argument("--request-id", metavar="ID", type=words.request_id, help="this request only")
    parser.add_argument("--json", action="store_true", help="one event per line, as it was published")


def _bundle(parser: argparse.ArgumentParser) -> None:
    _revision(parser)
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument("--output", metavar="FILE.zip", type=Path, help="write the zip")
    target.add_argument("--dir", metavar="DIR", type=Path, help="write its files; DIR must be empty or new")
    parser.add_argument(
        "--force", action="store_true", help="with --dir: write into a folder with files in it, which stay"
    )
    parser.add_argument("--explain", action="store_true", help="say what is in it and why each name changed")
    parser.add_argument(
        "--sandbox", action="store_true", help="take the solution from the demo's Graphene, started for this command"
    )


def _resolve(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("request_id", metavar="requestId", type=words.request_id, help="as its status shows it")
    parser.add_argument(
        "--as",
        dest="outcome",
        choices=("deployed", "failed", "retry"),
        required=True,
        help="what the playground shows; `retry` POSTs again",
    )
    parser.add_argument("--deployment-id", metavar="ID", help="with deployed: the namespace, for the status")
    parser.add_argument("--deployment-url", metavar="URL", help="and its page on the dashboard")
    parser.add_argument("--reason", metavar="TEXT", help="how it is known; everybody can read it")
    parser.add_argument("--by", metavar="NAME", help="who says so (default: the user of this machine)")
    parser.add_argument("--partition", metavar="N", type=int, help="when the id was used in more than one")
    _wait(parser)


def _dead_letter(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(metavar="ACTION", dest="action", required=True)
    for name, purpose in (
        ("list", "one line per dead letter"),
        ("show", "everything of them, as JSON"),
        ("replay", "send their requests again, under new ids"),
    ):
        action = actions.add_parser(name, help=purpose, description=f"{purpose.capitalize()}.", allow_abbrev=False)
        action.add_argument(
            "places",
            metavar="PARTITION:OFFSET",
            type=words.place,
            nargs="+" if name == "show" else "*",
            help="of the dead letter, as `list` shows it",
        )
        if name != "show":
            _choice(action)
        if name == "list":
            action.add_argument("--json", action="store_true", help="one JSON object per line")
        if name == "replay":
            _replay(action)


def _choice(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--offset", metavar="P:O", type=words.place, action="append", help="the same; may be given more than once"
    )
    parser.add_argument("--code", metavar="CODE", help="this error code only")
    parser.add_argument("--key", metavar="USER", help="this record key only: the user's id")
    parser.add_argument("--request-id", metavar="ID", type=words.request_id, help="this request only")
    parser.add_argument("--since", metavar="TIME", type=words.moment, help="not before, e.g. 2026-01-31T12:00:00Z")


def _replay(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--all", action="store_true", help="all of them")
    parser.add_argument("--dry-run", action="store_true", help="say what would be sent, and send nothing")
    parser.add_argument("--rate", metavar="N", type=words.rate, default=10.0, help="a second (default: %(default)g)")
    parser.add_argument(
        "--token-file", metavar="FILE", type=Path, help="holds one token for all; without: the original record's"
    )
    parser.add_argument("--force", action="store_true", help="also what was replayed often already")


def _sandbox(parser: argparse.ArgumentParser) -> None:
    parts = parser.add_subparsers(metavar="PART", dest="part", required=True)
    parts.add_parser("token", help="print a token for requests, good for 12 hours", allow_abbrev=False)
    for name, purpose in (
        ("graphene", "its database service and its repository"),
        ("playground", "takes bundles and runs their scripts in --dry-run: keep strangers away from it"),
    ):
        part = parts.add_parser(name, help=purpose, description=f"{purpose.capitalize()}.", allow_abbrev=False)
        part.add_argument(
            "--listen",
            metavar="ADDRESS:PORT",
            type=words.listener,
            default="127.0.0.1:8000",
            help="where (default: %(default)s); whoever reaches it may use it",
        )


def _wait(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--wait", action="store_true", help="follow the request; exit 0 only when it ends as said")
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=words.seconds,
        default=WAIT_SECONDS,
        help="for --wait (default: %(default)g); exit 3 when they have passed",
    )


def _revision(parser: argparse.ArgumentParser) -> None:
    for name, text in (("solution", "Graphene's id of the solution"), ("revision", "and of one revision of it")):
        parser.add_argument(f"{name}_id", metavar=f"{name}Id", type=words.uuid, help=text)
