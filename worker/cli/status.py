"""`status`: where requests stand now, and no longer."""

import argparse
import json
import os

from schemas import FINAL_STATES
from worker.cli.status_line import status_line
from worker.cli.terminal import configure_logging, run
from worker.client.requests import StatusEvent, published_statuses
from worker.client.settlements import no_status
from worker.errors import CommandError, WrongUsage
from worker.settings import ClientSettings, KafkaSettings, read_settings


def execute(arguments: argparse.Namespace) -> int:
    """Print the statuses of one request, or with --open the last one of each that has not ended; return 0."""
    if arguments.open == (arguments.request_id is not None):
        raise WrongUsage("status: which? Give the id of a request, or --open for all that have not ended.")
    configure_logging()
    return run(_status(read_settings(os.environ, ClientSettings).kafka, arguments))


async def _status(kafka: KafkaSettings, arguments: argparse.Namespace) -> int:
    found: dict[tuple[int, str], StatusEvent] = {}  # ids are told apart by their partitions
    async for event in published_statuses(kafka, [arguments.request_id] if arguments.request_id else None):
        key = event.status.source.partition, event.status.request_id
        if key in found and event.status.sequence <= found[key].status.sequence:
            continue  # some are delivered twice
        found[key] = event
        if arguments.request_id:
            _print(event, as_json=arguments.json)
    if arguments.request_id and not found:
        raise CommandError(no_status(arguments.request_id))
    if arguments.open:
        waiting = [event for event in found.values() if event.status.state not in FINAL_STATES]
        for event in sorted(waiting, key=lambda it: it.status.time):
            _print(event, as_json=arguments.json)
    return 0


def _print(event: StatusEvent, *, as_json: bool) -> None:
    status = event.status  # which may be days old
    label = f"{status.time:%Y-%m-%dT%H:%M:%SZ} {status.request_id}"
    print(json.dumps(json.loads(event.json)) if as_json else status_line(status, label), flush=True)
