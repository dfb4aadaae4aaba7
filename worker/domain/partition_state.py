"""What one partition's processor knows and decides: requests, offsets, and what goes into the next transaction. Pure.

`PartitionProcessor` does the I/O around it. A new one is made at each take-over, from what the status topic says.

One file, although it is long: what is known of requests, what is committed, and what a next owner has to read are
changed together by every transaction.
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
# Ended requests of a partition that are told from new ones with the same id. Senders repeat within minutes, and a
# worker with many partitions must have room for them: each takes 0.3 kB, and up to four statuses to be read.
REMEMBERED = 5_000
# Parked statuses that a checkpoint names: the metadata of an offset may have 4 kB.
MAX_PARKED = 200

# All that is known of one: its fingerprint, the offsets of its record and of its last status, and its state.
_ENDED = Struct("32sqqB")
_ENDS = tuple(FINAL_STATES)
_LONG_AGO = datetime.fromtimestamp(0, UTC)

_STATE = re.compile(rb'"state":"([a-z]+)"')  # in a string the quotes would be escaped


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The group's offset, and where in the status partition is all that a next owner needs. Committed with each other.

    It goes into the metadata of the committed offset, so that no take-over has to read the whole past.
    """

    offset: int
    statuses_from: int = 0
    parked: tuple[int, ...] = ()  # statuses before `statuses_from` that are needed as well
    metadata: str = field(init=False, repr=False, compare=False)  # what is committed beside the offset

    def __post_init__(self) -> None:
        object.__setattr__(self, "metadata", " ".join(["v1", str(self.statuses_from), *map(str, self.parked)]))

    @classmethod
    def of(cls, offset: int, metadata: str) -> "Checkpoint":
        """Return what was committed; metadata of another origin, or none, mean that everything has to be read."""
        version, *numbers = metadata.split(" ")
        if version != "v1" or not numbers or not all(number.isdecimal() for number in numbers):
            return cls(offset)
        return cls(offset, int(numbers[0]), tuple(map(int, numbers[1:])))


class EndedOffsets:
    """Which records have ended, of those that the group has not committed. 4 bytes for each."""

    def __init__(self, offsets: range) -> None:
        """`offsets`: from the committed one to the partition's end."""
        self.range = offsets
        self._ids = array("I")  # what tells them from records of a topic that had the name before

    def __contains__(self, offset: int) -> bool:
        """Return whether the record at this offset was there when the partition was taken over."""
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
    """A parked request at rest, which may wait for days: its last status as it was written, and no object of it.

    It takes about 2 kB. Nothing of its record is kept: the record is read again if the request is to be retried.
    """

    request_id: str
    value: bytes
    time: float  # unix seconds, when it was parked
    since: float  # as RequestState has it
    status_at: int
    traceparent: str | None
    key: bytes | None  # the user's id; None: an earlier worker parked it, and its user has not been seen since

    @classmethod
    def of(cls, state: RequestState, last: DeploymentStatus, status_at: int) -> "Parked":
        """Return what is kept of a request whose last status is durable at this offset of the status partition."""
        times = last.time.timestamp(), state.since.timestamp()
        return cls(state.request_id, last.to_json(), *times, status_at, state.traceparent, state.key)

    def state(self) -> RequestState:
        """Return its state, as one whose record no offset waits for: that has passed."""
        since = datetime.fromtimestamp(self.since, UTC)
        state = RequestState(self.request_id, RECORD_GONE, since, traceparent=self.traceparent, key=self.key)
        state.apply(DeploymentStatus.model_validate_json(self.value, extra="ignore"))
        state.statuses_from = self.status_at
        return state


