"""`demo`: four requests from start to finish on this machine, with Apache Kafka, a worker and a gateway."""

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

import aiohttp
from aiokafka.errors import KafkaConnectionError
from rich.console import Console

from schemas import FINAL_STATES, DeploymentStatus, State
from worker.adapters.kafka.topics import prepare_topics, required_topics
from worker.cli.demo_output import DemoConsole, OutputFolder, called_command
from worker.cli.terminal import configure_logging, run, until_stopped
from worker.client import DeployerClient
from worker.client.requests import open_admin
from worker.errors import CommandError
from worker.sandbox.environment import gateway_environment, running, worker_environment
from worker.sandbox.graphene import graphene_app
from worker.sandbox.graphene_data import CASES, Case
from worker.sandbox.http_server import served
from worker.sandbox.kafka import EmbeddedKafka
from worker.sandbox.kafka_node import HOST, unused_ports
from worker.sandbox.playground import PLAYGROUND, playground_app
from worker.sandbox.playground_confinement import NOT_RUN, find_confinement
from worker.sandbox.portal import DEPLOY, add_portal
from worker.sandbox.supervised_process import SupervisedProcess
from worker.sandbox.users import sandbox_token
from worker.settings import ClientSettings, KafkaSettings, read_settings

T = TypeVar("T")

LIMIT_SECONDS = 120.0  # for all four requests, which take about 10 s

INTRO = """\
Four deployment requests from start to finish, all on this machine.
One request is published by the gateway, as after a click in Graphene; three
are published by this command. The worker reads each request from Apache Kafka,
builds a bundle of the solution from Graphene's data, sends the bundle to the
playground, and publishes a status at every step. Graphene and the playground
are sandboxes.
"""
REQUESTS = "\nThree of the requests can be deployed; the token of the fourth has expired.\n"
NEXT = "\nNext, open the zips (deployments/, MANIFEST.json), then read README.md."
MORE = "To try more commands with everything running: {command} demo --keep\n"


@dataclass(frozen=True, slots=True)
class DemoRequest:
    """One of the four requests, and its expected final status."""

    label: str
    title: str
    case: Case
    lifetime: timedelta  # of its token
    state: State
    code: str | None = None

    @property
    def request_id(self) -> str:
        """The id under which the request is published."""
        return f"demo-{self.label}"

    def ended_as_expected(self, status: DeploymentStatus) -> bool:
        """Return whether `status` has the expected state and error code."""
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


CLICKED = "sudoku"  # deployed by a click in Graphene; this command publishes the other requests


@dataclass(frozen=True, slots=True)
class DemoServices:
    """All services that the demo has started."""

    kafka: KafkaSettings
    graphene: str
    playground: str
    gateway: str
    environment: Mapping[str, str]
    processes: Mapping[str, tuple[SupervisedProcess, Path]]  # name → process and its log


def execute(arguments: argparse.Namespace) -> int:
    """Run the demo; return 0 only if all four final statuses are as expected."""
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
            final = await while_running(services.processes, _deploy(services, console), output)
            succeeded = await report(final, services.playground, output, console)
            console.say(NEXT)
            if keep:
                await _keep(services, output, console, f"{services.gateway}/requests/{final[CLICKED].request_id}")
            else:
                console.say(MORE.format(command=called_command()))
    finally:
        console.say("Everything has been stopped.")
    return 0 if succeeded else 1


async def _start(stack: AsyncExitStack, broker: str | None, output: OutputFolder, console: DemoConsole) -> DemoServices:
    """Start all services; `stack` stops them in reverse order. `broker` is the user's Kafka, None for the embedded."""
    with console.starting("Apache Kafka") as step:
        if broker is None:
            embedded = await stack.enter_async_context(EmbeddedKafka(progress=step.downloaded, short_lived=True))
        step.location = address = broker or embedded.bootstrap_servers
    with console.starting("Graphene, sandbox") as step:
        gateway = f"http://{HOST}:{next(unused_ports(1))}"  # chosen now, because Graphene's pages link to the gateway
        graphene_sandbox = graphene_app()
        add_portal(graphene_sandbox, gateway)
        step.location = graphene = await stack.enter_async_context(served(graphene_sandbox))
    with console.starting("playground, sandbox") as step:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="playground-")))
        confinement = await asyncio.to_thread(find_confinement)
        app = playground_app(folder, confinement=confinement, portal=graphene)
        step.location = playground = await stack.enter_async_context(served(app))
    # In the user's Kafka, the demo touches only topics and a group with its own prefix.
    prefix = f"playground-demo-{uuid4().hex[:8]}" if broker else ""
    environment = worker_environment(address, graphene, playground, app[PLAYGROUND].deploy_path, prefix)
    kafka = read_settings(environment, ClientSettings).kafka
    with console.starting("topics") as step:
        await stack.enter_async_context(_topics(kafka, remove=bool(prefix)))
        step.location = f"{kafka.requests_topic} and others"
    with console.starting("worker") as step:
        worker = await stack.enter_async_context(running(["run"], environment, output.log, remove=folder))
        step.location = f"a separate process, logs to {output.log}"
    with console.starting("gateway") as step:
        settings = gateway_environment(environment, gateway, graphene)
        command = ["gateway", "--host", HOST]
        front_door = await stack.enter_async_context(running(command, settings, output.gateway_log, remove=folder))
        step.location = f"{gateway}, logs to {output.gateway_log}"
    console.say(f"\n{confinement.about if confinement else NOT_RUN}")
    processes = {"worker": (worker, output.log), "gateway": (front_door, output.gateway_log)}
    return DemoServices(kafka, graphene, playground, gateway, environment, processes)


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


