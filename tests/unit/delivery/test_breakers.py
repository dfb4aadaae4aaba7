"""Breakers: what opens a breaker, what does not, and which request tests whether the dependency is back."""

import asyncio
import random
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from itertools import combinations
from uuid import UUID

import pytest
from structlog.testing import capture_logs

from tests.support.builders import REVISION_ID, record
from tests.support.fakes import FakeJob, FakeTime, source
from worker.delivery.admission import (
    FAILURES,
    FIRST_OPEN_SECONDS,
    MIN_ORIGINS,
    RESERVED_BYTES,
    Admission,
    Breakers,
    Budget,
    Limiter,
    Origin,
)
from worker.domain.lifecycle import Outage
from worker.domain.solution import Caller
from worker.errors import DeploymentError, NotFound, OutcomeUnknown, Unavailable

DOWN = Unavailable("catalog-unavailable", "Down.", dependency_wide=True)
REFUSED = Unavailable("artifacts-unauthorized", "Refused.", dependency_wide=True)
REDIRECTED = Unavailable("artifacts-error", "Status 302.")
FORBIDDEN = Unavailable("artifacts-unauthorized", "Status 403.")
SLOW = Unavailable("catalog-timeout", "Slow.")
UNKNOWN = OutcomeUnknown("No answer.")
BUSY = Unavailable("playground-busy", "Busy.", "submit")
# Failures that one solution or one user may cause.
OF_CONTENT = (REDIRECTED, FORBIDDEN, SLOW, UNKNOWN, BUSY, Unavailable("catalog-error", "Status 500."))


def different(count: int) -> list[Origin]:
    """Sources that share neither user nor solution."""
    return [source(number, number) for number in range(count)]


class World:
    """Breakers with a clock that advances while a request waits."""

    def __init__(self) -> None:
        self.time = FakeTime()
        self.breakers = Breakers(self.time.seconds, self.time.sleep)

    async def attempt(self, error: DeploymentError | None = None, by: Origin | None = None) -> None:
        """Make one attempt with this outcome."""
        with suppress(DeploymentError):
            async with self.breakers.guard(by or source()):
                if error:
                    raise error

    async def attempts(self, error: DeploymentError, by: Sequence[Origin]) -> None:
        """Make these attempts at the same time: each has begun before the first ends."""
        begun, go = 0, asyncio.Event()

        async def one(of: Origin) -> None:
            nonlocal begun
            async with self.breakers.guard(of):
                begun += 1
                await go.wait()
                raise error

        tasks = [asyncio.create_task(one(of)) for of in by]
        async with asyncio.timeout(5):
            while begun < len(by):  # noqa: ASYNC110 - each attempt counts itself
                await asyncio.sleep(0)
        go.set()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def opened(self, error: DeploymentError = REDIRECTED) -> None:
        """Open a breaker as a failure for every source does."""
        for by in different(FAILURES):
            await self.attempt(error, by)
        assert self.open

    @property
    def open(self) -> list[str]:
        return [name for name, it in self.breakers.all.items() if it.open]


# What opens a breaker


async def test_failures_in_a_row_open_it() -> None:
    """Only failures in a row open a breaker: an answer in between, even a refusal, shows that the dependency is up."""
    world = World()
    for error in (DOWN, DOWN, NotFound("proto-missing", "Gone."), *[DOWN] * (FAILURES - 1)):
        await world.attempt(error)
    assert [] == world.open
    await world.attempt(DOWN)
    assert ["catalog"] == world.open


async def test_refused_credentials_open_it_at_once() -> None:
    """Rejected credentials open the breaker at once, since every request needs them; one forbidden file does not."""
    world = World()
    await world.attempt(FORBIDDEN)
    assert [] == world.open
    await world.attempt(REFUSED)
    assert ["artifacts"] == world.open


@pytest.mark.parametrize("error", OF_CONTENT, ids=lambda it: it.code)
async def test_what_strikes_several_users_and_solutions_opens_it(error: DeploymentError) -> None:
    """A failure of several users and solutions opens the breaker, or each request in turn would be tried or parked."""
    world = World()
    for by in different(FAILURES - 1):
        await world.attempt(error, by)
    assert [] == world.open
    await world.attempt(error, source(FAILURES, FAILURES))
    assert 1 == len(world.open)


