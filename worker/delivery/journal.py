"""The journal of one partition: what its statuses say of each request id. The status topic is the only copy.

A final state means done. Anything else is where the next worker goes on.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pydantic import ValidationError

from schemas import FINAL_STATES, DeploymentStatus, State

KEPT = timedelta(days=7)  # as the status topic
FORGETS_EVERY = 10_000  # statuses


@dataclass(slots=True)
class Entry:
    """One request id."""

    request_id: str
    offset: int  # of the record that the id belongs to
    since: datetime  # of its first status that is still kept
    identity: str | None = None
    state: State | None = None  # None: its record is read and no status is out
    last: DeploymentStatus | None = None  # None when final: nobody goes on from there, and a week's are many
    traceparent: str | None = None

    def now(self, status: DeploymentStatus) -> None:
        """It is out, durably."""
        self.offset, self.identity, self.state = status.source.offset, status.identity, status.state
        self.last = None if status.state in FINAL_STATES else status


class Journal:
    """Request id → entry."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._recorded = 0

    def find(self, request_id: str) -> Entry | None:
        """None: never seen, or not within the week that statuses are kept."""
        return self._entries.get(request_id)

    def claim(self, request_id: str, offset: int, now: datetime) -> Entry:
        """The entry of this id; a new one when there is none, so that the next record with this id finds it."""
        return self._entries.setdefault(request_id, Entry(request_id, offset, now))

    def record(self, status: DeploymentStatus) -> None:
        """A status that was published, or read."""
        self.claim(status.request_id, status.source.offset, status.time).now(status)
        self._recorded += 1
        if self._recorded % FORGETS_EVERY == 0:
            self._forget(status.time - KEPT)

    def _forget(self, before: datetime) -> None:
        """What ended so long ago is gone from the topic, too."""
        gone = [name for name, it in self._entries.items() if it.state in FINAL_STATES and it.since < before]
        for name in gone:
            del self._entries[name]

    def open(self) -> Iterator[Entry]:
        """Every request without a final state."""
        return (entry for entry in self._entries.values() if entry.last is not None)

    def __len__(self) -> int:
        return len(self._entries)


class JournalReader:
    """Makes a journal of the records of a status partition, in their order. Only the last of each id is parsed."""

    def __init__(self) -> None:
        self._last: dict[bytes, tuple[bytes, int, str | None]] = {}
        self.records = 0

    def add(self, key: bytes | None, value: bytes | None, timestamp_ms: int, traceparent: str | None) -> None:
        """One record. A tombstone, or a record without a key, is none of ours."""
        self.records += 1
        if key is not None and value is not None:
            first = self._last.get(key, (b"", timestamp_ms, None))[1]
            self._last[key] = (value, first, traceparent)

    def journal(self) -> Journal:
        """What was read. What is no status is left out: it may be a later version's."""
        journal = Journal()
        for value, first_ms, traceparent in self._last.values():
            try:
                status = DeploymentStatus.model_validate_json(value, extra="ignore")
            except ValidationError:
                continue
            since = datetime.fromtimestamp(first_ms / 1000, UTC)
            journal.claim(status.request_id, status.source.offset, since).traceparent = traceparent
            journal.record(status)
        return journal
