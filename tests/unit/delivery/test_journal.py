from datetime import UTC, datetime, timedelta

from worker.delivery.journal import Journal, JournalReader

from schemas import DeploymentStatus, SourceInfo, State
from worker.delivery import journal

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def status(request_id: str, state: State, sequence: int = 0, time: datetime = NOW) -> DeploymentStatus:
    return DeploymentStatus(
        request_id=request_id,
        sequence=sequence,
        state=state,
        time=time,
        attempt=1,
        message="So far.",
        source=SourceInfo(topic="requests", partition=0, offset=7),
    )


def test_the_last_status_of_each_request_counts() -> None:
    """What is done is known, what is open can be gone on with, since its first status and with its trace."""
    reader = JournalReader()
    for number, one in enumerate(
        (status("a", State.ACCEPTED), status("a", State.BUILDING, 1), status("b", State.FAILED))
    ):
        reader.add(one.request_id.encode(), one.to_json(), 1_700_000_000_000 + number, "trace")
    found = reader.journal()
    assert [("a", State.BUILDING)] == [(it.request_id, it.state) for it in found.open()]
    entry = found.find("a")
    assert entry is not None and entry.last is not None
    assert (7, 1, 1_700_000_000, "trace") == (
        entry.offset, entry.last.sequence, entry.since.timestamp(), entry.traceparent
    )  # fmt: skip
    ended = found.find("b")
    assert ended is not None
    assert (State.FAILED, None) == (ended.state, ended.last)
    assert found.find("c") is None


def test_what_is_no_status_is_passed_over() -> None:
    """Tombstones, records without a key, and what a later version may write."""
    reader = JournalReader()
    reader.add(b"a", None, 0, None)
    reader.add(None, status("a", State.FAILED).to_json(), 0, None)
    reader.add(b"b", b'{"something": "else"}', 0, None)
    assert (3, 0) == (reader.records, len(reader.journal()))


def test_a_claimed_id_is_the_first_records() -> None:
    """The next record with it finds the first one's offset, before there is a status."""
    one = Journal()
    first = one.claim("a", 3, NOW)
    assert first is one.claim("a", 4, NOW)
    assert 3 == first.offset


def test_what_ended_a_week_ago_is_forgotten() -> None:
    """A worker that runs for months knows no more than the topic; what is open stays."""
    one = Journal()
    one.record(status("old", State.FAILED))
    one.record(status("open", State.PARKED))
    later = NOW + journal.KEPT + timedelta(hours=1)
    for number in range(journal.FORGETS_EVERY):
        one.record(status(f"new-{number % 10}", State.FAILED, time=later))
    assert (None, True, 11) == (one.find("old"), one.find("open") is not None, len(one))