class ParkedRequests:
    """The parked requests of a partition, in the order in which they were parked, and how many each user has.

    No status names the user. Of a request that an earlier worker parked, the fingerprint tells whether a user sent it.
    """

    def __init__(self) -> None:
        self._all: dict[str, Parked] = {}
        self._at_work: dict[str, RequestState] = {}
        self._of_user: Counter[bytes] = Counter()
        # Of those whose user is not known yet: what they ask for, their ids by fingerprint, and who has been looked up.
        self._wanted: set[tuple[UUID, UUID]] = set()
        self._unclaimed: dict[str, list[str]] = {}
        self._seen: set[bytes] = set()

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Parked]:
        return iter(self._all.values())

    def find(self, request_id: str) -> RequestState | None:
        """Return the state of one; None: it is not parked."""
        if state := self._at_work.get(request_id):
            return state
        found = self._all.get(request_id)
        return found.state() if found else None

    def add(self, state: RequestState, last: DeploymentStatus, status_at: int) -> None:
        """Let it rest, unless it is settled already: then its job goes on."""
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
        """Take one that rests to work, with this state. Return False when it does not rest."""
        if state.request_id not in self._all or state.request_id in self._at_work:
            return False
        self._at_work[state.request_id] = state
        return True

    def remove(self, request_id: str) -> bool:
        """Forget one: it goes on, or has ended. Return whether it was parked."""
        self._at_work.pop(request_id, None)
        parked = self._all.pop(request_id, None)
        if parked and parked.key is not None:
            self._of_user[parked.key] -= 1
            if not self._of_user[parked.key]:
                del self._of_user[parked.key]
        return parked is not None

    def first(self) -> Parked | None:
        """Return the one that has been at rest for longest."""
        return next((it for it in self if it.request_id not in self._at_work), None)

    def count_of(self, user_id: str) -> int:
        """Return how many this user has."""
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
    """Request id → state. The status topic is the only copy; of what has ended, the last REMEMBERED are known.

    What was never accepted is not in it: nobody can send its id again.
    """

    def __init__(self, unfinished: range = range(0)) -> None:
        """`unfinished`: the offsets that the group has not committed, up to the partition's end."""
        self.remembered = REMEMBERED
        self.ended_offsets = EndedOffsets(unfinished)
        self.end = 0  # of the status partition, at least: no status that is still to come stands before it
        self.read_from = 0  # where in the status partition reading began at the take-over
        self._open: dict[str, RequestState] = {}  # in the order of their first statuses
        self.parked = ParkedRequests()
        self._ended: dict[str, bytes] = {}  # as _ENDED, in the order of their last statuses
        self.left: dict[
            str, RequestState
        ] = {}  # of the open ones, without what is parked, those that an earlier worker left and nobody took

    def find(self, request_id: str) -> RequestState | None:
        """Return its state; None: never accepted, or not among the last."""
        return self._open.get(request_id) or self.parked.find(request_id) or self._find_ended(request_id)

    def _find_ended(self, request_id: str) -> RequestState | None:
        if (ended := self._ended.get(request_id)) is None:
            return None
        digest, offset, status_at, end = _ENDED.unpack(ended)
        state = RequestState(request_id, offset, _LONG_AGO, fingerprint=digest.hex(), state=_ENDS[end])
        state.statuses_from = status_at
        return state

    def take(self, offset: int, *request_ids: str) -> RequestState | None:
        """Return what an earlier worker left of the record at this offset, under one of these ids; once."""
        for request_id in request_ids:
            if (state := self.left.get(request_id)) and state.offset == offset:
                return self.left.pop(request_id)
        return None

    def take_without_record(self, to_come: range) -> list[RequestState]:
        """Return what an earlier worker left of all records but those that are to come, in their order; once."""
        found = [state for state in self.left.values() if state.offset not in to_come]
        for state in found:
            del self.left[state.request_id]
        return sorted(found, key=lambda state: state.offset)

    def claim(self, state: RequestState, request_id: str) -> RequestState:
        """Give the id to this state, unless it is another record's. Return the state that has it."""
        owner = self.find(request_id)
        if owner is None:
            state.request_id, state.statuses_from = request_id, self.end
            owner = self._open[request_id] = state
        return owner

    def drop(self, state: RequestState) -> None:
        """Forget an id that got no status."""
        if state.state is None and self._open.get(state.request_id) is state:
            del self._open[state.request_id]

    def leave(self, state: RequestState) -> None:
        """Take an open state as an earlier worker left it. A parked one has nothing to wait for in its record."""
        if state.last and state.state is State.PARKED:
            self.ended_offsets.add(state.offset, state.request_id)
            self.parked.add(state, state.last, state.statuses_from)
        else:
            self.left[state.request_id] = self._open[state.request_id] = state

    def place(self, state: RequestState, durable: State, status_at: int) -> None:
        """Put a state where it belongs after its status that is durable at this offset of the status partition."""
        if durable in FINAL_STATES:
            self._open.pop(state.request_id, None)
            self.parked.remove(state.request_id)
            self.remember(state, status_at)
        elif state.last and durable is State.PARKED:
            self._open.pop(state.request_id, None)
            self.parked.add(state, state.last, status_at)
        elif self.parked.remove(state.request_id):
            state.statuses_from = status_at  # all that is needed of it stands here and later
            self._open[state.request_id] = state
        self.end = max(self.end, status_at + 1)

    def remember(self, state: RequestState, status_at: int) -> None:
        """Keep of an ended one what tells it, and forget the one that ended first when there are too many."""
        if state.fingerprint is None or state.state is None:
            return
        digest, end = bytes.fromhex(state.fingerprint), _ENDS.index(state.state)
        offset = state.last.source.offset if state.last else state.offset
        self._ended[state.request_id] = _ENDED.pack(digest, offset, status_at, end)
        if len(self._ended) > self.remembered:
            del self._ended[next(iter(self._ended))]

    def checkpoint(self, offset: int, statuses_from: int | None = None) -> Checkpoint:
        """Return what a next owner needs if the group commits this offset now.

        `statuses_from`: before which nothing ended that has this offset or a higher one. What ended is looked up there
        when its record is read again, however many have ended since.
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
        """Yield every request that has a status and no final one."""
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
    """Makes a request table of the records of a status partition, in their order, in memory that has a bound.

    Of an open request only the last status is parsed, of an ended one only the final status.
    """

    def __init__(self, table: RequestTable) -> None:
        self._table = table
        self._last: dict[bytes, _LastStatus] = {}

    def add(self, key: bytes | None, value: bytes | None, at: int, timestamp_ms: int, traceparent: str | None) -> None:
        """Take one record, at this offset. Tombstones, records without a key and other events say nothing."""
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
        """Take what is open into the table. `end`: of the status partition, up to where it was read."""
        for last in self._last.values():
            # What cannot be read as a status is left out: it may be a later version's.
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
    """Which offset may be committed: everything below it is finished.

    Records are read in order and finish in any. Offsets need not be consecutive: transaction markers and compaction
    leave gaps.
    """

    def __init__(self, committed: int) -> None:
        """Begin where the group stands, at `committed`."""
        self._open: dict[int, tuple[int, int]] = {}  # offset → bytes, statuses from; insertion order is offset order
        self._committed = committed
        self.next_offset = committed  # to read
        self._excluded: set[int] = set()
        self.buffered = 0  # records that are read and not finished, without the excluded ones
        self.buffered_bytes = 0

    def start(self, offset: int, size: int = 0, statuses_from: int = 0) -> None:
        """Note a record that was read. Raises ValueError when it does not lie above the last one.

        `statuses_from`: no status of this record or a later one stands before it in the status partition.
        """
        if offset < self.next_offset:
            raise ValueError(f"offset {offset} was read after {self.next_offset - 1}")
        self._open[offset] = size, statuses_from
        self.buffered += 1
        self.buffered_bytes += size
        self.next_offset = offset + 1

    def finish(self, offset: int) -> bool:
        """Let it pass: its final status is out, or goes out with the offset. Return whether it was open."""
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
        """The offset to commit, Kafka's way: the next one to read."""
        return next(iter(self._open), self.next_offset)

    @property
    def statuses_from(self) -> int | None:
        """Before which no status stands of a record at the committable offset or above; None: all are finished."""
        return next(iter(self._open.values()), (0, None))[1]

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
        return message, self._letter(dead_letter)

    def _letter(self, letter: DeadLetter) -> Message:
        """Return its record, cut down where it is too large: the key first, which a sender may have chosen."""
        for cut in (letter, letter.without("key"), letter.without("key", "value")):
            message = Message(self.dead_letter_topic, None, cut.key, cut.value, cut.headers)
            if message.size <= Message.MAX_BYTES:
                break
        return message


