import gc
import tracemalloc
from datetime import UTC, datetime
from itertools import count
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import FINAL_STATES, DeploymentSettled, DeploymentStatus, Message, SourceInfo, State, fingerprint
from tests.support.builders import REVISION_ID, SOLUTION_ID, record
from tests.support.generated import ROUND, ROUNDS
from worker.domain.dead_letter import DeadLetter
from worker.domain.lifecycle import RECORD_GONE, RequestState
from worker.domain.partition_state import (
    MAX_PARKED,
    MAX_STATUSES,
    Checkpoint,
    OffsetTracker,
    PartitionState,
    RequestTable,
    RequestTableReader,
    StatusEncoder,
)
from worker.domain.request import Record, read_request, record_id
from worker.errors import CODES, OutcomeUnknown

NOW = datetime(2026, 1, 1, tzinfo=UTC)
IDS = {"solutionId": str(SOLUTION_ID), "revisionId": str(REVISION_ID)}
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def status(
    request_id: str, state: State, sequence: int = 0, time: datetime = NOW, offset: int = 7, **changes: Any
) -> DeploymentStatus:
    source = SourceInfo(topic="requests", partition=3, offset=offset)
    values = {"request_id": request_id, "sequence": sequence, "state": state, "time": time, "source": source}
    return DeploymentStatus(**(values | {"attempt": 1, "message": "So far."} | changes))


# ------------------------------------------------------------------------------------------------ the requests


WHOSE = "0" * 64


def table_of(*said: DeploymentStatus, unfinished: range = range(0), first: int = 0) -> RequestTable:
    """The request table that a take-over reads from these statuses, starting at this offset of the status partition."""
    table = RequestTable(unfinished)
    reader = RequestTableReader(table)
    for at, it in enumerate(said, first):
        reader.add(it.request_id.encode(), it.to_json(), at, 1_700_000_000_000 + at, TRACE)
    reader.finish(first + len(said))
    return table


def test_the_last_status_of_each_request_counts() -> None:
    """Final requests are known by their end; open requests keep their last status, first time and trace."""
    said = status("a", State.ACCEPTED), status("a", State.BUILDING, 1), status("b", State.FAILED, fingerprint=WHOSE)
    table = table_of(*said)
    assert [("a", State.BUILDING)] == [(state.request_id, state.state) for state in table.open()]
    one, ended = table.find("a"), table.find("b")
    assert one is not None and one.last is not None
    assert (7, 1, 1_700_000_000, TRACE) == (one.offset, one.last.sequence, one.since.timestamp(), one.traceparent)
    assert ended is not None
    assert (State.FAILED, None, WHOSE) == (ended.state, ended.last, ended.fingerprint)
    assert table.find("c") is None


def test_what_is_no_status_is_passed_over() -> None:
    """Tombstones, records without a key and values of later versions are skipped."""
    table = RequestTable()
    reader = RequestTableReader(table)
    reader.add(b"a", None, 0, 0, None)
    reader.add(None, status("a", State.FAILED).to_json(), 1, 0, None)
    reader.add(b"b", b'{"something": "else"}', 2, 0, None)
    reader.add(b"c", b'{"state":"deployed","of":"a later version"}', 3, 0, None)
    reader.add(b"d", b'{"state":"pondering"}', 4, 0, None)
    reader.finish(5)
    assert 0 == len(table)


def test_only_so_many_ended_requests_are_remembered() -> None:
    """Only the latest ended requests are remembered; open requests stay, and refused records displace none of them."""
    ended = [status(f"r-{number}", State.DEPLOYED, fingerprint=WHOSE, offset=number) for number in range(8)]
    strangers = [status(f"record-{number}", State.REJECTED, offset=number) for number in range(8, 16)]
    table = RequestTable()
    table.remembered = 3
    reader = RequestTableReader(table)
    for at, it in enumerate([status("open", State.PARKED, offset=99), *ended, *strangers]):
        reader.add(it.request_id.encode(), it.to_json(), at, 0, None)
    reader.finish(17)
    assert [False] * 5 + [True] * 3 == [table.find(it.request_id) is not None for it in ended]
    assert (4, True) == (len(table), table.find("open") is not None)


