"""The effect of a greedy user on others: 10,000 requests in every partition, while each POST takes 4 s.

Others are measured twice: first after those requests are answered, when 50 of each greedy user wait; then right behind
a flood, which the worker has to read and reject first.
"""

import asyncio
import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median, quantiles

import psutil
from aiokafka import AIOKafkaProducer

from schemas import State
from tests.extended.bench.dependencies import REVISION_ID, SOLUTION_ID, served_apart
from tests.extended.bench.results import Row
from tests.support.stage import PARTITIONS, environment
from tests.support.statuses import Statuses, ended, followed_statuses
from tests.support.topics import create_worker_topics, unique_name, user_of
from tests.support.worker_process import WORKER, start_worker
from worker.sandbox.kafka_node import unused_ports
from worker.sandbox.users import User, sandbox_token
from worker.settings import ClientSettings, read_settings

WAITING = 10_000  # of each greedy user
OTHERS = 50
POST_SECONDS = 4.0
MEGABYTE = 1024 * 1024


class Sender:
    """A sender that publishes as users do and records the partition and offset of each record."""

    def __init__(self, producer: AIOKafkaProducer, topic: str, statuses: Statuses) -> None:
        self._producer = producer
        self._topic = topic
        self._statuses = statuses
        self.sent_at: dict[str, float] = {}

    async def send(self, user: User, names: Sequence[str]) -> None:
        """Send these requests in this order, with one token."""
        token = sandbox_token(datetime.now(UTC), timedelta(hours=2), user).encode()
        written = []
        for name in names:
            value = {"requestId": name, "solutionId": str(SOLUTION_ID), "revisionId": str(REVISION_ID)}
            self.sent_at[name] = time.time()
            written.append(
                await self._producer.send(
                    self._topic,
                    json.dumps(value).encode(),
                    key=user.user_id.encode(),
                    headers=[("authorization", token)],
                )
            )
        for name, sent in zip(names, written, strict=True):
            self._statuses.places[name] = ((await sent).partition, (await sent).offset)

    async def waits(self, first: int) -> dict[State, list[float]]:
        """Send a request of each of OTHERS users. Return the seconds until each was accepted and was building."""
        users = [User(f"user-{it}", f"u{it}", f"u{it}@x.example") for it in range(first, first + OTHERS)]
        names = [f"other-{user.user_id}" for user in users]
        await asyncio.gather(*(self.send(user, [name]) for user, name in zip(users, names, strict=True)))
        await self._statuses.until(names, ended, 120)
        return {
            state: [
                next(it.time.timestamp() for it in self._statuses.about(name) if it.state is state) - self.sent_at[name]
                for name in names
            ]
            for state in (State.ACCEPTED, State.BUILDING)
        }


async def greedy(bootstrap: str, folder: Path) -> list[Row]:
    """Measure how long others wait while each partition has such a user, and the memory of the waiting requests."""
    async with served_apart(3, 0.0, POST_SECONDS) as url:
        env = environment(bootstrap, unique_name(), url, url)
        kafka = read_settings(env, ClientSettings).kafka
        await create_worker_topics(kafka)
        (port,) = unused_ports(1)
        worker = await start_worker(env, folder / "fairness-worker.log", WORKER, port)
        try:
            await worker.until_ready()
            async with (
                AIOKafkaProducer(bootstrap_servers=bootstrap, linger_ms=5) as producer,
                followed_statuses(bootstrap, kafka.status_topic, PARTITIONS) as statuses,
            ):
                sender = Sender(producer, kafka.requests_topic, statuses)
                users = [user_of(partition, PARTITIONS) for partition in range(PARTITIONS)]
                names = [[f"{user.user_id}-{number}" for number in range(WAITING)] for user in users]
                began = time.monotonic()
                await asyncio.gather(*(sender.send(user, its) for user, its in zip(users, names, strict=True)))
                await statuses.until([its[-1] for its in names], bool, 600)
                seconds = time.monotonic() - began
                waits = await sender.waits(1000)
                again = [f"again-{number}" for number in range(WAITING)]
                await sender.send(users[0], again)
                behind = await sender.waits(2000)
                await statuses.until([again[-1]], bool, 600)
            memory = psutil.Process(worker.process.pid).memory_info().rss / MEGABYTE
        finally:
            await worker.kill()
    name, flood = f"a user with {WAITING:,} requests in each partition", f"right behind {WAITING:,} of one user"
    return [
        Row(f"{name}, all answered", seconds, "s"),
        Row(f"{name}, memory", memory, "MB", at_most=200),
        Row(f"{name}, p99 of others' accepted", quantiles(waits[State.ACCEPTED], n=100)[98], "s", at_most=2),
        Row(f"{name}, p99 of others' building", quantiles(waits[State.BUILDING], n=100)[98], "s", at_most=5),
        Row(f"{flood}, median of others' accepted", median(behind[State.ACCEPTED]), "s"),
        Row(f"{flood}, the last of others' accepted", max(behind[State.ACCEPTED]), "s"),
    ]