@pytest.mark.parametrize("error", OF_CONTENT, ids=lambda it: it.code)
@pytest.mark.parametrize(
    "by",
    [
        [source(user, 0) for user in range(20)],
        [source(0, solution) for solution in range(20)],
        [source(0, 0)] * 20,
        [source(number, 0) if number % 2 else source(0, number) for number in range(20)],
        [source(number % 2, number) for number in range(20)],
    ],
    ids=["20 users, one solution", "one user, 20 solutions", "one of both", "a user and a solution", "two users"],
)
async def test_what_follows_one_solution_or_one_user_opens_nothing(error: DeploymentError, by: list[Origin]) -> None:
    """Failures that follow a user or a solution, or two of them, never open a breaker or pause a deadline."""
    world = World()
    for _ in range(3):
        for one in by:
            await world.attempt(error, one)
        await world.attempts(error, by)
    assert ([], 0.0) == (world.open, world.breakers.down_seconds())
    assert [] == world.time.slept


async def test_failures_of_both_kinds_in_a_row() -> None:
    """Dependency-wide failures are counted separately from the failures of one solution in between."""
    world = World()
    for _ in range(FAILURES - 1):
        await world.attempt(SLOW)
        await world.attempt(DOWN)
    assert [] == world.open
    await world.attempt(DOWN)
    assert ["catalog"] == world.open


def explained(failures: Sequence[Origin], culprits: int) -> bool:
    """Return whether this number of users and solutions accounts for all of these failures."""
    suspects = [("user", it.user) for it in failures] + [("solution", it.solution) for it in failures]
    return any(
        all(("user", it.user) in chosen or ("solution", it.solution) in chosen for it in failures)
        for chosen in combinations(sorted(set(suspects), key=str), min(culprits, len(set(suspects))))
    )


@pytest.mark.parametrize("seed", range(300))
async def test_only_what_no_two_culprits_account_for_opens_it(seed: int) -> None:
    """In any order of users, solutions and outcomes, no breaker opens for failures that two culprits account for."""
    chance = random.Random(seed)
    users, solutions = chance.randint(1, 6), chance.randint(1, 6)
    world = World()
    row: list[Origin] = []
    for _ in range(60):
        by = source(chance.randrange(users), chance.randrange(solutions))
        error = chance.choice((SLOW, SLOW, SLOW, None)) if chance.random() < 0.3 else SLOW
        await world.attempt(error, by)
        row = [*row, by] if error else []
        if world.open:
            assert len(row) >= FAILURES
            assert not explained(row, MIN_ORIGINS - 1)
            return
    assert min(users, solutions) < 6


# The trial


async def test_one_is_the_trial_and_the_others_wait() -> None:
    """One request is the trial while the others wait for its outcome, and that time counts as downtime."""
    world = World()
    await world.attempt(REFUSED)
    trying, may_end = asyncio.Event(), asyncio.Event()

    async def probe() -> None:
        async with world.breakers.guard(source()):
            trying.set()
            await may_end.wait()

    first = asyncio.create_task(probe())
    await trying.wait()
    second = asyncio.create_task(world.attempt())
    for _ in range(20):
        await asyncio.sleep(0)
    assert not second.done()
    may_end.set()
    await asyncio.gather(first, second)
    assert [] == world.open
    assert world.breakers.down_seconds() >= 5


async def test_a_trial_in_vain_lets_the_next_one_be_the_trial() -> None:
    """A trial that ended without reaching the dependency passes the trial on; a failed trial keeps it open longer."""
    world = World()
    await world.attempt(REFUSED)
    with pytest.raises(ZeroDivisionError):
        async with world.breakers.guard(source()):
            raise ZeroDivisionError
    before = world.time.seconds()
    await world.attempt(REFUSED)
    assert ["artifacts"] == world.open
    await world.attempt()
    assert ([], True) == (world.open, world.time.seconds() - before > 9)


async def test_a_trial_that_fails_for_its_own_sake_keeps_nobody_out() -> None:
    """After a bad solution's trial fails, another source is tried next, ahead of 20 users, and closes the breaker."""
    world = World()
    await world.opened()
    order: list[str] = []

    async def one(by: Origin, error: DeploymentError | None) -> None:
        with suppress(DeploymentError):
            async with world.breakers.guard(by):
                order.append(by.user)
                if error:
                    raise error

    await asyncio.gather(one(source(100, 100), None), *(one(source(user, 0), REDIRECTED) for user in range(20)))
    assert 1 == order.index("user-100")
    assert [] == world.open


