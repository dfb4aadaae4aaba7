"""The commands, one module each. A module is imported only when its command runs, so that `--help` is fast.

    playground-deployer run | gateway | demo | submit | watch | status | bundle | check | resolve
    playground-deployer dead-letter list|show|replay, sandbox graphene|playground|token

Exit codes: 0 success, 1 failure (one sentence on stderr gives the reason), 2 wrong usage, 3 `--wait` timed out,
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

WRONG_USAGE = 2  # as in argparse
INTERRUPTED, TERMINATED = 130, 143  # 128 + SIGINT or SIGTERM, as shells report them
WAIT_SECONDS = 600.0  # the playground's own limit of 300 s, and time in the queue


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; `argv` is the command line without the program's name."""
    arguments, unknown = _parser().parse_known_args(argv)
    if unknown:
        arguments.parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    if os.getpid() == 1:  # in a container, where process 1 receives no signal without a handler
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))  # until the command sets its own handler
    try:
        return _command(arguments.module)(arguments)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # `watch | head`: the reader is gone, so the interpreter must not flush stdout at its exit
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
    """Import a command's module, and return its `execute`, in as little time as the libraries allow."""
    gc.disable()  # imported objects stay; scanning them for garbage would take a tenth of the time
    try:
        _import_structlog()
        execute: Callable[[argparse.Namespace], int] = importlib.import_module(module).execute
        return execute
    finally:
        gc.enable()


def _import_structlog() -> None:
    """Import structlog without rich, which structlog would import for a traceback format that this worker never uses.

    The import of rich takes a fifth of the time until `status` or `resolve` calls Kafka. Modules that draw with rich
    import it later.
    """
    if {"structlog", "rich"}.isdisjoint(sys.modules):
        without_rich: dict[str, Any] = {"rich": None}  # Python's convention: importing rich now fails
        sys.modules.update(without_rich)
        try:
            importlib.import_module("structlog")
        finally:
            del sys.modules["rich"]


class _Parser(argparse.ArgumentParser):
    """A parser whose errors suggest the closest known word, and repeat no token and no unknown option's value."""

    _words: Sequence[str] = ()

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse, and keep the words for `error`."""
        self._words = sys.argv[1:] if args is None else args
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Print the problem and exit with 2."""
        from worker.observability.logs import without_encoded  # noqa: PLC0415 - slow to import, rarely needed

        if not message.startswith("unrecognized arguments") and (unknown := self._unknown_options()):
            # An unknown option causes follow-up errors: a leftover value, or a missing argument. Report the cause.
            message = f"unrecognized arguments: {' '.join(unknown)}"
        if message.startswith("unrecognized arguments"):
            message = re.sub(r"(?<=\s)(--?[\w-]+)(?:=|\s+)[^\s-]\S*", r"\1", message)
            words, known = re.findall(r"--[\w-]+", message), list(self._option_string_actions)
        else:
            invalid, _, choices = message.rpartition(" (choose from ")
            words, known = re.findall(r"invalid choice: '(.+)'", invalid), re.findall(r"[\w-]+", choices)
        likely = [match for word in words for match in get_close_matches(word, known, 1)]
        hint = f". Did you mean {likely[0]}?" if likely else ""
        super().error(without_encoded(f"{message}{hint}"))

    def _unknown_options(self) -> list[str]:
        """Return this parser's words that look like options and are unknown; words after a subcommand belong to it."""
        words = takewhile(lambda word: word != "--", self._words)
        if self._subparsers:
            words = takewhile(lambda word: word.startswith("-"), words)
        names = [match[0] for word in words if (match := re.match(r"--[\w-]+", word))]
        return [name for name in names if name not in self._option_string_actions]


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="playground-deployer",
        description="Deploys AI pipelines composed in Eclipse Graphene to a playground cluster.",
        epilog="Settings are environment variables DEPLOYER_<GROUP>__<NAME>; docs/settings.md lists them. "
        "For a demonstration on this machine, run: playground-deployer demo",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add(commands, "run", "run the worker: read requests, deploy them and publish their statuses")
    _gateway(
        _add(commands, "gateway", "serve HTTP for the portal, browsers and programs: publish requests, show statuses")
    )
    _demo(_add(commands, "demo", "run four requests from start to finish on this machine; needs only Python"))
    _submit(_add(commands, "submit", "publish one deployment request; --wait follows it to its final status"))
    _watch(_add(commands, "watch", "follow the status topic live"))
    _status(
        _add(
            commands, "status", "show the statuses of a request, or with --open all unfinished requests; does not wait"
        )
    )
    _bundle(_add(commands, "bundle", "build the solution.zip of one revision, without playground and Kafka"))
    _add(commands, "check", "verify the settings and reach every dependency; changes nothing")
    _resolve(_add(commands, "resolve", "resolve a parked request by publishing the outcome of its POST"))
    _dead_letter(
        _add(commands, "dead-letter", "list, show and replay unreadable records and requests whose retries ran out")
    )
    _sandbox(_add(commands, "sandbox", "run the demo's Graphene or playground alone, to try out a worker"))
    return parser


