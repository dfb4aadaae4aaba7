"""`python -m tests.extended.trace`: the files that one request for a pipeline of three nodes crosses, counted.

A worker runs in this process on an Apache Kafka, its dependencies in another process. After a first request, which
warms everything up, `sys.setprofile` records each call of our functions until the next request is deployed. Resuming a
coroutine counts as a call; comprehensions, lambdas and the sandbox do not count. Of several requests, the request with
the fewest files and changes is shown: the others include calls of timers.
"""

import asyncio
import io
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from types import FrameType
from typing import Any

from aiokafka import AIOKafkaProducer

from schemas import State
from tests.extended.bench.dependencies import REVISION_ID, served_apart, solution_id
from tests.support.broker import open_broker
from tests.support.paths import ROOT
from tests.support.stage import environment
from tests.support.statuses import ended, followed_statuses
from tests.support.topics import create_worker_topics, unique_name
from worker import app
from worker.observability import logs
from worker.sandbox.users import User, sandbox_token
from worker.settings import Settings, read_settings

OURS = tuple(f"{ROOT / package}/" for package in ("schemas", "worker"))
SANDBOX = f"{ROOT / 'worker' / 'sandbox'}/"
REQUESTS = 10
USER = User("user-0", "user0", "user0@graphene.example")


@dataclass(frozen=True, slots=True)
class Call:
    """A function of ours that was called or resumed."""

    file: str
    function: str  # with its line, because two functions may share a name


@contextmanager
def traced(calls: list[Call]) -> Iterator[None]:
    """Record each call of our functions inside the block."""

    def note(frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        file = code.co_filename
        if event == "call" and file.startswith(OURS) and not file.startswith(SANDBOX) and code.co_name[0] != "<":
            calls.append(Call(str(Path(file).relative_to(ROOT)), f"{code.co_qualname}:{code.co_firstlineno}"))

    sys.setprofile(note)
    try:
        yield
    finally:
        sys.setprofile(None)


def table(calls: Sequence[Call]) -> str:
    """Return a row for each file, in the order in which the request enters them, and the sums."""
    files: dict[str, list[str]] = {}
    for call in calls:
        files.setdefault(call.file, []).append(call.function)
    rows = ["| file | functions | calls |", "|---|---|---|"]
    rows += [f"| `{file}` | {len(set(functions))} | {len(functions)} |" for file, functions in files.items()]
    functions = len(set(calls))
    return "\n".join([*rows, "", f"{len(files)} files, {functions} functions, {changes(calls)} changes of file"])


def changes(calls: Sequence[Call]) -> int:
    """Return how often the file changes from one call to the next."""
    return sum(1 for _ in groupby(calls, key=lambda call: call.file)) - 1


@dataclass(frozen=True, slots=True)
class Client:
    """Sends requests. It reads no status while calls are recorded: its Kafka client's calls would count as ours."""

    producer: AIOKafkaProducer
    topic: str
    token: bytes

    async def deploy(self, number: int) -> None:
        """Deploy a new solution. Return when its job has started and finished."""
        value = {"requestId": f"r-{number}", "solutionId": solution_id(number), "revisionId": str(REVISION_ID)}
        headers = [("authorization", self.token)]
        await self.producer.send_and_wait(self.topic, json.dumps(value).encode(), key=b"user-0", headers=headers)
        for there in (True, False):
            while bool(_jobs()) != there:  # noqa: ASYNC110 - a task tells nobody that it was made
                await asyncio.sleep(0.001)


def _jobs() -> list[asyncio.Task[Any]]:
    return [task for task in asyncio.all_tasks() if task.get_name().startswith("request ")]


async def trace(bootstrap: str) -> list[Call]:
    """Return the calls of one request among REQUESTS."""
    async with served_apart(nodes=3, latency=0) as url:
        env = environment(bootstrap, unique_name(), url, url) | {"DEPLOYER_RUNTIME__HTTP_PORT": "0"}
        settings = read_settings(env, Settings)
        kafka = settings.kafka
        await create_worker_topics(kafka)
        stop = asyncio.Event()
        working = asyncio.create_task(app.run(settings, stop))
        traces: list[list[Call]] = []
        try:
            async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
                token = sandbox_token(datetime.now(UTC), user=USER).encode()
                client = Client(producer, kafka.requests_topic, token)
                await client.deploy(0)
                for number in range(1, REQUESTS + 1):
                    traces.append([])
                    with traced(traces[-1]):
                        await client.deploy(number)
        finally:
            stop.set()
            await working
        names = [f"r-{number}" for number in range(REQUESTS + 1)]
        async with followed_statuses(bootstrap, kafka.status_topic, kafka.partitions) as statuses:
            await statuses.until(names, ended)
        assert {State.DEPLOYED} == {statuses.of[name][-1].state for name in names}
        return min(traces, key=lambda calls: (len({call.file for call in calls}), changes(calls)))


def main() -> None:
    """Print the table of docs/request-path.md."""
    logs.configure("info", "json", io.StringIO())
    with open_broker(short_lived=True) as broker:
        calls = asyncio.run(trace(broker.bootstrap_servers))
    sys.stdout.write(table(calls) + "\n")


if __name__ == "__main__":
    main()
