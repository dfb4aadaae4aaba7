"""`submit`, `watch` and `check` on Apache Kafka, with a stand-in for the worker that answers as the test specifies."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from schemas import DeploymentStatus, ErrorInfo, State, fingerprint
from tests.support.paths import ROOT
from tests.support.topics import Topics, create_worker_topics
from worker.domain.request import Record, Request, read_request
from worker.sandbox.environment import worker_environment
from worker.sandbox.graphene import graphene_app
from worker.sandbox.http_server import served
from worker.sandbox.playground import playground_app
from worker.sandbox.users import SANDBOX_USER, sandbox_token
from worker.settings import ClientSettings, KafkaSettings, read_settings

SOLUTION, REVISION = UUID(int=1), UUID(int=2)
IDS = (str(SOLUTION), str(REVISION))
ERRORS = {
    State.REJECTED: ErrorInfo(code="solution-not-found", message="There is none.", stage="fetch", retryable=False),
    State.FAILED: ErrorInfo(code="catalog-timeout", message="It is slow.", stage="fetch", retryable=True),
}


@dataclass(slots=True)
class Desk:
    """The topics of one test, and a stand-in for the worker that answers requests."""

    kafka: KafkaSettings
    environment: dict[str, str]
    producer: AIOKafkaProducer
    consumer: AIOKafkaConsumer
    seen: list[tuple[Record, Request]] = field(default_factory=list)

    async def answer(self, *states: State) -> None:
        """Wait for one request and publish its statuses in these states."""
        record = await self.consumer.getone()
        read = Record(
            "cluster", record.topic, record.partition, record.offset, record.timestamp, True,
            record.key, record.value, record.headers,
        )  # fmt: skip
        request = read_request(read)
        assert isinstance(request, Request)
        self.seen.append((read, request))
        for sequence, state in enumerate(states):
            await self.publish(read, request, sequence, state)

    async def publish(self, record: Record, request: Request, sequence: int, state: State) -> None:
        """Publish one status, as the worker does."""
        status = DeploymentStatus(
            request_id=request.id,
            sequence=sequence,
            state=state,
            time=datetime.now(UTC),
            attempt=1,
            message=f"It is {state}.",
            error=ERRORS.get(state),
            fingerprint=fingerprint(SANDBOX_USER.user_id, request.solution_id, request.revision_id),
            source=record.source,
        )
        message = status.to_message(self.kafka.status_topic, "/tests")
        await self.producer.send_and_wait(
            message.topic, message.value, key=message.key, partition=message.partition, headers=[*message.headers]
        )

    @asynccontextmanager
    async def command(self, *arguments: str, stdin: str = "") -> AsyncIterator[asyncio.subprocess.Process]:
        """Run a command in a separate process with this test's settings; its stdout can be read line by line."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "worker", *arguments, cwd=ROOT, env={**self.environment, "PATH": ""},
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            assert process.stdin
            process.stdin.write(stdin.encode())
            process.stdin.close()
            yield process
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def run(self, *arguments: str, stdin: str = "") -> tuple[int | None, list[str], str]:
        """Return the exit code, the lines of stdout, and stderr."""
        async with self.command(*arguments, stdin=stdin) as process:
            assert process.stdout
            assert process.stderr
            output, errors = await asyncio.gather(process.stdout.read(), process.stderr.read())
            return await process.wait(), output.decode().splitlines(), errors.decode()


@pytest.fixture
async def desk(kafka: str, unique: str) -> AsyncIterator[Desk]:
    """Empty topics with unique names."""
    environment = worker_environment(kafka, "http://127.0.0.1:1", "http://127.0.0.1:1", "/deploy_solution", unique)
    settings = read_settings(environment, ClientSettings).kafka
    await create_worker_topics(settings)
    producer = AIOKafkaProducer(bootstrap_servers=kafka)
    consumer = AIOKafkaConsumer(settings.requests_topic, bootstrap_servers=kafka, auto_offset_reset="earliest")
    async with producer, consumer:
        yield Desk(settings, environment, producer, consumer)


def token(lifetime: timedelta = timedelta(hours=1)) -> str:
    """Return a token of the sandbox's user."""
    return sandbox_token(datetime.now(UTC), lifetime)


def submit(*options: str) -> Sequence[str]:
    """Return the arguments of `submit`."""
    return ("submit", *IDS, "--token-stdin", *options)


