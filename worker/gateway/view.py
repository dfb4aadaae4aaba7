"""The last status and the steps of every request, from the status topic.

The view is bounded in number and bytes. The requests that became final first are forgotten first.
"""

import asyncio
import re
import zlib
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from itertools import islice
from struct import Struct

from pydantic_core import from_json

from schemas import FINAL_STATES, DeploymentStatus, State, fingerprint
from worker.domain.request import RECORD_ID_PREFIX

Key = tuple[int, str]
"""Partition and request id, because two users may choose the same id."""

ALL = -1  # instead of a partition: all partitions
MAX_USERS = 10_000  # users whose requests are indexed
SCANNED = 500  # fingerprints compared without a pause; takes 1 ms

OVERHEAD = 600  # bytes of a request's objects and indexes, without its last status and its steps

_STATES = tuple(State)
_NAMED = {state.encode(): state for state in _STATES}
_NUMBERS = {state: number for number, state in enumerate(_STATES)}
# The start of every status that a worker writes. Records that start differently are parsed as JSON.
_HEAD = re.compile(
    rb'\{"requestId":"([A-Za-z0-9._:-]+)","sequence":([0-9]{1,9}),"state":"(%s)","time":"([0-9TZ:.+-]+)",'
    rb'"attempt":([0-9]{1,9}),' % "|".join(_STATES).encode()
)
_STEP = Struct("<BHQ")  # number of the state, attempt, unix milliseconds
# Text that statuses have in common, as a dictionary for zlib. It packs a final status to about a third of its size.
_COMMON = (
    b'"rejected","failed","stage":"plan","retryable":false},"error":{"code":"","message":"solutionName":"","warnings":['
    b'"kind":"pipeline","single-model","message":"Deployed as ","bundle":{"sha256":"","size":,"nodes":["orchestrator"]'
    b'},"deployment":{"id":"","url":"https:///dashboard?selected_deployment_id="},"replayOf":"","fingerprint":"",'
    b'"source":{"topic":"playground.deployment.requests","partition":1,"offset":10}}{"requestId":"","sequence":3,'
    b'"state":"deployed","time":"2026-11-29T12:00:00.000Z","attempt":1,"solutionId":"","revisionId":""'
)


@dataclass(frozen=True, slots=True)
class Step:
    """The kept part of one status of a request."""

    state: State
    attempt: int
    time: datetime


@dataclass(slots=True, eq=False)
class Entry:
    """A request: its last status and its steps."""

    key: Key
    offset: int  # of the request's record
    sequence: int
    state: State
    attempt: int
    ended_ms: int  # unix milliseconds of the last status
    packed_asked: bytes | None  # ids of solution and revision
    packed_fingerprint: bytes | None
    packed_json: bytes  # of the last status; uncompressed until the status is final
    packed_steps: bytes
    is_complete: bool  # False: earlier steps are missing

    @property
    def request_id(self) -> str:
        """The request's id."""
        return self.key[1]

    @property
    def is_final(self) -> bool:
        """Whether the state is final."""
        return self.state in FINAL_STATES

    @property
    def is_open(self) -> bool:
        """Whether a worker has to act on the request: it is neither final nor parked."""
        return not self.is_final and self.state is not State.PARKED

    @property
    def size(self) -> int:
        """The approximate number of bytes in memory."""
        return OVERHEAD + len(self.packed_json) + len(self.packed_steps)

    @property
    def json(self) -> bytes:
        """The last status as it was published."""
        if not self.is_final:
            return self.packed_json
        unpacker = zlib.decompressobj(-zlib.MAX_WBITS, _COMMON)
        return unpacker.decompress(self.packed_json)

    @property
    def fingerprint(self) -> str | None:
        """The fingerprint of user, solution and revision; None when the token was not verified."""
        return self.packed_fingerprint.hex() if self.packed_fingerprint else None

    @property
    def asked(self) -> tuple[str, str] | None:
        """The ids of solution and revision."""
        return _ids(self.packed_asked) if self.packed_asked else None

    @property
    def status(self) -> DeploymentStatus:
        """The last status. Raises ValidationError for a value that no worker writes."""
        return DeploymentStatus.model_validate_json(self.json, extra="ignore")

    @property
    def steps(self) -> list[Step]:
        """All known statuses, in order."""
        return [
            Step(_STATES[state], attempt, datetime.fromtimestamp(milliseconds / 1000, UTC))
            for state, attempt, milliseconds in _STEP.iter_unpack(self.packed_steps)
        ]

    def belongs_to(self, user_id: str) -> bool:
        """Return whether this user sent the request. The fingerprint shows this without a list of users."""
        return self.packed_asked is not None and self.packed_fingerprint == _fingerprint(user_id, self.packed_asked)