@pytest.mark.parametrize("end", sorted(FINAL_STATES))
def test_of_an_end_is_kept_what_tells_a_repeated_request(end: State) -> None:
    """An ended request keeps its state, fingerprint and offsets, in a fifth of the memory."""
    whose = f"{7:064x}"
    found = table_of(status("a", end, fingerprint=whose, offset=2**40), first=2**41).find("a")
    assert found is not None
    assert (end, True, whose, 2**40, 2**41) == (
        found.state,
        found.final,
        found.fingerprint,
        found.offset,
        found.statuses_from,
    )


# ------------------------------------------------------------------------------------------------ the checkpoint


@pytest.mark.parametrize("checkpoint", [Checkpoint(5), Checkpoint(5, 17), Checkpoint(5, 1000, (3, 7, 999))])
def test_a_checkpoint_is_read_as_it_was_committed(checkpoint: Checkpoint) -> None:
    """A checkpoint survives the round trip through the metadata of its offset."""
    assert checkpoint == Checkpoint.of(checkpoint.offset, checkpoint.metadata)


@pytest.mark.parametrize("metadata", ["", "v1", "v1 ", "v2 5", "v1 x", "v1 5 -1", "aiokafka", "{}", "v1 ٣ x"])
def test_metadata_of_another_origin_means_to_read_everything(metadata: str) -> None:
    """Metadata of any other origin means to read all statuses, as after a tool reset the offsets without metadata."""
    assert Checkpoint(5) == Checkpoint.of(5, metadata)


def test_a_checkpoint_fits_into_an_offsets_metadata() -> None:
    """A checkpoint fits the broker's 4,096 bytes; parked requests beyond that are read from their own offset on."""
    parked = [status(f"p-{number}", State.PARKED, offset=number) for number in range(MAX_PARKED + 5)]
    table = table_of(*parked, first=10**12)
    table.end = 2 * 10**12
    checkpoint = table.checkpoint(5)
    assert (10**12 + MAX_PARKED, MAX_PARKED) == (checkpoint.statuses_from, len(checkpoint.parked))
    assert 4096 > len(checkpoint.metadata)


def test_a_checkpoint_leaves_out_what_nobody_needs() -> None:
    """A checkpoint begins at the oldest open or remembered request and lists one status per parked request."""
    table = table_of(
        status("gone", State.DEPLOYED, offset=1),
        status("parked", State.PARKED, offset=2),
        status("open", State.ACCEPTED, offset=3),
        status("done", State.DEPLOYED, offset=4, fingerprint=WHOSE),
        first=100,
    )
    assert Checkpoint(5, 102, (101,)) == table.checkpoint(5)
    (open_one,) = (state for state in table.open() if state.request_id == "open")
    table.apply_committed(open_one, State.DEPLOYED, 104)
    assert Checkpoint(5, 103, (101,)) == table.checkpoint(5)


def test_a_parked_request_that_goes_on_is_needed_from_there() -> None:
    """A request that left `parked` needs only its statuses since then, not those of the week it was parked."""
    table = table_of(status("parked", State.PARKED, offset=2), first=100)
    (state,) = table.open()
    table.apply_committed(state, State.RETRYING, 5000)
    assert Checkpoint(5, 5000) == table.checkpoint(5)
    again = table_of(
        status("parked", State.PARKED, 3, offset=2), status("parked", State.RETRYING, 4, offset=2), first=7
    )
    assert Checkpoint(5, 8) == again.checkpoint(5)


# ------------------------------------------------------------------------------------------------ parked requests


