"""All known requests, from the status topic, with the indexes by which they are found.

The view is bounded in number and bytes. The requests that became final first are forgotten first.
"""

import asyncio
import re
from bisect import bisect_left
from collections import Counter, OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from heapq import nlargest, nsmallest
from itertools import chain, islice

from schemas import State
from worker.domain.request import RECORD_ID_PREFIX
from worker.gateway.entry import Entry, Key, ids, milliseconds, offset_of, read_entry, state_of, unpack

ALL = -1  # instead of a partition: all partitions
MAX_USERS = 10_000  # users whose requests are indexed
SCANNED = 500  # requests compared between two pauses; takes 2 ms
FEW = 50  # requests that are compared without a pause

_NAMED = {state.encode(): state for state in State}
# The start of every status that a worker writes. Records that start differently are parsed as JSON.
_HEAD = re.compile(
    rb'\{"requestId":"([A-Za-z0-9._:-]+)","sequence":([0-9]{1,9}),"state":"(%s)","time":"([0-9TZ:.+-]+)",'
    rb'"attempt":([0-9]{1,9}),' % "|".join(State).encode()
)


@dataclass(slots=True)
class _Own:
    """A user's requests in a partition, in the order of their first known status, including some forgotten requests."""

    # The value is the fingerprint, because another user may reuse the id.
    keys: dict[Key, bytes] = field(default_factory=dict)
    seen: int = 0  # how many of the requests added to the partition have been compared


