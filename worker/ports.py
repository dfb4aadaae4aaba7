"""Ports: the protocols that adapters implement for the path of a request, and the clocks."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from schemas import DeploymentInfo, DeploymentSettled, Message
from worker.domain.partition_state import Checkpoint, RequestTable
from worker.domain.request import Record
from worker.domain.solution import ByteLimit, Caller, Solution


class Tokens(Protocol):
    """The verification of tokens, which names the caller. Raises Unauthenticated, Unavailable."""

    async def authenticate(self, token: str, appended_at: float | None, *, times: bool = True) -> Caller: ...

    def read(self, token: str) -> Caller:
        """Return the caller that a token names, without verification: the token was verified earlier."""
        ...


class Catalog(Protocol):
    """A revision's content, the caller's access to the revision, and the access to the protobufs that it names.

    Raises NotFound, NotAllowed, Unavailable, NeedsReservation.
    """

    async def find(self, solution_id: UUID, revision_id: UUID, caller: Caller | None, left: ByteLimit) -> Solution: ...

    async def check_protobufs(
        self, uris: Sequence[str], solution: Solution, caller: Caller | None, left: ByteLimit
    ) -> None: ...


class Artifacts(Protocol):
    """Files of a solution, by their URIs; None for a missing file, Unproven for a file that may be something else.

    Raises NotFound, NotDeployable, Unavailable, NeedsReservation.
    """

    async def fetch(self, uris: Sequence[str], left: ByteLimit, size: int | None = None) -> list[bytes | None]: ...


class Playground(Protocol):
    """The playground server, which deploys a bundle within `seconds`.

    Raises PlaygroundRefused, OutcomeUnknown, Unavailable. The codes of Unavailable begin with `playground-`, so that
    the breaker of this dependency counts the failure.
    """

    async def submit(self, bundle: bytes, username: str, request_id: str, seconds: float) -> DeploymentInfo: ...


@dataclass(frozen=True, slots=True)
class Clocks:
    """The time of day, the monotonic clock in seconds, a sleep in seconds, and a jitter from 0 to 1."""

    now: Callable[[], datetime]
    monotonic: Callable[[], float]
    sleep: Callable[[float], Coroutine[Any, Any, None]]
    jitter: Callable[[], float]

    async def sleep_until(self, moment: datetime) -> None:
        """Wait until `moment`; return immediately when `moment` is past."""
        await self.sleep(max(0.0, (moment - self.now()).total_seconds()))


class Writer(Protocol):
    """The fenced producer of one partition."""

    def commit(self, messages: Sequence[Message], checkpoint: Checkpoint | None) -> Awaitable[Sequence[int]]:
        """Write one transaction with the checkpoint; return the records' offsets, in the order of `messages`.

        Raises when the transaction failed, or may have failed.
        """
        ...

    async def close(self) -> None:
        """Close the producer within seconds, in any state."""
        ...


class Store(Protocol):
    """Kafka, as a partition processor needs it.

    Unless noted otherwise, every call has a time limit and raises KafkaError or TimeoutError.
    """

    transaction_slots: asyncio.Semaphore  # limits concurrent transactions; waiting writers batch more statuses

    async def fence(self, partition: int) -> Writer:
        """Fence this partition's earlier owners: from now on the brokers reject their transactions."""
        ...

    async def verify_ownership(self, partition: int) -> tuple[Checkpoint, int]:
        """Return the group's committed checkpoint, and the partition's end offset.

        Raises PartitionLost when the group has not assigned the partition to us.
        """
        ...

    async def load(self, partition: int, checkpoint: Checkpoint, table: RequestTable) -> list[DeploymentSettled]:
        """Read the statuses from the checkpoint on into the table; return the settlements of open requests."""
        ...

    async def permitted(self, partition: int, request_id: str, appended_at: float) -> str | None:
        """Return the fingerprint in an operator's permit to replay this request; None without a permit.

        `appended_at` is the time of the request's record, in seconds since 1970. Never raises: while the
        brokers are unreachable, the call waits.
        """
        ...

    def fetch(self, partition: int, offsets: Sequence[int]) -> AsyncIterator[Record]:
        """Yield the records of the requests topic at these offsets, in order. Missing records are left out."""
        ...