def asked(user: str, number: int, state: State = State.PARKED, **changes: Any) -> DeploymentStatus:
    """A status of a user's request for one of two solutions."""
    wanted = UUID(int=number % 2), REVISION_ID
    whose = fingerprint(user, *wanted)
    asked_for: dict[str, Any] = {"solution_id": wanted[0], "revision_id": wanted[1], "fingerprint": whose}
    return status(f"{user}-{number}", state, 3, **(asked_for | changes))


def test_a_parked_request_is_what_it_was() -> None:
    """A parked request keeps its status, times, trace and user, and no offset waits for its record."""
    table = RequestTable()
    state = fresh(7)
    state.apply(asked("ada", 1, offset=7, warnings=("It is large.",)))
    state.request_id, state.traceparent = "ada-1", TRACE
    table.apply_committed(state, State.PARKED, 40)
    found = table.find("ada-1")
    assert found is not None and found is not state
    assert (state.last, NOW, TRACE, b"user-1") == (found.last, found.since, found.traceparent, state.key)
    assert (RECORD_GONE, 40, state.key) == (found.offset, found.statuses_from, found.key)


def test_a_parked_request_takes_little_memory() -> None:
    """A parked request takes 2 kB, whatever its record held: 6,000 take 12 MB of a worker that may have 512 MB."""
    number, table, value = 2000, RequestTable(), b"x" * 60_000
    tracemalloc.start()
    try:
        for offset in range(number):
            one = record(value + b"%d" % offset, offset=offset)
            state = RequestState.of_record(one, read_request(one), NOW)
            parked = asked("ada", offset, message=OutcomeUnknown(CODES["outcome-unknown"]).message, offset=offset)
            state.request_id = parked.request_id
            state.apply(parked)
            table.apply_committed(state, State.PARKED, offset)
        del one, state, parked
        gc.collect()
        each = tracemalloc.get_traced_memory()[0] / number
    finally:
        tracemalloc.stop()
    assert number == len(table.parked)
    assert each < 2048


def test_each_users_parked_requests_are_counted() -> None:
    """A user's parked requests are counted by key, and by fingerprint for those that an earlier worker parked."""
    left = [asked(user, number) for user, count in (("ada", 3), ("bob", 2)) for number in range(count)]
    table = table_of(*left, status("nobody", State.PARKED))
    assert [3, 2, 0, 3] == [table.parked.count_of(user) for user in ("ada", "bob", "eve", "ada")]
    mine = fresh(9)
    mine.request_id, mine.key = "ada-9", b"ada"
    mine.apply(asked("ada", 9))
    table.apply_committed(mine, State.PARKED, 50)
    assert 4 == table.parked.count_of("ada")
    for at, (it, again) in enumerate([("ada-0", State.RETRYING), ("ada-1", State.FAILED), ("ada-9", State.DEPLOYED)]):
        state = table.find(it)
        assert state is not None
        state.apply(status(it, again, 4))
        table.apply_committed(state, again, 60 + at)
    assert [1, 2] == [table.parked.count_of(user) for user in ("ada", "bob")]


def test_what_was_settled_before_its_user_was_seen_is_not_counted() -> None:
    """A request that resumed before its user was seen is not counted, and counts once when it is parked again."""
    table = table_of(asked("ada", 0), asked("ada", 1))
    state = table.find("ada-0")
    assert state is not None
    table.apply_committed(state, State.RETRYING, 10)
    assert 1 == table.parked.count_of("ada")
    state.key = b"ada"
    table.apply_committed(state, State.PARKED, 11)
    assert 2 == table.parked.count_of("ada")


def test_only_one_job_works_on_a_parked_request() -> None:
    """Only one job can resume a parked request; a request settled before it was parked is already at work."""
    table = table_of(asked("ada", 0))
    first, second = table.find("ada-0"), table.find("ada-0")
    assert first is not None and second is not None
    assert [True, False] == [table.parked.resume(first), table.parked.resume(second)]
    assert (first, None) == (table.find("ada-0"), table.parked.first())
    settled = fresh(9)
    settled.request_id = "b"
    settled.apply(status("b", State.PARKED))
    said = {"requestId": "b", "attempt": 1, "outcome": "retry", "by": "ada"}
    settled.settlements[1] = DeploymentSettled.model_validate(said)
    table.apply_committed(settled, State.PARKED, 50)
    assert (settled, False) == (table.find("b"), table.parked.resume(fresh(9)))


