"""Deployments from Python: send a request, and follow its statuses."""

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

MAX_SENT = 10_000  # sent requests whose positions are kept
CLOCKS_MS = 60_000  # maximum difference between the brokers' clocks


class DeployerClient:
    """Sends deployment requests and follows them.

        async with DeployerClient(KafkaSettings(bootstrap_servers="kafka:9092")) as client:
            request_id = await client.submit(solution_id, revision_id, token)
            status = await client.wait(request_id, timeout=600)

    Many tasks of one event loop may share a client.
    """

    def __init__(self, kafka: KafkaSettings, *, sends: bool = True, follows: bool = True) -> None:
        """Create a client without opening connections.

        Args:
            kafka: Kafka's settings.
            sends: whether the client may submit requests.
            follows: whether the client may read statuses. Each of the two needs its own ACL, which is verified on
                entry.
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
        """Publish a request, and return its id once all in-sync replicas have the record.

        Args:
            solution_id, revision_id: Graphene's ids.
            token: the user's token as Graphene issued it, with or without the prefix "Bearer ".
            request_id: the request's id; None: a new id. Repeated requests with the same id, solution and revision
                cause one deployment.

        Raises:
            CommandError: the token names no user.
            ValueError: a Graphene id is not a UUID.
            KafkaError: Kafka did not accept the record, or did not confirm it; the same id may be sent again.
        """
        if self._publisher is None:
            raise RuntimeError("this client has not been entered, or does not send")
        request = OutgoingRequest(
            request_id or str(uuid4()), _uuid(solution_id), _uuid(revision_id), strip_bearer(token)
        )
        request_fingerprint = fingerprint(request.user_id, request.solution_id, request.revision_id)
        published = await self._publisher.send(request)
        # The caller's own id may have been sent earlier, and then its statuses are older than this record.
        since_ms = 0 if request_id else published.timestamp_ms - CLOCKS_MS
        self._sent.pop(request.request_id, None)
        self._sent[request.request_id] = Sent(
            request.request_id, request_fingerprint, published.partition, published.offset, since_ms
        )
        if len(self._sent) > MAX_SENT:
            self._sent.popitem(last=False)
        return request.request_id

    async def wait(self, request_id: str, *, timeout: float | None = None) -> DeploymentStatus:  # noqa: ASYNC109 - the convention of asyncio.wait_for
        """Return the final status: `deployed`, `rejected` or `failed`. A parked request has none until it is resolved.

        Raises TimeoutError after `timeout` seconds; None: no limit. Raises KafkaError.
        """
        async with asyncio.timeout(timeout), aclosing(self.follow(request_id)) as statuses:
            async for status in statuses:
                if status.state in FINAL_STATES:
                    return status
        raise AssertionError("the statuses of a request stopped before a final status")

    async def follow(self, request_id: str) -> AsyncGenerator[DeploymentStatus, None]:
        """Yield each status of a request once, from the first status in the topic to the final status.

        A request that this client has sent is recognised by its record's position, too, because a request that is
        rejected before it is accepted has its record id in the status. Other requests are recognised by their id
        alone. Raises KafkaError.

        A caller that leaves the loop early must use `contextlib.aclosing`, which closes the consumer immediately.
        """
        async with aclosing(self.follow_all([request_id])) as statuses:
            async for _, status in statuses:
                yield status

    async def follow_all(self, request_ids: Iterable[str]) -> AsyncGenerator[tuple[str, DeploymentStatus], None]:
        """Yield the statuses of several requests in order of arrival, until all of them have a final status.

        Each status comes with the id from `request_ids`. See `follow`. Raises KafkaError.
        """
        pending: dict[str, _Followed] = {key: self._sent.get(key) or _SentElsewhere(key) for key in request_ids}
        last: dict[tuple[str, str], int] = {}  # by both ids, which differ for a request that is rejected on arrival
        if not pending:
            return
        numbers = {request.partition for request in pending.values()}
        partitions = range(self._partitions) if None in numbers else sorted(n for n in numbers if n is not None)
        since_ms = min(request.since_ms for request in pending.values())
        async with read_statuses(self._kafka, partitions, since_ms=since_ms) as events:
            async for event in events:
                status = event.status
                for request_id in [key for key, request in pending.items() if request.matches(status)]:
                    ids = request_id, status.request_id
                    if status.sequence > last.get(ids, -1):
                        last[ids] = status.sequence
                        yield request_id, status
                    if status.state in FINAL_STATES:
                        del pending[request_id]
                if not pending:
                    return

    def statuses(self, *, from_beginning: bool = False) -> AbstractAsyncContextManager[AsyncIterator[StatusEvent]]:
        """Open the statuses of all requests, from now on or from the topic's beginning. Raises KafkaError.

        Every status that is published after the context has opened is read.
        """
        return read_statuses(self._kafka, range(self._partitions), since_ms=0 if from_beginning else None)


class _Followed(Protocol):
    """A request that is followed."""

    @property
    def partition(self) -> int | None:
        """The partition of the request's statuses; None: not known yet."""
        ...

    @property
    def since_ms(self) -> int:
        """The time before which the request has no statuses, in unix milliseconds."""
        ...

    def matches(self, status: DeploymentStatus) -> bool:
        """Return whether this is a status of the request."""
        ...


@dataclass(frozen=True, slots=True)
class Sent:
    """A request that this client has sent."""

    request_id: str
    fingerprint: str
    partition: int
    offset: int
    since_ms: int

    def matches(self, status: DeploymentStatus) -> bool:
        """Return whether this is a status of the sent record, or of the same request in an earlier record."""
        if (status.source.partition, status.source.offset) == (self.partition, self.offset):
            return True
        return (status.request_id, status.fingerprint) == (self.request_id, self.fingerprint)


@dataclass(slots=True)
class _SentElsewhere:
    """A request that another client sent, or this client long ago. Only the id is known.

    Two users may choose the same id. The partition of the first status decides which user's request is followed.
    """

    request_id: str
    partition: int | None = None
    since_ms: int = 0

    def matches(self, status: DeploymentStatus) -> bool:
        """Return whether this is a status of the request, and keep the partition of the first match."""
        if status.request_id != self.request_id or self.partition not in (None, status.source.partition):
            return False
        self.partition = status.source.partition
        return True


def _uuid(value: UUID | str) -> UUID:
    return value if isinstance(value, UUID) else UUID(value)
