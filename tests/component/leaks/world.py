"""A deployer with its real adapters, dependencies that repeat what they receive, and all output of the deployer."""

import asyncio
import json
import logging
import time
import traceback
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any

from aiohttp import encode_basic_auth, web
from aiohttp.typedefs import Handler
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import generate_latest

from schemas import DeploymentStatus, Message
from tests.component.leaks import canaries
from tests.support.builders import record
from tests.support.fakes import FakeJob, FakeProcessor
from tests.support.logging_state import LIBRARIES
from worker.adapters.graphene import KEPT_SECONDS, ArtifactsClient, CatalogClient
from worker.adapters.http import dependency_session
from worker.adapters.playground import PlaygroundClient, playground_session
from worker.adapters.tokens import TokenVerifier
from worker.build import Builder
from worker.delivery.admission import RESERVED_BYTES, Admission, Breakers, Budget, Limiter
from worker.delivery.partition import Job
from worker.deploy import Deployer
from worker.domain.dead_letter import DeadLetter
from worker.domain.lifecycle import Lifecycle
from worker.domain.request import Record
from worker.observability import logs
from worker.observability.logs import Format
from worker.observability.metrics import REGISTRY
from worker.observability.traces import open_tracing
from worker.ports import Clocks
from worker.sandbox.graphene import CCDS_LOGIN, CCDS_PATH, GRAPHENE, NEXUS_LOGIN, NEXUS_PATH, Graphene, graphene_app
from worker.sandbox.graphene_data import Stored, make_model, make_pipeline
from worker.sandbox.http_server import Fault, served
from worker.sandbox.playground import PLAYGROUND, Playground, playground_app
from worker.settings import Settings, TracingSettings, read_settings, secret_values

USER_ID = canaries.USER.user_id.encode()
SHIPPED = {
    "kubernetes-client-script.py": b"print('script')\n",
    "deployment-readme.txt": b"read me\n",
    "requirements.txt": b"kubernetes\n",
    "requirements-single.txt": b"kubernetes\n",
}
PIPELINE = make_pipeline(
    "Leaks",
    json.loads(canaries.BLUEPRINT),
    {"a": canaries.PROTO, "b": canaries.PROTO},
    icon=canaries.ICON,
    description=f"<p>{canaries.IN_THE_DESCRIPTION}</p>",
)
MODEL = make_model("Leaking model", "registry.example/m:1", canaries.PROTO, icon=canaries.ICON)


_LOGINS = {
    encode_basic_auth(canaries.CCDS_USERNAME, canaries.CCDS_PASSWORD): encode_basic_auth(*CCDS_LOGIN),
    encode_basic_auth(canaries.NEXUS_USERNAME, canaries.NEXUS_PASSWORD): encode_basic_auth(*NEXUS_LOGIN),
}


_DEPLOY = "/deploy_solution"

TOLD = [""]  # the last repeated request


class Echo(Fault):
    """A fault that repeats the whole request, in its text and in a header."""

    async def answer(self, request: web.Request) -> web.Response:
        """Answer like a server in debug mode."""
        told = TOLD[0] = f"{self.body}{request.method} {request.rel_url} {dict(request.headers)} {await request.text()}"
        headers = {"X-Echo": request.headers.get("Authorization", "none"), **self.headers}
        return web.Response(status=self.status, text=told, headers=headers)


class Processor(FakeProcessor):
    """A processor that keeps what it would send to Kafka as text, with keys and headers."""

    def __init__(self, clocks: Clocks, permits: Mapping[str, str]) -> None:
        super().__init__(clocks, permits)
        self.sent: list[str] = []

    def publish(self, job: Job, status: DeploymentStatus, dead_letter: DeadLetter | None) -> asyncio.Future[None]:
        """Keep the messages of the transaction."""
        self.sent += map(repr_all, self.context.encoder.encode(status, dead_letter, None))
        return super().publish(job, status, dead_letter)


class ListedJob(FakeJob):
    """A job in a partition of such a processor."""

    processor: Processor
    processor_class = Processor


def repr_all(message: Message) -> str:
    """Return a message with what its own repr hides, except the user's id as a dead letter's key, which is allowed."""
    if message.topic == "dead-letters" and message.key in (None, USER_ID):
        return f"{message.value.decode()} {message.headers!r}"
    return f"{message.topic} {message.value.decode()} {message.key!r} {message.headers!r}"


