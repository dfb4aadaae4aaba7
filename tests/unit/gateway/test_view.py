"""The gateway's view of all requests."""

import asyncio
import gc
import json
import math
import tracemalloc
from collections.abc import Iterable
from datetime import UTC, datetime
from hashlib import sha256
from itertools import product
from random import Random
from uuid import UUID

import pytest

from schemas import State, fingerprint
from tests.support.builders import REVISION_ID, SOLUTION_ID
from tests.unit.gateway.door import say
from worker.gateway import view as view_module
from worker.gateway.entry import Entry, ids
from worker.gateway.view import ALL, View, turns_of
from worker.sandbox.users import SANDBOX_USER, STRANGER, User

P = len(SANDBOX_USER.user_id) % 3


def view(requests: int = 100, size: int = 10**9) -> View:
    return View(requests, size)


def note_scans(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Return a list that grows with each comparison of a fingerprint."""
    scanned: list[bytes] = []

    def noted(packed: bytes) -> tuple[str, str]:
        scanned.append(packed)
        return ids(packed)

    monkeypatch.setattr("worker.gateway.view.ids", noted)
    return scanned


def test_steps_are_kept_in_order() -> None:
    """Each status adds a step, in order, and the last status is kept as it was published."""
    seen = view()
    for sequence, state in enumerate(("accepted", "building", "submitting", "deployed")):
        say(seen, sequence, state)
    entry = seen.get((P, "r-1"))
    assert entry is not None
    assert ["accepted", "building", "submitting", "deployed"] == [it.state for it in entry.steps]
    assert (State.DEPLOYED, True, True) == (entry.status.state, entry.is_final, entry.is_complete)


def test_it_does_not_matter_how_a_status_is_written() -> None:
    """A worker's status, read by its beginning, gives the same entry as any other spelling, parsed as JSON."""
    ours, others = view(), view()
    for sequence, state in enumerate(
        ("accepted", "building", "retrying", "building", "submitting", "parked", "failed")
    ):
        say(ours, sequence, state, attempt=1 + sequence // 3, time=datetime(2026, 11, 29, 12, sequence, tzinfo=UTC))
        entry = ours.get((P, "r-1"))
        assert entry is not None
        others.apply(P, json.dumps(json.loads(entry.json)).encode())
    (one,), (other,) = ours.latest(9), others.latest(9)
    assert (one.steps, one.status, one.sequence, one.offset) == (
        other.steps,
        other.status,
        other.sequence,
        other.offset,
    )
    assert one.size == ours.bytes


@pytest.mark.parametrize("request_id", ["r-1", "1", "7e2f1f04-54a6-4a4a-9c3b-6a1c54ad22d5", "a" * 100])
def test_a_final_status_is_kept_as_it_was_published(request_id: str) -> None:
    """Packing hides the ids and the fingerprint, wherever they occur, and unpacking restores every byte."""
    seen, solution = view(), UUID("7e2f1f04-54a6-4a4a-9c3b-6a1c54ad22d5")
    say(seen, 0, request_id=request_id, solution_id=solution)
    status = seen.get((P, request_id)).status  # type: ignore[union-attr]
    message = f"Deployed {solution} of {request_id}: \u00e4\u20ac\n {status.fingerprint} 1 \u0001"
    end = status.model_copy(update={"sequence": 1, "state": State.FAILED, "message": message}).to_json()
    for value in (end, json.dumps(json.loads(end), indent=1).encode()):
        again = view()
        again.apply(P, status.to_json())
        again.apply(P, value)
        entry = again.get((P, request_id))
        assert entry is not None
        assert value == entry.json
        assert (status.fingerprint, str(solution)) == (entry.fingerprint, entry.asked[0])  # type: ignore[index]


def test_bytes_are_what_the_requests_take() -> None:
    """The bytes that the view counts are about the memory that its requests take."""
    for state in ("submitting", "rejected"):
        seen = view(10_000)
        tracemalloc.start()
        for number in range(3000):
            solution = UUID(bytes=sha256(b"%d" % number).digest()[:16])
            say(seen, 0, state, request_id=str(solution), offset=1000 + number, solution_id=solution)
        seen.of_user(SANDBOX_USER.user_id, P, 1)
        gc.collect()
        taken = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        assert 0.65 < taken / seen.bytes < 1.3, state


def test_what_comes_twice_changes_nothing() -> None:
    """A repeated or older status adds no step."""
    seen = view()
    for sequence in (0, 1, 1, 0):
        say(seen, sequence, "building" if sequence else "accepted")
    assert 2 == len(seen.get((P, "r-1")).steps)  # type: ignore[union-attr]


def test_what_was_compacted_is_said() -> None:
    """An entry with statuses that were compacted away is marked incomplete."""
    seen = view()
    say(seen, 3, "deployed")
    say(seen, 0, request_id="r-2", offset=1)
    say(seen, 2, "building", request_id="r-2", offset=1)
    assert [False, False] == [it.is_complete for it in seen.latest(1000)]


def test_an_id_that_comes_again_is_another_request() -> None:
    """An id that is reused after the workers forgot it is another request, with its own steps."""
    seen = view()
    say(seen, 0)
    say(seen, 1, "failed")
    say(seen, 0, offset=9)
    assert [1] == [len(it.steps) for it in seen.latest(1000)]
    say(seen, 1, "building", offset=12)  # its first status is gone, and this one seems to continue the last request
    assert [(12, 1, False)] == [(it.offset, len(it.steps), it.is_complete) for it in seen.latest(1000)]
    assert 1 == len(seen)


@pytest.mark.parametrize("value", [b"", b"{}", b"[]", b'{"requestId": "r"}', b"\xff", b'{"state": "unheard-of"}'])
def test_what_is_no_status_is_left_out(value: bytes) -> None:
    """A record that is not a status is skipped, because others may write to the topic."""
    seen = view()
    assert seen.apply(0, value) is None
    assert 0 == len(seen)


@pytest.mark.parametrize("sequence", [0, 1])  # of a new request, and of a known request
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("attempt", -1),
        ("attempt", math.inf),
        ("attempt", 2**40),
        ("sequence", -1),
        ("sequence", 2**31),
        ("time", "0001-01-01T00:00:00+14:00"),
        ("time", "1969-12-31T23:59:59Z"),
        ("time", "2026-13-01T00:00:00Z"),
        ("time", "9999-12-31T23:59:59-14:00"),
        ("time", 5),
        ("solutionId", 5),
        ("solutionId", ["a"]),
        ("solutionId", "5"),
        ("fingerprint", 5),
        ("fingerprint", "00"),
        ("source", None),
        ("source", {"offset": -1}),
        ("source", {"offset": 2**63}),
        ("source", {"offset": [1]}),
        ("state", {}),
    ],
)
def test_values_that_no_worker_writes_are_left_out(name: str, value: object, sequence: int) -> None:
    """A status with a value out of range or of another type is skipped. The reader would stop at an error for ever."""
    seen, source = view(), view()
    say(seen, 0)
    say(source, 0)
    say(source, sequence, "building" if sequence else "accepted", request_id="r-1" if sequence else "r-2")
    status = json.loads(source.get((P, "r-1" if sequence else "r-2")).json)  # type: ignore[union-attr]
    unchanged = name in ("solutionId", "fingerprint") and sequence  # what a worker's next status repeats is not parsed
    for separators in ((", ", ": "),) if unchanged else ((",", ":"), (", ", ": ")):
        assert seen.apply(P, json.dumps(status | {name: value}, separators=separators).encode()) is None
    assert [0] == [it.sequence for it in seen.latest(1000)]
    assert seen.apply(P, json.dumps(status).encode()) is not None


