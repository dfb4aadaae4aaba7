"""The files that one three-node request crosses, counted: `make trace`.

A worker runs in this process on an Apache Kafka, its dependencies in another one. After a first request, which warms
everything up, `sys.setprofile` writes down each of our functions that a second one calls.
"""

import asyncio
import io
import json
import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from types import FrameType
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from tests.bench.neighbours import REVISION_ID, SOLUTION_ID
from tests.broker import unique_name
from tests.e2e.stage import environment
from worker.environment import read_settings

import schemas
import worker
from worker import app, logs
from worker.sandbox.kafka import EmbeddedKafka
from worker.sandbox.users import User, sandbox_token
from worker.settings import Settings

ROOT = Path(worker.__file__).parents[1]
OURS = tuple(str(Path(it.__file__).parent) for it in (schemas, worker))


@contextmanager
def traced(calls: list[tuple[str, str]]) -> Iterator[None]:
    """Write down file and name of each of our functions that is called meanwhile."""

    seen: set[int] = set()

    def note(frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if event == "call" and not code.co_name.startswith("<") and code.co_filename.startswith(OURS):
            if os.environ.get("NORESUME") and code.co_flags & 0x2A0 and frame.f_lasti > 6 and (id(frame) in seen):
                return
            seen.add(id(frame))
            calls.append((str(Path(code.co_filename).relative_to(ROOT)), f"{code.co_qualname}:{code.co_firstlineno}"))

    sys.setprofile(note)
    try:
        yield
    finally:
        sys.setprofile(None)


def table(calls: list[tuple[str, str]]) -> str:
    """A line a file, in the order in which the request enters them, and the sums."""
    files: dict[str, list[str]] = {}
    for file, name in calls:
        files.setdefault(file, []).append(name)
    changes = sum(1 for _ in groupby(calls, key=lambda call: call[0])) - 1
    lines = [f"{file:<48} {len(set(names)):>4} functions {len(names):>5} calls" for file, names in files.items()]
    functions = sum(len(set(names)) for names in files.values())
    return "\n".join([*lines, f"{len(files)} files, {functions} functions, {changes} changes of file"])


async def main() -> None:
    """Trace the second of two requests, and print the table."""
    async with EmbeddedKafka() as kafka, _dependencies(nodes=3) as url:
        env = environment(kafka.bootstrap_servers, unique_name(), url, url) | {"DEPLOYER_RUNTIME__HTTP_PORT": "0"}
        settings = read_settings(env, Settings)
        logs.configure("info", "json", io.StringIO())
        stop = asyncio.Event()
        working = asyncio.create_task(app.run(settings, stop))
        try:
            async with (
                AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers) as producer,
                AIOKafkaConsumer(
                    bootstrap_servers=kafka.bootstrap_servers,
                    isolation_level="read_committed",
                    auto_offset_reset="earliest",
                ) as statuses,
            ):
                await _until_topic(statuses, settings.kafka.status_topic)
                await _deployed(producer, statuses, settings, "r-0")
                await asyncio.sleep(1)  # what the first one started has ended
                token = sandbox_token(datetime.now(UTC), user=User("user-0", "u", "u@graphene.example")).encode()
                calls: list[tuple[str, str]] = []
                with traced(calls):
                    await _deployed(producer, statuses, settings, "r-1")
                sys.stdout.write(table(calls) + "\n")
                if os.environ.get("TRACE_CALLS"):
                    sys.stdout.write("\n".join(f"{f} {n}" for f, n in calls) + "\n")
        finally:
            stop.set()
            await working


async def _until_topic(statuses: AIOKafkaConsumer, topic: str) -> None:
    async with asyncio.timeout(60):
        while topic not in await statuses.topics():
            await asyncio.sleep(0.1)
    statuses.subscribe([topic])


async def _deployed(producer: AIOKafkaProducer, statuses: AIOKafkaConsumer, settings: Settings, name: str) -> None:
    value = {"requestId": name, "solutionId": str(SOLUTION_ID), "revisionId": str(REVISION_ID)}
    token = sandbox_token(datetime.now(UTC), user=User("user-0", "u", "u@graphene.example")).encode()
    await producer.send_and_wait(
        settings.kafka.requests_topic, json.dumps(value).encode(), key=b"user-0", headers=[("authorization", token)]
    )
    async for record in statuses:
        found = json.loads(record.value)
        if found["requestId"] == name and found["state"] in ("deployed", "rejected", "failed"):
            assert found["state"] == "deployed", found
            return


@asynccontextmanager
async def _dependencies(nodes: int) -> AsyncIterator[str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.neighbours", str(nodes), "0", stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout
    try:
        yield (await process.stdout.readline()).decode().strip()
    finally:
        process.kill()
        await process.wait()


if __name__ == "__main__":
    asyncio.run(main())
