import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from signal import Signals

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from tests.support.paths import ROOT
from tests.support.topics import Topics
from worker.errors import ConfigurationError
from worker.sandbox.kafka import EmbeddedKafka
from worker.sandbox.kafka_node import HOST, Ports, free_ports


async def consume(bootstrap: str, topic: str, count: int, isolation: str = "read_committed") -> list[bytes]:
    """Return this number of values from the topic's start."""
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest", isolation_level=isolation
    )
    async with consumer:
        return [(await consumer.getone()).value for _ in range(count)]


async def produce(bootstrap: str, topic: str, value: bytes) -> None:
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all") as producer:
        await producer.send_and_wait(topic, value)


async def test_a_transaction_is_seen_whole_or_not_at_all(kafka: str, topics: Topics) -> None:
    """Embedded Kafka has what an imitation lacks: isolation, and offsets committed together with records."""
    topic, group = await topics.create("events"), topics.name("group")
    place = TopicPartition(topic, 0)
    async with AIOKafkaProducer(bootstrap_servers=kafka, transactional_id=topics.name("id")) as producer:
        await producer.begin_transaction()
        await producer.send_and_wait(topic, b"taken back")
        await producer.abort_transaction()
        async with producer.transaction():
            await producer.send_and_wait(topic, b"kept")
            await producer.send_offsets_to_transaction({place: 7}, group)
    assert [b"kept"] == await consume(kafka, topic, 1)
    assert [b"taken back", b"kept"] == await consume(kafka, topic, 2, isolation="read_uncommitted")
    async with AIOKafkaConsumer(bootstrap_servers=kafka, group_id=group) as consumer:
        assert 7 == await consumer.committed(place)


async def test_topics_have_the_configs_asked_for_and_errors_are_raised(kafka: str, topics: Topics) -> None:
    """The tests' own helper creates topics with the requested configs, and raises when a topic could not be created."""
    topic = await topics.create("compacted", partitions=3, cleanup_policy="compact")
    async with AIOKafkaProducer(bootstrap_servers=kafka) as producer:
        assert {0, 1, 2} == await producer.partitions_for(topic)
    with pytest.raises(Exception, match="already exists"):
        await topics.create("compacted")
    with pytest.raises(Exception, match="Unknown topic config"):
        await topics.create("other", no_such_config="1")


async def test_the_data_outlive_a_fault_and_a_stop(tmp_path: Path) -> None:
    """The data survive SIGKILL and a stop.

    After SIGKILL Kafka is back at its address. After a stop, a new instance opens the same folder.
    """
    first = EmbeddedKafka(tmp_path)
    async with first:
        address = first.bootstrap_servers
        topic = await Topics(address, "t").create("kept")
        await produce(address, topic, b"before the fault")
        await first.kill()
        await first.start()
        assert address == first.bootstrap_servers
        await produce(address, topic, b"after the fault")
    async with EmbeddedKafka(tmp_path) as second:
        assert [b"before the fault", b"after the fault"] == await consume(second.bootstrap_servers, topic, 2)


async def test_a_port_that_was_taken_meanwhile_is_left_to_its_owner() -> None:
    """If a chosen port is taken before Kafka starts, another pair is tried, and its owner is not mistaken for
    Kafka."""
    with closing(socket.create_server((HOST, 0))) as other:
        free = free_ports()
        offers = iter([Ports(other.getsockname()[1], free.controller), free])
        async with EmbeddedKafka(pick_ports=lambda: next(offers)) as kafka:
            assert f"{HOST}:{free.broker}" == kafka.bootstrap_servers


async def test_a_start_that_fails_shows_why(tmp_path: Path) -> None:
    """A failed start shows the end of the server's own log and names the alternative; no process keeps running."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "meta.properties").write_text("version=1\nnode.id=2\ncluster.id=another\n")
    kafka = EmbeddedKafka(tmp_path)
    with pytest.raises(ConfigurationError, match=r"does not start here.*--kafka HOST:PORT(.|\n)*node id 2"):
        await kafka.start()
    await until_named(tmp_path, False)


ENDS = pytest.mark.parametrize(
    ("sent", "expected"), [(signal.SIGTERM, 0), (signal.SIGINT, 0), (signal.SIGKILL, -signal.SIGKILL)]
)


@ENDS
async def test_nothing_outlives_the_owner(sent: Signals, expected: int, tmp_path: Path) -> None:
    """No process and no file outlives the owner, also after a signal to its whole group, or without any clean-up."""
    async with owner(tmp_path) as process:
        assert process.stdout
        line = (await process.stdout.readline()).decode().strip()
        async with AIOKafkaProducer(bootstrap_servers=line.removeprefix("export KAFKA_BOOTSTRAP=")):
            os.killpg(process.pid, sent)
        assert expected == await process.wait()
    await until_named(tmp_path, False)
    assert [] == list(tmp_path.iterdir())


@ENDS
async def test_nothing_is_left_of_a_start_that_is_interrupted(sent: Signals, expected: int, tmp_path: Path) -> None:
    """An interruption during the first command of a start leaves no process and no file behind."""
    async with owner(tmp_path) as process:
        await until_named(tmp_path, True)
        os.killpg(process.pid, sent)
        assert expected == await process.wait()
    await until_named(tmp_path, False)
    assert [] == list(tmp_path.iterdir())


@asynccontextmanager
async def owner(temporary: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """Start `python -m worker.sandbox.kafka` in its own process group, like a terminal."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", "-m", "worker.sandbox.kafka"),
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(temporary)},
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


async def until_named(folder: Path, expected: bool) -> None:
    """Wait until a process, or none, has the folder in its command, as all processes of an embedded Kafka do."""
    async with asyncio.timeout(30):
        while True:
            if expected == await asyncio.to_thread(is_named, folder):
                return
            await asyncio.sleep(0.02)  # nothing notifies us when a process that is not our child exits


def is_named(folder: Path) -> bool:
    return any(str(folder) in command for command in running_commands())


def running_commands() -> list[str]:
    """Return the commands of all processes on this machine, except processes that exit during the scan."""
    if not Path("/proc/self").exists():
        return subprocess.run(
            ["ps", "-A", "-o", "args"], capture_output=True, text=True, check=True
        ).stdout.splitlines()
    commands = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            commands.append(path.read_text(errors="replace").replace("\0", " "))
        except OSError:
            continue
    return commands