@dataclass(frozen=True, slots=True, eq=False)
class PendingStatus:
    """One status on its way into a transaction. `messages`: its record first, then what goes with it."""

    state: RequestState
    status: DeploymentStatus
    messages: tuple[Message, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Transaction:
    """What is written at once: all of it, or nothing. `checkpoint` None: the offset does not move."""

    pending: tuple[PendingStatus, ...]
    checkpoint: Checkpoint | None

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

    def take_inherited(self) -> list[RequestState]:
        """Return the open requests that an earlier worker left and whose records do not come; each of them once.

        The offsets of some were committed: they were parked. The records of the others are gone with a topic that had
        the name before, or with the end of the log: the partition ends before them, or others stand there.
        """
        unfinished = self.requests.ended_offsets.range
        left = self.requests.take_without_record(range(self.offsets.next_offset, unfinished.stop))
        for state in left:
            if state.offset >= unfinished.start:
                state.offset = RECORD_GONE
        return left

    def receive(self, record: Record, request: Request | DeploymentError, now: datetime) -> RequestState | None:
        """Take a record, in the partition's order. Return its state; None: there is nothing to do for it.

        A new one has the id of its place until it is accepted: before that nobody knows whose the id is that it brings.
        """
        if record.offset < self.offsets.next_offset:
            return None  # it was read before
        known, new = record.offset in self.requests.ended_offsets, RequestState.of_record(record, request, now)
        self.offsets.start(record.offset, record.size, self.requests.read_from if known else self.requests.end)
        if not known:
            return new
        # The ids tell records of a topic from those of one that had its name before.
        ids = (new.request_id, request.id) if isinstance(request, Request) else (new.request_id,)
        left, ended = self.requests.take(record.offset, *ids), self.requests.ended_offsets.holds(record.offset, *ids)
        if ended:  # or parked, by an earlier worker, and its offset waited for another one's
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
        """Put a status into the next transaction, and move its request's state there.

        Raises ValueError when it is too large.
        """
        pending = PendingStatus(state, status, encoder.encode(status, dead_letter, traceparent))
        self._outbox.append(pending)
        state.apply(status)
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
                self.offsets.finish(it.state.offset)
        offset = self.offsets.uncommitted()
        checkpoint = None if offset is None else self.requests.checkpoint(offset, self.offsets.statuses_from)
        return Transaction(pending, checkpoint) if pending or checkpoint else None

    def committed(self, transaction: Transaction, offsets: Sequence[int]) -> bool:
        """Note that it is durable. Return whether there is more to write.

        `offsets`: where its records stand in their partitions, in the order of `messages`.
        """
        if transaction.checkpoint:
            self.offsets.committed(transaction.checkpoint.offset)
        written = iter(offsets)
        for it in transaction.pending:
            status_at, *_ = (next(written) for _ in it.messages)
            self.requests.place(it.state, it.status.state, status_at)
        return not self.idle
