"""`demo`: four requests from start to finish on this machine, with a real Apache Kafka and a worker of its own."""

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

from aiokafka.errors import KafkaConnectionError
from rich.console import Console

from schemas import FINAL_STATES, DeploymentStatus, State
from worker.adapters.kafka.topics import prepare_topics, required_topics
from worker.cli.client import OutgoingRequest, open_admin, open_publisher, open_statuses
from worker.cli.demo_output import DemoConsole, OutputFolder, called_command
from worker.cli.error_messages import CommandError
from worker.cli.terminal import configure_logging, run, until_stopped
from worker.sandbox.environment import running_worker, worker_environment
from worker.sandbox.graphene import graphene_app
from worker.sandbox.graphene_data import CASES, Case
from worker.sandbox.http_server import served
from worker.sandbox.kafka import EmbeddedKafka
from worker.sandbox.playground import PLAYGROUND, playground_app
from worker.sandbox.playground_confinement import NOT_RUN, find_confinement
from worker.sandbox.supervised_process import SupervisedProcess
from worker.sandbox.users import sandbox_token
from worker.settings import ClientSettings, KafkaSettings, read_settings

T = TypeVar("T")

LIMIT_SECONDS = 120.0  # for all four; they take about ten

INTRO = """\
Four deployment requests from start to finish, all on this machine.
A request goes into Apache Kafka. The worker reads it, builds a bundle of the
solution from Graphene's data, sends it to the playground, and publishes a
status at every step. Graphene and the playground are sandboxes.
"""
REQUESTS = "\nThree of the requests can be deployed; the token of the fourth has expired.\n"
NEXT = "\nNext, look into the zips (deployments/, MANIFEST.json), then read README.md."
MORE = "To try more commands with everything up: {command} demo --keep\n"


@dataclass(frozen=True, slots=True)
class DemoRequest:
    """One of the four requests, and how it must end."""

    label: str
    title: str
    case: Case
    lifetime: timedelta  # of its token
    state: State
    code: str | None = None

    @property
    def request_id(self) -> str:
        """The id under which it is published."""
        return f"demo-{self.label}"

    def ended_as_expected(self, status: DeploymentStatus) -> bool:
        """Return whether this is the final status that it must have."""
        return (status.state, status.error and status.error.code) == (self.state, self.code)


HOUR = timedelta(hours=1)
DEMO_REQUESTS = (
    *(
        DemoRequest(key, CASES[key].title, CASES[key], HOUR, State.DEPLOYED)
        for key in ("sudoku", "news-training", "entity-recogniser")
    ),
    DemoRequest(
        "expired-token", "Sudoku again, with an expired token", CASES["sudoku"], -HOUR, State.REJECTED, "token-expired"
    ),
)


@dataclass(frozen=True, slots=True)
class DemoServices:
    """Everything that has been started."""

    kafka: KafkaSettings
    graphene: str
    playground: str
    environment: Mapping[str, str]
    worker: SupervisedProcess


def execute(arguments: argparse.Namespace) -> int:
    """Run the demo; return 0 only if the four requests ended exactly as expected."""
    configure_logging()
    output = OutputFolder(arguments.output, [request.label for request in DEMO_REQUESTS])
    return run(_demo(arguments.kafka, output, DemoConsole(Console()), keep=arguments.keep))


async def _demo(kafka: str | None, output: OutputFolder, console: DemoConsole, *, keep: bool) -> int:
    console.say(INTRO)
    output.prepare()
    try:
        async with AsyncExitStack() as stack:
            services = await _start(stack, kafka, output, console)
            console.say(REQUESTS)
            final = await while_running(services.worker, _deploy(services.kafka, console), output)
            succeeded = await report(final, services.playground, output, console)
            console.say(NEXT)
            if keep:
                await _keep(services, output, console)
            else:
                console.say(MORE.format(command=called_command()))
    finally:
        console.say("Everything has been stopped.")
    return 0 if succeeded else 1


async def _start(stack: AsyncExitStack, given: str | None, output: OutputFolder, console: DemoConsole) -> DemoServices:
    """Start all services; `stack` stops them in reverse order."""
    with console.starting("Apache Kafka") as step:
        if given is None:
            embedded = await stack.enter_async_context(EmbeddedKafka(progress=step.downloaded, short_lived=True))
        step.place = address = given or embedded.bootstrap_servers
    with console.starting("Graphene, sandbox") as step:
        step.place = graphene = await stack.enter_async_context(served(graphene_app()))
    with console.starting("playground, sandbox") as step:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="playground-")))
        confinement = await asyncio.to_thread(find_confinement)
        app = playground_app(folder, confinement=confinement)
        step.place = playground = await stack.enter_async_context(served(app))
    # In a Kafka of the user's, only topics and a group with the demo's own prefix are touched.
    prefix = f"playground-demo-{uuid4().hex[:8]}" if given else ""
    environment = worker_environment(address, graphene, playground, app[PLAYGROUND].deploy_path, prefix)
    kafka = read_settings(environment, ClientSettings).kafka
    with console.starting("topics") as step:
        await stack.enter_async_context(_topics(kafka, remove=bool(prefix)))
        step.place = f"{kafka.requests_topic} and others"
    with console.starting("worker") as step:
        worker = await stack.enter_async_context(running_worker(environment, output.log, remove=folder))
        step.place = f"a process of its own, logs to {output.log}"
    console.say(f"\n{confinement.about if confinement else NOT_RUN}")
    return DemoServices(kafka, graphene, playground, environment, worker)