def fresh(offset: int) -> RequestState:
    """The state of a record that was just read at this offset."""
    one = record(offset=offset)
    return RequestState.of_record(one, read_request(one), NOW)


def test_a_claimed_id_is_the_first_records() -> None:
    """An id belongs to the first record that claims it; the next record keeps its record id and finds the first one."""
    table, first, second = RequestTable(), fresh(3), fresh(4)
    assert (first, first) == (table.claim(first, "a"), table.claim(second, "a"))
    assert ("a", record_id(record(offset=4)), []) == (first.request_id, second.request_id, list(table.open()))


def test_an_id_without_a_status_can_be_dropped() -> None:
    """Only its owner can drop an id without a status, so a lost partition's job cannot take another owner's state."""
    table, first, second = RequestTable(), fresh(3), fresh(3)
    table.claim(first, "a")
    table.drop(first)
    assert second is table.claim(second, "a")
    table.drop(first)
    assert second is table.find("a")
    second.apply(status("a", State.ACCEPTED))
    table.drop(second)
    assert second is table.find("a")


# ------------------------------------------------------------------------------------------------ the offsets

STEPS = st.lists(st.tuples(st.sampled_from(("start", "finish", "commit")), st.integers(0, 5)), max_size=40)


@pytest.mark.parametrize("number", ROUNDS)
@settings(max_examples=ROUND, database=None)
@given(committed=st.integers(0, 3), steps=STEPS)
def test_the_committable_offset_never_passes_an_unfinished_record(
    number: int, committed: int, steps: list[tuple[str, int]]
) -> None:
    """The committable offset agrees with a model of the offsets read and finished, with gaps of transaction markers."""
    tracker = OffsetTracker(committed)
    read: list[int] = []
    finished: set[int] = set()
    next_offset = committed
    for what, number in steps:
        if what == "start":
            read.append(next_offset + number)
            tracker.start(read[-1], size=10)
            next_offset = read[-1] + 1
        elif what == "finish" and read:
            offset = read[number % len(read)]
            tracker.finish(offset)
            finished.add(offset)
        elif what == "commit" and (moved := tracker.uncommitted()) is not None:
            assert moved > committed or not read
            tracker.committed(moved)
            committed = moved
        unfinished = [it for it in read if it not in finished]
        expected = min(unfinished, default=next_offset)
        assert (expected, next_offset) == (tracker.committable_offset, tracker.next_offset)
        assert (len(unfinished), 10 * len(unfinished)) == (tracker.buffered, tracker.buffered_bytes)
        assert (expected if expected != committed else None) == tracker.uncommitted()


def test_what_is_set_aside_is_not_counted_and_not_passed() -> None:
    """A record excluded from back-pressure is not counted, but the offset waits for it; repeats change nothing."""
    tracker = OffsetTracker(0)
    for offset in range(3):
        tracker.start(offset, size=10)
    for offset in (0, 0, 1, 7):
        tracker.exclude_from_backpressure(offset)
    assert (1, 10, 0) == (tracker.buffered, tracker.buffered_bytes, tracker.committable_offset)
    for offset in (1, 1, 2):
        tracker.include_in_backpressure(offset)
    assert (2, 20, 0) == (tracker.buffered, tracker.buffered_bytes, tracker.committable_offset)
    assert [True, True, False] == [tracker.finish(offset) for offset in (0, 1, 0)]
    tracker.include_in_backpressure(0)
    assert (1, 10, 2) == (tracker.buffered, tracker.buffered_bytes, tracker.committable_offset)