def _add(commands: "argparse._SubParsersAction[Any]", name: str, purpose: str) -> argparse.ArgumentParser:
    parser = _add_parser(commands, name, purpose)
    parser.set_defaults(module=f"worker.cli.{name.replace('-', '_')}")
    return parser


def _add_parser(parsers: "argparse._SubParsersAction[Any]", name: str, purpose: str) -> argparse.ArgumentParser:
    sentence = f"{purpose[0].upper()}{purpose[1:]}."
    parser: argparse.ArgumentParser = parsers.add_parser(name, help=purpose, description=sentence, allow_abbrev=False)
    parser.set_defaults(parser=parser)  # the innermost parser reports errors
    return parser


def _gateway(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--host", metavar="ADDRESS", help="address to listen on (default: all addresses of this machine)"
    )


def _demo(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--kafka",
        metavar="HOST:PORT",
        type=argument_types.broker_address,
        help="use this Kafka, with topics for the demo alone, instead of an embedded Kafka",
    )
    parser.add_argument(
        "--keep", action="store_true", help="keep everything running until Ctrl-C, to try more commands"
    )
    parser.add_argument(
        "--output",
        metavar="DIR",
        type=Path,
        default=Path("demo-output"),
        help="folder for the zips (default: ./demo-output)",
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
    parser.add_argument(
        "--request-id", metavar="ID", type=argument_types.request_id, help="the request's id (default: a new id)"
    )
    _wait(parser)


def _watch(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--from-beginning", action="store_true", help="show the topic's older statuses first, then follow"
    )
    parser.add_argument("--request-id", metavar="ID", type=argument_types.request_id, help="only this request")
    parser.add_argument("--json", action="store_true", help="print each event as published, one per line")


def _status(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "request_id",
        metavar="requestId",
        nargs="?",
        type=argument_types.request_id,
        help="the id in the request's statuses",
    )
    parser.add_argument("--open", action="store_true", help="the last status of each unfinished request, oldest first")
    parser.add_argument("--json", action="store_true", help="print each event as published, one per line")


def _bundle(parser: argparse.ArgumentParser) -> None:
    _revision(parser)
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument(
        "--output", metavar="FILE.zip", help="write the zip; - writes it to stdout and the messages to stderr"
    )
    target.add_argument("--dir", metavar="DIR", type=Path, help="write the files of the zip; DIR must be empty or new")
    parser.add_argument(
        "--force", action="store_true", help="with --dir: allow a folder that is not empty; its other files stay"
    )
    parser.add_argument("--explain", action="store_true", help="print the bundle's contents and why each name changed")
    parser.add_argument(
        "--sandbox",
        action="store_true",
        help="read the solution from the demo's Graphene, which this command starts",
    )


def _resolve(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "request_id", metavar="requestId", type=argument_types.request_id, help="the id in the request's statuses"
    )
    parser.add_argument(
        "--outcome",
        choices=("deployed", "failed", "retry"),
        required=True,
        help="the outcome of the POST; `retry` sends the bundle again",
    )
    parser.add_argument(
        "--deployment-id",
        metavar="ID",
        help="with deployed and --deployment-url: the namespace, which the status will name",
    )
    parser.add_argument("--deployment-url", metavar="URL", help="with --deployment-id: its page on the dashboard")
    parser.add_argument(
        "--reason", metavar="TEXT", help="how you know the outcome; published in the status (default: no reason)"
    )
    parser.add_argument(
        "--by", metavar="NAME", help="your name, published in the status (default: this machine's user)"
    )
    parser.add_argument(
        "--partition", metavar="N", type=int, help="required if requests in several partitions have this id"
    )
    _wait(parser)


def _dead_letter(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(metavar="ACTION", dest="action", required=True)
    for name, purpose in (
        ("list", "list dead letters, one per line"),
        ("show", "show dead letters in full, as JSON"),
        ("replay", "send the requests of dead letters again, with new ids"),
    ):
        action = _add_parser(actions, name, purpose)
        action.add_argument(
            "positions",
            metavar="PARTITION:OFFSET",
            type=argument_types.partition_offset,
            nargs="+" if name == "show" else "*",
            help="the dead letter's position, as `list` shows it",
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
        help="the same position as an option; may be repeated",
    )
    parser.add_argument("--code", metavar="CODE", help="only this error code")
    parser.add_argument("--key", metavar="USER", help="only this record key, which is the user id")
    parser.add_argument("--request-id", metavar="ID", type=argument_types.request_id, help="only this request")
    parser.add_argument(
        "--since",
        metavar="TIME",
        type=argument_types.timestamp,
        help="only dead letters from this time on, e.g. 2026-01-31T12:00:00Z",
    )


def _replay(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--all", action="store_true", help="replay all dead letters")
    parser.add_argument("--dry-run", action="store_true", help="print the requests without sending them")
    parser.add_argument(
        "--rate", metavar="N", type=argument_types.rate, default=10.0, help="requests per second (default: %(default)g)"
    )
    parser.add_argument(
        "--token-file",
        metavar="FILE",
        type=Path,
        help="file with one token for all requests (default: the token of each original record)",
    )
    parser.add_argument(
        "--force", action="store_true", help="include requests that have already been replayed several times"
    )


def _sandbox(parser: argparse.ArgumentParser) -> None:
    parts = parser.add_subparsers(metavar="PART", dest="part", required=True)
    _add_parser(parts, "token", "print a token for requests, valid for 12 hours").add_argument(
        "--parked", action="store_true", help="a token of a user whose requests are parked, to try out `resolve`"
    )
    for name, purpose in (
        ("graphene", "serve Graphene's database service and repository"),
        ("playground", "accept bundles, and run their scripts with --dry-run if they can be confined"),
    ):
        part = _add_parser(parts, name, purpose)
        part.add_argument(
            "--listen",
            metavar="ADDRESS:PORT",
            type=argument_types.listen_address,
            default="127.0.0.1:8000",
            help="address to listen on (default: %(default)s); every machine that reaches it can use the server",
        )
    part.add_argument(
        "--secret-file",
        metavar="FILE",
        type=Path,
        required=True,
        help="file that holds SECRET; the worker's DEPLOYER_PLAYGROUND__DEPLOY_URL is "
        "http://ADDRESS:PORT/SECRET/deploy_solution",
    )


def _wait(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--wait", action="store_true", help="follow the request; exit 0 only if the final status is as intended"
    )
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=argument_types.seconds,
        default=WAIT_SECONDS,
        help="time limit of --wait (default: %(default)g); exit 3 when it is over",
    )


def _revision(parser: argparse.ArgumentParser) -> None:
    for name, text in (("solution", "the solution's id in Graphene"), ("revision", "the id of one of its revisions")):
        parser.add_argument(f"{name}_id", metavar=f"{name}Id", type=argument_types.uuid, help=text)