async def _deploy(services: DemoServices, console: DemoConsole) -> dict[str, DeploymentStatus]:
    """Click for one request, publish the others, and follow all four; return label → final status."""
    now = datetime.now(UTC)
    final: dict[str, DeploymentStatus] = {}
    async with DeployerClient(services.kafka) as client:
        clicked = await _click(services.graphene, services.gateway)
        by_id = {clicked if demo.label == CLICKED else demo.request_id: demo for demo in DEMO_REQUESTS}
        labels = {request_id: demo.label for request_id, demo in by_id.items()}
        titles = {request_id: demo.title for request_id, demo in by_id.items()}
        for request_id, demo in by_id.items():
            if demo.label != CLICKED:
                token = sandbox_token(now, demo.lifetime)
                await client.submit(demo.case.solution_id, demo.case.revision_id, token, request_id=request_id)
        with console.requests(labels, titles) as show:
            async for request_id, status in client.follow_all(labels):
                # A request that is rejected on arrival has a record id, for which there is no label.
                show(status.model_copy(update={"request_id": request_id}))
                if status.state in FINAL_STATES:
                    final[labels[request_id]] = status
    return final


async def _click(graphene: str, gateway: str) -> str:
    """Deploy as a click in Graphene does, and return the request's id, from the address of the request's page."""
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as browser:
        while not await _is_ready(browser, gateway):  # noqa: ASYNC110 - readiness has no event to wait for
            await asyncio.sleep(0.05)
        async with browser.get(f"{graphene}{DEPLOY}{CLICKED}", headers={"Accept": "text/html"}) as response:
            response.raise_for_status()
            return response.url.name


async def _is_ready(http: aiohttp.ClientSession, gateway: str) -> bool:
    try:
        async with http.get(f"{gateway}/ready") as response:
            return response.status == 200
    except aiohttp.ClientConnectionError:
        return False


async def while_running(
    processes: Mapping[str, tuple[SupervisedProcess, Path]], work: Coroutine[Any, Any, T], output: OutputFolder
) -> T:
    """Return the result of `work`. Raises CommandError when a process stops, or the time limit is reached, first."""

    async def first_exit() -> tuple[str, Path]:
        while True:
            for name, (process, log) in processes.items():
                if await process.wait(0.25) is not None:
                    return name, log

    task, exit_watch = asyncio.ensure_future(work), asyncio.ensure_future(first_exit())
    try:
        done, _ = await asyncio.wait({task, exit_watch}, timeout=LIMIT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if task in done:
            return task.result()
        if exit_watch in done:
            name, log = exit_watch.result()
            raise CommandError(f"The {name} has stopped; see {log} for the reason.")
        raise CommandError(f"The requests did not finish within {LIMIT_SECONDS:g} s; see {output.log} for the reason.")
    finally:
        task.cancel()
        exit_watch.cancel()
        await asyncio.gather(task, exit_watch, return_exceptions=True)


async def report(
    final: Mapping[str, DeploymentStatus], playground: str, output: OutputFolder, console: DemoConsole
) -> bool:
    """Download the zips and print the result; return whether all four final statuses are as expected."""
    wrong = [request for request in DEMO_REQUESTS if not request.ended_as_expected(final[request.label])]
    console.say()
    for request in DEMO_REQUESTS:
        if final[request.label].state is State.DEPLOYED:
            console.say(f"  {await output.download(request.label, playground, final[request.label])}")
    for request in wrong:
        console.say(f"  {request.label} should be {request.state} {request.code or ''}".rstrip(), "red")
    if wrong:
        console.say(f"\nNot all requests finished as expected, after {console.duration}; see {output.log}.", "bold red")
    else:
        console.say(f"\nAll four requests finished as expected, after {console.duration}.", "bold green")
    return not wrong


async def _keep(services: DemoServices, output: OutputFolder, console: DemoConsole, page: str) -> None:
    output.write_access(services.environment, sandbox_token(datetime.now(UTC), timedelta(hours=12)))
    try:
        addresses = {
            "playground": services.playground,
            "graphene": services.graphene,
            "page": page,
            "kafka": services.kafka.bootstrap_servers,
        }
        console.say(output.kept_message(addresses, CASES["sudoku"]))
        await until_stopped()
    finally:
        output.remove_access()
