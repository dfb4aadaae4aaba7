"""The worker on a secured Apache Kafka, with exactly the ACLs that the documentation lists."""

import asyncio
from pathlib import Path

import pytest
import structlog

from schemas import DeploymentSettled, State
from tests.component.kafka_security.conftest import Scene, startup_error
from tests.component.kafka_security.secured import CLIENT_PRINCIPAL, Secured
from worker.adapters.kafka.acls import missing_acl, topic_creation_acls, worker_acls
from worker.adapters.kafka.settlements import SettlementSender
from worker.adapters.kafka.startup import prepare_kafka
from worker.errors import ConfigurationError
from worker.sandbox.graphene_data import stored_case
from worker.settings import KafkaSettings

CASES = ("entity-recogniser", "sudoku", "news-training")
ANY = KafkaSettings(bootstrap_servers="localhost:9092")


async def ask_for_all(scene: Scene) -> None:
    for case in CASES:
        await scene.stage.ask(stored_case(case), case)


async def test_a_login_over_tls(scene: Scene, tmp_path: Path) -> None:
    """Over SASL_SSL with SCRAM-SHA-512, a user with only the worker's ACLs deploys the three cases."""
    await scene.grant(*worker_acls(scene.kafka))
    await ask_for_all(scene)
    async with scene.stage.worker(tmp_path / "log"):  # a separate process, as in production
        assert await scene.deployed(*CASES)


async def test_a_client_certificate(scene: Scene, secured: Secured) -> None:
    """Over mutual TLS, the user named in the certificate deploys the three cases with the worker's ACLs."""
    scene.connect(secured.mtls())
    await scene.admin.grant(CLIENT_PRINCIPAL, worker_acls(scene.kafka))
    await ask_for_all(scene)
    async with scene.worker():
        assert await scene.deployed(*CASES)


async def test_tls_alone(scene: Scene, secured: Secured) -> None:
    """Over TLS alone, an anonymous user deploys the three cases where it may do everything."""
    scene.connect(secured.tls())
    await ask_for_all(scene)
    async with scene.worker():
        assert await scene.deployed(*CASES)


@pytest.mark.parametrize("number", range(len(worker_acls(ANY))), ids=[str(it) for it in worker_acls(ANY)])
async def test_each_acl_is_needed(scene: Scene, number: int) -> None:
    """Without an ACL the worker fails at startup and names it; with the ACL, the waiting request is deployed."""
    await scene.stage.ask(stored_case("entity-recogniser"), "r")
    missing = worker_acls(scene.kafka)[number]
    await scene.grant(*(it for it in worker_acls(scene.kafka) if it != missing))
    assert missing_acl(missing, scene.kafka) == await startup_error(scene.settings)
    await scene.grant(missing)
    async with scene.worker():
        assert await scene.deployed("r")


async def test_rare_writes(scene: Scene) -> None:
    """The worker's ACLs suffice for a dead letter and for a handed-over outcome."""
    await scene.grant(*worker_acls(scene.kafka))
    scene.stage.statuses.places["unreadable"] = await scene.stage.publish(b"no JSON", b"somebody")
    async with scene.worker():
        assert State.REJECTED is (await scene.stage.until_final(["unreadable"]))["unreadable"][-1].state

    async def outcome() -> DeploymentSettled:
        return DeploymentSettled(request_id="r", attempt=1, outcome="failed", reason="It failed.", by="a test")

    sender = SettlementSender(scene.kafka, "/tests")
    with structlog.testing.capture_logs() as lines:
        sender.hand_over(0, outcome())
        await sender.finished(10)
    assert ["outcome handed over"] == [line["event"] for line in lines]


def creating(scene: Scene) -> KafkaSettings:
    """Return the settings of a worker that creates its topics, under names that do not exist yet."""
    names = {f"{it}_topic": f"{scene.user}.new-{it}" for it in ("requests", "status", "settlements", "dead_letter")}
    return scene.kafka.model_copy(update={"create_topics": True, **names})


async def test_the_topics_are_created(scene: Scene) -> None:
    """The worker's ACLs and those for creating topics suffice to create the topics."""
    kafka = creating(scene)
    await scene.grant(*worker_acls(kafka), *topic_creation_acls(kafka))
    assert await prepare_kafka(kafka, asyncio.Event())


@pytest.mark.parametrize(
    "number", range(len(topic_creation_acls(ANY))), ids=[str(it) for it in topic_creation_acls(ANY)]
)
async def test_each_acl_is_needed_to_create_topics(scene: Scene, number: int) -> None:
    """Without one of the ACLs for creating topics, the worker fails at startup and names it."""
    kafka = creating(scene)
    missing = topic_creation_acls(kafka)[number]
    await scene.grant(*worker_acls(kafka), *(it for it in topic_creation_acls(kafka) if it != missing))
    with pytest.raises(ConfigurationError) as raised:
        await prepare_kafka(kafka, asyncio.Event())
    assert missing_acl(missing, kafka) == str(raised.value)