@asynccontextmanager
async def _topics(kafka: KafkaSettings, *, remove: bool) -> AsyncIterator[None]:
    """Create the topics, so that requests can be published before the worker has started."""
    try:
        async with open_admin(kafka) as admin:
            await prepare_topics(admin, kafka)
    except KafkaConnectionError:
        raise CommandError(
            f"No Kafka answers at {kafka.bootstrap_servers}. Give another address with --kafka, or omit it."
        ) from None
    try:
        yield
    finally:
        if remove:
            async with open_admin(kafka) as admin:
                await admin.delete_topics([topic.name for topic in required_topics(kafka)])


async def _deploy(kafka: KafkaSettings, console: DemoConsole) -> dict[str, DeploymentStatus]:
    """Publish the four requests and follow them; return label → final status."""
    now = datetime.now(UTC)
    labels = {request.request_id: request.label for request in DEMO_REQUESTS}
    titles = {request.request_id: request.title for request in DEMO_REQUESTS}
    places: dict[tuple[int, int], str] = {}  # partition and offset → request id: what is rejected at once has none
    final: dict[str, DeploymentStatus] = {}
    async with open_publisher(kafka) as publisher, open_statuses(kafka) as events:
        for request in DEMO_REQUESTS:
            ids = (request.request_id, request.case.solution_id, request.case.revision_id)
            outgoing = OutgoingRequest(*ids, sandbox_token(now, request.lifetime))
            places[publisher.partition(outgoing.user_id.encode()), await publisher.publish(outgoing)] = (
                request.request_id
            )
        with console.requests(labels, titles) as show:
            async for event in events:
                source = event.status.source
                request_id = places[source.partition, source.offset]
                status = event.status.model_copy(update={"request_id": request_id})
                show(status)
                if status.state in FINAL_STATES:
                    final[labels[request_id]] = status
                if len(final) == len(DEMO_REQUESTS):
                    break
    return final


async def while_running(worker: SupervisedProcess, work: Coroutine[Any, Any, T], output: OutputFolder) -> T:
    """Return the result of `work`. Raises CommandError when the worker ends or the time is up first."""

    async def worker_ended() -> None:
        while await worker.wait(0.5) is None:
            pass

    working, ended = asyncio.ensure_future(work), asyncio.ensure_future(worker_ended())
    try:
        done, _ = await asyncio.wait({working, ended}, timeout=LIMIT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if working in done:
            return working.result()
        problem = "The worker has ended" if ended in done else f"The requests did not end within {LIMIT_SECONDS:g} s"
        raise CommandError(f"{problem}; see {output.log} for the reason.")
    finally:
        working.cancel()
        ended.cancel()
        await asyncio.gather(working, ended, return_exceptions=True)


async def report(
    final: Mapping[str, DeploymentStatus], playground: str, output: OutputFolder, console: DemoConsole
) -> bool:
    """Download the zips and print the result; return whether all four requests ended as expected."""
    wrong = [request for request in DEMO_REQUESTS if not request.ended_as_expected(final[request.label])]
    console.say()
    for request in DEMO_REQUESTS:
        if final[request.label].state is State.DEPLOYED:
            console.say(f"  {await output.download(request.label, playground, final[request.label])}")
    for request in wrong:
        console.say(f"  {request.label} should have ended as {request.state} {request.code or ''}".rstrip(), "red")
    if wrong:
        console.say(f"\nNot all ended as expected, after {console.duration}; see {output.log}.", "bold red")
    else:
        console.say(f"\nAll four ended as expected, after {console.duration}.", "bold green")
    return not wrong


async def _keep(services: DemoServices, output: OutputFolder, console: DemoConsole) -> None:
    output.write_access(services.environment, sandbox_token(datetime.now(UTC), timedelta(hours=12)))
    try:
        addresses = {
            "playground": services.playground,
            "graphene": services.graphene,
            "kafka": services.kafka.bootstrap_servers,
        }
        console.say(output.kept_message(addresses, CASES["sudoku"]))
        await until_stopped()
    finally:
        output.remove_access()
