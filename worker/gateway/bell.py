"""The portal's bell: a notification in Graphene for each final status, for users who have closed the page.

The bell has its own consumer group and never delays anything else: a notification that cannot be sent is given up after
a while. Each notification is created once and assigned to its user once, with these exceptions: CCDS's answer is lost,
the commit of the offset fails, or the process ends between the call and the commit.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import aiohttp
import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from schemas import FINAL_STATES, DeploymentStatus, State, rfc3339
from worker.adapters.http import configured_url, dependency_session, exchange
from worker.adapters.kafka.acls import notification_group
from worker.adapters.kafka.clients import FETCHED, client_options, event_of, fetch_record, open_reader, running_client
from worker.concurrency import keep_running
from worker.errors import WorkerError
from worker.gateway.metrics import BACKGROUND_FAILURES, NOTIFICATIONS
from worker.gateway.texts import STATES
from worker.settings import CatalogSettings, KafkaSettings

ATTEMPTS = 6  # per notification, over about a minute
PAUSE_SECONDS = 2.0  # before the second attempt; doubles before each further attempt
MAX_URL = 512  # characters in CCDS
MAX_TITLE, MAX_MESSAGE = 100, 2048
SHOWN_DAYS = 7
POLL_MS = 500
STOP_SECONDS = 10.0  # at shutdown, for the notification that is being sent
MAX_ANSWER = 64 * 1024  # bytes

log = structlog.get_logger()

Sleep = Callable[[float], Awaitable[None]]
Follow = Callable[[KafkaSettings, "Bell", asyncio.Event], Awaitable[None]]
Post = Callable[[str, bytes], Awaitable[bytes]]
"""POSTs a body to a path below CCDS's base URL, and returns the body of the answer. Raises NotSent."""


class NotSent(WorkerError):
    """CCDS did not accept a notification. The message is the reason, for the log."""


class Bell:
    """Sends notifications, one at a time."""

    def __init__(self, post: Post, public_url: str, sleep: Sleep = asyncio.sleep) -> None:
        self._post = post
        self._public_url = public_url.rstrip("/")
        self._sleep = sleep

    async def ring(self, status: DeploymentStatus, user_id: str) -> bool:
        """Notify the user of the final status. Return False if the notification was given up."""
        notification = await self._try("notif", json.dumps(self.notification(status)).encode())
        try:
            number = json.loads(notification or b"")["notificationId"]
        except (ValueError, KeyError, TypeError):
            return False
        path = f"notif/{quote(str(number), safe='')}/user/{quote(user_id, safe='')}"
        return await self._try(path, b"") is not None

    def notification(self, status: DeploymentStatus) -> dict[str, str]:
        """Return the notification as CCDS stores it: a title, a sentence, and the address of the request's page."""
        name, heading = status.solution_name or "A solution", STATES[status.state][0]
        sentence = status.error.message if status.error else STATES[status.state][1]
        url = f"{self._public_url}/requests/{quote(status.request_id, safe='')}"
        return {
            "title": f"{heading}: {name}"[:MAX_TITLE],
            "message": sentence[:MAX_MESSAGE],
            "msgSeverity": "LO" if status.state is State.DEPLOYED else "ME",
            "url": url if len(url) <= MAX_URL else self._public_url,
            "start": _instant(status.time),
            "end": _instant(status.time + timedelta(days=SHOWN_DAYS)),
        }

    async def _try(self, path: str, body: bytes) -> bytes | None:
        """POST until CCDS accepts the body, and return its answer. None: all attempts failed."""
        for attempt in range(ATTEMPTS):
            if attempt:
                await self._sleep(PAUSE_SECONDS * 2 ** (attempt - 1))
            try:
                return await self._post(path, body)
            except NotSent as error:
                log.info("a notification was not taken", why=str(error), attempt=attempt + 1)
        return None


@asynccontextmanager
async def ringing(
    kafka: KafkaSettings, catalog: CatalogSettings, public_url: str, follow: Follow | None = None
) -> AsyncIterator[None]:
    """Send a notification for each final status during the block. At its end, complete a running notification."""
    stopping = asyncio.Event()

    async def until_stop(seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), seconds)

    async with dependency_session() as session:
        bell = Bell(_poster(session, catalog), public_url)

        async def work() -> None:
            if not stopping.is_set():  # a stop ends the backoff
                await (follow or _follow)(kafka, bell, stopping)

        failed = BACKGROUND_FAILURES.labels("notifications").inc
        task = asyncio.create_task(keep_running(work, "notifications", failed, until_stop), name="notifications")
        try:
            yield
        finally:
            stopping.set()
            await asyncio.wait([task], timeout=STOP_SECONDS)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def _follow(kafka: KafkaSettings, bell: Bell, stopping: asyncio.Event) -> None:
    consumer = AIOKafkaConsumer(
        kafka.status_topic,
        **client_options(kafka),
        group_id=notification_group(kafka),
        enable_auto_commit=False,
        auto_offset_reset="latest",
        isolation_level="read_committed",
        **FETCHED,
    )
    async with running_client(consumer), open_reader(client_options(kafka), []) as requests:
        while not stopping.is_set():
            for records in (await consumer.getmany(timeout_ms=POLL_MS, max_records=1)).values():
                await _tell(records[0], bell, requests, kafka)
                await consumer.commit({_place(records[0]): records[0].offset + 1})


async def _tell(record: ConsumerRecord, bell: Bell, requests: AIOKafkaConsumer, kafka: KafkaSettings) -> None:
    status = event_of(record, DeploymentStatus)
    if status and status.state in FINAL_STATES and status.fingerprint:
        try:
            user_id = await _user_of(requests, kafka, status)
            sent = user_id is not None and await bell.ring(status, user_id)
        except (KafkaError, TimeoutError, OSError):
            raise  # the record is read again
        except Exception as error:  # noqa: BLE001 - one notification must not stop later notifications
            log.error("a notification failed", error=type(error).__name__, why=str(error)[:200])  # noqa: TRY400
            sent = False
        NOTIFICATIONS.labels("sent" if sent else "given-up").inc()


async def _user_of(reader: AIOKafkaConsumer, kafka: KafkaSettings, status: DeploymentStatus) -> str | None:
    """Return the user's id, which is the key of the request's record. None: Kafka has deleted the record."""
    tp = TopicPartition(kafka.requests_topic, status.source.partition)
    record = await fetch_record(reader, tp, status.source.offset)
    return record.key.decode(errors="replace") if record and record.key else None


def _poster(session: aiohttp.ClientSession, catalog: CatalogSettings) -> Post:
    base = configured_url(catalog.url.rstrip("/") + "/", "DEPLOYER_CATALOG__URL")
    credentials = aiohttp.encode_basic_auth(catalog.username, catalog.password.get_secret_value())

    async def post(path: str, body: bytes) -> bytes:
        headers = {"Authorization": credentials, "Content-Type": "application/json", "Accept": "application/json"}
        try:
            answer = await exchange(
                session,
                "catalog",
                "POST",
                base.join(type(base)(path, encoded=True)),
                headers=headers,
                limits=aiohttp.ClientTimeout(total=catalog.timeout_seconds),
                max_bytes=MAX_ANSWER,
                data=body,
            )
        except (aiohttp.ClientError, TimeoutError) as error:
            raise NotSent(type(error).__name__) from None
        if answer.status not in (200, 201):
            raise NotSent(f"status {answer.status}")
        return answer.body

    return post


def _place(record: ConsumerRecord) -> TopicPartition:
    return TopicPartition(record.topic, record.partition)


def _instant(moment: datetime) -> str:
    return rfc3339(moment.astimezone(UTC))
