"""The commands: one module each, imported only when its command runs, so that `--help` is fast.

    playground-deployer run | gateway | demo | submit | watch | status | bundle | check | resolve
    playground-deployer dead-letter list|show|replay, sandbox graphene|playground|token

Exit codes: 0 success, 1 failure (one sentence on stderr says why), 2 wrong usage, 3 `--wait` timed out,
130 Ctrl-C, 143 SIGTERM. A traceback means a bug in this program.
"""

import argparse
import gc
import importlib
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from itertools import takewhile
from pathlib import Path
from typing import Any, NoReturn

from worker import __version__
from worker.cli import argument_types

WRONG_USAGE = 2  # as argparse has it
INTERRUPTED, TERMINATED = 130, 143  # 128 + SIGINT or SIGTERM, as shells report it
WAIT_SECONDS = 600.0  # the playground's own limit and some time in the queue


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; `argv` is the command line without the program's name."""
    arguments, unknown = _parser().parse_known_args(argv)
    if unknown:
        arguments.parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    if os.getpid() == 1:  # in a container, where process 1 gets no signal without a handler
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))  # until the command sets its own handler
    try:
        return _command(arguments.module)(arguments)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # `watch | head`: the reader is gone, and the interpreter must not try to flush
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        from worker.cli.error_messages import error_message  # noqa: PLC0415 - slow to import, rarely needed
        from worker.errors import WrongUsage  # noqa: PLC0415 - the same

        sentence = error_message(error)
        if sentence is None:
            raise
        print(f"playground-deployer: {sentence}", file=sys.stderr)
        return WRONG_USAGE if isinstance(error, WrongUsage) else 1


def _command(module: str) -> Callable[[argparse.Namespace], int]:
    """Import a command, in as little time as its libraries allow."""
    gc.disable()  # what is imported stays: looking for garbage in it would take a tenth of the time
    try:
        _import_structlog()
        execute: Callable[[argparse.Namespace], int] = importlib.import_module(module).execute
        return execute
    finally:
        gc.enable()


def _import_structlog() -> None:
    """Import structlog without rich, which it takes where it is installed, for tracebacks that no log of ours has.

    rich is a fifth of the time until `status` or `resolve` asks Kafka; what draws with it imports it afterwards.
    """
    if {"structlog", "rich"}.isdisjoint(sys.modules):
        without_rich: dict[str, Any] = {"rich": None}  # as Python has it: the import fails as if it were not there
        sys.modules.update(without_rich)
        try:
            importlib.import_module("structlog")
        finally:
            del sys.modules["rich"]


class _Parser(argparse.ArgumentParser):
    """Never repeats a misplaced token, nor the value of an unknown option, but says which known word is like it."""

    _words: Sequence[str] = ()

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse, and remember the words for `error`."""
        self._words = sys.argv[1:] if args is None else args
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Print what is wrong and exit with 2."""
        from worker.observability.logs import without_encoded  # noqa: PLC0415 - slow to import, rarely needed

        if not message.startswith("unrecognized arguments") and (unknown := self._unknown_options()):
            # An option that is not understood leaves its value behind, or an argument missing: that is no news.
            message = f"unrecognized arguments: {' '.join(unknown)}"
        if message.startswith("unrecognized arguments"):
            message = re.sub(r"(?<=\s)(--?[\w-]+)(?:=|\s+)[^\s-]\S*", r"\1", message)
            given, known = re.findall(r"--[\w-]+", message), list(self._option_string_actions)
        else:
            invalid, _, choices = message.rpartition(" (choose from ")
            given, known = re.findall(r"invalid choice: '(.+)'", invalid), re.findall(r"[\w-]+", choices)
        likely = [it for word in given for it in get_close_matches(word, known, 1)]
        hint = f". Did you mean {likely[0]}?" if likely else ""
        super().error(without_encoded(f"{message}{hint}"))

    def _unknown_options(self) -> list[str]:
        """Return the words of ours that begin as an option does and are none; what follows a command is its own."""
        words = takewhile(lambda word: word != "--", self._words)
        if self._subparsers:
            words = takewhile(lambda word: word.startswith("-"), words)
        names = [match[0] for word in words if (match := re.match(r"--[\w-]+", word))]
        return [name for name in names if name not in self._option_string_actions]


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="playground-deployer",
        description="Turns AI pipelines composed in Eclipse Graphene into running deployments on a playground cluster.",
        epilog="Settings are environment variables DEPLOYER_<GROUP>__<NAME>; docs/settings.md lists them. "
        "To see it work on this machine: playground-deployer demo",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add(commands, "run", "the worker: reads requests, deploys them and publishes their statuses")
    _gateway(
        _add(commands, "gateway", "HTTP for the portal, browsers and programs: publishes requests, shows statuses")
    )
    _demo(_add(commands, "demo", "four requests from start to finish on this machine; needs nothing but Python"))
    _submit(_add(commands, "submit", "publish one deployment request; --wait follows it to its final status"))
    _watch(_add(commands, "watch", "follow the status topic live"))
    _status(_add(commands, "status", "where a request stands, or with --open all that have not ended; does not wait"))
    _bundle(_add(commands, "bundle", "build the solution.zip of one revision, without playground and Kafka"))
    _add(commands, "check", "verify the settings and reach every dependency; changes nothing")
    _resolve(_add(commands, "resolve", "resolve a parked request: say what became of its POST"))
    _dead_letter(
        _add(commands, "dead-letter", "list, show and replay unreadable records and requests whose retries ran out")
    )
    _sandbox(_add(commands, "sandbox", "run the demo's Graphene or playground on its own, to try out a worker"))
    return parser


