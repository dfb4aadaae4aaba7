"""The gateway's composition root: opens everything in one stack, closes it in reverse order, and serves."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import structlog
from aiohttp import web
from aiokafka.errors import KafkaError
from prometheus_client.aiohttp import make_aiohttp_handler

from worker.adapters.jwks import open_tokens
from worker.client.requests import RequestPublisher, open_publisher
from worker.domain.solution import Caller
from worker.errors import ConfigurationError
from worker.gateway import metrics
from worker.gateway.access import Access
from worker.gateway.bell import ringing
from worker.gateway.connection import MAX_BODY
from worker.gateway.http import Connections, answers, background, serving
from worker.gateway.operations import Operations
from worker.gateway.pages import Pages
from worker.gateway.reader import RETRY_SECONDS, StatusReader
from worker.gateway.routes import Builds, Routes
from worker.gateway.service import Gateway
from worker.gateway.sessions import Sessions
from worker.gateway.view import View
from worker.observability.traces import open_tracing
from worker.settings import BuilderSettings, GatewayProcessSettings, KafkaSettings

BUILDS = 2  # bundles built for download at the same time: a large solution takes 130 MB during its build

log = structlog.get_logger()


async def run(settings: GatewayProcessSettings, stop: asyncio.Event, host: str | None = None) -> None:
    """Serve until `stop` is set. Raises ConfigurationError."""
    async with open_gateway(settings, stop, host) as port:
        log.info("the gateway serves", port=port, public_url=settings.gateway.public_url)
        await stop.wait()


@asynccontextmanager
async def open_gateway(
    settings: GatewayProcessSettings, stop: asyncio.Event, host: str | None = None
) -> AsyncIterator[int]:
    """Open everything, and serve inside the block; yield the port."""
    own = settings.gateway
    async with AsyncExitStack() as stack:
        tokens = await stack.enter_async_context(open_tokens(settings.auth, time.time))
        for warning in tokens.warnings:
            log.warning(warning)
        await stack.enter_async_context(open_tracing(settings.tracing))
        wanted = BuilderSettings(catalog=settings.catalog, artifacts=settings.artifacts, bundle=settings.bundle)
        builder = _LazyBuilder(stack, wanted)
        view = View(own.view_max_requests, own.view_max_bytes)
        reader = StatusReader(settings.kafka, view, metrics.STATUS_SECONDS.observe)
        publisher = await stack.enter_async_context(_publishing(settings.kafka))
        gateway = Gateway(own, tokens, Sessions(own, time.time), view, reader, publisher.get)
        pages = Pages(urlsplit(own.public_url).path.rstrip("/"), own.public_url, own.portal_url)
        routes = Routes(gateway, builder, Operations(settings.kafka), pages, own)
        connections = Connections()
        app = web_app(routes, connections)
        access = await stack.enter_async_context(_verifying(settings))
        add_probes(app, access, reader, publisher, stop)
        await stack.enter_async_context(background("status reader", reader.run))
        await stack.enter_async_context(background("measures", partial(_measure, view, reader)))
        if own.notify:
            await stack.enter_async_context(ringing(settings.kafka, settings.catalog, own.public_url))
        port = await stack.enter_async_context(serving(app, connections, host, own.http_port))
        try:
            yield port
        finally:
            routes.stopping.set()


def web_app(routes: Routes, connections: Connections) -> web.Application:
    """Return the application. Every request passes the middlewares from the first to the last."""
    app = web.Application(
        client_max_size=MAX_BODY, middlewares=[answers(routes.refuse), connections.middleware, routes.middleware]
    )
    routes.add_to(app)
    return app


class _LazyBuilder:
    """A builder that opens at the first download. It takes 25 MB, and most gateways never need it."""

    def __init__(self, stack: AsyncExitStack, settings: BuilderSettings) -> None:
        self._stack = stack
        self._settings = settings
        self._opening = asyncio.Lock()
        self._slots = asyncio.Semaphore(BUILDS)
        self._builder: Builds | None = None

    async def build(self, solution_id: UUID, revision_id: UUID, caller: Caller | None) -> tuple[Any, Any]:
        """Build as the worker does. Raises DeploymentError, or ConfigurationError when the overrides are invalid."""
        from worker.app import open_builder  # noqa: PLC0415 - the point of this class

        async with self._opening:
            builder = self._builder
            if builder is None:
                opened: Builds = await self._stack.enter_async_context(open_builder(self._settings))
                self._builder = builder = opened
        async with self._slots:
            return await builder.build(solution_id, revision_id, caller)


class _Publisher:
    """A publisher that opens once Kafka has been reached."""

    def __init__(self) -> None:
        self._opened: RequestPublisher | None = None

    def get(self) -> RequestPublisher | None:
        """Return the publisher, or None until Kafka has been reached."""
        return self._opened

    async def run(self, kafka: KafkaSettings) -> None:
        """Open the publisher as soon as Kafka can be reached, and keep it open."""
        while True:
            try:
                async with open_publisher(kafka) as self._opened:
                    await asyncio.Event().wait()
            except (KafkaError, ConfigurationError, TimeoutError, OSError) as error:
                log.warning("Kafka cannot be written to yet", error=type(error).__name__, why=str(error)[:200])
            finally:
                self._opened = None
            await asyncio.sleep(RETRY_SECONDS)


@asynccontextmanager
async def _publishing(kafka: KafkaSettings) -> AsyncIterator[_Publisher]:
    publisher = _Publisher()
    async with background("publisher", partial(publisher.run, kafka)):
        yield publisher


@asynccontextmanager
async def _verifying(settings: GatewayProcessSettings) -> AsyncIterator[Access]:
    access = Access(settings.kafka, notifies=settings.gateway.notify)
    async with background("access to Kafka", access.run):
        yield access


async def _measure(view: View, reader: StatusReader) -> None:
    while True:
        metrics.VIEW_REQUESTS.set(len(view))
        metrics.VIEW_BYTES.set(view.bytes)
        metrics.VIEW_EVICTED.set(view.evicted)
        metrics.READ.set(reader.is_complete)
        metrics.CONNECTED.set(reader.is_connected)
        await asyncio.sleep(1)


def add_probes(
    app: web.Application, access: Access, reader: StatusReader, publisher: _Publisher, stop: asyncio.Event
) -> None:
    """Add /live, /ready and /metrics."""

    def why_not() -> str | None:
        if stop.is_set():
            return "stopping"
        if access.problem:
            return access.problem
        if not reader.is_complete:
            return "the status topic has not been read yet"
        if publisher.get() is None:
            return "the requests topic cannot be written to yet"
        return None

    metrics.READY.set_function(lambda: why_not() is None)

    async def live(_: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def ready(_: web.Request) -> web.Response:
        reason = why_not()
        if reason is None:
            return web.json_response({"status": "ok"})
        return web.json_response({"status": "failing", "reason": reason}, status=503)

    app.router.add_get("/live", live)
    app.router.add_get("/ready", ready)
    app.router.add_get("/metrics", make_aiohttp_handler(metrics.REGISTRY))