def test_only_an_offset_that_moved_is_committed() -> None:
    """An idle worker commits nothing."""
    tracker = OffsetTracker(5)
    assert tracker.uncommitted() is None
    tracker.start(5)
    assert tracker.uncommitted() is None
    tracker.finish(5)
    assert 6 == tracker.uncommitted()
    tracker.committed(6)
    assert tracker.uncommitted() is None


def test_an_offset_read_twice_is_a_defect() -> None:
    """Reading an offset twice raises, since it would be worked on twice; finishing it twice is harmless."""
    tracker = OffsetTracker(0)
    tracker.start(3)
    with pytest.raises(ValueError, match="offset 3"):
        tracker.start(3)
    tracker.finish(3)
    tracker.finish(3)
    assert 4 == tracker.committable_offset


# ------------------------------------------------------------------------------------------------ messages


def test_a_dead_letter_goes_with_its_status() -> None:
    """A status and its dead letter share a transaction; the status has its partition, the letter follows its key."""
    letter = DeadLetter(b"user-1", b"{}", (("dlt-error-code", b"not-json"),))
    encoder = StatusEncoder("statuses", "dead", "/worker")
    first, second = encoder.encode(status("a", State.FAILED), letter, TRACE)
    assert (status("a", State.FAILED).to_message("statuses", "/worker", TRACE),) == (first,)
    assert ("statuses", 3) == (first.topic, first.partition)
    assert ("dead", None, b"user-1", b"{}", letter.headers) == (
        second.topic, second.partition, second.key, second.value, second.headers
    )  # fmt: skip
    assert (first,) == encoder.encode(status("a", State.FAILED), None, TRACE)


# ------------------------------------------------------------------------------------------------ the partition


ENCODER = StatusEncoder("statuses", "dead-letters", "/worker")


class Partition:
    """A partition's state from offset 5 on, with these statuses in its status topic."""

    def __init__(self, *statuses: DeploymentStatus) -> None:
        self.state = PartitionState(table_of(*statuses, unfinished=range(5, 20)), 5)
        self._written = count(len(statuses))

    def receive(self, offset: int, request_id: str = "a") -> RequestState | None:
        """Receive a record with this id."""
        one = sent(offset, request_id)
        return self.state.receive(one, read_request(one), NOW)

    def publish(self, *statuses: DeploymentStatus) -> None:
        """Add these statuses to the next transaction."""
        for one in statuses:
            state = self.state.requests.find(one.request_id) or fresh(one.source.offset)
            self.state.enqueue(state, one, None, None, ENCODER)

    def idle(self) -> bool:
        """Return whether nothing waits to be written."""
        return self.state.idle

    def commit(self) -> tuple[list[tuple[str, int]], int | None] | None:
        """Commit the next transaction and return its ids with sequence numbers, and its offset."""
        transaction = self.state.next_transaction()
        if transaction is None:
            return None
        self.state.committed(transaction, [next(self._written) for _ in transaction.messages])
        assert transaction.messages == [message for it in transaction.pending for message in it.messages]
        offset = transaction.checkpoint.offset if transaction.checkpoint else None
        return [(it.status.request_id, it.status.sequence) for it in transaction.pending], offset


def sent(offset: int, request_id: str = "a") -> Record:
    """A record at this offset with this id."""
    return record({**IDS, "requestId": request_id, "jwtToken": "token"}, offset=offset)


def test_a_new_request_is_worked_on() -> None:
    """A new request starts under its record id, and its offset waits for it."""
    partition = Partition()
    received = partition.receive(5)
    assert received is not None
    assert (record_id(sent(5)), 5, None) == (received.request_id, received.offset, received.state)
    assert partition.state.requests.find("a") is None
    assert (6, 5) == (partition.state.offsets.next_offset, partition.state.offsets.committable_offset)
    assert 1 == partition.state.offsets.buffered and sent(5).size == partition.state.offsets.buffered_bytes