class FileAges:
    """The clock for cached content of the repository."""

    seconds = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.seconds

    def too_old(self) -> None:
        """Expire everything cached so far."""
        self.seconds += KEPT_SECONDS


@dataclass
class World:
    """The inside of one worker. A test changes the dependencies' behaviour, sends records, and inspects `written`."""

    settings: Settings
    graphene: Graphene
    playground: Playground
    tokens: TokenVerifier
    catalog: CatalogClient
    artifacts: ArtifactsClient
    submitter: PlaygroundClient
    builder: Builder
    deployer: Deployer
    log: StringIO
    spans: InMemorySpanExporter
    ages: FileAges
    errors: list[str] = field(default_factory=list)
    sent: list[str] = field(default_factory=list)
    statuses: list[DeploymentStatus] = field(default_factory=list)

    async def handle(self, one: Record) -> None:
        """Handle a record like the consumer, in a separate task."""
        job = ListedJob(one)
        try:
            await asyncio.create_task(self.deployer.handle(job))
        finally:
            self.sent += job.processor.sent
            self.statuses += job.statuses

    @property
    def last(self) -> dict[str, Any]:
        """Return the last status."""
        status: dict[str, Any] = json.loads(self.statuses[-1].to_json())
        return status

    @property
    def written(self) -> list[str]:
        """Return all output of the worker, and every error that an adapter raised in it."""
        spans = [span.to_json() for span in self.spans.get_finished_spans()]
        return [self.log.getvalue(), *self.sent, *self.errors, *spans, generate_latest(REGISTRY).decode()]

    def forget(self) -> None:
        """Clear all output and faults before the next path."""
        self.graphene.faults.clear()
        self.playground.faults.clear()
        self.sent.clear()
        self.statuses.clear()
        self.errors.clear()
        self.spans.clear()
        self.log.seek(0)
        self.log.truncate()

    def witness(self, adapter: object, method: str) -> None:
        """Record the errors that this method raises."""
        inner = getattr(adapter, method)

        async def outer(*arguments: Any, **more: Any) -> Any:
            try:
                return await inner(*arguments, **more)
            except Exception as error:
                self.errors.append(shown(error))
                raise

        setattr(adapter, method, outer)


def shown(error: BaseException) -> str:
    """Return every text form of an exception."""
    return "\n".join([str(error), repr(error), repr(vars(error)), repr(error.args), *traceback.format_exception(error)])


def request(token: str | None = None, stored: Stored = PIPELINE, **changes: Any) -> Record:
    """Return a record that the user of the canaries sends."""
    headers = (("authorization", f"Bearer {token or canaries.token()}".encode()),)
    value = {"requestId": "request-1", "solutionId": str(stored.solution_id), "revisionId": str(stored.revision_id)}
    now = int(datetime.now(UTC).timestamp() * 1000)
    values: dict[str, Any] = {"value": value, "headers": headers, "key": USER_ID, "timestamp_ms": now}
    return record(**(values | changes))


def environment(ccds: str, nexus: str, playground: str) -> dict[str, str]:
    """Return settings whose secrets are canaries."""
    return {
        "DEPLOYER_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1",
        "DEPLOYER_KAFKA__SECURITY_PROTOCOL": "SASL_PLAINTEXT",
        "DEPLOYER_KAFKA__SASL_MECHANISM": "PLAIN",
        "DEPLOYER_KAFKA__SASL_USERNAME": canaries.SASL_USERNAME,
        "DEPLOYER_KAFKA__SASL_PASSWORD": canaries.SASL_PASSWORD,
        "DEPLOYER_AUTH__SECRET": canaries.JWT_SECRET,
        "DEPLOYER_CATALOG__URL": ccds + CCDS_PATH,
        "DEPLOYER_CATALOG__USERNAME": canaries.CCDS_USERNAME,
        "DEPLOYER_CATALOG__PASSWORD": canaries.CCDS_PASSWORD,
        "DEPLOYER_CATALOG__TIMEOUT_SECONDS": "1",
        "DEPLOYER_ARTIFACTS__URL": nexus + NEXUS_PATH,
        "DEPLOYER_ARTIFACTS__USERNAME": canaries.NEXUS_USERNAME,
        "DEPLOYER_ARTIFACTS__PASSWORD": canaries.NEXUS_PASSWORD,
        "DEPLOYER_ARTIFACTS__TIMEOUT_SECONDS": "1",
        "DEPLOYER_PLAYGROUND__DEPLOY_URL": f"{playground}{_DEPLOY}",
        "DEPLOYER_PLAYGROUND__TIMEOUT_SECONDS": "1",
        "DEPLOYER_BUNDLE__ORCHESTRATOR_IMAGE": "registry.example/orchestrator:1.8",
        "DEPLOYER_RUNTIME__LOG_LEVEL": "debug",
        "DEPLOYER_RUNTIME__REQUEST_DEADLINE_SECONDS": "0.001",  # no second attempt: the output of the first is checked
        "DEPLOYER_RUNTIME__HTTP_PORT": "0",
    }