async def test_a_submitted_request_is_one_the_worker_understands(desk: Desk) -> None:
    """A submitted request has the key, token and ids that the worker expects, in the default partitioner's
    partition."""
    given = token()
    code, output, errors = await desk.run(*submit("--request-id", "r-1"), stdin=given)
    assert (0, ["r-1"], "") == (code, output, errors)
    await desk.answer()
    [(record, request)] = desk.seen
    assert Request("r-1", SOLUTION, REVISION, f"Bearer {given}") == request
    assert SANDBOX_USER.user_id.encode() == record.key
    by_default = await desk.producer.send_and_wait(desk.kafka.requests_topic, b"", key=record.key)
    assert by_default.partition == record.partition


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ((State.ACCEPTED, State.BUILDING, State.SUBMITTING, State.DEPLOYED), 0),
        ((State.REJECTED,), 1),
        ((State.ACCEPTED, State.BUILDING, State.FAILED), 1),
    ],
)
async def test_wait_ends_with_the_final_status(states: Sequence[State], expected: int, desk: Desk) -> None:
    """`--wait` exits with 0 only when the request is deployed; it prints every status, and the code of a failure."""
    (code, output, _), _ = await asyncio.gather(desk.run(*submit("--wait"), stdin=token()), desk.answer(*states))
    assert expected == code
    request_id, *lines = output
    assert str(UUID(request_id)) == request_id
    assert [(request_id, state) for state in states] == [tuple(line.split()[1:3]) for line in lines]
    assert (states[-1] not in ERRORS) or f"[{ERRORS[states[-1]].code}]" in lines[-1]


async def test_wait_gives_up_in_time(desk: Desk) -> None:
    """After the timeout, `--wait` exits with 3 and prints the command that continues to wait."""
    code, output, errors = await desk.run(*submit("--wait", "--timeout", "0.2", "--request-id", "r-1"), stdin=token())
    assert (3, ["r-1"]) == (code, output)
    assert "playground-deployer watch --from-beginning --request-id r-1" in errors


async def test_wait_finds_a_status_that_was_there_already(desk: Desk) -> None:
    """Submitting the same request again publishes no new status, so `--wait` finds its earlier final status."""
    await desk.run(*submit("--request-id", "r-1"), stdin=token())
    await desk.answer(State.ACCEPTED, State.BUILDING, State.SUBMITTING, State.DEPLOYED)
    code, output, _ = await desk.run(*submit("--wait", "--request-id", "r-1"), stdin=token())
    assert (0, "deployed") == (code, output[-1].split()[2])


async def test_watch_follows_until_it_is_stopped(desk: Desk) -> None:
    """`watch` prints the existing statuses and then new ones, each once; Ctrl-C stops it with exit code 0."""
    await desk.run(*submit("--request-id", "r-1"), stdin=token())
    await desk.answer(State.ACCEPTED)
    [(record, request)] = desk.seen
    async with desk.command("watch", "--from-beginning") as process:
        assert process.stdout
        assert "r-1  accepted    It is accepted." in (await process.stdout.readline()).decode()
        for sequence, state in enumerate((State.ACCEPTED, State.BUILDING)):
            await desk.publish(record, request, sequence, state)
        assert "r-1  building    It is building." in (await process.stdout.readline()).decode()
        process.send_signal(2)
        assert 0 == await process.wait()


async def test_watch_json_is_the_event(desk: Desk) -> None:
    """`watch --json` prints one JSON object per line, for the selected request only."""
    for request_id in ("r-1", "r-2"):
        await desk.run(*submit("--request-id", request_id), stdin=token())
        await desk.answer(State.ACCEPTED)
    async with desk.command("watch", "--from-beginning", "--json", "--request-id", "r-2") as process:
        assert process.stdout
        event = json.loads(await process.stdout.readline())
    assert ("r-2", 0) == (event["requestId"], event["sequence"])
    assert DeploymentStatus.model_validate(event).to_json() == json.dumps(event, separators=(",", ":")).encode()