def test_a_record_that_was_read_before_is_passed_over() -> None:
    """Records that the client reads again after a rebalance are skipped, so no request is worked on twice."""
    partition = Partition()
    partition.receive(6)
    assert partition.receive(6) is None
    assert partition.receive(5) is None
    assert (7, 1) == (partition.state.offsets.next_offset, partition.state.offsets.buffered)


def test_an_unfinished_request_of_another_worker_goes_on() -> None:
    """An earlier worker's open request continues from its last status, under its own offset."""
    partition = Partition(status("a", State.BUILDING, 1, offset=5))
    received = partition.receive(5)
    assert received is not None
    assert received is partition.state.requests.find("a")
    assert (State.BUILDING, 1) == (received.state, partition.state.offsets.buffered)


def test_a_request_that_an_earlier_worker_ended_only_lets_its_offset_pass() -> None:
    """A request whose final status is already published only lets its offset pass."""
    partition = Partition(status("a", State.DEPLOYED, 3, offset=5))
    assert partition.receive(5) is None
    assert ([], 6) == partition.commit()


def test_a_parked_request_goes_on_waiting_and_its_offset_passes() -> None:
    """A parked request may wait for days, so its offset passes and no restart rereads the records after it."""
    partition = Partition(status("a", State.PARKED, 3, offset=5))
    assert partition.receive(5) is None
    assert State.PARKED is (partition.state.requests.find("a") or fresh(5)).state
    assert ([], 6) == partition.commit()


@pytest.mark.parametrize("again", [State.RETRYING, State.FAILED])
def test_a_parked_request_that_is_settled_before_its_record_comes_is_not_begun_again(again: State) -> None:
    """A parked request that is settled before its record is read resumes at once, and its record starts nothing."""
    partition = Partition(status("a", State.PARKED, 3, offset=6, fingerprint=WHOSE))
    state = partition.state.requests.find("a")
    assert state is not None and partition.state.requests.parked.resume(state)
    partition.receive(5, "b")
    partition.publish(status("a", again, 4, offset=6, fingerprint=WHOSE))
    assert ([("a", 4)], None) == partition.commit()
    assert partition.receive(6) is None
    assert (5, 1) == (partition.state.offsets.committable_offset, partition.state.offsets.buffered)


@pytest.mark.parametrize("state", [State.ACCEPTED, State.DEPLOYED, State.PARKED])
def test_an_id_belongs_to_the_record_that_was_accepted_with_it(state: State) -> None:
    """A later record with the same id gets its own record id, and the first request's statuses are untouched."""
    partition = Partition(status("a", state, offset=4, fingerprint=WHOSE))
    received = partition.receive(6)
    assert received is not None
    assert (record_id(sent(6)), 6, None) == (received.request_id, received.offset, received.state)
    owner = partition.state.requests.claim(received, "a")
    assert ("a", 4) == (owner.request_id, owner.record_offset)


@pytest.mark.parametrize("state", [State.ACCEPTED, State.SUBMITTING, State.DEPLOYED, State.PARKED])
def test_an_offset_of_a_topic_that_is_gone_is_another_record(state: State) -> None:
    """A record of a recreated topic is new even at an old offset; the old open request continues without a record."""
    for one in (sent(5, "b"), record(offset=5), record(b"not json", offset=5), sent(6, "b")):
        partition = Partition(status("a", state, offset=5))
        received = partition.state.receive(one, read_request(one), NOW)
        assert received is not None
        assert (record_id(one), None) == (received.request_id, received.state)
        gone = [] if state in (State.DEPLOYED, State.PARKED) else ["a"]
        assert gone == [it.request_id for it in partition.state.take_inherited()]
        assert [] == partition.state.take_inherited()
        if state is State.PARKED:  # it is parked until it is settled, and waits for no record
            assert partition.state.requests.parked.resume(partition.state.requests.find("a") or fresh(5))
        if state is not State.DEPLOYED:
            partition.publish(status("a", State.FAILED, 4, offset=5))
            assert [("a", 4)] == (partition.commit() or ([],))[0]
        assert (one.offset, 1) == (partition.state.offsets.committable_offset, partition.state.offsets.buffered)