def test_two_users_may_choose_one_id() -> None:
    """Two users who choose the same id each find their own request."""
    seen = view()
    say(seen, 0, partition=0)
    say(seen, 0, partition=1, user=STRANGER)
    mine = [it.key[0] for it in seen.find("r-1") if it.belongs_to(SANDBOX_USER.user_id)]
    assert [0] == mine
    assert [1] == [it.key[0] for it in seen.find("r-1") if it.belongs_to(STRANGER.user_id)]


def test_a_users_requests_are_found_without_a_list_of_users() -> None:
    """A user's requests are found by their fingerprints in the user's partition, newest first."""
    seen = view()
    for number in range(4):
        say(seen, 0, request_id=f"r-{number}", offset=number, user=STRANGER if number == 2 else SANDBOX_USER)
    assert ["r-3", "r-1", "r-0"] == [it.request_id for it in seen.of_user(SANDBOX_USER.user_id, P, 100)]
    newest = seen.newest(fingerprint(SANDBOX_USER.user_id, SOLUTION_ID, REVISION_ID), P)
    assert newest is not None
    assert "r-3" == newest.request_id
    assert ["r-3", "r-1"] == [it.request_id for it in seen.of_user(SANDBOX_USER.user_id, P, 2)]


def test_the_newest_request_is_the_last_record() -> None:
    """The offsets decide which request is newest: after a compaction, statuses are not in the order of the requests."""
    seen = view()
    for number in (2, 0, 3, 1):
        say(seen, 3, "deployed", request_id=f"r-{number}", offset=number)
        newest = seen.newest(fingerprint(SANDBOX_USER.user_id, SOLUTION_ID, REVISION_ID), P)
        assert newest is not None
        assert max(it.offset for it in seen.latest(1000)) == newest.offset
    assert ["r-3", "r-2"] == [it.request_id for it in seen.of_user(SANDBOX_USER.user_id, P, 2)]