@web.middleware
async def _door(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Replace the canary logins with those that the sandbox knows."""
    if fault := request.app[GRAPHENE].fault(request.path):
        return await fault.answer(request)
    login = request.headers.get("Authorization", "")
    return await handler(request.clone(headers={**request.headers, "Authorization": _LOGINS.get(login, login)}))


def canary_graphene() -> web.Application:
    """Return the sandbox's Graphene with our logins and our two solutions."""
    app = graphene_app()
    app.middlewares.insert(0, _door)
    for stored in (PIPELINE, MODEL):
        app[GRAPHENE].add(stored)
    return app


@asynccontextmanager
async def open_world(folder: Path, log_format: Format, **servers: str) -> AsyncIterator[World]:
    """Open a world whose servers are the sandbox's, except a `ccds`, `nexus` or `playground` given by its address.

    The worker and the libraries log at `debug`.
    """
    graphene, playground = canary_graphene(), playground_app(folder)
    deploy_path = playground[PLAYGROUND].deploy_path
    async with AsyncExitStack() as stack:
        graphene_url = await stack.enter_async_context(served(graphene))
        urls = {
            "ccds": graphene_url,
            "nexus": graphene_url,
            "playground": await stack.enter_async_context(served(playground)) + deploy_path.removesuffix(_DEPLOY),
        } | servers
        settings = read_settings(environment(**urls) | {"DEPLOYER_RUNTIME__LOG_FORMAT": log_format}, Settings)
        log = StringIO()
        logs.configure("debug", log_format, log, secret_values(settings))
        for library in LIBRARIES:
            logging.getLogger(library).setLevel(logging.DEBUG)
        spans = InMemorySpanExporter()
        tracing = TracingSettings(endpoint="http://collector.example")
        await stack.enter_async_context(open_tracing(tracing, lambda _: SimpleSpanProcessor(spans)))
        session, ages = await stack.enter_async_context(dependency_session()), FileAges()
        tokens = TokenVerifier(settings.auth, lambda: datetime.now(UTC).timestamp())
        catalog, artifacts = (
            CatalogClient(session, settings.catalog),
            ArtifactsClient(session, settings.artifacts, ages),
        )
        submitter = PlaygroundClient(
            await stack.enter_async_context(playground_session(settings.playground)), settings.playground
        )
        builder = Builder(catalog, artifacts, SHIPPED, settings.bundle)
        clocks = Clocks(lambda: datetime.now(UTC), time.monotonic, asyncio.sleep, lambda: 0.5)
        admission = Admission(Limiter(32), Breakers(time.monotonic, asyncio.sleep, ()), Budget(RESERVED_BYTES))
        lifecycle = Lifecycle(settings.playground, settings.runtime)
        deployer = Deployer(tokens, builder, submitter, admission, clocks, lifecycle)
        world = World(
            settings,
            graphene[GRAPHENE],
            playground[PLAYGROUND],
            tokens,
            catalog,
            artifacts,
            submitter,
            builder,
            deployer,
            log,
            spans,
            ages,
        )
        for adapter, method in (
            (tokens, "authenticate"),
            (catalog, "find"),
            (artifacts, "fetch"),
            (submitter, "submit"),
        ):
            world.witness(adapter, method)
        yield world


@asynccontextmanager
async def mirror(answer: str) -> AsyncIterator[str]:
    """Run a server that writes its answer, with the received request in it, and disconnects; yield its address."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            told = " ".join(head.split())
            if "POST" in head:
                told += (await reader.readuntil(b'"}')).decode()[-600:]
            writer.write(answer.format(told, told, told).encode()[:200_000])
            await writer.drain()
        finally:
            writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        yield "http://{}:{}".format(*server.sockets[0].getsockname())