@dataclass(slots=True)
class _Own:
    """The user's fingerprints among the first `seen` of the partition, including some of forgotten requests."""

    fingerprints: list[bytes]
    seen: int


class View:
    """All known requests."""

    def __init__(self, max_requests: int, max_bytes: int) -> None:
        self.evicted = 0
        self.bytes = 0
        self._max_requests = max_requests
        self._max_bytes = max_bytes
        self._open: OrderedDict[Key, Entry] = OrderedDict()
        self._final: OrderedDict[Key, Entry] = OrderedDict()  # in the order in which they became final
        self._places: dict[tuple[int, int], Key] = {}  # partition and offset → request with a record id
        # By partition: fingerprint → its requests, usually a single request.
        self._same: dict[int, dict[bytes, Entry | list[Entry]]] = {}
        self._added: Counter[int] = Counter()  # by partition: number of fingerprints added to `_same` so far
        self._own: OrderedDict[tuple[str, int], _Own] = OrderedDict()  # by user and partition, in the order of last use
        self._owned = 0  # fingerprints in `_own`
        self._watched: dict[Key | tuple[int, int], set[asyncio.Event]] = {}
        self._lists: dict[int, set[asyncio.Event]] = {}  # by partition: events of those who follow a list

    def __len__(self) -> int:
        return len(self._open) + len(self._final)

    def apply(self, partition: int, value: bytes) -> Entry | None:
        """Apply a record of the status topic, and return its request. None: nothing new, or not a status."""
        if (head := _HEAD.match(value)) and (advanced := self._advance(partition, head, value)):
            return advanced
        try:
            entry = _read(partition, value)
        except (KeyError, TypeError, ValueError):
            return None
        known = self.get(entry.key)
        if known is not None and known.offset != entry.offset:
            self._forget(known)  # the id was used again after the workers had forgotten it
            known = None
        if known is not None:
            if entry.sequence <= known.sequence:
                return None
            entry.is_complete = known.is_complete and entry.sequence == known.sequence + 1
            entry.packed_steps = known.packed_steps + entry.packed_steps
            self._replace(known, entry)
        else:
            entry.is_complete = entry.sequence == 0
            self._add(entry)
        self._evict()
        self._wake(entry)
        return entry

    def _advance(self, partition: int, head: re.Match[bytes], value: bytes) -> Entry | None:
        """Apply the status that directly follows the last status, without parsing the unchanged parts."""
        known = self._open.get((partition, head[1].decode()))
        if known is None or known.sequence + 1 != int(head[2]) or not value.endswith(b'"offset":%d}}' % known.offset):
            return None
        before = len(known.packed_json) + len(known.packed_steps)
        known.sequence += 1
        known.state, known.attempt = _NAMED[head[3]], int(head[5])
        known.ended_ms = _milliseconds(head[4].decode())
        known.packed_json = _packed(value) if known.is_final else value
        known.packed_steps += _step(known.state, known.attempt, known.ended_ms)
        self.bytes += len(known.packed_json) + len(known.packed_steps) - before
        if known.is_final:
            self._final[known.key] = self._open.pop(known.key)
        if self.bytes > self._max_bytes:
            self._evict()
        self._wake(known)
        return known

    def _wake(self, entry: Entry) -> None:
        for partition in (entry.key[0], ALL):
            for event in self._lists.get(partition, ()):
                event.set()
        if not self._watched:
            return
        for watched in (entry.key, (entry.key[0], entry.offset)):
            for event in self._watched.get(watched, ()):
                event.set()

    def get(self, key: Key) -> Entry | None:
        """Return the request with this partition and id."""
        return self._open.get(key) or self._final.get(key)

    def find(self, request_id: str) -> list[Entry]:
        """Return the requests with this id. Different users may have chosen the same id."""
        found = (self.get((partition, request_id)) for partition in self._same)
        return [entry for entry in found if entry]

    def at(self, partition: int, offset: int) -> Entry | None:
        """Return the request that has the record id of this partition and offset."""
        key = self._places.get((partition, offset))
        return self.get(key) if key else None

    def newest(self, of: str, partition: int) -> Entry | None:
        """Return the newest request with this fingerprint."""
        same = _all(self._same.get(partition, {}).get(bytes.fromhex(of), []))
        return max(same, key=lambda it: it.offset, default=None)

    def of_user(self, user_id: str, partition: int) -> list[Entry]:
        """Return a user's requests, newest first. All of them are in one partition, because they have the same key."""
        return sorted(self._of_user(user_id, partition), key=lambda it: it.offset, reverse=True)

    def _of_user(self, user_id: str, partition: int) -> list[Entry]:
        for _ in self._scan(user_id, partition):
            pass
        own, same = self._own[user_id, partition], self._same.get(partition, {})
        self._remember(own, [it for it in own.fingerprints if it in same])
        return [entry for it in own.fingerprints for entry in _all(same[it])]

    async def learn(self, user_id: str, partition: int) -> None:
        """Index a user's requests and let other tasks run. The first time takes 0.1 s for 100,000 requests."""
        for _ in self._scan(user_id, partition):
            await asyncio.sleep(0)

    def _scan(self, user_id: str, partition: int) -> Iterator[None]:
        """Compare the fingerprints added since the user's last scan. Yield after every SCANNED fingerprints."""
        key = user_id, partition
        own = self._own.setdefault(key, _Own([], 0))
        self._own.move_to_end(key)
        same, added = self._same.get(partition, {}), self._added[partition]
        # A fingerprint that is inserted again moves to the end, so the last entries include all new fingerprints.
        new, found = list(islice(reversed(same), added - own.seen)), []
        begun = sha256(f"{user_id}\n".encode())  # the start of the input that `fingerprint` hashes
        for number, it in enumerate(new, 1):
            if (entry := same.get(it)) and (asked := _all(entry)[0].packed_asked):
                digest = begun.copy()
                digest.update("\n".join(_ids(asked)).encode())
                if digest.digest() == it:
                    found.append(it)
            if number % SCANNED == 0:
                yield
        if self._own.get(key) is not own:  # removed or replaced during a pause
            return
        own.seen = max(own.seen, added)
        self._remember(own, list(dict.fromkeys([*own.fingerprints, *found])) if found else own.fingerprints)
        while len(self._own) > MAX_USERS or (self._owned > self._max_requests and len(self._own) > 1):
            self._owned -= len(self._own.popitem(last=False)[1].fingerprints)

    def _remember(self, own: _Own, fingerprints: list[bytes]) -> None:
        self._owned += len(fingerprints) - len(own.fingerprints)
        own.fingerprints = fingerprints

    def open_of_user(self, user_id: str, partition: int) -> list[Entry]:
        """Return the user's requests that are neither final nor parked."""
        return [it for it in self._of_user(user_id, partition) if it.is_open]

    def parked(self) -> list[Entry]:
        """Return the parked requests, newest first."""
        return sorted((it for it in self._open.values() if it.state is State.PARKED), key=lambda it: -it.ended_ms)

    def failed(self, most: int) -> list[Entry]:
        """Return up to `most` failed requests, newest first. Those whose retries ran out have dead letters."""
        return list(islice((it for it in reversed(self._final.values()) if it.state is State.FAILED), most))

    def all(self) -> Iterable[Entry]:
        """Iterate over all requests: first those without a final status, newest first; then the last to finish."""
        yield from reversed(self._open.values())
        yield from reversed(self._final.values())

    @contextmanager
    def watch(self, *keys: Key | tuple[int, int]) -> Iterator[asyncio.Event]:
        """Yield an event that is set whenever a request with one of these ids or offsets has a new status."""
        event = asyncio.Event()
        for key in keys:
            self._watched.setdefault(key, set()).add(event)
        try:
            yield event
        finally:
            for key in keys:
                events = self._watched.get(key, set())
                events.discard(event)
                if not events:
                    self._watched.pop(key, None)

    @contextmanager
    def watch_list(self, partition: int) -> Iterator[asyncio.Event]:
        """Yield an event that is set whenever a request in this partition, or in ALL, has a new status."""
        event = asyncio.Event()
        self._lists.setdefault(partition, set()).add(event)
        try:
            yield event
        finally:
            self._lists[partition].discard(event)
            if not self._lists[partition]:
                del self._lists[partition]

    def _add(self, entry: Entry) -> None:
        partition, request_id = entry.key
        (self._final if entry.is_final else self._open)[entry.key] = entry
        if request_id.startswith(RECORD_ID_PREFIX):
            self._places[partition, entry.offset] = entry.key
        same = self._same.setdefault(partition, {})
        if entry.packed_fingerprint:
            known = same.get(entry.packed_fingerprint)
            same[entry.packed_fingerprint] = [*_all(known), entry] if known else entry
            self._added[partition] += not known
        self.bytes += entry.size

    def _replace(self, known: Entry, entry: Entry) -> None:
        """Update the known entry in place, because the indexes refer to that object."""
        if (known.packed_fingerprint, known.packed_asked) != (entry.packed_fingerprint, entry.packed_asked):
            self._forget(known)
            return self._add(entry)
        self.bytes += entry.size - known.size
        for name in ("sequence", "state", "attempt", "ended_ms", "packed_json", "packed_steps", "is_complete"):
            setattr(known, name, getattr(entry, name))
        if known.is_final and known.key in self._open:
            del self._open[known.key]
            self._final[known.key] = known
        return None

    def _forget(self, entry: Entry) -> None:
        partition = entry.key[0]
        self._open.pop(entry.key, None)
        self._final.pop(entry.key, None)
        self._places.pop((partition, entry.offset), None)
        if entry.packed_fingerprint:
            same = self._same[partition]
            others = [it for it in _all(same.pop(entry.packed_fingerprint)) if it is not entry]
            if others:
                same[entry.packed_fingerprint] = others
                self._added[partition] += 1
        self.bytes -= entry.size

    def _evict(self) -> None:
        while len(self) > self._max_requests or self.bytes > self._max_bytes:
            self._forget(next(iter((self._final or self._open).values())))
            self.evicted += 1


