"""The gateway's logic without HTTP: authenticates users, publishes requests, and finds and follows their statuses."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from aiokafka.errors import KafkaError
from aiolimiter import AsyncLimiter

from schemas import State, fingerprint
from worker.client.requests import OutgoingRequest, RequestPublisher
from worker.domain.tokens import read_token, strip_bearer
from worker.errors import WorkerError
from worker.gateway.entry import Entry
from worker.gateway.front_door import Join, click, made_id
from worker.gateway.metrics import PUBLISHED
from worker.gateway.reader import StatusReader
from worker.gateway.sessions import Made, Session, Sessions
from worker.gateway.view import ALL, View
from worker.observability.telemetry import passed_on
from worker.ports import Tokens
from worker.settings import GatewaySettings

PUBLISH_SECONDS = 4.5  # then the answer is 503; a repetition has the same request id
MAX_USERS = 10_000  # users whose rates are kept
MAX_MADE = 10_000  # published requests whose partitions and offsets are kept


class TooMany(WorkerError):
    """A limit is reached. The message is for the user."""


class Away(WorkerError):
    """Kafka does not answer. The message is for the user, and explains that a repetition is safe."""

    def __init__(
        self,
        message: str = "The request could not be published because Kafka does not answer. Reload this page to try "
        "again. Reloading is safe: the solution is deployed only once.",
    ) -> None:
        super().__init__(message)


class KeyReused(WorkerError):
    """An idempotency key was used again with another solution or revision."""


@dataclass(frozen=True, slots=True)
class Found:
    """A request that the user may see. Without an entry, it was published and has no status yet."""

    request_id: str
    entry: Entry | None
    made: Made | None = None

    @property
    def is_settled(self) -> bool:
        """Whether the request is final or parked, so that only a person can change it."""
        return self.entry is not None and not self.entry.is_open


class Rates:
    """Limits each user's HTTP requests per minute with leaky buckets. The least recently used are dropped."""

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._limiters: OrderedDict[str, AsyncLimiter] = OrderedDict()

    async def take(self, user_id: str) -> None:
        """Count an HTTP request. Raises TooMany."""
        limiter = self._limiters.pop(user_id, None) or AsyncLimiter(self._per_minute, 60)
        self._limiters[user_id] = limiter
        while len(self._limiters) > MAX_USERS:
            self._limiters.popitem(last=False)
        if not limiter.has_capacity():
            raise TooMany(f"You have sent more than {self._per_minute} requests in a minute. Wait a moment.")
        await limiter.acquire()


