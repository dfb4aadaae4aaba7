"""The reason why no broker can be reached, per server."""

import asyncio

import pytest

from tests.support.servers import ServeRaw
from worker.adapters.kafka.diagnosis import KafkaUnreachable, connected
from worker.settings import KafkaSettings


async def reasons(servers: str) -> list[str]:
    """Return the reason for each server."""
    with pytest.raises(KafkaUnreachable) as unreachable:
        async with connected(KafkaSettings(bootstrap_servers=servers)):
            pass
    return unreachable.value.reasons.split("; ")


async def test_every_server_has_its_reason() -> None:
    """Each server has its own reason, such as a refused connection or an unknown name, in the order of the setting."""
    assert ["127.0.0.1:1: connection refused", "nowhere.invalid:9092: name not known"] == await reasons(
        "127.0.0.1:1,nowhere.invalid:9092"
    )


async def test_a_server_that_hangs_up_or_is_not_kafka(serve_raw: ServeRaw) -> None:
    """What a server that is not Kafka sent is not repeated, as it may be anything."""

    async def hang_up(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read(1)

    async def nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"\0\0\0\x0ccanary-canary")
        await writer.drain()
        await reader.read()

    silent, other = await serve_raw(hang_up), await serve_raw(nonsense)
    assert [f"{silent}: the connection was closed", f"{other}: CorrelationId"] == await reasons(f"{silent},{other}")
