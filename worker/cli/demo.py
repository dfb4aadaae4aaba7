"""`demo`: four requests from start to end on this machine, with a real Apache Kafka and a worker of its own."""

import argparse
import asyncio
import tempfile
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaConnectionError
from rich.console import Console

from schemas import FINAL_STATES, DeploymentStatus, State
from worker.adapters.kafka.clients import client_options
from worker.adapters.kafka.topics import prepare_topics, wanted_topics
from worker.cli.client import Ask, open_requests, open_statuses, running
from worker.cli.demo_output import Output, command
from worker.cli.failures import CommandError
from worker.cli.story import Story
from worker.cli.terminal import quiet, run, until_stopped
from worker.sandbox.graphene import graphene_app
from worker.sandbox.graphene_data import CASES, Case
from worker.sandbox.guarded import GuardedProcess
from worker.sandbox.kafka import EmbeddedKafka
from worker.sandbox.playground import playground_app
from worker.sandbox.serving import served
from worker.sandbox.stage import running_worker, worker_environment
from worker.sandbox.users import sandbox_token
from worker.settings import ClientSettings, KafkaSettings, read_settings

T = TypeVar("T")

LIMIT_SECONDS = 120.0  # for all four; they take about ten

INTRO = """\
Four deployment requests from start to end, all on this machine.
A request goes into Apache Kafka. The worker takes it, builds a bundle of the
solution from Graphene's data, sends it to the playground, and publishes a
status at every step. Graphene and the playground are sandboxes.
"""
REQUESTS = "\nThree of the requests can be deployed; the token of the fourth has expired.\n"
NEXT = "\nLook next into the zips (deployments/, MANIFEST.json), then at README.md."
MORE = "To try more commands with everything up: {command} demo --keep\n"


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
    Part(
        "expired-token", "Sudoku once more, with an old token", CASES["sudoku"], -HOUR, State.REJECTED, "token-expired"
    ),
)


@dataclass(frozen=True, slots=True)
class Stage:
    """Everything that is up."""

    kafka: KafkaSettings
    graphene: str
    playground: str
    environment: Mapping[str, str]
    worker: GuardedProcess


def execute(arguments: argparse.Namespace) -> int:
    """0 only when the four requests ended exactly as they should."""
    quiet()
    output = Output(arguments.output, [part.label for part in PARTS])
    return run(_demo(arguments.kafka, output, Story(Console()), keep=arguments.keep))


async def _demo(kafka: str | None, output: Output, story: Story, *, keep: bool) -> int:
    story.say(INTRO)
    output.prepare()
    try:
        async with AsyncExitStack() as stack:
            stage = await _set_up(stack, kafka, output, story)
            story.say(REQUESTS)
            ends = await _while_it_runs(stage.worker, _deploy(stage.kafka, story), output)
            well = await _report(ends, stage.playground, output, story)
            story.say(NEXT)
            if keep:
                await _keep(stage, output, story)
            else:
                story.say(MORE.format(command=command()))
    finally:
        story.say("Everything is stopped.")
    return 0 if well else 1


async def _set_up(stack: AsyncExitStack, given: str | None, output: Output, story: Story) -> Stage:
    """Start all parts; `stack` stops them in reverse order."""
    with story.starting("Apache Kafka") as step:
        if given is None:
            embedded = await stack.enter_async_context(EmbeddedKafka(progress=step.fetched, short_lived=True))
        step.place = address = given or embedded.bootstrap_servers
    with story.starting("Graphene, sandbox") as step:
        step.place = graphene = await stack.enter_async_context(served(graphene_app()))
    with story.starting("playground, sandbox") as step:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="playground-")))
        step.place = playground = await stack.enter_async_context(served(playground_app(folder)))
    # On a Kafka that is not ours nothing but what has our name is touched.
    prefix = f"playground-demo-{uuid4().hex[:8]}" if given else ""
    environment = worker_environment(address, graphene, playground, prefix)
    kafka = read_settings(environment, ClientSettings).kafka
    with story.starting("topics") as step:
        await stack.enter_async_context(_topics(kafka, remove=bool(prefix)))
        step.place = f"{kafka.requests_topic} and others"
    with story.starting("worker") as step:
        worker = await stack.enter_async_context(running_worker(environment, output.log, remove=folder))
        step.place = f"a process of its own, logs to {output.log}"
    return Stage(kafka, graphene, playground, environment, worker)