def _add(commands: "argparse._SubParsersAction[Any]", name: str, purpose: str) -> argparse.ArgumentParser:
    parser = _add_parser(commands, name, purpose)
    parser.set_defaults(module=f"worker.cli.{name.replace('-', '_')}")
    return parser


def _add_parser(parsers: "argparse._SubParsersAction[Any]", name: str, purpose: str) -> argparse.ArgumentParser:
    sentence = f"{purpose[0].upper()}{purpose[1:]}."
    added: argparse.ArgumentParser = parsers.add_parser(name, help=purpose, description=sentence, allow_abbrev=False)
    added.set_defaults(parser=added)  # the last one says what is wrong
    return added


def _gateway(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", metavar="ADDRESS", help="address to listen at (default: all of this machine's)")


def _demo(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--kafka",
        metavar="HOST:PORT",
        type=argument_types.broker_address,
        help="use this Kafka, with topics of the demo's own, instead of an embedded one",
    )
    parser.add_argument("--keep", action="store_true", help="keep everything up until Ctrl-C, to try more commands")
    parser.add_argument(
        "--output",
        metavar="DIR",
        type=Path,
        default=Path("demo-output"),
        help="where to write the zips (default: ./demo-output)",
    )


def _submit(parser: argparse.ArgumentParser) -> None:
    _revision(parser)
    token = parser.add_mutually_exclusive_group()
    token.add_argument("--token-file", metavar="FILE", type=Path, help="file with the user's Graphene token")
    token.add_argument(
        "--token-stdin",
        action="store_true",
        help="read the token from stdin (default: from the variable DEPLOYER_TOKEN)",
    )
    parser.add_argument("--request-id", metavar="ID", type=argument_types.request_id, help="default: a new one")
    _wait(parser)


def _watch(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--from-beginning", action="store_true", help="show what is still in the topic, then continue")
    parser.add_argument("--request-id", metavar="ID", type=argument_types.request_id, help="only this request")
    parser.add_argument("--json", action="store_true", help="one event per line, as it was published")


def _status(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "request_id", metavar="requestId", nargs="?", type=argument_types.request_id, help="the id in its statuses"
    )
    parser.add_argument("--open", action="store_true", help="the last status of each that has not ended, oldest first")
    parser.add_argument("--json", action="store_true", help="one event per line, as it was published")


def _bundle(parser: argparse.ArgumentParser) -> None:
    _revision(parser)
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument(
        "--output", metavar="FILE.zip", help="write the zip; - is stdout, and then the messages go to stderr"
    )
    target.add_argument("--dir", metavar="DIR", type=Path, help="write the files of the zip; DIR must be empty or new")
    parser.add_argument(
        "--force", action="store_true", help="with --dir: allow a folder that is not empty; other files in it stay"
    )
    parser.add_argument("--explain", action="store_true", help="print what is in it and why each name changed")
    parser.add_argument(
        "--sandbox",
        action="store_true",
        help="take the solution from the demo's Graphene, which is started for this command",
    )


def _resolve(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "request_id", metavar="requestId", type=argument_types.request_id, help="the id in its statuses"
    )
    parser.add_argument(
        "--outcome",
        choices=("deployed", "failed", "retry"),
        required=True,
        help="what became of the request; `retry` sends it again",
    )
    parser.add_argument(
        "--deployment-id",
        metavar="ID",
        help="with deployed and --deployment-url: the namespace, which the status will name",
    )
    parser.add_argument("--deployment-url", metavar="URL", help="with --deployment-id: its page on the dashboard")
    parser.add_argument(
        "--reason", metavar="TEXT", help="how you know; everybody can read it (default: nothing is said)"
    )
    parser.add_argument("--by", metavar="NAME", help="who says so (default: the user of this machine)")
    parser.add_argument("--partition", metavar="N", type=int, help="needed if the id was used in more than one")
    _wait(parser)


def _dead_letter(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(metavar="ACTION", dest="action", required=True)
    for name, purpose in (
        ("list", "one line per dead letter"),
        ("show", "everything in them, as JSON"),
        ("replay", "send their requests again, with new ids"),
    ):
        action = _add_parser(actions, name, purpose)
        action.add_argument(
            "places",
            metavar="PARTITION:OFFSET",
            type=argument_types.partition_offset,
            nargs="+" if name == "show" else "*",
            help="the dead letter's place, as `list` shows it",
        )
        if name != "show":
            _filter(action)
        if name == "list":
            action.add_argument("--json", action="store_true", help="one JSON object per line")
        if name == "replay":
            _replay(action)


def _filter(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--offset",
        metavar="P:O",
        type=argument_types.partition_offset,
        action="append",
        help="the same as an option; may be repeated",
    )
    parser.add_argument("--code", metavar="CODE", help="only this error code")
    parser.add_argument("--key", metavar="USER", help="only this record key, which is the user's id")
    parser.add_argument("--request-id", metavar="ID", type=argument_types.request_id, help="only this request")
    parser.add_argument(
        "--since", metavar="TIME", type=argument_types.timestamp, help="only from then on, e.g. 2026-01-31T12:00:00Z"
    )


def _replay(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--all", action="store_true", help="replay all of them")
    parser.add_argument("--dry-run", action="store_true", help="print what would be sent, and send nothing")
    parser.add_argument(
        "--rate", metavar="N", type=argument_types.rate, default=10.0, help="requests per second (default: %(default)g)"
    )
    parser.add_argument(
        "--token-file",
        metavar="FILE",
        type=Path,
        help="file with one token for all (default: the token of each original record)",
    )
    parser.add_argument(
        "--force", action="store_true", help="include requests that have already been replayed several times"
    )


def _sandbox(parser: argparse.ArgumentParser) -> None:
    parts = parser.add_subparsers(metavar="PART", dest="part", required=True)
    _add_parser(parts, "token", "print a token for requests, valid for 12 hours").add_argument(
        "--parked", action="store_true", help="of a user whose requests are parked, to try out `resolve`"
    )
    for name, purpose in (
        ("graphene", "Graphene's database service and repository"),
        ("playground", "accepts bundles, and runs their scripts with --dry-run where it can confine them"),
    ):
        part = _add_parser(parts, name, purpose)
        part.add_argument(
            "--listen",
            metavar="ADDRESS:PORT",
            type=argument_types.listen_address,
            default="127.0.0.1:8000",
            help="where to listen (default: %(default)s); whoever can reach it can use it",
        )
    part.add_argument(
        "--secret-file",
        metavar="FILE",
        type=Path,
        required=True,
        help="holds SECRET; the worker's DEPLOYER_PLAYGROUND__DEPLOY_URL is http://ADDRESS:PORT/SECRET/deploy_solution",
    )


def _wait(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--wait", action="store_true", help="follow the request; exit 0 only if it ends as intended")
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=argument_types.seconds,
        default=WAIT_SECONDS,
        help="for --wait (default: %(default)g); exit 3 when the time is up",
    )


def _revision(parser: argparse.ArgumentParser) -> None:
    for name, text in (("solution", "the solution's id in Graphene"), ("revision", "the id of one of its revisions")):
        parser.add_argument(f"{name}_id", metavar=f"{name}Id", type=argument_types.uuid, help=text)
