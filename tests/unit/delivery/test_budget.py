"""The budget of bytes: which large solution begins next, and when its reservation is returned."""

import asyncio
from contextlib import suppress

import pytest

from tests.support.builders import OPTIONS, PROTOBUF, SHIPPED, blueprint, node, solution
from tests.support.fakes import FakeArtifacts, FakeCatalog, FakeJob, FakePlayground, FakeTime, FakeTokens, fake_deployer
from tests.unit.delivery.test_admission import Holder, settled
from worker.build import SMALL_BYTES, Builder
from worker.delivery.admission import FAILURES, RESERVED_BYTES, Admission, Breakers, Budget, Limiter
from worker.errors import DeploymentError, NeedsReservation, PlaygroundRefused, Unavailable

LARGE_FILES = {"org/blueprint.json": blueprint(node("a", proto_uri="p")), "p": PROTOBUF.ljust(SMALL_BYTES)}


async def test_large_ones_begin_in_the_order_of_asking_while_there_is_room() -> None:
    """Large solutions begin in order while there is room; a small solution never waits."""
    budget = Budget(2 * RESERVED_BYTES + 1)
    holders = [Holder(budget.reserve(large=True)) for _ in range(4)]
    await settled()
    assert [True, True, False, False] == [it.entered for it in holders]
    assert (2 * RESERVED_BYTES, 2) == (budget.reserved, budget.waiting)
    small = Holder(budget.reserve(large=False))
    await settled()
    assert small.entered
    await holders[1].end()
    assert [True, False] == [it.entered for it in holders[2:]]
    for it in (holders[0], holders[2], holders[3], small):
        await it.end()
    assert (0, 0) == (budget.reserved, budget.waiting)


async def test_whoever_stops_waiting_is_passed_over() -> None:
    """A waiter that is cancelled while it waits, or just as it is admitted, is skipped."""
    budget = Budget(RESERVED_BYTES)
    async with budget.reserve(large=True) as room:
        holders = [Holder(budget.reserve(large=True)) for _ in range(3)]
        await settled()
        holders[0].task.cancel()
        await settled()
        room.shrink(0)  # admits the second
        holders[1].task.cancel()
        await settled()
        assert (True, RESERVED_BYTES, 0) == (holders[2].entered, budget.reserved, budget.waiting)
    await holders[2].end()
    assert 0 == budget.reserved


async def test_a_reservation_shrinks_to_its_bundle() -> None:
    """A reservation shrinks to its bundle and frees room for the next; a larger bundle counts as the reserved size."""
    budget = Budget(2 * RESERVED_BYTES)
    async with budget.reserve(large=True) as room, budget.reserve(large=True) as other:
        third = Holder(budget.reserve(large=True))
        room.shrink(1)
        room.shrink(7)
        other.shrink(2 * RESERVED_BYTES)
        await settled()
        assert (False, RESERVED_BYTES + 1) == (third.entered, budget.reserved)
        other.shrink(RESERVED_BYTES - 1)
        await settled()
        assert (True, 2 * RESERVED_BYTES) == (third.entered, budget.reserved)
    await third.end()
    assert 0 == budget.reserved


async def test_a_post_that_outlives_its_job_keeps_its_bytes() -> None:
    """The bytes of a POST that outlives its job stay reserved until the POST ends."""
    budget = Budget(RESERVED_BYTES)
    async with budget.reserve(large=True) as room:
        room.__enter__()
    assert RESERVED_BYTES == budget.reserved
    room.__exit__(None, None, None)
    assert 0 == budget.reserved


async def test_who_waits_for_room_holds_nothing() -> None:
    """A solution that waits for room holds neither a slot nor a breaker's trial, so other requests continue."""
    time, budget = FakeTime(), Budget(RESERVED_BYTES)
    admission = Admission(Limiter(1), Breakers(time.seconds, time.sleep), budget)
    first = Holder(budget.reserve(large=True))
    await settled()
    rooms: list[bool] = []

    async def tried() -> None:
        for large in (False, True):
            with suppress(NeedsReservation):
                async with admission.attempt(FakeJob(), large=large) as room:
                    rooms.append(room.large)
                    if not large:
                        raise NeedsReservation

    waiting = [asyncio.create_task(tried()) for _ in range(5)]
    await settled()
    assert ([False] * 5, 5) == (rooms, budget.waiting)
    with pytest.raises(Unavailable):
        async with admission.attempt(FakeJob()):
            raise Unavailable("catalog-unauthorized", "x")
    trial = Holder(admission.attempt(FakeJob()))
    await settled()
    assert trial.entered
    await trial.end()
    await first.end()
    await asyncio.gather(*waiting)
    assert rooms[5:] == [True] * 5


async def test_a_large_solution_is_no_outage() -> None:
    """Finding that a solution is large counts on no breaker, as neither a success nor a failure."""
    time = FakeTime()
    admission = Admission(Limiter(1), Breakers(time.seconds, time.sleep), Budget(RESERVED_BYTES))
    for _ in range(FAILURES - 1):
        with pytest.raises(DeploymentError):
            async with admission.attempt(FakeJob()):
                raise Unavailable("catalog-timeout", "x", dependency_wide=True)
    with pytest.raises(NeedsReservation):
        async with admission.attempt(FakeJob()):
            raise NeedsReservation
    assert not admission.breakers.any_open()
    with pytest.raises(DeploymentError):
        async with admission.attempt(FakeJob()):
            raise Unavailable("catalog-timeout", "x", dependency_wide=True)
    assert admission.breakers.any_open()


@pytest.mark.parametrize("error", [None, PlaygroundRefused("playground-refused", "x")])
async def test_a_large_solution_is_one_attempt(error: DeploymentError | None) -> None:
    """A large solution is fetched twice within one attempt, has one `building`, and releases its reservation."""
    artifacts = FakeArtifacts(LARGE_FILES)
    builder = Builder(FakeCatalog(solution()), artifacts, SHIPPED, OPTIONS)
    deployer, job = fake_deployer(FakeTokens(), builder, FakePlayground(error)), FakeJob()
    await deployer.handle(job)
    ends = "failed" if error else "deployed"
    assert ["accepted", "building", "submitting", ends] == [status.state for status in job.statuses]
    assert {1} == {status.attempt for status in job.statuses}
    assert ["org/blueprint.json", "p"] * 2 == artifacts.fetched
    assert 0 == deployer.admission.budget.reserved


async def test_an_error_keeps_no_bundle_in_memory() -> None:
    """The error of a request that waits for a retry keeps no frames, and so no bundle in memory."""
    try:
        try:
            raise ZeroDivisionError
        except ZeroDivisionError:
            raise Unavailable("playground-busy", "x", "submit") from None
    except Unavailable as error:
        bare = error.without_frames()
        assert (None, None) == (bare.__traceback__, bare.__context__)
