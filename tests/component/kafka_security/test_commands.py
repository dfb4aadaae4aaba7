"""The commands on a secured Apache Kafka, with exactly the ACLs that the documentation lists for them."""

import asyncio
import os
import sys
from datetime import UTC, datetime

import pytest
from aiokafka import AIOKafkaConsumer

from schemas import DeploymentSettled, DeploymentStatus, Message, SourceInfo, State
from tests.component.kafka_security.conftest import Scene
from tests.support.builders import final_status
from worker.adapters.kafka.acls import missing_acl, operator_acls, reader_acls, sender_acls, worker_acls
from worker.client.dead_letters import DeadLetterFilter, open_originals, read_dead_letters
from worker.client.requests import open_publisher, open_statuses
from worker.client.settlements import publish_settlement
from worker.domain.dead_letter import dead_letter
from worker.domain.request import Record, Request, read_request
from worker.errors import CODES, ConfigurationError, Unavailable
from worker.sandbox.graphene_data import stored_case
from worker.sandbox.users import sandbox_token
from worker.settings import KafkaSettings

MODEL = stored_case("entity-recogniser")
SUBMIT = ("submit", str(MODEL.solution_id), str(MODEL.revision_id))
WATCH = ("watch", "--from-beginning", "--request-id", "parked", "--json")
RESOLVE = ("resolve", "parked", "--outcome", "failed")
REPLAY = ("dead-letter", "replay", "--all")
ANY = KafkaSettings(bootstrap_servers="localhost:9092")


async def command(scene: Scene, *arguments: str, lines: int | None = None) -> tuple[int | None, str, str]:
    """Return exit code, stdout and stderr; with `lines`, stop it after that many lines."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "worker", *arguments),
        env={**os.environ, **scene.stage.env, "DEPLOYER_TOKEN": sandbox_token(datetime.now(UTC))},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout
    written = b"".join([await process.stdout.readline() for _ in range(lines or 0)])
    if lines:
        process.terminate()
    output, errors = await process.communicate()
    return process.returncode, (written + output).decode(), errors.decode()


async def publish(scene: Scene, message: Message) -> None:
    await scene.stage.producer.send_and_wait(
        message.topic, message.value, key=message.key, partition=message.partition, headers=[*message.headers]
    )


async def park(scene: Scene) -> None:
    """Publish the status of a parked request."""
    status = DeploymentStatus(
        request_id="parked",
        sequence=0,
        state=State.PARKED,
        time=datetime.now(UTC),
        attempt=1,
        message="The outcome is unknown.",
        source=SourceInfo(topic=scene.kafka.requests_topic, partition=0, offset=0),
    )
    await publish(scene, status.to_message(scene.kafka.status_topic, "/tests"))


async def give_up(scene: Scene) -> None:
    """Publish a request and the dead letter of its last retry."""
    await scene.stage.ask(MODEL, "given-up")
    requests = AIOKafkaConsumer(
        scene.kafka.requests_topic, bootstrap_servers=scene.stage.bootstrap, auto_offset_reset="earliest"
    )
    async with requests:
        record = Record.of("cluster", await requests.getone())
    request = read_request(record)
    assert isinstance(request, Request)
    busy = Unavailable("playground-busy", CODES["playground-busy"], "submit")
    letter = dead_letter(record, final_status(record, request.id, busy), request, busy, "nonce")
    await publish(scene, Message(scene.kafka.dead_letter_topic, None, letter.key, letter.value, letter.headers))


async def test_an_operator_can_do_everything(scene: Scene) -> None:
    """An operator's ACLs alone suffice to submit, watch, resolve, and list, show and replay dead letters."""
    await scene.grant(*operator_acls(scene.kafka))
    await park(scene)
    await give_up(scene)
    results = await asyncio.gather(
        command(scene, *SUBMIT),
        command(scene, *WATCH, lines=1),
        command(scene, *RESOLVE),
        command(scene, "dead-letter", "list"),
        command(scene, "dead-letter", "show", "0:0"),
        command(scene, *REPLAY),
    )
    assert [""] * len(results) == [errors for _, _, errors in results]
    assert [0, 128 + 15, 0, 0, 0, 0] == [code for code, _, _ in results]


async def test_a_sender_follows_its_request(scene: Scene) -> None:
    """`submit --wait` needs only the ACLs of a sender and of a reader."""
    await scene.grant(*sender_acls(scene.kafka), *reader_acls(scene.kafka))
    code, output, errors = await command(scene, *SUBMIT, "--wait", "--timeout", "0.1")
    assert (3, 1) == (code, len(output.splitlines())), errors


async def test_check_needs_what_the_worker_needs(scene: Scene) -> None:
    """`check` passes with the worker's ACLs, and names each missing ACL without them."""
    _, output, _ = await command(scene, "check")
    for acl in worker_acls(scene.kafka):
        assert (missing_acl(acl, scene.kafka) in output) == (acl.operation.title != "DescribeConfigs")
    await scene.grant(*worker_acls(scene.kafka))
    _, output, _ = await command(scene, "check")
    assert "ok      topics: configured as the worker needs them" in output.splitlines()


async def send(kafka: KafkaSettings) -> None:
    async with open_publisher(kafka):
        pass


async def follow(kafka: KafkaSettings) -> None:
    async with open_statuses(kafka):
        pass


async def settle(kafka: KafkaSettings) -> None:
    settled = DeploymentSettled(request_id="parked", attempt=1, outcome="failed", reason="It failed.", by="a test")
    await publish_settlement(kafka, settled, 0)


async def look_up_tokens(kafka: KafkaSettings) -> None:
    async with open_originals(kafka):
        pass


async def list_letters(kafka: KafkaSettings) -> None:
    assert [] == [letter async for letter in read_dead_letters(kafka, DeadLetterFilter())]


# The step that needs each of the ACLs, in the same order.
NEEDED = dict(zip(operator_acls(ANY), (look_up_tokens, send, follow, settle, list_letters), strict=True))


@pytest.mark.parametrize("number", range(len(NEEDED)), ids=[str(it) for it in NEEDED])
async def test_each_acl_is_needed(scene: Scene, number: int) -> None:
    """Without an ACL, the step that needs it names it; with the ACL, the step succeeds."""
    missing, step = operator_acls(scene.kafka)[number], [*NEEDED.values()][number]
    await scene.grant(*(it for it in operator_acls(scene.kafka) if it != missing))
    with pytest.raises(ConfigurationError) as raised:
        await step(scene.kafka)
    assert missing_acl(missing, scene.kafka) == str(raised.value)
    await scene.grant(missing)
    await step(scene.kafka)