class Gateway:
    """One replica of the gateway."""

    def __init__(
        self,
        settings: GatewaySettings,
        tokens: Tokens,
        sessions: Sessions,
        view: View,
        reader: StatusReader,
        publisher: Callable[[], RequestPublisher | None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """
        Args:
            publisher: returns None until Kafka has been reached.
            clock: gives unix seconds.
        """
        self.view = view
        self.reader = reader
        self.sessions = sessions
        self.rates = Rates(settings.max_requests_per_minute)
        self._settings = settings
        self._tokens = tokens
        self._publisher = publisher
        self._clock = clock
        self._keys: OrderedDict[str, str] = OrderedDict()  # request id derived from an idempotency key → fingerprint
        self._made: OrderedDict[tuple[str, str], Made] = OrderedDict()  # user and request id → request published here
        self._publishing: dict[str, asyncio.Task[Made]] = {}

    async def authenticate(self, token: str) -> Session:
        """Return a session for the token's user. Raises Unauthenticated, Unavailable, TooMany."""
        caller = await self._tokens.authenticate(token, None)
        await self.rates.take(caller.user_id)
        claims = read_token(token).claims
        role = self._settings.admin_role
        return Session(caller.user_id, caller.email, claims["exp"], role is not None and _has_role(claims, role))

    async def deploy(self, session: Session, token: str, solution: UUID, revision: UUID) -> Found:
        """Join the existing request, or publish a request. Raises TooMany, Away."""
        wanted = fingerprint(session.user_id, solution, revision)
        now, again = int(self._clock() * 1000), int(self._settings.again_seconds * 1000)
        newest = self.view.newest(wanted, self.partition_of(session))
        chosen = click(newest, wanted, strip_bearer(token), now, again)
        if isinstance(chosen, Join):
            return Found(chosen.entry.request_id, chosen.entry)
        return await self.publish(session, OutgoingRequest(chosen.request_id, solution, revision, strip_bearer(token)))

    async def deploy_with_key(self, session: Session, token: str, solution: UUID, revision: UUID, key: str) -> Found:
        """Publish the request that this idempotency key names. Raises KeyReused, TooMany, Away."""
        wanted = fingerprint(session.user_id, solution, revision)
        request_id = made_id(session.user_id, key)
        entry = next((it for it in self.view.find(request_id) if it.belongs_to(session.user_id)), None)
        known = entry.fingerprint if entry else self._keys.get(request_id)
        if known not in (None, wanted):
            raise KeyReused("This Idempotency-Key was used with another solution or revision. Send a new key.")
        self._keys[request_id] = wanted
        while len(self._keys) > MAX_USERS:
            self._keys.popitem(last=False)
        if entry:
            return Found(request_id, entry)
        return await self.publish(session, OutgoingRequest(request_id, solution, revision, strip_bearer(token)))

    async def publish(self, session: Session, request: OutgoingRequest) -> Found:
        """Publish a request once, even for concurrent calls with its id. Raises TooMany, Away."""
        if known := self._known(request.request_id, session):
            return known
        await self.learn(session)
        if known := self.find(request.request_id, session):  # published meanwhile
            return known
        publisher = self.publisher_for(session)
        task = self._publishing.get(request.request_id)
        if task is None:
            task = asyncio.create_task(self._publish(publisher, session, request), name="publish")
            self._publishing[request.request_id] = task
            task.add_done_callback(lambda _: self._publishing.pop(request.request_id, None))
        try:
            made = await asyncio.shield(task)
        except (KafkaError, TimeoutError):
            raise Away from None
        return Found(request.request_id, self._entry_of(made), made)

    async def _publish(self, publisher: RequestPublisher, session: Session, request: OutgoingRequest) -> Made:
        key = session.user_id.encode()
        async with asyncio.timeout(PUBLISH_SECONDS):
            offset = await publisher.publish(replace(request, traceparent=passed_on()), key=key)
        PUBLISHED.inc()
        place = publisher.partition(key), offset
        made = Made(request.request_id, *place, str(request.solution_id), str(request.revision_id))
        self._made[session.user_id, request.request_id] = made
        while len(self._made) > MAX_MADE:
            self._made.popitem(last=False)
        return made

    def publisher_for(self, session: Session) -> RequestPublisher:
        """Return the publisher if the user may have another open request. Raises TooMany, Away."""
        publisher = self._publisher()
        if publisher is None or not self.reader.is_connected:
            raise Away
        most, partition = self._settings.max_open_requests, publisher.partition(session.user_id.encode())
        open_ones = len(self.view.open_of_user(session.user_id, partition))
        if open_ones >= most:
            raise TooMany(
                f"You have {open_ones} deployments in progress, and the limit is {most}. Wait until one ends."
            )
        return publisher

    async def learn(self, session: Session) -> None:
        """Index the user's requests in small steps, so that later queries do not block other users."""
        await self.view.learn(session.user_id, self.partition_of(session))

    def own(self, session: Session, most: int) -> list[Entry]:
        """Return up to `most` of the user's requests, newest first."""
        return self.view.of_user(session.user_id, self.partition_of(session), most)

    def partition_of(self, session: Session) -> int:
        """Return the partition of the user's key; -1 until Kafka has been reached."""
        publisher = self._publisher()
        return publisher.partition(session.user_id.encode()) if publisher else -1

    def own_open(self, session: Session) -> list[Entry]:
        """Return the user's open requests: the key queue in which a request may wait."""
        return self.view.open_of_user(session.user_id, self.partition_of(session))

    def find(self, request_id: str, session: Session) -> Found | None:
        """Return the request if this session may see it. None: it does not exist, or the session may not see it.

        A program's requests are not in a session cookie, so the replica also remembers the requests that it published.
        """
        if known := self._known(request_id, session):
            return known
        made = self._made.get((session.user_id, request_id))
        return Found(request_id, self._entry_of(made), made) if made else None

    def _known(self, request_id: str, session: Session) -> Found | None:
        entries = sorted(self.view.find(request_id), key=lambda it: not it.belongs_to(session.user_id))
        for entry in entries:  # own request first: an administrator may see another user's with the same id
            if entry.belongs_to(session.user_id) or session.is_admin:
                return Found(request_id, entry)
        made = session.has_made(request_id)
        return Found(request_id, self._entry_of(made), made) if made else None

    def _entry_of(self, made: Made) -> Entry | None:
        """Return a published request by its id, or, if it was rejected before `accepted`, by its record's offset."""
        entry = self.view.get((made.partition, made.request_id))
        return entry or self.view.at(made.partition, made.offset)

    @contextmanager
    def watching_list(self, session: Session, everybody: bool) -> Iterator[asyncio.Event]:
        """Yield an event that is set when the list of requests may have changed."""
        with self.view.watch_list(ALL if everybody else self.partition_of(session)) as event:
            yield event

    @asynccontextmanager
    async def watching(self, found: Found) -> AsyncIterator[asyncio.Event]:
        """Yield an event that is set when the request has a new status."""
        keys: list[tuple[int, Any]] = [found.entry.key] if found.entry else []
        if found.made:
            keys += [(found.made.partition, found.made.request_id), (found.made.partition, found.made.offset)]
        with self.view.watch(*keys) as event:
            yield event

    async def wait(self, found: Found, session: Session, seconds: float, *, after: int | None = None) -> Found:
        """Wait until the request is final or parked, has a status after sequence `after`, or the time is up."""
        async with self.watching(found) as event:
            try:
                async with asyncio.timeout(seconds):
                    while not has_news(found, after):
                        await event.wait()
                        event.clear()
                        found = self.again(found, session)
            except TimeoutError:
                pass
        return found

    def again(self, found: Found, session: Session) -> Found:
        """Return the current state of the request."""
        if found.made:
            return Found(found.request_id, self._entry_of(found.made), found.made)
        return self.find(found.request_id, session) or found


def has_news(found: Found, after: int | None) -> bool:
    """Return whether the request is final or parked, or has a status after the sequence `after`."""
    if found.is_settled:
        return True
    return after is not None and found.entry is not None and found.entry.sequence > after


def _has_role(claims: Mapping[str, Any], name: str) -> bool:
    roles = claims.get("role")
    return isinstance(roles, list) and any(
        isinstance(it, dict) and it.get("name") == name and it.get("active") is True for it in roles
    )


def is_deployed(found: Found) -> bool:
    """Return whether the request is deployed."""
    return found.entry is not None and found.entry.state is State.DEPLOYED
