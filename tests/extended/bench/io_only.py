"""A worker that does only the same input and output: the cost of the dependencies and the clients.

No token, no blueprint, no manifests: fixed paths are fetched concurrently, a fixed bundle is posted, four fixed
statuses are published. It is started like the worker, with the worker's settings and the number of nodes in
BENCH_NODES.
"""

import asyncio
import base64
import json
import os
import signal

import aiohttp
from aiohttp import web
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord

from tests.extended.bench.dependencies import BLUEPRINT_URI, REVISION_ID, SOLUTION_ID
from worker.concurrency import new_event_loop, sparing_garbage_collector
from worker.settings import Settings, read_settings

BUNDLE = base64.b64encode(bytes(60_000)).decode()
STATUS = b" " * 700
HEADERS = [(f"ce_{name}", b"x" * 30) for name in ("specversion", "type", "source", "id", "subject", "time")]
CCDS = (
    f"/solution/{SOLUTION_ID}",
    f"/solution/{SOLUTION_ID}/revision/{REVISION_ID}",
    f"/revision/{REVISION_ID}/artifact",
    f"/access/user/user-0/solution/{SOLUTION_ID}",
    f"/solution/{SOLUTION_ID}/pic",
    f"/catalog/solution/{SOLUTION_ID}",
)


async def main() -> None:
    """Serve until SIGTERM."""
    settings = read_settings(os.environ, Settings)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    topic = settings.kafka.requests_topic
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=settings.kafka.bootstrap_servers,
        group_id=settings.kafka.group_id,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    producer = AIOKafkaProducer(bootstrap_servers=settings.kafka.bootstrap_servers, enable_idempotence=True)
    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
    async with consumer, producer, session:
        slots = asyncio.Semaphore(settings.runtime.max_in_flight)
        runner = web.AppRunner(web.Application())
        runner.app.router.add_get("/ready", lambda _: _ok())
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", settings.runtime.http_port).start()
        tasks: set[asyncio.Task[None]] = set()
        committer = asyncio.create_task(commit(consumer))
        while not stop.is_set():
            for records in (await consumer.getmany(timeout_ms=200, max_records=500)).values():
                tasks |= {asyncio.create_task(handle(record, settings, session, producer, slots)) for record in records}
            tasks = {task for task in tasks if not task.done()}
        committer.cancel()
        await runner.cleanup()


async def _ok() -> web.Response:
    return web.Response(text="ok")


async def commit(consumer: AIOKafkaConsumer) -> None:
    """Commit continuously, as a worker does that finishes requests all the time."""
    while True:
        if positions := {partition: await consumer.position(partition) for partition in consumer.assignment()}:
            await consumer.commit(positions)
        await asyncio.sleep(0)


async def handle(
    record: ConsumerRecord,
    settings: Settings,
    session: aiohttp.ClientSession,
    producer: AIOKafkaProducer,
    slots: asyncio.Semaphore,
) -> None:
    """Do the I/O of one request, without our code."""

    login = aiohttp.encode_basic_auth(settings.catalog.username, settings.catalog.password.get_secret_value())

    async def get(url: str) -> None:
        async with session.get(url, headers={"Authorization": login, "Accept": "application/json"}) as response:
            await response.read()

    async def report(state: str) -> None:
        value = json.dumps({"state": state}).encode() + STATUS
        await producer.send_and_wait(
            settings.kafka.status_topic, value, key=b"r", partition=record.partition, headers=HEADERS
        )

    await report("accepted")
    async with slots:
        await report("building")
        await asyncio.gather(*(get(settings.catalog.url + path) for path in CCDS))
        await get(f"{settings.artifacts.url}/{BLUEPRINT_URI}")
        nodes = range(int(os.environ["BENCH_NODES"]))
        await asyncio.gather(*(get(f"{settings.artifacts.url}/org/node-{number}.proto") for number in nodes))
        await report("submitting")
        async with session.post(
            settings.playground.deploy_url, json={"solution": BUNDLE, "username": "u"}, headers={"Connection": "close"}
        ) as response:
            await response.read()
        await report("deployed")


if __name__ == "__main__":
    with sparing_garbage_collector(), asyncio.Runner(loop_factory=new_event_loop) as runner:  # as in the worker
        runner.run(main())
