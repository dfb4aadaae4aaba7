"""One record on its way through a lane: what `worker/deploy.py` sees of Kafka."""

import asyncio
from collections.abc import Coroutine
from datetime import datetime
from typing import TYPE_CHECKING, Any

from schemas import FINAL_STATES, DeploymentInfo, DeploymentSettled, DeploymentStatus, State
from worker.delivery.admission import Turn
from worker.delivery.journal import Entry
from worker.domain.dead_letter import DeadLetter
from worker.domain.request import Record, Request
from worker.errors import DeploymentError, OutcomeUnknown, Unavailable

if TYPE_CHECKING:
    from worker.delivery.partition import Lane


class LaneJob:
    """Belongs to one life of one lane, and ends with it; only its POST goes on."""

    def __init__(
        self, lane: "Lane", record: Record, request_id: str, request: Request | DeploymentError, entry: Entry
    ) -> None:
        self.record = record
        self.request_id = request_id
        self.request = request
        self.entry = entry
        self.stopping = False
        self.task: asyncio.Task[None] | None = None
        self._lane = lane
        # A parked request queues when it is settled: until then it holds up nobody of its user.
        self._turn: Turn | None = None if entry.state is State.PARKED else lane.turns.join(record.key)
        self._post: asyncio.Task[DeploymentInfo] | None = None
        self._attempt: int | None = None  # whose outcome no status tells yet

    @property
    def posted(self) -> bool:
        """Whether a POST has begun whose outcome no status tells."""
        return self._post is not None

    def turn(self) -> Turn:
        """The first of its key; the place in the queue was taken when the record was read."""
        turn, self._turn = self._turn or self._lane.turns.join(self.record.key), None
        return turn

    def known(self, request_id: str) -> Entry | None:
        """Another request of the partition."""
        return self._lane.journal.find(request_id)

    def rename(self, request_id: str) -> None:
        """The id is another request's: this one goes on under its own."""
        self.request_id = request_id
        self.entry = self._lane.journal.claim(request_id, self.record.offset, self.entry.since)

    def absorbed(self) -> None:
        """It repeats what is known: its offset may pass, and nothing is said."""
        self._lane.finish(self.record.offset)

    async def first_status(self) -> None:
        """Until the journal has a status of its id."""
        await self._lane.changed.until(lambda: self.entry.state is not None)

    def publish(self, status: DeploymentStatus, dead_letter: DeadLetter | None = None) -> asyncio.Future[None]:
        """For the lane's next transaction."""
        if status.state is State.SUBMITTING:
            self._attempt = status.attempt
        return self._lane.publish(self, status, dead_letter)

    def published(self, status: DeploymentStatus) -> None:
        """It is committed."""
        if status.state is not State.SUBMITTING:
            self._post = self._attempt = None
            if self.stopping and status.state not in FINAL_STATES and self.task:
                self.task.cancel()

    async def settlement(self, attempt: int, until: datetime) -> DeploymentSettled | None:
        """What somebody else knows of the attempt; None: nobody by then."""
        return await self._lane.settlements.find(self.request_id, attempt, until)

    async def post(self, attempt: int, post: Coroutine[Any, Any, DeploymentInfo]) -> DeploymentInfo:
        """Shielded: the bytes cannot be called back."""
        self._attempt = attempt
        self._post = asyncio.create_task(post, name=f"POST {self.request_id}")
        return await asyncio.shield(self._post)

    def end(self) -> None:
        """Let the next of its key go. What no status tells of the attempt is for the partition's next owner."""
        if self._turn:
            self._turn.close()
        if self._attempt is not None:
            self._lane.hand_over(self, self._attempt)

    async def outcome(self, attempt: int, by: str) -> DeploymentSettled | None:
        """What became of the attempt; None: nobody knows, as when nobody had been here."""
        if self._post is None:
            return _settled(self.request_id, attempt, "retry", "Nothing was sent.", by)
        try:
            deployment = await asyncio.shield(self._post)
        except Unavailable as error:
            return _settled(self.request_id, attempt, "retry", error.message, by)
        except OutcomeUnknown:
            return None
        except DeploymentError as error:
            return _settled(self.request_id, attempt, "failed", error.message, by)
        return _settled(self.request_id, attempt, "deployed", "The playground said so.", by, deployment)


def _settled(
    request_id: str, attempt: int, outcome: str, reason: str, by: str, deployment: DeploymentInfo | None = None
) -> DeploymentSettled:
    return DeploymentSettled.model_validate(
        {
            "requestId": request_id,
            "attempt": attempt,
            "as": outcome,
            "deployment": deployment,
            "reason": reason[:1000],
            "by": by,
        }
    )