def _all(same: Entry | list[Entry]) -> list[Entry]:
    return same if isinstance(same, list) else [same]


def _ids(packed: bytes) -> tuple[str, str]:
    text = packed.hex()  # formatted as by UUID, in a third of the time
    first, second = text[:32], text[32:]
    return (
        f"{first[:8]}-{first[8:12]}-{first[12:16]}-{first[16:20]}-{first[20:]}",
        f"{second[:8]}-{second[8:12]}-{second[12:16]}-{second[16:20]}-{second[20:]}",
    )


def _fingerprint(user_id: str, packed: bytes) -> bytes:
    return bytes.fromhex(fingerprint(user_id, *_ids(packed)))


def _read(partition: int, value: bytes) -> Entry:
    """Read the needed fields, without validating the rest. Raises KeyError, TypeError, ValueError."""
    status = from_json(value)
    state = State(status["state"])
    time = _milliseconds(status["time"])
    solution, revision = status.get("solutionId"), status.get("revisionId")
    attempt = int(status["attempt"])
    return Entry(
        (partition, str(status["requestId"])),
        int(status["source"]["offset"]),
        int(status["sequence"]),
        state,
        attempt,
        time,
        bytes.fromhex((solution + revision).replace("-", "")) if solution and revision else None,
        bytes.fromhex(known) if (known := status.get("fingerprint")) else None,
        _packed(value) if state in FINAL_STATES else value,
        _step(state, attempt, time),
        is_complete=False,
    )


def _milliseconds(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


def _step(state: State, attempt: int, time: int) -> bytes:
    return _STEP.pack(_NUMBERS[state], min(attempt, 65535), time)


def _packed(value: bytes) -> bytes:
    # The window is small, because a larger window spends most of its time on allocating memory.
    packer = zlib.compressobj(1, wbits=-12, memLevel=2, zdict=_COMMON)
    return packer.compress(value) + packer.flush()


def turn_of(entry: Entry, own: Sequence[Entry]) -> int:
    """Return the position of an accepted request in its user's key queue: 1: next or running; 0: not waiting."""
    if entry.state is not State.ACCEPTED:
        return 0
    return 1 + sum(it.is_open and it.offset < entry.offset and it.key[0] == entry.key[0] for it in own)