@pytest.mark.parametrize("known_before", [True, False])
def test_a_solution_that_is_deployed_often_hides_no_other(known_before: bool) -> None:
    """The newest requests of a user are of all their solutions, whether the user is indexed already or not."""
    seen = view(1000)
    for number in range(100):
        say(seen, 0, "failed", request_id=f"r-{number}", offset=number, solution_id=UUID(int=number % 2))
        if known_before:
            seen.of_user(SANDBOX_USER.user_id, P, 1)
    assert [*range(99, 89, -1)] == [it.offset for it in seen.of_user(SANDBOX_USER.user_id, P, 10)]


def test_an_id_that_is_used_again_is_the_newest() -> None:
    """A request whose id was used before is listed where it belongs, also for a user who is indexed already."""
    seen = view()
    for number in range(6):
        say(seen, 0, "failed", request_id=f"r-{number}", offset=number)
        assert [number] == [it.offset for it in seen.of_user(SANDBOX_USER.user_id, P, 1)]
    say(seen, 0, request_id="r-0", offset=50)
    assert [50] == [it.offset for it in seen.of_user(SANDBOX_USER.user_id, P, 1)]
    for number in range(500):  # so many are forgotten that the indexes are cleaned
        say(seen, 0, "failed", request_id=f"theirs-{number}", offset=100 + number, user=STRANGER, partition=P)
    assert [50] == [it.offset for it in seen.of_user(SANDBOX_USER.user_id, P, 1)]
    again = View(10**6, 10**9)
    for offset, request_id in enumerate([f"r-{number}" for number in range(6)] + ["r-0"]):
        say(again, 0, "failed", request_id=request_id, offset=offset)
    again._renumber(P)
    assert [6] == [it.offset for it in again.of_user(SANDBOX_USER.user_id, P, 1)]


def test_users_of_a_full_view_are_indexed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """When each new request evicts another, looking at a user's requests compares the new requests alone."""
    users = [User(f"user-{number}", "u", "u@example.org") for number in range(20)]
    seen = view(400)
    for number in range(400):
        say(seen, 0, "failed", request_id=f"r-{number}", offset=number, user=users[number % 20], partition=0)
    for user in users:
        assert 20 == len(seen.of_user(user.user_id, 0, 100))
    scanned = note_scans(monkeypatch)
    for number in range(400, 2000):
        user = users[number % 20]
        say(seen, 0, "failed", request_id=f"r-{number}", offset=number, user=user, partition=0)
        assert f"r-{number}" == seen.of_user(user.user_id, 0, 1)[0].request_id
    assert len(scanned) <= 1600 * 20  # for each user those of all users since the last look
    assert seen._owned == sum(len(it.keys) for it in seen._own.values())


