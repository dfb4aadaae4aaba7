"""What every Kafka client is given, and how it is stopped."""

import asyncio

import pytest

from worker.adapters.kafka import stop_client


async def test_a_cancellation_that_is_not_ours_is_a_stop() -> None:
    """aiokafka's consumer lets one out when its broker is away; the worker would end with the code of an interrupt."""

    async def stop() -> None:
        raise asyncio.CancelledError

    assert await stop_client(stop, 10)


async def test_a_stop_that_takes_too_long_is_given_up() -> None:
    """Without brokers aiokafka's producer waits for ever."""
    assert not await stop_client(asyncio.Event().wait, 0.01)


async def test_our_own_cancellation_goes_through() -> None:
    """Or nobody could interrupt a command that is closing."""
    stopping = asyncio.Event()

    async def stop() -> None:
        stopping.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(stop_client(stop, 10))
    await stopping.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
