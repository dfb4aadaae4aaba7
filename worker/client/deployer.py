"""Deployments from Python: send a request, and follow what becomes of it."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self
from uuid import UUID, uuid4

from schemas import FINAL_STATES, DeploymentStatus, fingerprint
from worker.client.requests import (
    OutgoingRequest,
    RequestPublisher,
    StatusEvent,
    open_publisher,
    read_statuses,
    require_partitions,
    status_partitions,
)
from worker.domain.tokens import strip_bearer
from worker.settings import KafkaSettings

MAX_SENT = 10_000  # requests whose places are remembered
CLOCKS_MS = 60_000  # by which the brokers' clocks may differ


class DeployerClient:
    """Sends deployment requests and follows them.

        async with DeployerClient(KafkaSettings(bootstrap_servers="kafka:9092")) as client:
            request_id = await client.submit(solution_id, revision_id, token)
            status = await client.wait(request_id, timeout=600)

    It may be used by many tasks at once, within one event loop.
    """

    def __init__(self, kafka: KafkaSettings, *, sends: bool = True, follows: bool = True) -> None:
        """Take the settings of Kafka; nothing is opened yet.

        `sends` and `follows`: what it is used for. Each needs an ACL of its own, which is verified at the start.
        """
        self._kafka = kafka
        self._sends = sends
        self._follows = follows
        self._stack = AsyncExitStack()
        self._publisher: RequestPublisher | None = None
        self._partitions = 0  # of the status topic
        self._sent: OrderedDict[str, Sent] = OrderedDict()

    async def __aenter__(self) -> Self:
        """Connect. Raises KafkaError; ConfigurationError when a topic does not exist or an ACL is missing."""
        try:
            if self._sends:
                self._publisher = await self._stack.enter_async_context(open_publisher(self._kafka))
            if self._follows:
                self._partitions = await status_partitions(self._kafka)
                require_partitions(self._kafka, self._partitions, self._publisher.partitions if self._publisher else 0)
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def submit(
        self, solution_id: UUID | str, revision_id: UUID | str, token: str, *, request_id: str | None = None
    ) -> str:
        """Publish a request, and return its id once all in-sync replicas have it.

        Args:
            solution_id, revision_id: Graphene's ids.
            token: the user's, as Graphene issued it, with or without "Bearer " before it.
            request_id: the same id for the same solution and revision is one deployment, however often it is sent;
                None makes a new one.

        Raises:
            CommandError: the token names no user.
            ValueError: an id of Graphene's is not a UUID.
            KafkaError: Kafka did not take it, or did not say so; the same id may be sent again.
        """
        if self._publisher is None:
            raise RuntimeError("this client has not been entered, or does not send")
        request = OutgoingRequest(
            request_id or str(uuid4()), _uuid(solution_id), _uuid(revision_id), strip_bearer(token)
        )
        whose = fingerprint(request.user_id, request.solution_id, request.revision_id)
        published = await self._publisher.send(request)
        # An id that was given may have been sent before, and then its statuses are older than this record.
        since_ms = 0 if request_id else published.timestamp_ms - CLOCKS_MS
        self._sent.pop(request.request_id, None)
        self._sent[request.request_id] = Sent(
            request.request_id, whose, published.partition, published.offset, since_ms
        )
        if len(self._sent) > MAX_SENT:
            self._sent.popitem(last=False)
        return request.request_id

    async def wait(self, request_id: str, *, timeout: float | None = None) -> DeploymentStatus:  # noqa: ASYNC109 - as callers of asyncio expect it
        """Return the final status: `deployed`, `rejected` or `failed`. A parked request has none before it is settled.

        Raises TimeoutError after `timeout` seconds; None waits for ever. Raises KafkaError.
        """
        async with asyncio.timeout(timeout), aclosing(self.follow(request_id)) as statuses:
            async for status in statuses:
                if status.state in FINAL_STATES:
                    return status
        raise AssertionError("a request was followed to its end, which was none")

    async def follow(self, request_id: str) -> AsyncGenerator[DeploymentStatus, None]:
        """Yield each status of a request once, from the first that is kept to the final one.

        What this client has sent is known by its place in Kafka: a request that is rejected before it is accepted has
        the id of that place in its status. Other requests are known by their id. Raises KafkaError.

        Who leaves the loop before its end does so within `contextlib.aclosing`, which closes the consumer at once.
        """
        async with aclosing(self.follow_all([request_id])) as statuses:
            async for _, status in statuses:
                yield status

    async def follow_all(self, request_ids: Iterable[str]) -> AsyncGenerator[tuple[str, DeploymentStatus], None]:
        """Yield the statuses of several requests as they come, as `follow` does, until all of them have ended.

        Each comes with the id under which it was asked for. Raises KafkaError.
        """
        wanted: dict[str, _Followed] = {it: self._sent.get(it) or _SentElsewhere(it) for it in request_ids}
        last: dict[tuple[str, str], int] = {}  # under both ids, which differ in what is rejected at once
        if not wanted:
            return
        places = {it.partition for it in wanted.values()}
        partitions = range(self._partitions) if None in places else sorted(it for it in places if it is not None)
        since_ms = min(it.since_ms for it in wanted.values())
        async with read_statuses(self._kafka, partitions, since_ms=since_ms) as events:
            async for event in events:
                status = event.status
                for request_id in [it for it, followed in wanted.items() if followed.is_about(status)]:
                    ids = request_id, status.request_id
                    if status.sequence > last.get(ids, -1):
                        last[ids] = status.sequence
                        yield request_id, status
                    if status.state in FINAL_STATES:
                        del wanted[request_id]
                if not wanted:
                    return

    def statuses(self, *, from_beginning: bool = False) -> AbstractAsyncContextManager[AsyncIterator[StatusEvent]]:
        """Open all statuses of all requests, from now on or from the topic's beginning. Raises KafkaError.

        Nothing that is published after this has opened is missed.
        """
        return read_statuses(self._kafka, range(self._partitions), since_ms=0 if from_beginning else None)


class _Followed(Protocol):
    """A request that is followed."""

    @property
    def partition(self) -> int | None:
        """Of its statuses; None: it may be any."""
        ...

    @property
    def since_ms(self) -> int:
        """The time before which it has no statuses, in unix milliseconds."""
        ...

    def is_about(self, status: DeploymentStatus) -> bool:
        """Return whether the status is about it."""
        ...


@dataclass(frozen=True, slots=True)
class Sent:
    """A request that this client has sent."""

    request_id: str
    fingerprint: str
    partition: int
    offset: int
    since_ms: int

    def is_about(self, status: DeploymentStatus) -> bool:
        """Return whether a status is about the record that was sent, or about the same request sent earlier."""
        if (status.source.partition, status.source.offset) == (self.partition, self.offset):
            return True
        return (status.request_id, status.fingerprint) == (self.request_id, self.fingerprint)


@dataclass(slots=True)
class _SentElsewhere:
    """A request that somebody else has sent, or this client long ago: known by its id alone.

    Users may choose the same id. The partition of the first status tells whose request is followed.
    """

    request_id: str
    partition: int | None = None
    since_ms: int = 0

    def is_about(self, status: DeploymentStatus) -> bool:
        """Return whether a status is about it."""
        if status.request_id != self.request_id or self.partition not in (None, status.source.partition):
            return False
        self.partition = status.source.partition
        return True


def _uuid(given: UUID | str) -> UUID:
    return given if isinstance(given, UUID) else UUID(given)
