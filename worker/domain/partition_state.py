"""What a partition processor knows and decides: request table, offsets, contents of the next transaction. Pure.

`PartitionProcessor` does the I/O around a `PartitionState`. Each take-over creates a new `PartitionState` from the
statuses in the status topic.

This long module is one file because every transaction changes three things together: the known requests, the committed
offset, and what the next owner must read.
"""

import re
from array import array
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from struct import Struct
from uuid import UUID
from zlib import crc32

from pydantic import ValidationError

from schemas import FINAL_STATES, DeploymentStatus, Message, State, fingerprint
from worker.domain.dead_letter import DeadLetter
from worker.domain.lifecycle import RECORD_GONE, RESTING_STATES, RequestState
from worker.domain.request import Record, Request
from worker.errors import DeploymentError

MAX_STATUSES = 200  # in one transaction
# Ended requests per partition that are remembered to recognise duplicates. Senders repeat requests within minutes. A
# worker with many partitions must have memory for them: 0.3 kB for each request, and up to four statuses to read.
REMEMBERED = 5_000
# Offsets of parked statuses in a checkpoint: the metadata of an offset may have 4 kB.
MAX_PARKED = 200

# What is remembered of an ended request: its fingerprint, the offsets of its record and last status, and its state.
_ENDED = Struct("32sqqB")
_ENDS = tuple(FINAL_STATES)
_LONG_AGO = datetime.fromtimestamp(0, UTC)

_STATE = re.compile(rb'"state":"([a-z]+)"')  # inside a JSON string, the quotes would be escaped


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The group's offset, and the offset in the status partition from which the next owner must read.

    Both are committed together. The status offsets go into the metadata of the committed offset, so that no take-over
    has to read the whole status partition.
    """

    offset: int
    statuses_from: int = 0
    parked: tuple[int, ...] = ()  # statuses before `statuses_from` that are needed as well
    metadata: str = field(init=False, repr=False, compare=False)  # the metadata that is committed with the offset

    def __post_init__(self) -> None:
        object.__setattr__(self, "metadata", " ".join(["v1", str(self.statuses_from), *map(str, self.parked)]))

    @classmethod
    def of(cls, offset: int, metadata: str) -> "Checkpoint":
        """Parse a committed checkpoint. Without metadata, or with foreign metadata, all statuses must be read."""
        version, *numbers = metadata.split(" ")
        if version != "v1" or not numbers or not all(number.isdecimal() for number in numbers):
            return cls(offset)
        return cls(offset, int(numbers[0]), tuple(map(int, numbers[1:])))


class EndedOffsets:
    """Which of the records that the group has not committed have ended. Each record takes 4 bytes."""

    def __init__(self, offsets: range) -> None:
        """`offsets`: from the committed offset to the partition's end."""
        self.range = offsets
        # Checksums of ids, which distinguish the records from those of an earlier topic of the same name.
        self._ids = array("I")

    def __contains__(self, offset: int) -> bool:
        """Return whether the offset was uncommitted and below the partition's end at the take-over."""
        return offset in self.range

    def add(self, offset: int, request_id: str) -> None:
        """Note that the record at this offset has ended."""
        if offset in self.range:
            place = offset - self.range.start
            self._ids.extend([0] * (place + 1 - len(self._ids)))
            self._ids[place] = _number(request_id)

    def holds(self, offset: int, *request_ids: str) -> bool:
        """Return whether the record at this offset has ended, under one of these ids."""
        place = offset - self.range.start
        return 0 <= place < len(self._ids) and self._ids[place] in map(_number, request_ids)


def _number(request_id: str) -> int:
    return crc32(request_id.encode()) or 1


@dataclass(slots=True, eq=False)
class Parked:
    """A parked request at rest, which may wait for days: its last status as JSON, and no objects parsed from it.

    A parked request takes about 2 kB. Its record is not kept, and is read again for a retry.
    """

    request_id: str
    value: bytes
    time: float  # unix seconds, when it was parked
    since: float  # as in RequestState, in unix seconds
    status_at: int
    traceparent: str | None
    key: bytes | None  # the user's id; None: an earlier worker parked it, and its user was not seen since

    @classmethod
    def of(cls, state: RequestState, last: DeploymentStatus, status_at: int) -> "Parked":
        """Return what is kept of a parked request. `status_at`: the offset of its status in the status partition."""
        times = last.time.timestamp(), state.since.timestamp()
        return cls(state.request_id, last.to_json(), *times, status_at, state.traceparent, state.key)

    def state(self) -> RequestState:
        """Return the request state, with the offset RECORD_GONE: the partition does not wait for the record."""
        since = datetime.fromtimestamp(self.since, UTC)
        state = RequestState(self.request_id, RECORD_GONE, since, traceparent=self.traceparent, key=self.key)
        state.apply(DeploymentStatus.model_validate_json(self.value, extra="ignore"))
        state.statuses_from = self.status_at
        return state


