"""The composition root: opens all clients in one stack, runs the worker, and closes them in reverse order."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor

from schemas import DeploymentSettled
from worker.adapters.graphene import ArtifactsClient, CatalogClient
from worker.adapters.http import dependency_session
from worker.adapters.jwks import open_tokens
from worker.adapters.kafka.clients import (
    FETCHED,
    METADATA_MS,
    STOP_SECONDS,
    WORKER_STOP_SECONDS,
    client_options,
    running_client,
)
from worker.adapters.kafka.partition_store import KafkaPartitionStore, by_brokers
from worker.adapters.kafka.settlements import SettlementReader, SettlementSender
from worker.adapters.kafka.startup import prepare_kafka, watch_kafka
from worker.adapters.overrides_file import load_overrides
from worker.adapters.playground import PlaygroundClient, playground_session
from worker.build import Builder
from worker.concurrency import running
from worker.delivery.admission import Admission, Breakers, Budget, KeyQueue, Limiter
from worker.delivery.collector import WorkerCollector
from worker.delivery.consumer import RequestConsumer
from worker.delivery.partition import PartitionProcessor, WorkerContext
from worker.deploy import Deployer
from worker.domain.lifecycle import Lifecycle
from worker.domain.partition_state import StatusEncoder
from worker.observability.health import HealthServer, Probes
from worker.observability.metrics import BACKGROUND_FAILURES, PARTITIONS, REBALANCES, REGISTRY
from worker.observability.traces import open_tracing
from worker.ports import Clocks, Store
from worker.settings import BuilderSettings, KafkaSettings, Settings

SESSION_MS = 10_000  # a worker that sends no heartbeat for this long loses its partitions
CLOCKS = Clocks(partial(datetime.now, UTC), time.monotonic, asyncio.sleep, random.random)

ONTARGET = Path(__file__).parent / "ontarget"

log = structlog.get_logger()

OpenStore = Callable[[KafkaSettings, AIOKafkaConsumer, str], Store]


async def run(settings: Settings, stop: asyncio.Event, open_store: OpenStore = KafkaPartitionStore) -> None:
    """Work until `stop` is set. Raises ConfigurationError, KafkaError.

    `open_store` replaces the store that writes with Kafka's transactions.
    """
    clocks = by_brokers(CLOCKS)
    async with AsyncExitStack() as stack:
        tokens = await stack.enter_async_context(open_tokens(settings.auth, time.time))
        for warning in tokens.warnings:
            log.warning(warning)
        await stack.enter_async_context(open_tracing(settings.tracing))
        probes = Probes(stop)
        server = await stack.enter_async_context(HealthServer(settings.runtime.http_port, probes.live, probes.ready))
        log.info("health is served", port=server.port)
        builder = await stack.enter_async_context(open_builder(settings))
        builder.warm_up()
        playground = PlaygroundClient(
            await stack.enter_async_context(playground_session(settings.playground)), settings.playground, clocks.now
        )
        cluster_id = await prepare_kafka(settings.kafka, stop)
        if cluster_id is None:
            return
        breakers = Breakers(clocks.monotonic, clocks.sleep)
        budget = Budget(settings.runtime.max_bytes_in_flight)
        admission = Admission(Limiter(settings.runtime.max_in_flight), breakers, budget)
        lifecycle = Lifecycle(settings.playground, settings.runtime)
        deployer = Deployer(tokens, builder, playground, admission, clocks, lifecycle)
        consumer = _kafka_consumer(settings)
        await stack.enter_async_context(running_client(consumer, stop_seconds=WORKER_STOP_SECONDS))
        store = open_store(settings.kafka, consumer, cluster_id)
        requests = open_request_consumer(settings, consumer, store, deployer, clocks, cluster_id)
        probes.requests = await stack.enter_async_context(requests)
        limits = {
            "request": settings.runtime.request_deadline_seconds,
            "post": settings.playground.timeout_seconds,
        }
        collector = WorkerCollector(probes.requests, admission, limits, clocks)
        collected = _collected(collector, consumer, settings.kafka.requests_topic)
        async with collected, watch_kafka(settings.kafka, stop, probes.note_topics):
            await probes.requests.run(stop)


@asynccontextmanager
async def open_request_consumer(
    settings: Settings, consumer: AIOKafkaConsumer, store: Store, deployer: Deployer, clocks: Clocks, cluster_id: str
) -> AsyncIterator[RequestConsumer]:
    """Open the consumer of requests, with a processor per partition, and the reader and sender of settlements."""
    kafka = settings.kafka
    source = f"/playground-deployer/{kafka.group_id}"
    sender = SettlementSender(kafka, source)
    encoder = StatusEncoder(kafka.status_topic, kafka.dead_letter_topic, source)
    key_queue = KeyQueue(settings.runtime.max_open_requests_per_user)
    park_max_seconds = settings.playground.park_max_seconds
    context = WorkerContext(store, deployer.handle, encoder, key_queue, clocks, sender.hand_over, park_max_seconds)

    def open_processor(partition: int, on_ready: Callable[[PartitionProcessor, int], None]) -> PartitionProcessor:
        return PartitionProcessor(partition, context, on_ready)

    def on_settlement(partition: int, settled: DeploymentSettled) -> None:
        if processor := requests.processors.get(partition):
            processor.on_settlement(settled)

    reader = AIOKafkaConsumer(
        **client_options(kafka),
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        metadata_max_age_ms=METADATA_MS,
        **FETCHED,
    )
    settlements = SettlementReader(reader, kafka.settlements_topic, on_settlement)

    def on_assignment(partitions: frozenset[int]) -> None:
        settlements.watch(partitions)
        REBALANCES.inc()
        PARTITIONS.set(len(partitions))

    requests = RequestConsumer(
        consumer,
        open_processor,
        on_assignment,
        cluster_id,
        kafka.requests_topic,
        settings.runtime,
    )
    async with running_client(reader, stop_seconds=WORKER_STOP_SECONDS), background("settlements", settlements.run):
        seconds = WORKER_STOP_SECONDS
        try:
            yield requests
        except asyncio.CancelledError:
            seconds = STOP_SECONDS  # second signal: hand over known outcomes, and wait for no POST
            raise
        finally:
            PARTITIONS.set(0)
            await sender.finished(seconds)


@asynccontextmanager
async def _collected(collector: WorkerCollector, consumer: AIOKafkaConsumer, topic: str) -> AsyncIterator[None]:
    """Export the collector's metrics on `/metrics` during the block."""
    REGISTRY.register(collector)
    try:
        async with background("collector", partial(collector.follow, consumer, topic)):
            yield
    finally:
        REGISTRY.unregister(collector)


