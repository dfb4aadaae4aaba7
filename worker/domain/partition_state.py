"""What one partition's processor knows and decides: requests, offsets, and what goes into the next transaction. Pure.

`PartitionProcessor` does the I/O around it. A new one is made at each take-over, from what the status topic says.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from pydantic import ValidationError

from schemas import DeploymentStatus, Message
from worker.domain.dead_letter import DeadLetter
from worker.domain.lifecycle import RESTING_STATES, RequestState
from worker.domain.request import Record, Request
from worker.errors import DeploymentError

MAX_STATUSES = 200  # in one transaction
RETENTION = timedelta(days=7)  # as that of the status topic
FORGET_EVERY = 10_000  # statuses


class RequestTable:
    """Request id → state. The status topic is the only copy; what ended before its retention is forgotten."""

    def __init__(self) -> None:
        self._states: dict[str, RequestState] = {}
        self._left: dict[int, RequestState] = {}  # by offset, as the status topic says
        self._applied = 0

    def find(self, request_id: str) -> RequestState | None:
        """Return its state; None: never seen, or not within the retention."""
        return self._states.get(request_id)

    def at(self, offset: int) -> RequestState | None:
        """Return what an earlier worker left of the record at this offset."""
        return self._left.get(offset)

    def claim(self, state: RequestState, request_id: str) -> RequestState:
        """Give the id to this state, unless it is another record's. Return the state that has it."""
        owner = self._states.setdefault(request_id, state)
        if owner is state:
            state.request_id = request_id
        return owner

    def add(self, state: RequestState) -> None:
        """Take a state as it was left."""
        self._states[state.request_id] = self._left[state.offset] = state

    def drop(self, state: RequestState) -> None:
        """Forget an id that got no status."""
        if state.state is None and self._states.get(state.request_id) is state:
            del self._states[state.request_id]

    def restore(self, status: DeploymentStatus, since: datetime | None = None, traceparent: str | None = None) -> None:
        """Apply a status that was read from the topic. `since`: the time of the id's first one."""
        state = self._states.get(status.request_id)
        if state is None:
            state = RequestState(status.request_id, status.source.offset, since or status.time, traceparent=traceparent)
            self.add(state)
        state.apply(status)
        state.forget()

    def forget_old(self, now: datetime) -> None:
        """Count one more status, and now and then forget what is gone from the topic, too."""
        self._applied += 1
        if self._applied % FORGET_EVERY == 0:
            old = [name for name, it in self._states.items() if it.final and it.since < now - RETENTION]
            for name in old:
                del self._states[name]
            self._left = {offset: it for offset, it in self._left.items() if it.request_id in self._states}

    def open(self) -> Iterator[RequestState]:
        """Yield every request that has a status and no final one."""
        return (state for state in self._states.values() if state.state is not None and not state.final)

    def __len__(self) -> int:
        return len(self._states)


class RequestTableReader:
    """Makes a request table of the records of a status partition, in their order. Only each id's last is parsed."""

    def __init__(self) -> None:
        self._last: dict[bytes, tuple[bytes, int, str | None]] = {}
        self.records = 0

    def add(self, key: bytes | None, value: bytes | None, timestamp_ms: int, traceparent: str | None) -> None:
        """Take one record. Tombstones and records without a key say nothing."""
        self.records += 1
        if key is not None and value is not None:
            first = self._last.get(key, (b"", timestamp_ms, None))[1]
            self._last[key] = (value, first, traceparent)

    def table(self) -> RequestTable:
        """Return what was read. What cannot be read as a status is left out: it may be a later version's."""
        table = RequestTable()
        for value, first_ms, traceparent in self._last.values():
            try:
                status = DeploymentStatus.model_validate_json(value, extra="ignore")
            except ValidationError:
                continue
            table.restore(status, datetime.fromtimestamp(first_ms / 1000, UTC), traceparent)
        return table


