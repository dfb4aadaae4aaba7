"""All known requests, from the status topic, with the indexes by which they are found.

The view is bounded in number and bytes. The requests that became final first are forgotten first.
"""

import asyncio
import re
from bisect import insort
from collections import Counter, OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from heapq import nsmallest
from itertools import chain, islice

from schemas import State
from worker.domain.request import RECORD_ID_PREFIX
from worker.gateway.entry import Entry, Key, ids, milliseconds, read_entry, state_of, unpack

ALL = -1  # instead of a partition: all partitions
MAX_USERS = 10_000  # users whose requests are indexed
SCANNED = 500  # fingerprints compared without a pause; takes 2 ms

_NAMED = {state.encode(): state for state in State}
# The start of every status that a worker writes. Records that start differently are parsed as JSON.
_HEAD = re.compile(
    rb'\{"requestId":"([A-Za-z0-9._:-]+)","sequence":([0-9]{1,9}),"state":"(%s)","time":"([0-9TZ:.+-]+)",'
    rb'"attempt":([0-9]{1,9}),' % "|".join(State).encode()
)


@dataclass(slots=True)
class _Own:
    """A user's requests in a partition, in the order of their first status, including some forgotten requests."""

    keys: dict[Key, bytes] = field(default_factory=dict)  # with fingerprints: another user may use an id again
    seen: int = 0  # fingerprints of the partition that have been compared
    pruned: int = 0  # requests that the view had forgotten when `keys` was last cleaned
    scanning: asyncio.Lock = field(default_factory=asyncio.Lock)