async def test_status_says_where_requests_stand(desk: Desk) -> None:
    """`status` prints the statuses of one request, or the last status of every open request, and exits.

    Each status is printed once; `--json` prints them as published.
    """
    for request_id, states in (("r-1", [State.ACCEPTED, State.DEPLOYED]), ("r-2", [State.ACCEPTED, State.BUILDING])):
        await desk.run(*submit("--request-id", request_id), stdin=token())
        await desk.answer(*states)
    await desk.publish(*desk.seen[1], 0, State.ACCEPTED)
    code, output, errors = await desk.run("status", "r-2")
    assert (0, ["accepted", "building"], "") == (code, [line.split()[2] for line in output], errors)
    code, output, _ = await desk.run("status", "--open")
    [line] = output
    assert (0, ["r-2", "building"]) == (code, line.split()[1:3])
    assert datetime.now(UTC) - datetime.fromisoformat(line.split()[0]) < timedelta(hours=1)
    code, output, _ = await desk.run("status", "--open", "--json")
    assert (0, [("r-2", 1)]) == (code, [(it["requestId"], it["sequence"]) for it in map(json.loads, output)])
    code, output, errors = await desk.run("status", "r-3")
    assert (1, [], True) == (
        code,
        output,
        "r-3: no status has this id. The worker may not have read the request yet, or rejected it before" in errors,
    )


async def test_a_status_topic_with_too_few_partitions_is_named(desk: Desk, topics: Topics) -> None:
    """A status topic with too few partitions is named before anything is published.

    The request's statuses could not be followed, nor even written.
    """
    desk.environment["DEPLOYER_KAFKA__STATUS_TOPIC"] = await topics.create("small")
    code, output, errors = await desk.run(*submit("--wait"), stdin=token())
    assert (1, []) == (code, output)
    assert f"DEPLOYER_KAFKA__STATUS_TOPIC: '{topics.name('small')}' has fewer partitions" in errors


@pytest.mark.parametrize("command", [["watch"], submit(), submit("--wait")])
async def test_a_topic_that_does_not_exist_is_named(command: Sequence[str], kafka: str, desk: Desk) -> None:
    """A missing topic is named at once, without aiokafka's long wait."""
    desk.environment = {"DEPLOYER_KAFKA__BOOTSTRAP_SERVERS": kafka} | {
        f"DEPLOYER_KAFKA__{name}_TOPIC": f"nothing-{uuid4()}" for name in ("REQUESTS", "STATUS")
    }
    code, _, errors = await desk.run(*command, stdin=token())
    assert 1 == code
    assert "_TOPIC: the topic 'nothing-" in errors


async def test_check_reaches_everybody(desk: Desk, tmp_path: Path) -> None:
    """`check` prints one line per dependency; a failure makes the exit code 1 and does not affect other lines."""
    async with served(graphene_app()) as graphene, served(playground_app(tmp_path)) as playground:
        prefix = desk.kafka.group_id
        desk.environment = worker_environment(
            desk.kafka.bootstrap_servers, graphene, playground, "/deploy_solution", prefix
        )
        code, output, errors = await desk.run("check")
        assert (0, "") == (code, errors)
        assert DEPENDENCIES == marks(output)
        desk.environment |= {"DEPLOYER_CATALOG__PASSWORD": "wrong", "DEPLOYER_KAFKA__STATUS_TOPIC": f"{prefix}.none"}
        code, output, _ = await desk.run("check")
        assert (1, f"ok      topics: the worker will create {prefix}.none") == (code, output[3])
        (tmp_path / "overrides.yaml").write_text("overrides: {}")
        desk.environment |= {
            "DEPLOYER_KAFKA__CREATE_TOPICS": "false",
            "DEPLOYER_BUNDLE__OVERRIDES_FILE": str(tmp_path / "overrides.yaml"),
        }
        code, output, _ = await desk.run("check")
    failed = dict.fromkeys(("CCDS login", "topics", "overrides"), "FAILED")
    assert (1, DEPENDENCIES | failed) == (code, marks(output))


async def test_check_compares_the_partitions(desk: Desk) -> None:
    """`check` reports a topic whose partitions differ from the setting, which is no failure.

    The chart and created topics take their number of partitions from the setting.
    """
    actual = desk.kafka.partitions
    desk.environment["DEPLOYER_KAFKA__PARTITIONS"] = str(actual + 1)
    _, output, _ = await desk.run("check")
    topics = output.index("ok      topics: configured as the worker needs them")
    assert (
        f"        DEPLOYER_KAFKA__PARTITIONS is {actual + 1}, but '{desk.kafka.requests_topic}' has {actual} "
        f"partitions. Set it to {actual}."
    ) == output[topics + 1]


DEPENDENCIES = dict.fromkeys(
    ("settings", "tokens", "Kafka", "topics", "CCDS", "CCDS login", "Nexus", "playground", "overrides"), "ok"
)


def marks(output: Sequence[str]) -> Mapping[str, str]:
    """Return the mark of each dependency: ok or FAILED."""
    found = (line.split(maxsplit=1) for line in output)
    return {rest.partition(":")[0]: mark for mark, rest in found}
