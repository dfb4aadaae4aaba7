"""`watch`: the status topic, live."""

import argparse
import json
import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime

from rich.console import Console
from rich.live import Live

from worker.cli import INTERRUPTED
from worker.cli.status_line import status_line
from worker.cli.status_table import StatusTable, can_redraw
from worker.cli.terminal import configure_logging, run
from worker.client import DeployerClient
from worker.client.requests import StatusEvent
from worker.settings import ClientSettings, KafkaSettings, read_settings


def execute(arguments: argparse.Namespace) -> int:
    """Show statuses until Ctrl-C, which is the normal end."""
    configure_logging()
    code = run(_watch(arguments, read_settings(os.environ, ClientSettings).kafka))
    return 0 if code == INTERRUPTED else code


async def _watch(arguments: argparse.Namespace, kafka: KafkaSettings) -> int:
    async with (
        DeployerClient(kafka, sends=False) as client,
        client.statuses(from_beginning=arguments.from_beginning) as events,
    ):
        wanted = (event async for event in events if arguments.request_id in (None, event.status.request_id))
        table = StatusTable(lambda: datetime.now(UTC))
        console = Console()
        if can_redraw(console) and not arguments.json:
            await _draw(wanted, table, console)
        else:
            await _print(wanted, table, as_json=arguments.json)
    return 0


async def _draw(events: AsyncIterator[StatusEvent], table: StatusTable, console: Console) -> None:
    console.print("Following the status topic. Press Ctrl-C to stop.", style="dim", highlight=False)
    with Live(table, console=console, refresh_per_second=8):
        async for event in events:
            table.update(event.status)


async def _print(events: AsyncIterator[StatusEvent], table: StatusTable, *, as_json: bool) -> None:
    async for event in events:
        if table.update(event.status):
            # The published JSON, but with escapes for all characters that a terminal would interpret.
            print(json.dumps(json.loads(event.json)) if as_json else status_line(event.status), flush=True)