class ParkedRequests:
    """The parked requests of a partition, in the order of parking, and their number for each user.

    No status names the user. For a request that an earlier worker parked, the fingerprint shows whether a given user
    sent the request.
    """

    def __init__(self) -> None:
        self._all: dict[str, Parked] = {}
        self._at_work: dict[str, RequestState] = {}
        self._of_user: Counter[bytes] = Counter()
        # For requests of unknown users: solutions and revisions, ids by fingerprint, and the users looked up so far.
        self._wanted: set[tuple[UUID, UUID]] = set()
        self._unclaimed: dict[str, list[str]] = {}
        self._seen: set[bytes] = set()

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Parked]:
        return iter(self._all.values())

    def find(self, request_id: str) -> RequestState | None:
        """Return the state of a parked request; None if the request is not parked."""
        if state := self._at_work.get(request_id):
            return state
        found = self._all.get(request_id)
        return found.state() if found else None

    def add(self, state: RequestState, last: DeploymentStatus, status_at: int) -> None:
        """Add a request. It rests, unless it is already settled: then its job continues."""
        self._all[state.request_id] = parked = Parked.of(state, last, status_at)
        if state.is_settled:
            self._at_work[state.request_id] = state
        if parked.key is not None:
            self._of_user[parked.key] += 1
        elif last.fingerprint and last.solution_id and last.revision_id:
            self._seen.clear()
            self._wanted.add((last.solution_id, last.revision_id))
            self._unclaimed.setdefault(last.fingerprint, []).append(state.request_id)

    def resume(self, state: RequestState) -> bool:
        """Mark a resting request as at work, with this state. Return False if the request is not resting."""
        if state.request_id not in self._all or state.request_id in self._at_work:
            return False
        self._at_work[state.request_id] = state
        return True

    def remove(self, request_id: str) -> bool:
        """Remove a request that continues or has ended. Return whether it was parked."""
        self._at_work.pop(request_id, None)
        parked = self._all.pop(request_id, None)
        if parked and parked.key is not None:
            self._of_user[parked.key] -= 1
            if not self._of_user[parked.key]:
                del self._of_user[parked.key]
        return parked is not None

    def first(self) -> Parked | None:
        """Return the request that has been at rest for the longest time."""
        return next((it for it in self if it.request_id not in self._at_work), None)

    def count_of(self, user_id: str) -> int:
        """Return the number of parked requests of this user."""
        key = user_id.encode()
        if self._unclaimed and key not in self._seen:
            self._seen.add(key)
            for wanted in self._wanted:
                for request_id in self._unclaimed.pop(fingerprint(user_id, *wanted), ()):
                    if (parked := self._all.get(request_id)) and parked.key is None:
                        parked.key = key
                        self._of_user[key] += 1
        return self._of_user[key] if self._of_user else 0