@pytest.mark.parametrize("seed", range(60))
def test_the_view_agrees_with_a_simple_one(seed: int) -> None:
    """After random statuses, every index leads to the requests that a look at all requests finds, and to no others."""
    chance, seen = Random(seed), view(requests=12)
    users = SANDBOX_USER.user_id, STRANGER.user_id
    for number in range(80):
        say_anything(chance, seen, number)
        entries = seen.latest(1000)
        assert sum(it.size for it in entries) == seen.bytes
        assert len({it.key for it in entries}) == len(entries) == len(seen) <= 12
        for user_id, partition in product(users, (0, 1)):
            own = [it for it in entries if it.key[0] == partition and it.belongs_to(user_id)]
            own.sort(key=lambda it: it.offset)
            assert facts(own[::-1]) == facts(seen.of_user(user_id, partition, 50))
            assert facts(it for it in own if it.is_open) == facts(seen.open_of_user(user_id, partition))
            for solution in range(3):
                of = fingerprint(user_id, UUID(int=solution), REVISION_ID)
                newest = seen.newest(of, partition)
                assert facts([it for it in own if it.fingerprint == of][-1:]) == facts([newest] if newest else [])


def facts(entries: Iterable[Entry]) -> list[tuple[object, ...]]:
    """Return what tells entries apart."""
    return [(it.key, it.offset, it.sequence) for it in entries]


def say_anything(chance: Random, seen: View, number: int) -> None:
    """Publish a status that may follow another one, with or without a gap, repeat it, or use its id again."""
    partition, request_id = chance.randrange(2), f"r-{chance.randrange(6)}"
    user, offset, sequence = chance.choice((SANDBOX_USER, STRANGER)), number, 0
    known = seen.get((partition, request_id))
    if known and not known.is_final and chance.random() < 0.7:
        user = SANDBOX_USER if known.belongs_to(SANDBOX_USER.user_id) else STRANGER
        offset, sequence = known.offset, known.sequence + chance.choice((0, 1, 1, 2))
    state = chance.choice(("accepted", "building", "parked", "failed", "deployed"))
    solution = UUID(int=offset % 3)
    more = {"partition": partition, "request_id": request_id, "offset": offset, "solution_id": solution}
    say(seen, sequence, state, user, **more)


def test_an_id_of_another_user_later_shows_them_nothing() -> None:
    """A user does not see another user's request that has the id of their own, forgotten request."""
    seen = view(requests=1)
    say(seen, 0, "rejected", partition=0)
    assert ["r-1"] == [it.request_id for it in seen.of_user(SANDBOX_USER.user_id, 0, 100)]
    for state in ("rejected", "accepted"):
        say(seen, 0, "rejected", request_id="r-2", offset=1, user=STRANGER, partition=0)
        say(seen, 0, state, offset=2, user=STRANGER, partition=0)
        assert [] == seen.of_user(SANDBOX_USER.user_id, 0, 100)
        assert [] == seen.open_of_user(SANDBOX_USER.user_id, 0)


def test_open_requests_are_those_a_worker_has_to_act_on() -> None:
    """A user's open requests are neither final nor parked, and not those of others."""
    seen = view()
    for number, state in enumerate(("accepted", "retrying", "parked", "failed", "building")):
        say(seen, 0, state, request_id=f"r-{number}", offset=number, partition=0)
    say(seen, 0, request_id="theirs", offset=9, partition=0, user=STRANGER)
    say(seen, 0, "rejected", request_id="unverified", offset=10, partition=0, fingerprint=None)
    assert ["r-0", "r-1", "r-4"] == [it.request_id for it in seen.open_of_user(SANDBOX_USER.user_id, 0)]