@asynccontextmanager
async def open_builder(settings: Settings | BuilderSettings) -> AsyncIterator[Builder]:
    """Open the builder of bundles and its connections to Graphene. The command `bundle` needs nothing else.

    Raises ConfigurationError when the overrides are wrong.
    """
    overrides = load_overrides(settings.bundle)
    async with dependency_session() as session:
        yield Builder(
            CatalogClient(session, settings.catalog),
            ArtifactsClient(session, settings.artifacts),
            shipped_files(),
            settings.bundle,
            overrides,
        )


def shipped_files() -> dict[str, bytes]:
    """Read the files that the deployer adds to every zip: path below worker/ontarget → bytes."""
    return {
        path.relative_to(ONTARGET).as_posix(): path.read_bytes()
        for path in sorted(ONTARGET.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }


def background(task: str, work: Callable[[], Coroutine[Any, Any, None]]) -> AbstractAsyncContextManager[None]:
    """Run `work` during the block. Log and count its failures."""
    return running(work, task, BACKGROUND_FAILURES.labels(task).inc)


def _kafka_consumer(settings: Settings) -> AIOKafkaConsumer:
    """Use sticky assignment, which moves few partitions, and fetches below the default bounds of back-pressure."""
    drain_ms = int(settings.runtime.drain_seconds * 1000)
    return AIOKafkaConsumer(
        **client_options(settings.kafka),
        group_id=settings.kafka.group_id,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        isolation_level="read_committed",
        partition_assignment_strategy=(StickyPartitionAssignor,),
        session_timeout_ms=SESSION_MS,
        heartbeat_interval_ms=SESSION_MS // 4,
        # Other workers wait this long for this worker to finish its records before they get its partitions.
        rebalance_timeout_ms=drain_ms + 30_000,
        max_poll_interval_ms=drain_ms + 60_000,
        metadata_max_age_ms=METADATA_MS,
        **FETCHED,
    )