class RequestTable:
    """Request id → request state, loaded from the status topic. Of the ended requests, it has the last REMEMBERED.

    Requests that were never accepted are not in the table: their id is a record id, which no sender can use.
    """

    def __init__(self, unfinished: range = range(0)) -> None:
        """`unfinished`: the offsets that the group has not committed, up to the partition's end."""
        self.remembered = REMEMBERED
        self.ended_offsets = EndedOffsets(unfinished)
        self.end = 0  # a lower bound of the status partition's end: no later status is below it
        self.read_from = 0  # the offset in the status partition from which the take-over read
        self._open: dict[str, RequestState] = {}  # in the order of their first statuses
        self.parked = ParkedRequests()
        self._ended: dict[str, bytes] = {}  # packed as _ENDED, in the order of their last statuses
        # Inherited requests that are open, not parked, and not yet taken.
        self.inherited: dict[str, RequestState] = {}

    def find(self, request_id: str) -> RequestState | None:
        """Return the state of a request; None if it was never accepted, or is no longer remembered."""
        return self._open.get(request_id) or self.parked.find(request_id) or self._find_ended(request_id)

    def _find_ended(self, request_id: str) -> RequestState | None:
        if (ended := self._ended.get(request_id)) is None:
            return None
        digest, offset, status_at, end = _ENDED.unpack(ended)
        state = RequestState(request_id, offset, _LONG_AGO, fingerprint=digest.hex(), state=_ENDS[end])
        state.statuses_from = status_at
        return state

    def take(self, offset: int, *request_ids: str) -> RequestState | None:
        """Return, once, the inherited request of the record at this offset, under one of these ids."""
        for request_id in request_ids:
            if (state := self.inherited.get(request_id)) and state.offset == offset:
                return self.inherited.pop(request_id)
        return None

    def take_without_record(self, to_come: range) -> list[RequestState]:
        """Return, once, the inherited requests whose offsets are outside `to_come`, in the order of their offsets."""
        found = [state for state in self.inherited.values() if state.offset not in to_come]
        for state in found:
            del self.inherited[state.request_id]
        return sorted(found, key=lambda state: state.offset)

    def claim(self, state: RequestState, request_id: str) -> RequestState:
        """Give the id to this state, unless another record has the id. Return the state that has the id."""
        owner = self.find(request_id)
        if owner is None:
            state.request_id, state.statuses_from = request_id, self.end
            owner = self._open[request_id] = state
        return owner

    def drop(self, state: RequestState) -> None:
        """Remove a request that got no status, so that its id is free again."""
        if state.state is None and self._open.get(state.request_id) is state:
            del self._open[state.request_id]

    def leave(self, state: RequestState) -> None:
        """Add an inherited request. The record of a parked request counts as ended, because nothing waits for it."""
        if state.last and state.state is State.PARKED:
            self.ended_offsets.add(state.offset, state.request_id)
            self.parked.add(state, state.last, state.statuses_from)
        else:
            self.inherited[state.request_id] = self._open[state.request_id] = state

    def apply_committed(self, state: RequestState, durable: State, status_at: int) -> None:
        """File a request after its status `durable`, which is at offset `status_at` of the status partition."""
        if durable in FINAL_STATES:
            self._open.pop(state.request_id, None)
            self.parked.remove(state.request_id)
            self.remember(state, status_at)
        elif state.last and durable is State.PARKED:
            self._open.pop(state.request_id, None)
            self.parked.add(state, state.last, status_at)
        elif self.parked.remove(state.request_id):
            state.statuses_from = status_at  # all that the next owner needs of it is at this offset or later
            self._open[state.request_id] = state
        self.end = max(self.end, status_at + 1)

    def remember(self, state: RequestState, status_at: int) -> None:
        """Remember an ended request, to recognise duplicates. Above the limit, forget the request that ended first."""
        if state.fingerprint is None or state.state is None:
            return
        digest, end = bytes.fromhex(state.fingerprint), _ENDS.index(state.state)
        offset = state.last.source.offset if state.last else state.offset
        self._ended[state.request_id] = _ENDED.pack(digest, offset, status_at, end)
        if len(self._ended) > self.remembered:
            del self._ended[next(iter(self._ended))]

    def checkpoint(self, offset: int, statuses_from: int | None = None) -> Checkpoint:
        """Return what the next owner needs if the group commits this offset now.

        `statuses_from`: no record at `offset` or above has its final status below this offset of the status partition.
        The next owner reads these records again, and finds the final statuses of all that have ended.
        """
        starts = [self.end if statuses_from is None else statuses_from]
        if self._open:
            starts.append(next(iter(self._open.values())).statuses_from)
        if self._ended:
            _, _, status_at, _ = _ENDED.unpack(next(iter(self._ended.values())))
            starts.append(status_at)
        start = min(starts)
        parked = sorted(at for it in self.parked if (at := it.status_at) < start)
        return Checkpoint(offset, min([start, *parked[MAX_PARKED : MAX_PARKED + 1]]), tuple(parked[:MAX_PARKED]))

    def open(self) -> Iterator[RequestState]:
        """Yield every request that has a status, but no final status."""
        yield from (state for state in self._open.values() if not state.final and state.state)
        yield from (it.state() for it in self.parked)

    def __len__(self) -> int:
        return len(self._open) + len(self.parked) + len(self._ended)


@dataclass(slots=True)
class _LastStatus:
    state: str
    value: bytes
    at: int
    traceparent: str | None
    first_ms: int
    first_at: int


