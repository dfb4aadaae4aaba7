"""`resolve`: publish the outcome of a POST whose outcome is unknown, so that the worker can continue."""

import argparse
import getpass
import os
import re
from collections.abc import Callable

from schemas import DeploymentInfo, DeploymentSettled, State
from worker.cli.submit import follow
from worker.cli.terminal import configure_logging, run
from worker.client.requests import open_statuses
from worker.client.settlements import OperatorStatement, build_settlement, last_status, publish_settlement, publishable
from worker.errors import WrongUsage
from worker.settings import ClientSettings, KafkaSettings, read_settings


def execute(arguments: argparse.Namespace) -> int:
    """Publish a settlement; return 0.

    With --wait, return 0 if the final status matches the settlement, 1 if not, 3 on a timeout.
    """
    configure_logging()
    statement = read_statement(arguments, getpass.getuser)
    return run(_resolve(read_settings(os.environ, ClientSettings).kafka, arguments, statement))


async def _resolve(kafka: KafkaSettings, arguments: argparse.Namespace, statement: OperatorStatement) -> int:
    last = await last_status(kafka, arguments.request_id, arguments.partition)
    settled = build_settlement(last, arguments.outcome, statement)
    if not arguments.wait:
        await _publish(kafka, settled, last.source.partition)
        return 0
    # From the beginning, because the final status may be published before the settlement is.
    async with open_statuses(kafka, [last.source.partition], from_beginning=True) as events:
        await _publish(kafka, settled, last.source.partition)
        later = (
            event.status
            async for event in events
            if event.status.request_id == last.request_id and event.status.sequence > last.sequence
        )
        return await follow(
            later,
            State.FAILED if settled.outcome == "failed" else State.DEPLOYED,
            last.request_id,
            arguments.timeout,
        )


async def _publish(kafka: KafkaSettings, settled: DeploymentSettled, partition: int) -> None:
    await publish_settlement(kafka, settled, partition)
    print(f"{settled.request_id}: attempt {settled.attempt} is settled as {settled.outcome}.", flush=True)


def read_statement(arguments: argparse.Namespace, user: Callable[[], str]) -> OperatorStatement:
    """Read the operator's statement from the command line. Raises WrongUsage.

    `user` returns the name of this machine's user; it is called only without --by.
    """
    namespace, url = arguments.deployment_id, arguments.deployment_url
    if (namespace is None) != (url is None):
        raise WrongUsage("--deployment-id and --deployment-url: give both, or neither.")
    if namespace is not None and arguments.outcome != "deployed":
        raise WrongUsage(
            f"--deployment-id and --deployment-url: a request that is settled as {arguments.outcome} has no "
            "deployment. Leave them out, or use --outcome deployed."
        )
    return OperatorStatement(
        None if arguments.reason is None else publishable("--reason", arguments.reason, 1000),
        publishable("--by", _user_name(user) if arguments.by is None else arguments.by, 200),
        None if namespace is None else _deployment(namespace, url),
    )


def _deployment(namespace: str, url: str) -> DeploymentInfo:
    if not re.fullmatch(r"[a-z0-9-]{1,63}", namespace):
        raise WrongUsage(
            "--deployment-id: this is not a namespace (a-z, 0-9 and -). Copy it from the dashboard's address."
        )
    url = publishable("--deployment-url", url, 2000)
    if not re.match(r"https?://[^\s/]", url):
        raise WrongUsage("--deployment-url: this is not the URL of a page. Start it with https:// or http://.")
    return DeploymentInfo(id=namespace, url=url)


def _user_name(user: Callable[[], str]) -> str:
    try:
        return user()
    except (ImportError, KeyError, OSError):  # the class depends on the Python version
        raise WrongUsage("--by: this machine's user has no name, as in the worker's image. Give your name.") from None