def test_what_the_partition_ends_before_goes_on_without_its_record() -> None:
    """A request beyond the end of the log, lost or recreated, continues without its record and passes no offset."""
    partition = Partition(
        status("passed", State.RETRYING, offset=3),
        status("rests", State.PARKED, offset=21),
        status("ahead", State.SUBMITTING, offset=5),
        status("gone", State.SUBMITTING, offset=20),
    )
    assert [("passed", 3), ("gone", RECORD_GONE)] == [
        (it.request_id, it.offset) for it in partition.state.take_inherited()
    ]
    partition.publish(status("gone", State.PARKED, 4, offset=20))
    assert ([("gone", 4)], None) == partition.commit()


def test_two_that_were_left_with_one_offset_are_both_known() -> None:
    """Two inherited requests with the same offset, of an old and a recreated topic, are both continued."""
    partition = Partition(status("b", State.BUILDING, offset=5), status("a", State.SUBMITTING, offset=5))
    received = partition.receive(5, "b")
    assert received is not None
    assert ("b", 5) == (received.request_id, received.offset)
    assert ["a"] == [it.request_id for it in partition.state.take_inherited()]


def test_a_refusal_that_an_earlier_worker_published_only_lets_its_offset_pass() -> None:
    """A record that an earlier worker rejected under its record id only lets its offset pass."""
    partition = Partition(status("a", State.DEPLOYED, offset=4), status(record_id(sent(6)), State.REJECTED, offset=6))
    assert partition.receive(6) is None
    assert ([], 7) == partition.commit()


def test_what_was_left_behind_is_open_and_its_offset_has_passed() -> None:
    """Only inherited requests that left `parked` continue without a record; parked requests rest, others are reread."""
    partition = Partition(
        status("parked", State.PARKED, offset=3),
        status("retried", State.RETRYING, offset=4),
        status("ended", State.FAILED, offset=2),
        status("ahead", State.BUILDING, offset=5),
    )
    assert ["retried"] == [it.request_id for it in partition.state.take_inherited()]
    assert ["parked"] == [it.request_id for it in partition.state.requests.parked]


def test_a_final_status_takes_its_offset_with_it() -> None:
    """The status that ends a record and its offset are committed together: no request ends twice or is lost."""
    partition = Partition()
    partition.receive(5)
    partition.receive(6, "b")
    partition.publish(status("b", State.ACCEPTED, offset=6), status("b", State.DEPLOYED, 1, offset=6))
    assert ([("b", 0), ("b", 1)], None) == partition.commit()
    partition.publish(status("a", State.ACCEPTED, offset=5))
    assert ([("a", 0)], None) == partition.commit()
    partition.publish(status("a", State.PARKED, 1, offset=5))
    assert ([("a", 1)], 7) == partition.commit()
    assert partition.commit() is None


def test_a_transaction_has_a_bound() -> None:
    """What exceeds the bound of a transaction goes into the next one, in order, with its offset."""
    partition = Partition()
    partition.receive(5)
    statuses = [status("b", State.BUILDING, number, offset=6) for number in range(MAX_STATUSES)]
    partition.publish(*statuses, status("a", State.DEPLOYED, 3, offset=5))
    assert ([("b", number) for number in range(MAX_STATUSES)], None) == partition.commit()
    assert not partition.idle()
    assert ([("a", 3)], 6) == partition.commit()
    assert partition.idle()