class RequestTableReader:
    """Fills a request table from the records of a status partition, in their order, within bounded memory.

    Of an open request, only the last status is parsed; of an ended request, only the final status.
    """

    def __init__(self, table: RequestTable) -> None:
        self._table = table
        self._last: dict[bytes, _LastStatus] = {}

    def add(self, key: bytes | None, value: bytes | None, at: int, timestamp_ms: int, traceparent: str | None) -> None:
        """Add the record at this offset. Tombstones, records without a key and other events are ignored."""
        found = _STATE.search(value) if key is not None and value is not None else None
        if key is None or value is None or found is None:
            return
        state, known = found[1].decode(), self._last.get(key)
        if state in FINAL_STATES:
            self._last.pop(key, None)
            if status := _read(value):
                self._table.ended_offsets.add(status.source.offset, status.request_id)
                self._table.remember(_state_of(status, timestamp_ms, None), at)
        elif known is None or known.state == State.PARKED:
            self._last.pop(key, None)
            self._last[key] = _LastStatus(state, value, at, traceparent, timestamp_ms, at)
        else:
            known.state, known.value, known.at, known.traceparent = state, value, at, traceparent

    def finish(self, end: int) -> None:
        """Add the open requests to the table. `end`: the offset up to which the status partition was read."""
        for last in self._last.values():
            # A value that is not a valid status is skipped: a later version may have written it.
            if status := _read(last.value):
                state = _state_of(status, last.first_ms, last.traceparent)
                state.statuses_from = last.at if state.state is State.PARKED else last.first_at
                self._table.leave(state)
        self._table.end = end


def _read(value: bytes) -> DeploymentStatus | None:
    try:
        return DeploymentStatus.model_validate_json(value, extra="ignore")
    except ValidationError:
        return None


def _state_of(status: DeploymentStatus, since_ms: int, traceparent: str | None) -> RequestState:
    since = datetime.fromtimestamp(since_ms / 1000, UTC)
    state = RequestState(status.request_id, status.source.offset, since, traceparent=traceparent)
    state.apply(status)
    return state


class OffsetTracker:
    """Computes the committable offset: every record below it is finished.

    Records are read in order, and finish in any order. Offsets need not be consecutive: transaction markers and
    compaction leave gaps.
    """

    def __init__(self, committed: int) -> None:
        """Start at the group's committed offset."""
        self._open: dict[int, tuple[int, int]] = {}  # offset → bytes, statuses from; insertion order is offset order
        self._committed = committed
        self.next_offset = committed  # the offset after the last record that was read
        self._excluded: set[int] = set()
        self.buffered = 0  # records that are read and not finished, without excluded records
        self.buffered_bytes = 0

    def start(self, offset: int, size: int = 0, statuses_from: int = 0) -> None:
        """Add a record that was read. Raises ValueError if its offset is not above the last record's offset.

        `statuses_from`: no status of this record or a later record is below this offset of the status partition.
        """
        if offset < self.next_offset:
            raise ValueError(f"offset {offset} was read after {self.next_offset - 1}")
        self._open[offset] = size, statuses_from
        self.buffered += 1
        self.buffered_bytes += size
        self.next_offset = offset + 1

    def finish(self, offset: int) -> bool:
        """Let the offset pass: its last status, if any, is durable or goes out with it. Return whether it was open."""
        self.include_in_backpressure(offset)
        found = self._open.pop(offset, None)
        if found is None:
            return False
        self.buffered -= 1
        self.buffered_bytes -= found[0]
        return True

    def exclude_from_backpressure(self, offset: int) -> None:
        """Exclude a record from the buffered records, although it is not finished."""
        if offset in self._open and offset not in self._excluded:
            self._excluded.add(offset)
            self.buffered -= 1
            self.buffered_bytes -= self._open[offset][0]

    def include_in_backpressure(self, offset: int) -> None:
        """Count a record among the buffered records again."""
        if offset in self._excluded:
            self._excluded.remove(offset)
            self.buffered += 1
            self.buffered_bytes += self._open[offset][0]

    @property
    def committable_offset(self) -> int:
        """The offset to commit: as usual in Kafka, the next offset to read."""
        return next(iter(self._open), self.next_offset)

    @property
    def statuses_from(self) -> int | None:
        """No record at the committable offset or above has a status below this offset; None: all are finished."""
        return next(iter(self._open.values()), (0, None))[1]

    def uncommitted(self) -> int | None:
        """Return the committable offset, if it has moved since `committed` was last called."""
        offset = self.committable_offset
        return None if offset == self._committed else offset

    def committed(self, offset: int) -> None:
        """Set the offset that the group has committed."""
        self._committed = offset


@dataclass(frozen=True, slots=True)
class StatusEncoder:
    """Encodes statuses and dead letters as records, with their topics and source."""

    status_topic: str
    dead_letter_topic: str
    source: str  # the CloudEvents attribute

    def encode(
        self, status: DeploymentStatus, dead_letter: DeadLetter | None, traceparent: str | None
    ) -> tuple[Message, ...]:
        """Return the records of one status. Raises ValueError when the status is too large.

        A dead letter has no CloudEvents attributes: it is not an event, but the remains of a record.
        """
        message = status.to_message(self.status_topic, self.source, traceparent)
        if dead_letter is None:
            return (message,)
        return message, self._letter(dead_letter)

    def _letter(self, letter: DeadLetter) -> Message:
        """Return the letter's record, without parts that are too large. The key goes first: a sender may choose it."""
        for cut in (letter, letter.without("key"), letter.without("key", "value")):
            message = Message(self.dead_letter_topic, None, cut.key, cut.value, cut.headers)
            if message.size <= Message.MAX_BYTES:
                break
        return message