class OffsetTracker:
    """Which offset may be committed: everything below it is finished.

    Records are read in order and finish in any. Offsets need not be consecutive: transaction markers and compaction
    leave gaps.
    """

    def __init__(self, committed: int) -> None:
        """Begin where the group stands, at `committed`."""
        self._open: dict[int, int] = {}  # offset → bytes; insertion order is offset order
        self._committed = committed
        self.next_offset = committed  # to read
        self.open = 0  # records that are read and not finished
        self.open_bytes = 0

    def start(self, offset: int, size: int = 0) -> None:
        """Note a record that was read. Raises ValueError when it does not lie above the last one."""
        if offset < self.next_offset:
            raise ValueError(f"offset {offset} was read after {self.next_offset - 1}")
        self._open[offset] = size
        self.open += 1
        self.open_bytes += size
        self.next_offset = offset + 1

    def finish(self, offset: int) -> bool:
        """Let it pass: its final status is out, or goes out with the offset. Return whether it was open."""
        size = self._open.pop(offset, None)
        if size is None:
            return False
        self.open -= 1
        self.open_bytes -= size
        return True

    @property
    def committable_offset(self) -> int:
        """The offset to commit, Kafka's way: the next one to read."""
        return next(iter(self._open), self.next_offset)

    def uncommitted(self) -> int | None:
        """Return the committable offset, if it has moved since `committed` was last called."""
        offset = self.committable_offset
        return None if offset == self._committed else offset

    def committed(self, offset: int) -> None:
        """Note what the group has now."""
        self._committed = offset


@dataclass(frozen=True, slots=True)
class StatusEncoder:
    """The topics a partition's records go to, and in whose name."""

    status_topic: str
    dead_letter_topic: str
    source: str  # the CloudEvents attribute

    def encode(
        self, status: DeploymentStatus, dead_letter: DeadLetter | None, traceparent: str | None
    ) -> tuple[Message, ...]:
        """Return the records of one status. Raises ValueError when it is too large.

        A dead letter has no CloudEvents attributes: it is no event, but what is left of a record.
        """
        message = status.to_message(self.status_topic, self.source, traceparent)
        if dead_letter is None:
            return (message,)
        letter = Message(self.dead_letter_topic, None, dead_letter.key, dead_letter.value, dead_letter.headers)
        return message, letter


@dataclass(frozen=True, slots=True, eq=False)
class PendingStatus:
    """One status on its way into a transaction, with the records that go out for it."""

    status: DeploymentStatus
    messages: tuple[Message, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Transaction:
    """What is written at once: all of it, or nothing. `offset` None: it does not move."""

    pending: tuple[PendingStatus, ...]
    offset: int | None

    @property
    def messages(self) -> list[Message]:
        """All records, in order."""
        return [message for it in self.pending for message in it.messages]


class PartitionState:
    """One partition, from one take-over to the next."""

    def __init__(self, requests: RequestTable, committed: int) -> None:
        """Begin at the group's offset, `committed`."""
        self.requests = requests
        self.offsets = OffsetTracker(committed)
        self._outbox: deque[PendingStatus] = deque()

    def left_behind(self) -> list[RequestState]:
        """Return the open requests whose offset has passed: parked ones, and what became of some of them."""
        passed = self.offsets.next_offset
        return [state for state in self.requests.open() if state.offset < passed]

    def receive(self, record: Record, request: Request | DeploymentError, now: datetime) -> RequestState | None:
        """Take a record, in the partition's order. Return its state; None: there is nothing to do for it.

        A new one has the id of its place until it is accepted: before that nobody knows whose the id is that it brings.
        """
        if record.offset < self.offsets.next_offset:
            return None  # it was read before
        self.offsets.start(record.offset, record.size)
        state, new = self.requests.at(record.offset), RequestState.of_record(record, request, now)
        # The ids tell records of a topic from those of one that had its name before.
        if state is None or state.request_id not in (new.request_id, getattr(request, "id", None)):
            return new
        if state.state in RESTING_STATES:
            # An earlier worker ended or parked it, and its offset waited for another one's.
            self.offsets.finish(record.offset)
        return None if state.final else state

    def enqueue(
        self, status: DeploymentStatus, dead_letter: DeadLetter | None, traceparent: str | None, encoder: StatusEncoder
    ) -> PendingStatus:
        """Put a status into the next transaction. Raises ValueError when it is too large."""
        pending = PendingStatus(status, encoder.encode(status, dead_letter, traceparent))
        self._outbox.append(pending)
        return pending

    @property
    def idle(self) -> bool:
        """Whether nothing waits to be written."""
        return not self._outbox and self.offsets.uncommitted() is None

    def next_transaction(self) -> Transaction | None:
        """Return what goes out next, if anything. Offsets that its statuses finish go with them."""
        pending = tuple(self._outbox.popleft() for _ in range(min(MAX_STATUSES, len(self._outbox))))
        for it in pending:
            if it.status.state in RESTING_STATES:
                self.offsets.finish(it.status.source.offset)
        offset = self.offsets.uncommitted()
        return Transaction(pending, offset) if pending or offset is not None else None

    def committed(self, transaction: Transaction) -> bool:
        """Note that it is durable. Return whether there is more to write."""
        if transaction.offset is not None:
            self.offsets.committed(transaction.offset)
        for it in transaction.pending:
            self.requests.forget_old(it.status.time)
        return not self.idle
