"""The portal's bell on Apache Kafka: each user is notified once of each request that ends, also across a restart."""

import asyncio
import json
from datetime import UTC, datetime

from aiohttp import web
from aiokafka import AIOKafkaProducer
from pydantic import SecretStr

from schemas import DeploymentStatus, SourceInfo, State, fingerprint
from tests.support.builders import REVISION_ID, SOLUTION_ID
from tests.support.topics import create_worker_topics, unique_name
from worker.gateway.bell import ringing
from worker.sandbox.http_server import served
from worker.settings import CatalogSettings, KafkaSettings

URL = "https://portal.example/playground"


class Portal:
    """The notification routes of CCDS; the first `failures` calls are answered with 500."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []  # user, page
        self.notifications = 0
        self.failures = 0
        self.changed = asyncio.Event()
        self._pages: dict[str, str] = {}

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/ccds/notif", self._add)
        app.router.add_post("/ccds/notif/{id}/user/{user}", self._give)
        return app

    async def _add(self, request: web.Request) -> web.Response:
        self.notifications += 1
        number = f"n-{self.notifications}"
        self._pages[number] = json.loads(await request.read())["url"]
        return web.json_response({"notificationId": number})

    async def _give(self, request: web.Request) -> web.Response:
        if self.failures:
            self.failures -= 1
            return web.Response(status=500)
        self.told.append((request.match_info["user"], self._pages[request.match_info["id"]]))
        self.changed.set()
        return web.json_response({"status": 200})

    async def until(self, count: int) -> None:
        async with asyncio.timeout(60):
            while len(self.told) < count:
                self.changed.clear()
                await self.changed.wait()


async def end(producer: AIOKafkaProducer, kafka: KafkaSettings, number: int) -> None:
    """Publish a user's request and the statuses that a worker publishes for it."""
    user, partition = f"user-{number % 2}", number % 3
    sent = await producer.send_and_wait(kafka.requests_topic, b"{}", key=user.encode(), partition=partition)
    for sequence, state in enumerate((State.ACCEPTED, State.DEPLOYED)):
        status = DeploymentStatus(
            request_id=f"r-{number}",
            sequence=sequence,
            state=state,
            time=datetime.now(UTC),
            attempt=1,
            message="It is so.",
            fingerprint=fingerprint(user, SOLUTION_ID, REVISION_ID),
            source=SourceInfo(topic=kafka.requests_topic, partition=partition, offset=sent.offset),
        )
        message = status.to_message(kafka.status_topic, "/tests")
        await producer.send_and_wait(
            message.topic, message.value, key=message.key, partition=partition, headers=[*message.headers]
        )


async def test_each_end_is_told_once(kafka: str) -> None:
    """Each final status after the start notifies its user exactly once, also when a notification failed halfway."""
    settings = KafkaSettings.model_validate(
        {"bootstrap_servers": kafka, "create_topics": True, "partitions": 3, "replication_factor": 1} | _topics()
    )
    await create_worker_topics(settings)
    portal = Portal()
    async with served(portal.app()) as url, AIOKafkaProducer(bootstrap_servers=kafka) as producer:
        catalog = CatalogSettings(url=f"{url}/ccds", username="u", password=SecretStr("p"))
        await end(producer, settings, 0)  # before anybody could be notified
        async with ringing(settings, catalog, URL):
            async with asyncio.timeout(60):
                number = 0
                while not portal.told:  # nothing shows when the group has reached the topic's end
                    await end(producer, settings, number := number + 1)
                    await asyncio.sleep(0.5)
            first = len(portal.told)
            portal.failures = 1
            for _ in range(3):
                await end(producer, settings, number := number + 1)
            await portal.until(first + 3)
        await end(producer, settings, number := number + 1)  # while no gateway is running
        async with ringing(settings, catalog, URL):
            await portal.until(first + 4)
    told = [page.rpartition("/")[2] for _, page in portal.told]
    assert len(told) == len(set(told)) == portal.notifications
    assert "r-0" not in told
    assert [f"r-{it}" for it in range(number - 3, number + 1)] == sorted(told, key=lambda it: int(it[2:]))[-4:]
    assert all(user == f"user-{int(page.rpartition('-')[2]) % 2}" for user, page in portal.told)


def _topics() -> dict[str, str]:
    name = unique_name()
    return {
        "requests_topic": f"{name}.requests",
        "status_topic": f"{name}.status",
        "settlements_topic": f"{name}.settlements",
        "dead_letter_topic": f"{name}.dead-letter",
        "group_id": name,
    }
