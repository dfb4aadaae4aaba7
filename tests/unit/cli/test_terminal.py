"""How commands stop."""

import asyncio
import gc
import os
import signal

import pytest

from worker.cli.terminal import STOP_SIGNALS, run, until_stopped
from worker.concurrency import run_until_signal


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_signal_closes_everything_and_is_the_exit_code(number: signal.Signals) -> None:
    """A signal closes everything and sets the exit code to 128 plus its number; a second signal interrupts nothing."""
    closed = []

    async def work() -> int:
        try:
            os.kill(os.getpid(), number)
            return await asyncio.Event().wait()
        finally:
            os.kill(os.getpid(), number)
            await asyncio.sleep(0)  # the signal is delivered here
            closed.append("all")

    assert 128 + number == run(work())
    assert ["all"] == closed


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_signal_may_be_the_ordinary_end(number: signal.Signals) -> None:
    """Work that waits for a signal continues after it with its own exit code, and time limits work as before."""

    async def work() -> int:
        asyncio.get_running_loop().call_soon(os.kill, os.getpid(), number)
        await until_stopped()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await asyncio.Event().wait()
        return 7

    assert 7 == run(work())


def test_a_process_is_told_once_and_cancelled_once() -> None:
    """The first signal requests a stop, the second cancels, and a third does not interrupt the cleanup."""
    closed = []

    async def work(stop: asyncio.Event) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        await stop.wait()
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.Event().wait()
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
            for _ in range(5):
                await asyncio.sleep(0)  # the signal is delivered here
            closed.append("all")

    with pytest.raises(asyncio.CancelledError):
        run_until_signal(work)
    assert ["all"] == closed


def test_a_process_that_serves_does_not_look_for_garbage_in_what_it_imported() -> None:
    """A serving process freezes its imports, which take 0.1 s per garbage collection, and unfreezes them afterwards."""
    before, found = gc.get_threshold(), []

    async def work(_: asyncio.Event) -> None:
        found.append((gc.get_freeze_count() > 10_000, gc.get_threshold()[0]))

    run_until_signal(work)
    assert [(True, 10_000)] == found
    assert (before, 0) == (gc.get_threshold(), gc.get_freeze_count())


def test_a_cancellation_of_its_own_is_no_signal() -> None:
    """A CancelledError from a defect is not mistaken for Ctrl-C."""

    async def work() -> int:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        run(work())