async def test_a_second_and_a_third_source_show_that_it_is_still_down() -> None:
    """When trials of a second and a third source fail, the breaker opens for twice as long; all of it is downtime."""
    world = World()
    await world.opened()
    breaker, order = world.breakers.all["artifacts"], []

    async def failing(by: Origin) -> None:
        with suppress(Unavailable):
            async with world.breakers.guard(by):
                order.append(by.user)
                raise REDIRECTED

    sources = [source(1, 1), source(1, 2), source(2, 3), source(3, 4)]
    tasks = [asyncio.create_task(failing(by)) for by in sources]
    while len(order) < MIN_ORIGINS:  # noqa: ASYNC110 - each attempt counts itself
        await asyncio.sleep(0)
    assert {"user-1", "user-2", "user-3"} == set(order)
    assert breaker.open
    assert 4 * FIRST_OPEN_SECONDS == breaker._open_seconds
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize("by", [[source(user, 0) for user in range(20)], [source(0, it) for it in range(20)]])
async def test_requests_of_one_source_do_not_keep_it_open(by: list[Origin]) -> None:
    """When one source's requests alone remain, one trial closes the breaker for good, and their deadlines run."""
    world = World()
    await world.opened()
    trials = 0

    async def failing(one: Origin) -> None:
        nonlocal trials
        with suppress(Unavailable):
            async with world.breakers.guard(one):
                trials += bool(world.open)
                raise REDIRECTED

    await asyncio.gather(*map(failing, by))
    assert (1, [], False) == (trials, world.open, world.breakers.any_open())
    down = world.breakers.down_seconds()
    for one in by:
        await world.attempt(REDIRECTED, one)
        await world.time.sleep(60)
    assert ([], down) == (world.open, world.breakers.down_seconds())


async def test_attempts_that_began_before_it_opened_say_nothing_new() -> None:
    """Attempts that began before the breaker opened open it once, for the first period, even if 32 fail together."""
    world = World()
    await world.attempts(SLOW, different(32))
    before = world.time.seconds()
    await world.attempt()
    assert world.time.seconds() - before < 2 * FIRST_OPEN_SECONDS
    assert [] == world.open


# Downtime per request


async def test_each_request_counts_the_outages_since_its_last_status() -> None:
    """Each request counts each outage since its last status once, and reading an outage does not count it."""
    world, one, other = World(), FakeJob(), FakeJob()
    admission = Admission(Limiter(1), world.breakers, Budget(RESERVED_BYTES))
    assert Outage() == admission.outage(one)
    await world.attempt(REFUSED)
    await world.time.sleep(3)
    three = Outage(timedelta(seconds=3), is_down=True)
    assert three == admission.outage(one) == admission.outage(one)
    one.counted_down = one.seen_down  # as a published status does
    assert Outage(is_down=True) == admission.outage(other)
    await world.attempt()
    down = timedelta(seconds=world.breakers.down_seconds())
    assert Outage(down - timedelta(seconds=3)) == admission.outage(one) == admission.outage(other)
    one.counted_down = one.seen_down
    assert Outage() == admission.outage(one)


@pytest.mark.parametrize(
    ("users", "solutions", "opens"),
    [(FAILURES, FAILURES, True), (FAILURES, 1, False), (1, FAILURES, False)],
)
async def test_an_attempt_is_its_user_s_and_its_solution_s(users: int, solutions: int, opens: bool) -> None:
    """An attempt counts against the token's user and the record's solution."""
    world = World()
    admission = Admission(Limiter(1), world.breakers, Budget(RESERVED_BYTES))
    for number in range(FAILURES):
        ids = {"solutionId": str(UUID(int=number % solutions)), "revisionId": str(REVISION_ID), "jwtToken": "token"}
        job = FakeJob(record(ids))
        job.caller = Caller(f"user-{number % users}", "ada@example.org")
        with suppress(Unavailable):
            async with admission.attempt(job):
                raise SLOW
    assert opens == bool(world.open)


async def test_the_log_says_what_opened_a_breaker() -> None:
    """The log has the code, URL, cause and next trial when a breaker opens, and again at each failed trial."""
    world = World()
    down = Unavailable("catalog-unavailable", "Down.", dependency_wide=True).because("http://ccds.example", "refused")
    with capture_logs() as said:
        for _ in range(FAILURES + 1):
            await world.attempt(down)
    why = {"code": "catalog-unavailable", "message": "Down.", "url": "http://ccds.example", "cause": "refused"}
    line = {"event": "breaker opened", "dependency": "catalog", **why}
    assert [
        {**line, "log_level": "error", "seconds": FIRST_OPEN_SECONDS},
        {**line, "log_level": "info", "seconds": 2 * FIRST_OPEN_SECONDS},
    ] == said