class View:
    """All known requests."""

    def __init__(self, max_requests: int, max_bytes: int) -> None:
        self.evicted = 0
        self.bytes = 0
        self._max_requests = max_requests
        self._max_bytes = max_bytes
        self._unfinished: dict[int, dict[str, Entry]] = {}  # by partition and id: requests without a final status
        self._final: dict[Key, bytes] = {}  # packed, in the order in which they became final
        self._by_record: dict[tuple[int, int], Key] = {}  # partition and offset → request with a record id
        # By partition: fingerprint → its requests in the order of `_added`, usually a single request.
        self._same: dict[int, dict[bytes, Key | dict[Key, None]]] = {}
        self._added: dict[int, list[Key]] = {}  # by partition: requests in the order of their first known status
        self._forgotten: Counter[int] = Counter()  # by partition: requests in `_added` that are no longer known
        self._own: OrderedDict[tuple[str, int], _Own] = OrderedDict()  # by user and partition, in the order of last use
        self._owned = 0  # requests in `_own`
        self._scanning = asyncio.Lock()  # one step of a scan in each turn of the event loop
        self._watched: dict[Key | tuple[int, int], set[asyncio.Event]] = {}
        self._lists: dict[int, set[asyncio.Event]] = {}  # by partition: events of those who follow a list

    def __len__(self) -> int:
        return sum(map(len, self._unfinished.values())) + len(self._final)

    def apply(self, partition: int, value: bytes) -> Entry | None:
        """Apply a record of the status topic, and return its request. None: nothing new, or not a status."""
        try:
            return self._advance(partition, value) or self._replace(read_entry(partition, value))
        except ValueError:
            return None

    def _advance(self, partition: int, value: bytes) -> Entry | None:
        """Apply the status that directly follows the last status, without parsing the unchanged parts."""
        head = _HEAD.match(value)
        if head is None:
            return None
        request_id, sequence, state, time, attempt = head.groups()
        known = self._unfinished.get(partition, {}).get(request_id.decode())
        if known is None or known.sequence + 1 != int(sequence):
            return None
        if not value.endswith(b'"offset":%d}}' % known.offset):
            return None
        time_ms, before = milliseconds(time.decode()), known.size
        known.add(_NAMED[state], int(attempt), time_ms, value)
        self.bytes += known.size - before
        if known.is_final:
            del self._unfinished[partition][known.request_id]
            self._final[known.key] = known.pack()
        self._evict()
        self._wake(known)
        return known

    def _replace(self, entry: Entry) -> Entry | None:
        """Apply any other status: of a new request, after a gap, or written in another way."""
        known = self.get(entry.key)
        if known is not None and known.offset == entry.offset:
            if entry.sequence <= known.sequence:
                return None
            entry.is_complete = known.is_complete and entry.sequence == known.sequence + 1
            entry.packed_steps = known.packed_steps + entry.packed_steps
        if known is None:
            self._add(entry)
        elif (known.offset, known.owner) != (entry.offset, entry.owner):
            self._forget(known)  # the id was used again after the workers had forgotten it, or it has its ids only now
            self._add(entry)
        elif known.is_final or entry.is_final:
            self._remove(known)
            self._keep(entry)
        else:  # it keeps its position
            self.bytes -= known.size
            self._keep(entry)
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
        if known := self._unfinished.get(key[0], {}).get(key[1]):
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
        same = self._same.get(partition, {}).get(bytes.fromhex(of))
        return self.get(max(_all(same), key=self._offset_of)) if same else None

    def of_user(self, user_id: str, partition: int, most: int) -> list[Entry]:
        """Return a user's newest requests, newest first. All are in one partition, because they have the same key."""
        keys = self._keys_of(user_id, partition)
        found = (it for key, of in reversed(keys.items()) if (it := self.get(key)) and it.packed_fingerprint == of)
        # Take twice as many: after compaction, the order of arrival only approximates the order of the requests.
        return sorted(islice(found, 2 * most), key=lambda it: it.offset, reverse=True)[:most]

    def open_of_user(self, user_id: str, partition: int) -> list[Entry]:
        """Return the user's requests that are neither final nor parked, oldest first."""
        keys, unfinished = self._keys_of(user_id, partition), self._unfinished.get(partition, {})
        if len(keys) < len(unfinished):
            found = [it for key in keys if (it := unfinished.get(key[1]))]
        else:
            found = [it for it in unfinished.values() if it.key in keys]
        own = (it for it in found if it.is_open and it.packed_fingerprint == keys[it.key])
        return sorted(own, key=lambda it: it.offset)

    def _keys_of(self, user_id: str, partition: int) -> dict[Key, bytes]:
        for _ in self._scan(user_id, partition):
            pass
        return self._own_of(user_id, partition).keys

    async def learn(self, user_id: str, partition: int) -> None:
        """Index a user's requests without blocking other tasks. The first scan of 100,000 requests takes 0.3 s."""
        steps = self._scan(user_id, partition)
        while len(self._added.get(partition, ())) - self._own_of(user_id, partition).seen > FEW:
            async with self._scanning:
                next(steps, None)
                await asyncio.sleep(0)

    def _own_of(self, user_id: str, partition: int) -> _Own:
        own = self._own.get((user_id, partition))
        if own is None:
            own = self._own[user_id, partition] = _Own()
            self._trim_own()
        self._own.move_to_end((user_id, partition))
        return own

    def _trim_own(self) -> None:
        # Some of the requests in an index may be forgotten.
        while len(self._own) > MAX_USERS or (self._owned > 2 * self._max_requests and len(self._own) > 1):
            self._owned -= len(self._own.popitem(last=False)[1].keys)

    def _scan(self, user_id: str, partition: int) -> Iterator[None]:
        """Compare the requests added since the user's last scan. Yield after every SCANNED requests."""
        begun = sha256(f"{user_id}\n".encode())  # the start of the input that `fingerprint` hashes
        while (own := self._own_of(user_id, partition)).seen < len(added := self._added.get(partition, ())):
            before = len(own.keys)
            for key in added[own.seen : own.seen + SCANNED]:
                if (entry := self.get(key)) and entry.packed_fingerprint and entry.packed_asked:
                    digest = begun.copy()
                    digest.update("\n".join(ids(entry.packed_asked)).encode())
                    if digest.digest() == entry.packed_fingerprint:
                        own.keys.pop(key, None)  # an id that is used again moves to the end
                        own.keys[key] = entry.packed_fingerprint
            own.seen = min(own.seen + SCANNED, len(added))
            self._owned += len(own.keys) - before
            self._trim_own()
            yield

    def parked(self) -> list[Entry]:
        """Return the parked requests, newest first."""
        found = (it for it in self._all_unfinished() if it.state is State.PARKED)
        return sorted(found, key=lambda it: it.time_ms, reverse=True)

    def failed(self, most: int) -> list[Entry]:
        """Return up to `most` failed requests, newest first. Those whose retries ran out have dead letters."""
        failed = ((key, record) for key, record in reversed(self._final.items()) if state_of(record) is State.FAILED)
        return [unpack(key, record) for key, record in islice(failed, most)]

    def latest(self, most: int) -> list[Entry]:
        """Return up to `most` requests: first those without a final status, newest first; then the last to finish."""
        candidates = (islice(reversed(it.values()), most) for it in self._unfinished.values())
        found = nlargest(most, chain.from_iterable(candidates), key=lambda it: it.began_ms)
        finished = islice(reversed(self._final.items()), most - len(found))
        return [*found, *(unpack(key, record) for key, record in finished)]

    def _all_unfinished(self) -> Iterator[Entry]:
        return chain.from_iterable(it.values() for it in self._unfinished.values())

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
        self._added.setdefault(partition, []).append(entry.key)
        if request_id.startswith(RECORD_ID_PREFIX):
            self._by_record[partition, entry.offset] = entry.key
        same = self._same.setdefault(partition, {})
        if of := entry.packed_fingerprint:
            if of in same:
                keys = same[of] = _all(same[of])
                keys[entry.key] = None
            else:
                same[of] = entry.key

    def _keep(self, entry: Entry) -> None:
        if entry.is_final:
            self._final[entry.key] = entry.pack()
        else:
            self._unfinished.setdefault(entry.key[0], {})[entry.key[1]] = entry
        self.bytes += entry.size

    def _offset_of(self, key: Key) -> int:
        record = self._final.get(key)
        return offset_of(record) if record else self._unfinished[key[0]][key[1]].offset

    def _forget(self, entry: Entry) -> None:
        self._remove(entry)
        partition = entry.key[0]
        if self._by_record.get((partition, entry.offset)) == entry.key:
            del self._by_record[partition, entry.offset]
        if entry.packed_fingerprint:
            same = self._same[partition]
            keys = _all(same[entry.packed_fingerprint])
            del keys[entry.key]
            if not keys:
                del same[entry.packed_fingerprint]
        self._forgotten[partition] += 1
        if self._forgotten[partition] > len(self._added[partition]) // 4 + 100:
            self._renumber(partition)

    def _renumber(self, partition: int) -> None:
        """Drop forgotten requests from `_added` and from the users' indexes. Takes 40 ms for 100,000 requests."""
        added = self._added[partition]
        last = {key: number for number, key in enumerate(added)}  # an id that is used again counts where it was last
        kept = sorted(number for key, number in last.items() if self._has(key))
        self._added[partition], self._forgotten[partition] = [added[number] for number in kept], 0
        for (_, own_partition), own in self._own.items():
            if own_partition == partition:
                own.seen = bisect_left(kept, own.seen)
                self._owned -= len(own.keys)
                own.keys = {key: of for key, of in own.keys.items() if self._has(key)}
                self._owned += len(own.keys)

    def _has(self, key: Key) -> bool:
        return key in self._final or key[1] in self._unfinished.get(key[0], {})

    def _remove(self, entry: Entry) -> None:
        if entry.is_final:
            del self._final[entry.key]
        else:
            del self._unfinished[entry.key[0]][entry.key[1]]
        self.bytes -= entry.size

    def _evict(self) -> None:
        while self.bytes > self._max_bytes or len(self) > self._max_requests:
            # A hundredth at once: finding the first key of a dictionary takes long after many have been deleted.
            oldest = [unpack(key, self._final[key]) for key in islice(self._final, 1 + len(self._final) // 100)]
            oldest = oldest or nsmallest(1 + len(self) // 100, self._all_unfinished(), key=lambda it: it.began_ms)
            for entry in oldest:
                self._forget(entry)
            self.evicted += len(oldest)


def _all(same: Key | dict[Key, None]) -> dict[Key, None]:
    return same if isinstance(same, dict) else {same: None}


def turns_of(queue: Sequence[Entry]) -> dict[Key, int]:
    """Return the position of each accepted request in its user's key queue. 1: next.

    `queue`: the user's open requests, as `View.open_of_user` returns them.
    """
    return {it.key: number for number, it in enumerate(queue, 1) if it.state is State.ACCEPTED}
