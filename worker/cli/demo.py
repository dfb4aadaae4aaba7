"""`demo`: four requests from start to end on this machine, with a real Apache Kafka and a worker of its own."""

import argparse
import asyncio
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

from aiokafka.admin import AIOKafkaAdminClient
from rich.console import Console

from schemas import FINAL_STATES, DeploymentStatus, State
from worker.adapters.kafka import client_options
from worker.cli.client import Ask, open_requests, open_statuses, running
from worker.cli.demo_output import Output
from worker.cli.failures import CommandError
from worker.cli.story import Story
from worker.cli.terminal import quiet, run, until_stopped
from worker.sandbox.graphene import graphene_app
from worker.sandbox.graphene_data import CASES, Case
from worker.sandbox.guarded import GuardedProcess
from worker.sandbox.kafka import EmbeddedKafka
from worker.sandbox.kafka_jars import VERSION
from worker.sandbox.playground import playground_app
from worker.sandbox.serving import served
from worker.sandbox.stage import running_worker, worker_environment
from worker.sandbox.users import sandbox_token
from worker.settings import Kafka, KafkaSettings, read_settings
from worker.stream.topics import prepare_topics, wanted_topics

LIMIT_SECONDS = 120.0  # for all four; they take about ten

INTRO = """\
Four deployment requests from start to end, all on this machine.
A request goes into Apache Kafka. The worker takes it, builds a bundle of the solution from Graphene's data,
sends it to the playground, and publishes a status at every step. Graphene and playground are sandboxes.
"""
REQUESTS = "\nFour requests: three solutions, and one whose token has expired, which must be refused.\n"
NEXT = """
Look next at the zips (deployments/ and MANIFEST.json first), then at README.md.
To try more commands with everything up: {command} demo --keep
"""


@dataclass(frozen=True, slots=True)
class Part:
    """One of the four requests, and how it has to end."""

    label: str
    title: str
    case: Case
    lifetime: timedelta  # of its token
    state: State
    code: str | None = None

    def holds(self, status: DeploymentStatus) -> bool:
        """Whether this is the end it has to have."""
        return (status.state, status.error and status.error.code) == (self.state, self.code)


HOUR = timedelta(hours=1)
PARTS = (
    *(
        Part(key, CASES[key].title, CASES[key], HOUR, State.DEPLOYED)
        for key in ("sudoku", "news-training", "entity-recogniser")
    ),
    Part("expired-token", "Sudoku once more, with an old token", CASES["sudoku"], -HOUR, State.REJECTED, "token-expired"),
)


@dataclass(frozen=True, slots=True)
class Stage:
    """Everything that is up."""

    kafka: Kafka
    graphene: str
    playground: str
    environment: Mapping[str, str]
    worker: GuardedProcess


def execute(arguments: argparse.Namespace) -> int:
    """0 only when the four requests ended exactly as they should."""
    quiet()
    return run(_demo(arguments.kafka, Output(arguments.output), Story(Console()), keep=arguments.keep))


async def _demo(kafka: str | None, output: Output, story: Story, *, keep: bool) -> int:
    story.say(INTRO)
    output.prepare()
    try:
        async with AsyncExitStack() as stack:
            stage = await _set_up(stack, kafka, output, story)
            story.say(REQUESTS)
            ends = await _while_it_runs(stage.worker, _deploy(stage, story), output)
            well = await _report(ends, stage, output, story)
            if keep:
                stack.callback(output.forget_access)
                output.write_access(stage.environment, sandbox_token(datetime.now(UTC), timedelta(hours=12)))
                story.say(output.invitation(stage.playground, stage.graphene, stage.kafka.bootstrap_servers))
                await until_stopped()
    finally:
        story.say("\nEverything is stopped.", "dim")
    return 0 if well else 1


async def _set_up(stack: AsyncExitStack, kafka: str | None, output: Output, story: Story) -> Stage:
    """Start all parts; `stack` stops them in reverse order."""
    with story.starting(f"Apache Kafka {VERSION}" if kafka is None else "Apache Kafka") as step:
        if kafka is None:
            embedded = await stack.enter_async_context(EmbeddedKafka(progress=step.fetched))
        step.place = kafka or embedded.bootstrap_servers
    with story.starting("Graphene") as step:
        step.place = graphene = await stack.enter_async_context(served(graphene_app()))
    with story.starting("playground") as step:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="playground-"))
        step.place = playground = await stack.enter_async_context(served(playground_app(Path(folder))))
    ...
