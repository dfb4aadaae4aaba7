"""The composition root: opens everything in one stack, closes it in reverse order, and runs."""

import asyncio
import random
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from socket import gethostname

import structlog
from aiokafka import AIOKafkaConsumer
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor

from schemas import DeploymentSettled
from worker.adapters.graphene import ArtifactsClient, CatalogClient
from worker.adapters.http import dependency_session
from worker.adapters.jwks import open_tokens
from worker.adapters.kafka.clients import WORKER_STOP_SECONDS, client_options, running_client
from worker.adapters.kafka.partition_store import KafkaLedger, record_of
from worker.adapters.kafka.settlements import SettlementSender, SettlementTail
from worker.adapters.kafka.startup import prepare_kafka, watch_authorization
from worker.adapters.overrides_file import load_overrides
from worker.adapters.playground import PlaygroundClient, playground_session
from worker.build import Builder
from worker.delivery.admission import Breakers, Capacity, Turns
from worker.delivery.attempts import Clocks, Policy
from worker.delivery.collector import Readings
from worker.delivery.consumer import RequestConsumer
from worker.delivery.partition import Handler, Lane, Ledger
from worker.deploy import Deployer
from worker.domain.messages import Addresses
from worker.observability.health import HealthServer, Probes
from worker.observability.metrics import REGISTRY
from worker.observability.traces import open_tracing
from worker.ports import Tokens
from worker.settings import BuilderSettings, KafkaSettings, RuntimeSettings, Settings

SESSION_MS = 10_000  # a worker that is silent for so long has lost its partitions
# Lanes in a transaction at once; more would only cost CPU, and the others batch meanwhile.
TRANSACTIONS_AT_ONCE = 4

ONTARGET = Path(__file__).parent / "ontarget"

log = structlog.get_logger()

OpenLedger = Callable[[KafkaSettings, AIOKafkaConsumer, str], Ledger]


async def run(settings: Settings, stop: asyncio.Event, open_ledger: OpenLedger | None = None) -> None:
    """Work until `stop` is set. Raises ConfigurationError, KafkaError.

    `open_ledger`: another way to write than Kafka's transactions.
    """
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
            await stack.enter_async_context(playground_session(settings.playground)), settings.playground
        )
        cluster_id = await prepare_kafka(settings.kafka, stop)
        if cluster_id is None:
            return
        capacity, breakers = Capacity(settings.runtime.max_in_flight), Breakers(time.monotonic, asyncio.sleep)
        deployer = _deployer(tokens, builder, playground, capacity, breakers, settings)
        consumer = _kafka_consumer(settings)
        await stack.enter_async_context(running_client(consumer, stop_seconds=WORKER_STOP_SECONDS))
        ledger = (open_ledger or KafkaLedger)(settings.kafka, consumer, cluster_id)
        probes.requests = await stack.enter_async_context(
            open_requests(settings.kafka, settings.runtime, consumer, ledger, deployer.handle, cluster_id)
        )
        limits = {
            "request": settings.runtime.request_deadline_seconds,
            "post": settings.playground.timeout_seconds,
        }
        readings = Readings(probes.requests, capacity, breakers, limits, _now, time.monotonic)
        followed = _followed(readings, consumer, settings.kafka.requests_topic)
        async with followed, watch_authorization(settings.kafka, stop):
            await probes.requests.run(stop)


@asynccontextmanager
async def open_requests(
    kafka: KafkaSettings,
    runtime: RuntimeSettings,
    consumer: AIOKafkaConsumer,
    ledger: Ledger,
    handle: Handler,
    cluster_id: str,
) -> AsyncIterator[RequestConsumer]:
    """The stream: a lane per partition, settlements in and out."""
    source = f"/playground-deployer/{kafka.group_id}"
    sender = SettlementSender(kafka, source)
    turns, pace = Turns(), asyncio.Semaphore(TRANSACTIONS_AT_ONCE)

    def open_lane(partition: int, live: Callable[[Lane, int], None]) -> Lane:
        addresses = Addresses(kafka.status_topic, kafka.dead_letter_topic, source)
        return Lane(
            partition,
            ledger,
            handle,
            addresses,
            turns,
            pace,
            _now,
            sender.hand_over,
            live,
            f"worker {gethostname()}"[:200],
        )

    def told(partition: int, settled: DeploymentSettled) -> None:
        if lane := requests.lanes.get(partition):
            lane.settlements.add(settled)

    reader = AIOKafkaConsumer(
        **client_options(kafka), group_id=None, enable_auto_commit=False, auto_offset_reset="earliest"
    )
    tail = SettlementTail(reader, kafka.settlements_topic, told)
    requests = RequestConsumer(
        consumer, open_lane, partial(record_of, cluster_id), tail.watch, kafka.requests_topic, runtime
    )
    async with running_client(reader, stop_seconds=WORKER_STOP_SECONDS):
        following = asyncio.create_task(tail.run(), name="settlements")
        try:
            yield requests
        finally:
            await sender.finished(WORKER_STOP_SECONDS)
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)


def _now() -> datetime:
    return datetime.now(UTC)


@asynccontextmanager
async def _followed(readings: Readings, consumer: AIOKafkaConsumer, topic: str) -> AsyncIterator[None]:
    """`/metrics` shows them meanwhile."""
    REGISTRY.register(readings)
    following = asyncio.create_task(readings.follow(consumer, topic), name="readings")
    try:
        yield
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        REGISTRY.unregister(readings)


def _deployer(
    tokens: Tokens,
    builder: Builder,
    playground: PlaygroundClient,
    capacity: Capacity,
    breakers: Breakers,
    settings: Settings,
) -> Deployer:
    return Deployer(
        tokens,
        builder,
        playground,
        capacity,
        breakers,
        Clocks(_now, time.monotonic, asyncio.sleep, random.random),
        Policy(
            settings.playground.timeout_seconds,
            settings.runtime.request_deadline_seconds,
            settings.playground.park_max_seconds,
            settings.playground.on_unknown_outcome,
        ),
    )


def run_until_signal(settings: Settings) -> None:
    """`playground-deployer run`: the first SIGTERM or SIGINT stops in good order, the second at once."""

    async def main() -> None:
        stop = asyncio.Event()
        work = asyncio.ensure_future(run(settings, stop))

        def stop_or_cancel() -> None:
            if stop.is_set():
                work.cancel()
            stop.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop_or_cancel)
        await asyncio.gather(work, return_exceptions=False)

    asyncio.run(main())


@asynccontextmanager
async def open_builder(settings: Settings | BuilderSettings) -> AsyncIterator[Builder]:
    """What makes bundles, connected to Graphene; the command `bundle` needs nothing else.

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
    """What comes with the deployer and goes into every zip: path below worker/ontarget → bytes."""
    return {
        path.relative_to(ONTARGET).as_posix(): path.read_bytes()
        for path in sorted(ONTARGET.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }


def _kafka_consumer(settings: Settings) -> AIOKafkaConsumer:
    """Sticky, so that a rebalance moves little; no prefetch larger than our own bounds."""
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
        # Others wait so long for us to finish what we read before they take our partitions.
        rebalance_timeout_ms=drain_ms + 30_000,
        max_poll_interval_ms=drain_ms + 60_000,
        fetch_max_bytes=8 * 1024 * 1024,
    )
