"""Concurrent work, background work, and running a process until a signal."""

import asyncio
import gc
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, ParamSpec, TypeVar

import structlog

P = ParamSpec("P")
T = TypeVar("T")

PAUSE_SECONDS, MAX_PAUSE_SECONDS = 1.0, 60.0  # before a failed background task is started again

log = structlog.get_logger()


async def in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run CPU-bound work outside the event loop, and return its result. Python switches threads every 5 ms.

    A thread cannot be cancelled. A cancelled caller therefore waits until the thread completes, so that the thread's
    memory stays accounted for.
    """
    running = asyncio.ensure_future(asyncio.to_thread(work, *args, **kwargs))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait((running,))
        if not running.cancelled():
            running.exception()  # marks it as retrieved; asyncio would log it otherwise
        raise


async def together(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Return the results in order; on the first failure, cancel and await the rest, then raise that failure.

    Of several simultaneous failures, the first in order is raised, so that the same input gives the same error.
    """
    tasks: list[asyncio.Task[T]] = []
    try:
        async with asyncio.TaskGroup() as group:
            tasks += [group.create_task(coroutine) for coroutine in work]
    except ExceptionGroup:
        for task in tasks:
            if not task.cancelled():
                task.result()
        raise
    return [task.result() for task in tasks]


@asynccontextmanager
async def running(
    work: Callable[[], Coroutine[Any, Any, None]], name: str, on_failure: Callable[[], object] = lambda: None
) -> AsyncIterator[None]:
    """Run background work during the block, and cancel it at the end of the block.

    Work that fails is started again, and `on_failure` is called: nothing else waits for the work, so without a log line
    and a metric no one would see that it had stopped.
    """
    task = asyncio.create_task(keep_running(work, name, on_failure), name=name)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def keep_running(
    work: Callable[[], Coroutine[Any, Any, None]],
    name: str,
    on_failure: Callable[[], object],
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Run work until it returns. Start it again after each failure, with a backoff of up to MAX_PAUSE_SECONDS."""
    pause = PAUSE_SECONDS
    while True:
        began = clock()
        try:
            return await work()
        except Exception as error:  # noqa: BLE001 - a defect, or a record of an unforeseen kind
            if clock() - began > MAX_PAUSE_SECONDS:
                pause = PAUSE_SECONDS
            kind, why = type(error).__name__, str(error)[:200]
            log.error("background task failed", task=name, error=kind, why=why, retry_in_seconds=pause)  # noqa: TRY400
            on_failure()
        await sleep(pause)
        pause = min(2 * pause, MAX_PAUSE_SECONDS)


def run_until_signal(run: Callable[[asyncio.Event], Coroutine[Any, Any, None]]) -> None:
    """Run a process. The first SIGTERM or SIGINT sets the event that `run` receives; the second cancels `run`."""

    async def main() -> None:
        stop = asyncio.Event()
        work = asyncio.ensure_future(run(stop))

        def stop_or_cancel(received: signal.Signals) -> None:
            log.info("stopping at once" if stop.is_set() else "stopping", signal=received.name)
            if stop.is_set() and not work.cancelling():  # a third signal must not interrupt the cleanup
                work.cancel()
            stop.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop_or_cancel, number)
        await asyncio.gather(work, return_exceptions=False)

    with sparing_garbage_collector(), asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(main())


@contextmanager
def sparing_garbage_collector() -> Iterator[None]:
    """Run the garbage collector rarely, and only over objects that are created inside the block.

    With Python's own thresholds, the collector scanned all objects after every 270 requests. A scan took 120 ms, and
    scans took a sixth of a worker's CPU. Objects without reference cycles are freed immediately in any case.
    """
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(10_000)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Create an event loop: uvloop's, which takes less CPU, or asyncio's own on platforms without a uvloop wheel."""
    try:
        import uvloop  # noqa: PLC0415 - the import takes 16 ms of CPU; only servers need it
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
