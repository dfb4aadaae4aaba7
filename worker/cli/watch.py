"""`watch`: the status topic, live."""

import argparse
import json
import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime

from rich.console import Console
from rich.live import Live

from worker.cli import INTERRUPTED
from worker.cli.client import Event, open_statuses
from worker.cli.terminal import quiet, run
from worker.cli.view import Board, line, live
from worker.settings import ClientSettings, KafkaSettings, read_settings


def execute(arguments: argparse.Namespace) -> int:
    """Show statuses until Ctrl-C, which is the ordinary end."""
    quiet()
    code = run(_watch(arguments, read_settings(os.environ, ClientSettings).kafka))
    return 0 if code == INTERRUPTED else code


async def _watch(arguments: argparse.Namespace, kafka: KafkaSettings) -> int:
    async with open_statuses(kafka, from_beginning=arguments.from_beginning) as events:
        wanted = (event async for event in events if arguments.request_id in (None, event.status.request_id))
        board = Board(lambda: datetime.now(UTC))
        console = Console()
        if live(console) and not arguments.json:
            await _draw(wanted, board, console)
        else:
            await _print(wanted, board, as_json=arguments.json)
    return 0


async def _draw(events: AsyncIterator[Event], board: Board, console: Console) -> None:
    console.print("Following the status topic. Ctrl-C ends it.", style="dim", highlight=False)
    with Live(board, console=console, refresh_per_second=8):
        async for event in events:
            board.update(event.status)


async def _print(events: AsyncIterator[Event], board: Board, *, as_json: bool) -> None:
    async for event in events:
        if board.update(event.status):
            # As it was published, except that nothing in it can reach a terminal's controls.
            print(json.dumps(json.loads(event.json)) if as_json else line(event.status), flush=True)