def test_what_ended_first_is_forgotten_first() -> None:
    """The oldest finished requests are evicted first and counted; open requests outlast all finished requests."""
    seen = view(requests=3)
    say(seen, 0, request_id="open")
    for number in range(4):
        say(seen, 0, "rejected", request_id=f"r-{number}", offset=1 + number)
    assert ["open", "r-3", "r-2"] == [it.request_id for it in seen.latest(1000)]
    assert 2 == seen.evicted
    assert [] == seen.find("r-0")
    for number in range(5, 9):
        say(seen, 0, request_id=f"r-{number}", offset=number, time=datetime(2030, 1, 1, 0, number, tzinfo=UTC))
    assert ["r-8", "r-7", "r-6"] == [it.request_id for it in seen.latest(1000)]


def test_memory_is_bounded() -> None:
    """The view is bounded in bytes, and evicted entries give their bytes back."""
    seen = view(size=20_000)
    for number in range(100):
        say(seen, 0, "rejected", request_id=f"r-{number}", offset=number, message="x" * 500)
    assert 30 < len(seen) < 42
    assert seen.bytes <= 20_000
    assert sum(it.size for it in seen.latest(1000)) == seen.bytes


def test_a_refused_record_is_found_by_its_place() -> None:
    """A rejected record, whose statuses have a record id and no fingerprint, is found by partition and offset."""
    seen = view()
    say(seen, 0, "rejected", request_id="record-2-7-0011223344556677", partition=2, offset=7, fingerprint=None)
    entry = seen.at(2, 7)
    assert entry is not None
    assert not entry.belongs_to(SANDBOX_USER.user_id)
    assert seen.at(2, 8) is None
    for offset in (7, 9):  # after the topic was created again, another request had that offset, and its id came again
        say(seen, 0, request_id="other", partition=2, offset=offset)
    assert seen.at(2, 7) is not None


def test_one_old_time_hides_no_newer_request() -> None:
    """The latest requests are chosen from all partitions, also where a request began long before those around it."""
    seen = view()
    for number in range(9):
        hour = 0 if number == 8 else 10 + number
        time = datetime(2026, 11, 29, hour, tzinfo=UTC)
        say(seen, 0, request_id=f"r-{number}", partition=0 if number > 3 else 1, offset=number, time=time)
    assert ["r-7", "r-6", "r-5", "r-4", "r-3"] == [it.request_id for it in seen.latest(5)]


def test_ids_may_come_after_the_fingerprint() -> None:
    """A request is its user's as soon as its ids show it, also for a user who is indexed already."""
    seen = view()
    of = fingerprint(SANDBOX_USER.user_id, SOLUTION_ID, REVISION_ID)
    say(seen, 0, solution_id=None, revision_id=None, fingerprint=of)
    assert [] == seen.of_user(SANDBOX_USER.user_id, P, 9)
    say(seen, 2, "building")  # after a gap: a status that directly follows is not parsed
    assert ["r-1"] == [it.request_id for it in seen.of_user(SANDBOX_USER.user_id, P, 9)]


async def test_who_watches_is_woken() -> None:
    """A watcher is woken by a new status of its request or record, and by nothing else."""
    seen = view()
    with seen.watch((P, "r-1")) as by_id, seen.watch((P, 5)) as by_place, seen.watch((P, "r-2")) as other:
        say(seen, 0, offset=5)
        assert (True, True, False) == (by_id.is_set(), by_place.is_set(), other.is_set())
    assert isinstance(by_id, asyncio.Event)
    say(seen, 1, "building", offset=5)  # all watchers have left
    assert {} == seen._watched


def test_the_turn_is_counted() -> None:
    """The turn of a request counts the user's open requests before it; a request at work has none."""
    seen = view()
    say(seen, 0, request_id="r-0", offset=0)
    say(seen, 1, "building", request_id="r-0", offset=0)
    for number in (1, 2):
        say(seen, 0, request_id=f"r-{number}", offset=number)
    turns = turns_of(seen.open_of_user(SANDBOX_USER.user_id, P))
    assert {"r-1": 2, "r-2": 3} == {request_id: turn for (_, request_id), turn in turns.items()}