@pytest.mark.parametrize("taken_over", [False, True])
def test_what_ended_behind_a_record_without_a_status_is_never_begun_again(taken_over: bool) -> None:
    """An ended request behind a record without a status is never started again, even if it is no longer remembered."""
    said: list[DeploymentStatus] = []
    partition = Partition()

    def write(*statuses: DeploymentStatus) -> Checkpoint | None:
        said.extend(statuses)
        partition.publish(*statuses)
        transaction = partition.state.next_transaction()
        assert transaction is not None
        partition.state.committed(transaction, range(len(said) - len(statuses), len(said)))
        return transaction.checkpoint

    def take_over(checkpoint: Checkpoint) -> None:
        table = RequestTable(range(checkpoint.offset, 20))
        table.remembered, table.read_from = 1, checkpoint.statuses_from
        reader = RequestTableReader(table)
        for at, it in [*enumerate(said)][checkpoint.statuses_from :]:
            reader.add(it.request_id.encode(), it.to_json(), at, 0, None)
        reader.finish(len(said))
        partition.state = PartitionState(table, checkpoint.offset)

    partition.state.requests.remembered = 1
    for offset, name in enumerate("abcde", 5):
        partition.receive(offset, name)
    for offset, name in enumerate("cde", 7):
        if taken_over and name == "e":
            take_over(Checkpoint(5))
            for at, it in enumerate("abcde", 5):
                partition.receive(at, it)
        write(status(name, State.DEPLOYED, 3, offset=offset, fingerprint=WHOSE))
    checkpoint = write(status(record_id(sent(5)), State.REJECTED, offset=5))
    assert checkpoint is not None and 6 == checkpoint.offset
    take_over(checkpoint)
    assert [True, False, False, False] == [partition.receive(it, name) is not None for it, name in enumerate("bcde", 6)]


def test_an_offset_is_tried_again_until_it_is_committed() -> None:
    """An offset is part of each transaction until one commits."""
    partition = Partition()
    assert partition.idle()
    partition.receive(5)
    partition.state.offsets.finish(5)
    assert not partition.idle()
    for _ in range(2):
        begun = partition.state.next_transaction()
        assert begun is not None
        assert ((), 6) == (begun.pending, begun.checkpoint and begun.checkpoint.offset)
    assert not partition.idle()
    assert ([], 6) == partition.commit()
    assert partition.idle()


@pytest.mark.parametrize("key_size", [0, 100, 131_000, 1_048_267])
@pytest.mark.parametrize("value_size", [2, 131_000, 1_048_267])
def test_a_dead_letter_always_fits(key_size: int, value_size: int) -> None:
    """A dead letter that is too large is cut to fit its topic, and a header lists what was left out."""
    headers = (("dlt-error-code", b"catalog-timeout"),)
    encoder = StatusEncoder("status", "letters", "/source")
    _, letter = encoder.encode(status("a", State.FAILED), DeadLetter(b"k" * key_size, b"v" * value_size, headers), None)
    assert letter.size <= Message.MAX_BYTES
    assert headers[0] in letter.headers
    left_out = dict(letter.headers).get("dlt-cut", b"").decode().split(",")
    assert ("key" in left_out) == (letter.key is None)
    assert ("value" in left_out) == (letter.value != b"v" * value_size)
    assert ("key" in left_out) == (key_size + value_size > Message.MAX_BYTES - 1000)


def test_the_largest_status_and_settlement_fit() -> None:
    """The largest status and settlement fit with their headers: every text at its limit, four bytes a character."""
    long = "\U0001f600" * 1000
    settled = DeploymentSettled.model_validate(
        {"requestId": "r" * 128, "attempt": 2**31, "outcome": "deployed", "reason": long, "by": long[:200]}
        | {"deployment": {"id": long[:63], "url": long * 2}}
    )
    assert settled.to_message("settlements", "/source" * 40, 0).size <= Message.MAX_BYTES
    said = status("r" * 128, State.FAILED, 2**31, message=long)
    room = DeploymentStatus.MAX_BYTES - len(said.to_json())
    assert said.to_message("status", "/source" * 40, TRACE).size + room <= Message.MAX_BYTES
