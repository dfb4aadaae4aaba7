"""The readers of the gateway and the commands on Apache Kafka, each in a process that has not imported the worker."""

import subprocess
import sys
from asyncio import to_thread

import pytest

from tests.support.hostile import BAD, careless_producer
from tests.support.paths import ROOT
from tests.support.topics import Topics

_FETCH = """
import asyncio, sys
import worker.{module}
from aiokafka import TopicPartition
from worker.adapters.kafka.clients import client_options, fetch_record, open_reader
from worker.settings import KafkaSettings

async def main(bootstrap, topic):
    places, found = [TopicPartition(topic, 0)], []
    async with open_reader(client_options(KafkaSettings(bootstrap_servers=bootstrap)), places) as reader:
        for offset in range(4):
            found.append((await fetch_record(reader, places[0], offset)).key)
    print(found)

asyncio.run(asyncio.wait_for(main(*sys.argv[1:]), 30))
"""


@pytest.mark.parametrize("compression", [None, "gzip"])
@pytest.mark.parametrize("module", ["gateway.bell", "gateway.operations", "client.dead_letters"])
async def test_a_header_that_is_no_text_stops_no_reader(
    module: str, compression: str | None, kafka: str, topics: Topics
) -> None:
    """A reader continues past headers that are not text.

    One such record used to stop the gateway's notifications permanently, and the commands that read it.
    """
    topic = await topics.create("requests")
    async with careless_producer(kafka, compression_type=compression) as producer:
        for number, headers in enumerate([[], BAD, BAD, []]):
            await producer.send_and_wait(topic, b"{}", key=b"%d" % number, headers=headers)
    run = [sys.executable, "-c", _FETCH.format(module=module), kafka, topic]
    ran = await to_thread(subprocess.run, run, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert ("[b'0', b'1', b'2', b'3']\n", 0) == (ran.stdout, ran.returncode), ran.stderr