class View:
    """All known requests."""

    def __init__(self, max_requests: int, max_bytes: int) -> None:
        self.evicted = 0
        self.bytes = 0
        self._max_requests = max_requests
        self._max_bytes = max_bytes
        self._open: dict[int, dict[str, Entry]] = {}  # by partition and id: requests without a final status
        self._final: dict[Key, bytes] = {}  # packed, in the order in which they became final
        self._by_record: dict[tuple[int, int], Key] = {}  # partition and offset → request with a record id
        # By partition: fingerprint → its requests, usually a single request, otherwise by offset.
        self._same: dict[int, dict[bytes, Key | list[Key]]] = {}
        self._added: Counter[int] = Counter()  # by partition: number of requests added to `_same` so far
        self._forgotten = 0  # requests removed so far
        self._own: OrderedDict[tuple[str, int], _Own] = OrderedDict()  # by user and partition, in the order of last use
        self._owned = 0  # requests in `_own`
        self._watched: dict[Key | tuple[int, int], set[asyncio.Event]] = {}
        self._lists: dict[int, set[asyncio.Event]] = {}  # by partition: events of those who follow a list

    def __len__(self) -> int:
        return sum(map(len, self._open.values())) + len(self._final)

    def apply(self, partition: int, value: bytes) -> Entry | None:
        """Apply a record of the status topic, and return its request. None: nothing new, or not a status."""
        try:
            return self._advance(partition, value) or self._replace(read_entry(partition, value))
        except ValueError:
            return None

    def _advance(self, partition: int, value: bytes) -> Entry | None:
        """Apply the status that directly follows the last status, without parsing the unchanged parts."""
        head = _HEAD.match(value)
        known = self._open.get(partition, {}).get(head[1].decode()) if head else None
        if head is None or known is None or known.sequence + 1 != int(head[2]):
            return None
        if not value.endswith(b'"offset":%d}}' % known.offset):
            return None
        time_ms, before = milliseconds(head[4].decode()), known.size
        known.add(_NAMED[head[3]], int(head[5]), time_ms, value)
        self.bytes += known.size - before
        if known.is_final:
            del self._open[partition][known.request_id]
            self._final[known.key] = known.pack()
        self._evict()
        self._wake(known)
        return known

    def _replace(self, entry: Entry) -> Entry | None:
        """Apply any other status: of a new request, after a gap, or written in another way."""
        known = self.get(entry.key)
        if known is not None and known.offset != entry.offset:
            self._forget(known)  # the id was used again after the workers had forgotten it
            known = None
        if known is not None:
            if entry.sequence <= known.sequence:
                return None
            entry.is_complete = known.is_complete and entry.sequence == known.sequence + 1
            entry.packed_steps = known.packed_steps + entry.packed_steps
        if known is not None and known.packed_fingerprint == entry.packed_fingerprint:
            self._remove(known)
            self._keep(entry)
        else:
            if known is not None:
                self._forget(known)
            self._add(entry)
        self._evict()
        self._wake(entry)
        return entry

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
        if known := self._open.get(key[0], {}).get(key[1]):
            return known
        record = self._final.get(key)
        return unpack(key, record) if record else None

    def find(self, request_id: str) -> list[Entry]:
        """Return the requests with this id. Different users may have chosen the same id."""
        found = (self.get((partition, request_id)) for partition in self._same)
        return [entry for entry in found if entry]

    def at(self, partition: int, offset: int) -> Entry | None:
        """Return the request that has the record id of this partition and offset."""
        key = self._by_record.get((partition, offset))
        return self.get(key) if key else None

    def newest(self, of: str, partition: int) -> Entry | None:
        """Return the newest request with this fingerprint."""
        keys = _all(self._same.get(partition, {}).get(bytes.fromhex(of), []))
        return self.get(keys[-1]) if keys else None

    def of_user(self, user_id: str, partition: int, most: int) -> list[Entry]:
        """Return a user's newest requests, newest first. All are in one partition, because they have the same key."""
        keys = self._keys_of(user_id, partition)
        found = (it for key, of in reversed(keys.items()) if (it := self.get(key)) and it.packed_fingerprint == of)
        # Twice as many, because after a compaction the first known statuses are not quite in the order of the requests.
        return sorted(islice(found, 2 * most), key=lambda it: it.offset, reverse=True)[:most]

    def open_of_user(self, user_id: str, partition: int) -> list[Entry]:
        """Return the user's requests that are neither final nor parked."""
        keys = self._keys_of(user_id, partition)
        candidates = (it for it in self._open.get(partition, {}).values() if it.packed_fingerprint and it.is_open)
        return [it for it in candidates if keys.get(it.key) == it.packed_fingerprint]

    def _keys_of(self, user_id: str, partition: int) -> dict[Key, bytes]:
        for _ in self._scan(user_id, partition):
            pass
        own = self._own[user_id, partition]
        if self._forgotten - own.pruned > len(own.keys) // 2:  # rare enough to cost little per forgotten request
            self._owned -= len(own.keys)
            own.keys, own.pruned = {key: of for key, of in own.keys.items() if self._has(key)}, self._forgotten
            self._owned += len(own.keys)
        return own.keys

    def _has(self, key: Key) -> bool:
        return key in self._final or key[1] in self._open.get(key[0], {})

    async def learn(self, user_id: str, partition: int) -> None:
        """Index a user's requests and let other tasks run. The first time takes 0.2 s for 100,000 requests."""
        async with self._own_of(user_id, partition).scanning:  # the next task has little left to compare
            for _ in self._scan(user_id, partition):
                await asyncio.sleep(0)

    def _own_of(self, user_id: str, partition: int) -> _Own:
        own = self._own.setdefault((user_id, partition), _Own())
        self._own.move_to_end((user_id, partition))
        return own

    def _scan(self, user_id: str, partition: int) -> Iterator[None]:
        """Compare the fingerprints added since the user's last scan. Yield after every SCANNED fingerprints."""
        own = self._own_of(user_id, partition)
        same, added = self._same.get(partition, {}), self._added[partition]
        # A fingerprint with another request moves to the end, so the last entries include all new requests.
        new, found = list(islice(reversed(same), added - own.seen)), []
        begun = sha256(f"{user_id}\n".encode())  # the start of the input that `fingerprint` hashes
        for number, it in enumerate(new, 1):
            if (keys := same.get(it)) and (entry := self.get(_all(keys)[0])) and (asked := entry.packed_asked):
                digest = begun.copy()
                digest.update("\n".join(ids(asked)).encode())
                if digest.digest() == it:
                    found.append(it)
            if number % SCANNED == 0:
                yield
        if self._own.get((user_id, partition)) is not own:  # removed or replaced during a pause
            return
        before = len(own.keys)
        for it in reversed(found):
            own.keys |= dict.fromkeys(_all(same.get(it, [])), it)
        own.seen = max(own.seen, added)
        self._owned += len(own.keys) - before
        while len(self._own) > MAX_USERS or (self._owned > self._max_requests and len(self._own) > 1):
            self._owned -= len(self._own.popitem(last=False)[1].keys)

    def parked(self) -> list[Entry]:
        """Return the parked requests, newest first."""
        found = (it for it in self._unfinished() if it.state is State.PARKED)
        return sorted(found, key=lambda it: it.time_ms, reverse=True)

    def failed(self, most: int) -> list[Entry]:
        """Return up to `most` failed requests, newest first. Those whose retries ran out have dead letters."""
        failed = (key for key in reversed(self._final) if state_of(self._final[key]) is State.FAILED)
        return [unpack(key, self._final[key]) for key in islice(failed, most)]

    def all(self) -> Iterator[Entry]:
        """Iterate over all requests: first those without a final status, newest first; then the last to finish."""
        yield from sorted(self._unfinished(), key=lambda it: it.began_ms, reverse=True)
        for key in reversed(self._final):
            yield unpack(key, self._final[key])

    def _unfinished(self) -> Iterator[Entry]:
        return chain.from_iterable(it.values() for it in self._open.values())

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
        self._keep(entry)
        partition, request_id = entry.key
        if request_id.startswith(RECORD_ID_PREFIX):
            self._by_record[partition, entry.offset] = entry.key
        same = self._same.setdefault(partition, {})
        if entry.packed_fingerprint:
            if keys := _all(same.pop(entry.packed_fingerprint, [])):
                insort(keys, entry.key, key=self._offset_of)
            same[entry.packed_fingerprint] = keys or entry.key
            self._added[partition] += 1

    def _keep(self, entry: Entry) -> None:
        if entry.is_final:
            self._final[entry.key] = entry.pack()
        else:
            self._open.setdefault(entry.key[0], {})[entry.key[1]] = entry
        self.bytes += entry.size

    def _offset_of(self, key: Key) -> int:
        entry = self.get(key)
        return entry.offset if entry else -1

    def _forget(self, entry: Entry) -> None:
        self._remove(entry)
        partition = entry.key[0]
        self._by_record.pop((partition, entry.offset), None)
        if entry.packed_fingerprint:
            same = self._same[partition]
            if others := [it for it in _all(same[entry.packed_fingerprint]) if it != entry.key]:
                same[entry.packed_fingerprint] = others
            else:
                del same[entry.packed_fingerprint]
        self._forgotten += 1

    def _remove(self, entry: Entry) -> None:
        if entry.is_final:
            del self._final[entry.key]
        else:
            del self._open[entry.key[0]][entry.key[1]]
        self.bytes -= entry.size

    def _evict(self) -> None:
        while self.bytes > self._max_bytes or len(self) > self._max_requests:
            # A hundredth at once: finding the first key of a dictionary takes long after many have been deleted.
            oldest = [unpack(key, self._final[key]) for key in islice(self._final, 1 + len(self._final) // 100)]
            oldest = oldest or nsmallest(1 + len(self) // 100, self._unfinished(), key=lambda it: it.began_ms)
            for entry in oldest:
                self._forget(entry)
            self.evicted += len(oldest)


def _all(same: Key | list[Key]) -> list[Key]:
    return same if isinstance(same, list) else [same]


def turn_of(entry: Entry, own: Sequence[Entry]) -> int:
    """Return the position of an accepted request in its user's key queue: 1: next or running; 0: not waiting."""
    if entry.state is not State.ACCEPTED:
        return 0
    return 1 + sum(it.is_open and it.offset < entry.offset and it.key[0] == entry.key[0] for it in own)
