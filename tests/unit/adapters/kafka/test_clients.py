"""The options of every Kafka client, and how clients start and stop."""

import asyncio
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError, KafkaError
from cryptography.hazmat.primitives import serialization

from tests.support.certificates import Authority
from worker.adapters.kafka import clients
from worker.adapters.kafka.clients import client_options, running_client, stop_client
from worker.errors import ConfigurationError
from worker.settings import KafkaSettings


async def test_a_cancellation_that_is_not_ours_is_a_stop() -> None:
    """A CancelledError that aiokafka's consumer raises when its broker is gone counts as a stop, not an interrupt."""

    async def stop() -> None:
        raise asyncio.CancelledError

    assert await stop_client(stop, 10)


async def test_a_stop_that_takes_too_long_is_abandoned() -> None:
    """A stop that takes too long is abandoned: without brokers aiokafka's producer waits endlessly."""
    assert not await stop_client(asyncio.Event().wait, 0.01)


@pytest.mark.parametrize("kept", [nullcontext(), suppress(asyncio.CancelledError)])
async def test_our_own_cancellation_goes_through(kept: AbstractContextManager[None]) -> None:
    """Cancelling the caller is passed on, even if aiokafka swallows it while it waits for a cancelled task.

    Otherwise a command that is closing could not be interrupted, and a worker would not stop at SIGTERM.
    """
    stopping = asyncio.Event()

    async def stop() -> None:
        stopping.set()
        with kept:
            await asyncio.Event().wait()

    task = asyncio.create_task(stop_client(stop, 10))
    await stopping.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_stop_at_the_end_of_a_cancelled_task_is_a_stop() -> None:
    """The cancellation that led to a stop is not mistaken for another."""
    working = asyncio.Event()

    async def stop() -> None:
        raise asyncio.CancelledError

    async def cancelled() -> bool:
        working.set()
        try:
            await asyncio.Event().wait()
        finally:
            return await stop_client(stop, 10)  # noqa: B012 - the return value is the subject

    task = asyncio.create_task(cancelled())
    await working.wait()
    task.cancel()
    assert await task


async def test_a_stop_that_keeps_the_end_of_its_time_to_itself_is_late() -> None:
    """A stop that swallows its own time limit, which is a cancellation as well, counts as late."""

    async def stop() -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()

    assert not await stop_client(stop, 0.01)


class Client:
    """A client that starts when its broker answers."""

    def __init__(self) -> None:
        self.answer = asyncio.Event()
        self.stopped = False

    async def start(self) -> None:
        await self.answer.wait()

    async def stop(self) -> None:
        self.stopped = True


async def test_a_client_that_does_not_start_in_time_is_stopped() -> None:
    """A client that does not start in time raises and is stopped, so no connection stays open."""
    client = Client()
    with pytest.raises(KafkaConnectionError):
        async with running_client(client, start_seconds=0.01):
            raise AssertionError("it started")
    assert client.stopped


async def test_a_timeout_inside_the_block_is_not_taken_for_a_failed_start() -> None:
    """Only the start has a time limit; an error in the block is passed on."""
    client = Client()
    client.answer.set()
    with pytest.raises(TimeoutError):
        async with running_client(client, start_seconds=10):
            raise TimeoutError
    assert client.stopped


CA = "DEPLOYER_KAFKA__SSL_CA_FILE: it cannot be used: "
OURS = "DEPLOYER_KAFKA__SSL_CERT_FILE and DEPLOYER_KAFKA__SSL_KEY_FILE: they cannot be used: "


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"ssl_ca_file": "missing.pem"}, f"{CA}No such file or directory. "),
        ({"ssl_ca_file": "words.pem"}, CA),
        ({"ssl_cert_file": "missing.pem"}, f"{OURS}No such file or directory. "),
        ({"ssl_key_file": "other.key"}, f"{OURS}KEY_VALUES_MISMATCH. "),
        ({"ssl_key_file": "locked.key"}, OURS),
    ],
)
def test_files_that_cannot_be_used_are_named(changes: dict[str, str], expected: str, tmp_path: Path) -> None:
    """Unusable files are reported by their settings, and no password of a key is prompted for."""
    authority = Authority(tmp_path, "authority")
    ours, _ = authority.issue("ours"), authority.issue("other")
    (tmp_path / "words.pem").write_text("This is no certificate.")
    key = serialization.load_pem_private_key(ours.key.read_bytes(), None)
    locked = serialization.BestAvailableEncryption(b"a password")
    (tmp_path / "locked.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked)
    )
    files = {"ssl_ca_file": authority.file, "ssl_cert_file": ours.certificate, "ssl_key_file": ours.key}
    given = files | {name: tmp_path / value for name, value in changes.items()}
    with pytest.raises(ConfigurationError) as raised:
        client_options(KafkaSettings(bootstrap_servers="localhost:9093", security_protocol="SSL", **given))
    assert expected == str(raised.value)[: len(expected)]


class _Stuck:
    """A consumer of a recreated partition: its position is before the offset, and no record comes."""

    def assign(self, _: object) -> None:
        """Do nothing."""

    def seek(self, *_: object) -> None:
        """Do nothing."""

    async def beginning_offsets(self, tps: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(tps, 0)

    async def end_offsets(self, tps: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(tps, 8)

    async def position(self, _: TopicPartition) -> int:
        return 0

    async def getmany(self, *_: object, **__: object) -> dict[TopicPartition, list[object]]:
        await asyncio.sleep(0.001)
        return {}


class _Lost(_Stuck):
    """A reader without a valid position, as aiokafka's after an offset out of range while no broker answers."""

    async def position(self, _: TopicPartition) -> int:
        await asyncio.Event().wait()
        return 0


async def test_a_record_that_never_comes_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The wait for a record that never comes has a limit, or the gateway's notifications would wait endlessly."""
    monkeypatch.setattr(clients, "FETCH_SECONDS", 0.05)
    for reader in (_Stuck(), _Lost()):
        async with asyncio.timeout(5):
            with pytest.raises(KafkaError, match="offset 7"):
                await clients.fetch_record(reader, TopicPartition("t", 0), 7)


async def test_a_position_that_never_comes_is_given_up() -> None:
    """Reading up to an offset has a limit, too, also where Kafka's client waits for a valid position."""
    async with asyncio.timeout(5):
        with pytest.raises(TimeoutError):
            [record async for record in clients.read_up_to(_Lost(), {TopicPartition("t", 0): 8}, 0.05)]