@asynccontextmanager
async def _topics(kafka: KafkaSettings, *, remove: bool) -> AsyncIterator[None]:
    """Made here, so that requests can be published before the worker has started."""
    try:
        async with running(AIOKafkaAdminClient(**client_options(kafka))) as admin:
            await prepare_topics(admin, kafka)
    except KafkaConnectionError:
        raise CommandError(
            f"No Kafka answers at {kafka.bootstrap_servers}. Give another with --kafka, or none."
        ) from None
    try:
        yield
    finally:
        if remove:
            async with running(AIOKafkaAdminClient(**client_options(kafka))) as admin:
                await admin.delete_topics([topic.name for topic in wanted_topics(kafka)])


async def _deploy(kafka: KafkaSettings, story: Story) -> dict[str, DeploymentStatus]:
    """Publish the four requests and follow each to its final status; label → that status."""
    now = datetime.now(UTC)
    asks = {
        f"demo-{part.label}": Ask(
            f"demo-{part.label}", part.case.solution_id, part.case.revision_id, sandbox_token(now, part.lifetime)
        )
        for part in PARTS
    }
    labels = {f"demo-{part.label}": part.label for part in PARTS}
    ends: dict[str, DeploymentStatus] = {}
    async with open_requests(kafka) as requests, open_statuses(kafka) as events:
        for ask in asks.values():
            await requests.publish(ask)
        with story.requests(labels, {f"demo-{part.label}": part.title for part in PARTS}) as show:
            async for event in events:
                show(event.status)
                if event.status.state in FINAL_STATES:
                    ends[labels[event.status.request_id]] = event.status
                if len(ends) == len(PARTS):
                    break
    return ends


async def _while_it_runs(worker: GuardedProcess, work: Coroutine[Any, Any, T], output: Output) -> T:
    """The result of `work`. Raises CommandError when the worker ends before, or time runs out."""

    async def outlive() -> None:
        while await worker.wait(0.5) is None:
            pass

    task, life = asyncio.ensure_future(work), asyncio.ensure_future(outlive())
    try:
        done, _ = await asyncio.wait({task, life}, timeout=LIMIT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if task in done:
            return task.result()
        problem = "The worker has ended" if life in done else f"Not all is finished after {LIMIT_SECONDS:g} s"
        raise CommandError(f"{problem}; {output.log} says why.")
    finally:
        task.cancel()
        life.cancel()
        await asyncio.gather(task, life, return_exceptions=True)


async def _report(ends: Mapping[str, DeploymentStatus], playground: str, output: Output, story: Story) -> bool:
    """Fetch the zips and say how it went; whether all four ended as they should."""
    wrong = [part for part in PARTS if not part.holds(ends[part.label])]
    story.say()
    for part in PARTS:
        if ends[part.label].state is State.DEPLOYED:
            story.say(f"  {await output.fetch(part.label, playground, ends[part.label])}")
    for part in wrong:
        story.say(f"  {part.label} should have ended otherwise: {part.state} {part.code or ''}".rstrip(), "red")
    if wrong:
        story.say(f"\nNot as it should be, after {story.duration}; {output.log} says why.", "bold red")
    else:
        story.say(f"\nAll four ended as they should, after {story.duration}.", "bold green")
    return not wrong


async def _keep(stage: Stage, output: Output, story: Story) -> None:
    output.write_access(stage.environment, sandbox_token(datetime.now(UTC), timedelta(hours=12)))
    try:
        places = {"playground": stage.playground, "graphene": stage.graphene, "kafka": stage.kafka.bootstrap_servers}
        story.say(output.invitation(places, CASES["sudoku"]))
        await until_stopped()
    finally:
        output.forget_access()