def test_parked_ones_are_listed_for_operators() -> None:
    """Parked requests are listed newest first, without requests that have continued."""
    seen = view()
    for number in range(3):
        time = datetime(2026, 11, 29, 12, number, tzinfo=UTC)
        say(seen, 0, "submitting", request_id=f"r-{number}", offset=number)
        say(seen, 1, "parked", request_id=f"r-{number}", offset=number, time=time)
    say(seen, 2, "retrying", request_id="r-1", offset=1)
    assert ["r-2", "r-0"] == [it.request_id for it in seen.parked()]


def test_a_users_requests_are_found_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fingerprints are compared once per user, whatever is added, evicted or added again in between."""
    scanned = note_scans(monkeypatch)
    seen = view(requests=20)
    for number in range(300):
        user = STRANGER if number % 3 else SANDBOX_USER
        solution = UUID(int=number % 25)  # some solutions repeat
        say(seen, 0, "rejected", request_id=f"r-{number}", offset=number, user=user, partition=0, solution_id=solution)
        mine = {it.request_id for it in seen.of_user(SANDBOX_USER.user_id, 0, 100)}
        assert {it.request_id for it in seen.latest(1000) if it.belongs_to(SANDBOX_USER.user_id)} == mine
        scanned.clear()
        seen.of_user(SANDBOX_USER.user_id, 0, 100)
        seen.open_of_user(SANDBOX_USER.user_id, 0)
        assert [] == scanned
    assert seen._owned == len(seen._own[SANDBOX_USER.user_id, 0].keys) <= 60  # some are forgotten requests


def test_who_reads_is_remembered_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """The index of users is bounded in users and requests; a user who was evicted from it still finds everything."""
    monkeypatch.setattr(view_module, "MAX_USERS", 3)
    seen = view()
    users = [User(f"user-{number}", "u", "u@example.org") for number in range(9)]
    for number, user in enumerate(users * 2):
        say(seen, 0, request_id=f"r-{number}", offset=number, user=user, partition=0)
    for number in range(9):
        assert [] == seen.of_user(f"nobody-{number}", -1, 9)
        assert len(seen._own) <= 3
    for user in users * 2:
        assert 2 == len(seen.of_user(user.user_id, 0, 100))
        assert len(seen._own) <= 3
        assert seen._owned == sum(len(it.keys) for it in seen._own.values())


async def test_the_first_look_lets_others_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first scan of a user yields after each SCANNED requests. Tasks that need it at once share it."""
    monkeypatch.setattr(view_module, "SCANNED", 10)
    monkeypatch.setattr(view_module, "FEW", 0)
    seen, turns = view(), 0
    for number in range(100):
        say(seen, 0, request_id=f"r-{number}", offset=number, partition=0, solution_id=UUID(int=number))

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    scanned = note_scans(monkeypatch)
    task = asyncio.create_task(others())
    await asyncio.gather(*(seen.learn(SANDBOX_USER.user_id, 0) for _ in range(5)))
    task.cancel()
    assert turns >= 9
    assert 100 == len(scanned)
    assert 100 == len(seen.of_user(SANDBOX_USER.user_id, 0, 100))


def test_who_follows_a_list_is_woken() -> None:
    """A watcher of a list is woken by a new status in its partition, or in any partition with ALL."""
    seen = view()
    with seen.watch_list(P) as mine, seen.watch_list(P + 1) as other, seen.watch_list(ALL) as all_of_them:
        say(seen, 0)
        assert (True, False, True) == (mine.is_set(), other.is_set(), all_of_them.is_set())
    assert {} == seen._lists


def test_a_new_request_is_found_after_another_id_was_reused() -> None:
    """A new request is found even if another user's id was reused after the last scan."""
    seen = view()
    for number in (1, 2):
        say(seen, 0, request_id=f"theirs-{number}", offset=number, user=STRANGER, partition=0)
    assert [] == seen.of_user(SANDBOX_USER.user_id, 0, 100)
    say(seen, 0, request_id="mine", offset=3, partition=0)
    say(seen, 0, request_id="theirs-1", offset=4, user=STRANGER, partition=0)
    assert ["mine"] == [it.request_id for it in seen.of_user(SANDBOX_USER.user_id, 0, 100)]
