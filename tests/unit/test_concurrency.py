"""Background work is restarted after a failure."""

import asyncio

from worker.concurrency import MAX_PAUSE_SECONDS, keep_running, running


async def test_background_work_that_fails_is_started_again() -> None:
    """Failing work is restarted and each failure counted.

    Pauses double up to a minute, and are short again after the work ran for that long.
    """
    now, runs, failures, pauses = 0.0, 0, 0, []

    async def work() -> None:
        nonlocal now, runs
        runs += 1
        now += MAX_PAUSE_SECONDS + 1 if runs == 9 else 0
        if runs == 11:
            return
        raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "as a record's header can be")

    def on_failure() -> None:
        nonlocal failures
        failures += 1

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    await keep_running(work, "test", on_failure, sleep, lambda: now)
    assert ([1, 2, 4, 8, 16, 32, 60, 60, 1, 2], 10) == (pauses, failures)


async def test_background_work_ends_with_its_block() -> None:
    """Background work stops with its block, even while it waits for a restart."""
    failed = asyncio.Event()

    async def work() -> None:
        raise ValueError

    async with asyncio.timeout(1):
        async with running(work, "test", failed.set):
            await failed.wait()
    assert ["test"] != [it.get_name() for it in asyncio.all_tasks() if it.get_name() == "test"]
