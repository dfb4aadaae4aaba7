"""`status`: the statuses of requests so far, without waiting for more."""

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
    """Print the statuses of one request, or with --open the last status of each unfinished request; return 0."""
    if arguments.open == (arguments.request_id is not None):
        raise WrongUsage("status: give either the id of a request, or --open for all unfinished requests.")
    configure_logging()
    return run(_status(read_settings(os.environ, ClientSettings).kafka, arguments))


async def _status(kafka: KafkaSettings, arguments: argparse.Namespace) -> int:
    last: dict[tuple[int, str], StatusEvent] = {}  # by partition and id, because an id can occur in several partitions
    async for event in published_statuses(kafka, [arguments.request_id] if arguments.request_id else None):
        key = event.status.source.partition, event.status.request_id
        if key in last and event.status.sequence <= last[key].status.sequence:
            continue  # some statuses are delivered twice
        last[key] = event
        if arguments.request_id:
            _print(event, as_json=arguments.json)
    if arguments.request_id and not last:
        raise CommandError(no_status(arguments.request_id))
    if arguments.open:
        unfinished = [event for event in last.values() if event.status.state not in FINAL_STATES]
        for event in sorted(unfinished, key=lambda event: event.status.time):
            _print(event, as_json=arguments.json)
    return 0


def _print(event: StatusEvent, *, as_json: bool) -> None:
    status = event.status  # may be days old, so the label has the date
    label = f"{status.time:%Y-%m-%dT%H:%M:%SZ} {status.request_id}"
    print(json.dumps(json.loads(event.json)) if as_json else status_line(status, label), flush=True)
