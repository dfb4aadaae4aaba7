"""What the path of a request needs of the world: the adapters' side of it, as protocols, and the clocks."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from schemas import DeploymentInfo, DeploymentSettled, Message
from worker.domain.partition_state import Checkpoint, RequestTable
from worker.domain.request import Record
from worker.domain.solution import BytesLeft, Caller, Solution


class Tokens(Protocol):
    """Who is asking. Raises Unauthenticated, Unavailable."""

    async def authenticate(self, token: str, appended_at: float | None, *, times: bool = True) -> Caller: ...

    def read(self, token: str) -> Caller:
        """Return whom a token names, which is not verified: it was before."""
        ...


class Catalog(Protocol):
    """What a revision is, whether the caller may read it, and whose the protobufs are that it names.

    Raises NotFound, NotAllowed, Unavailable, NeedsReservation.
    """

    async def find(self, solution_id: UUID, revision_id: UUID, caller: Caller | None, left: BytesLeft) -> Solution: ...

    async def check_protobufs(
        self, uris: Sequence[str], solution: Solution, caller: Caller | None, left: BytesLeft
    ) -> None: ...


class Artifacts(Protocol):
    """Files of a solution, by their uris; None for one that is gone.

    Raises NotFound, NotDeployable, Unavailable, NeedsReservation.
    """

    async def fetch(self, uris: Sequence[str], left: BytesLeft, size: int | None = None) -> list[bytes | None]: ...


class Playground(Protocol):
    """Where bundles are deployed, within so many seconds. Raises PlaygroundRefused, OutcomeUnknown, Unavailable.

    The codes of its Unavailable begin with `playground-`: by that the breaker knows which dependency is down.
    """

    async def submit(self, bundle: bytes, username: str, request_id: str, seconds: float) -> DeploymentInfo: ...


@dataclass(frozen=True, slots=True)
class Clocks:
    """What time it is, for people and for measuring; how to wait; and a jitter from 0 to 1."""

    now: Callable[[], datetime]
    monotonic: Callable[[], float]
    sleep: Callable[[float], Coroutine[Any, Any, None]]
    jitter: Callable[[], float]

    async def sleep_until(self, moment: datetime) -> None:
        """Return at once when it is past."""
        await self.sleep(max(0.0, (moment - self.now()).total_seconds()))


class Writer(Protocol):
    """The fenced producer of one partition."""

    def commit(self, messages: Sequence[Message], checkpoint: Checkpoint | None) -> Awaitable[Sequence[int]]:
        """Write one transaction with the checkpoint; return the records' offsets, in their order.

        Raises when it did not succeed, or may not have.
        """
        ...

    async def close(self) -> None:
        """Close within seconds, whatever state it is in."""
        ...


class Store(Protocol):
    """What a processor needs of Kafka. Everything raises KafkaError or TimeoutError, and nothing waits without end."""

    transaction_slots: asyncio.Semaphore  # how many transactions may run at once; the others batch meanwhile

    async def fence(self, partition: int) -> Writer:
        """Refuse the transactions of everybody else on this partition from here on."""
        ...

    async def verify_ownership(self, partition: int) -> tuple[Checkpoint, int]:
        """Return what the group has committed, and the partition's end.

        Raises PartitionLost when the group has not assigned the partition to us.
        """
        ...

    async def load(self, partition: int, checkpoint: Checkpoint, table: RequestTable) -> list[DeploymentSettled]:
        """Read the statuses that are needed into the table; return the settlements of what is open."""
        ...

    async def permitted(self, partition: int, request_id: str, appended_at: float) -> str | None:
        """Return the fingerprint of what an operator repeats with a request that was appended then; None: nobody does.

        Raises nothing: it waits for brokers that are away.
        """
        ...

    def fetch(self, partition: int, offsets: Sequence[int]) -> AsyncIterator[Record]:
        """Yield the records of the requests topic at these offsets, in their order, without those that are gone."""
        ...