@dataclass(frozen=True, slots=True, eq=False)
class PendingStatus:
    """A status that waits for a transaction. `messages`: the status record, then its dead letter, if any."""

    state: RequestState
    status: DeploymentStatus
    messages: tuple[Message, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Transaction:
    """Statuses and a checkpoint that are written atomically. `checkpoint` None: the offset does not move."""

    pending: tuple[PendingStatus, ...]
    checkpoint: Checkpoint | None

    @property
    def messages(self) -> list[Message]:
        """All records of the transaction, in order."""
        return [message for it in self.pending for message in it.messages]


class PartitionState:
    """The state of one partition during one term: from a take-over to its end."""

    def __init__(self, requests: RequestTable, committed: int) -> None:
        """Start at the group's offset, `committed`."""
        self.requests = requests
        self.offsets = OffsetTracker(committed)
        self._outbox: deque[PendingStatus] = deque()

    def take_inherited(self) -> list[RequestState]:
        """Return the inherited requests whose records will not be read; each request is returned once.

        Some have a committed offset, because they were parked. The records of the others are gone: the topic was
        recreated, or the log was truncated, so that the partition ends before the records or has other records there.
        """
        unfinished = self.requests.ended_offsets.range
        left = self.requests.take_without_record(range(self.offsets.next_offset, unfinished.stop))
        for state in left:
            if state.offset >= unfinished.start:
                state.offset = RECORD_GONE
        return left

    def receive(self, record: Record, request: Request | DeploymentError, now: datetime) -> RequestState | None:
        """Add a record, in the partition's order. Return its request state; None if there is nothing to do.

        A new request has its record id until it is accepted: before that, the owner of its request id is unknown.
        """
        if record.offset < self.offsets.next_offset:
            return None  # it was read before
        known, new = record.offset in self.requests.ended_offsets, RequestState.of_record(record, request, now)
        self.offsets.start(record.offset, record.size, self.requests.read_from if known else self.requests.end)
        if not known:
            return new
        # The ids distinguish records from those of an earlier topic of the same name.
        ids = (new.request_id, request.id) if isinstance(request, Request) else (new.request_id,)
        left, ended = self.requests.take(record.offset, *ids), self.requests.ended_offsets.holds(record.offset, *ids)
        if ended:  # an earlier worker ended or parked it, and the committable offset had to wait for another record
            self.offsets.finish(record.offset)
            return None
        if left:
            left.key = record.key
        return left or new

    def enqueue(
        self,
        state: RequestState,
        status: DeploymentStatus,
        dead_letter: DeadLetter | None,
        traceparent: str | None,
        encoder: StatusEncoder,
    ) -> PendingStatus:
        """Put a status into the next transaction, and apply it to its request's state.

        Raises ValueError when the status is too large.
        """
        pending = PendingStatus(state, status, encoder.encode(status, dead_letter, traceparent))
        self._outbox.append(pending)
        state.apply(status)
        return pending

    @property
    def idle(self) -> bool:
        """Whether neither a status nor an offset waits to be written."""
        return not self._outbox and self.offsets.uncommitted() is None

    def next_transaction(self) -> Transaction | None:
        """Return the next transaction, if any, with the offset that its statuses finish."""
        pending = tuple(self._outbox.popleft() for _ in range(min(MAX_STATUSES, len(self._outbox))))
        for it in pending:
            if it.status.state in RESTING_STATES:
                self.offsets.finish(it.state.offset)
        offset = self.offsets.uncommitted()
        checkpoint = None if offset is None else self.requests.checkpoint(offset, self.offsets.statuses_from)
        return Transaction(pending, checkpoint) if pending or checkpoint else None

    def committed(self, transaction: Transaction, offsets: Sequence[int]) -> bool:
        """Handle a durable transaction. Return whether there is more to write.

        `offsets`: the offsets of its records in their partitions, in the order of `messages`.
        """
        if transaction.checkpoint:
            self.offsets.committed(transaction.checkpoint.offset)
        written = iter(offsets)
        for it in transaction.pending:
            status_at, *_ = (next(written) for _ in it.messages)
            self.requests.apply_committed(it.state, it.status.state, status_at)
        return not self.idle
