"""The worker on a secured Apache Kafka, with exactly the rights that the documentation gives it."""

import asyncio
from pathlib import Path

import pytest
import structlog

from schemas import DeploymentSettled, State
from tests.component.kafka_security.conftest import Scene, refused
from tests.component.kafka_security.secured import CLIENT_PRINCIPAL, Secured
from worker.adapters.kafka.acls import creator_rights, without, worker_rights
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
    """SASL_SSL with SCRAM-SHA-512: a user with the worker's rights and no other deploys the three cases."""
    await scene.grant(*worker_rights(scene.kafka))
    await ask_for_all(scene)
    async with scene.stage.worker(tmp_path / "log"):  # a process of its own, as in production
        assert await scene.deployed(*CASES)


async def test_a_certificate_of_our_own(scene: Scene, secured: Secured) -> None:
    """Mutual TLS: so does a user who is the name in its certificate."""
    scene.connect(secured.mtls())
    await scene.admin.grant(CLIENT_PRINCIPAL, worker_rights(scene.kafka))
    await ask_for_all(scene)
    async with scene.worker():
        assert await scene.deployed(*CASES)


async def test_tls_alone(scene: Scene, secured: Secured) -> None:
    """So does a user whom nobody knows, where that is allowed to do everything."""
    scene.connect(secured.tls())
    await ask_for_all(scene)
    async with scene.worker():
        assert await scene.deployed(*CASES)


@pytest.mark.parametrize("number", range(len(worker_rights(ANY))), ids=[str(it) for it in worker_rights(ANY)])
async def test_each_right_is_needed(scene: Scene, number: int) -> None:
    """Without it the worker ends at its start and names it; with it the request of before is deployed."""
    await scene.stage.ask(stored_case("entity-recogniser"), "r")
    missing = worker_rights(scene.kafka)[number]
    await scene.grant(*(it for it in worker_rights(scene.kafka) if it != missing))
    assert without(missing, scene.kafka) == await refused(scene.settings)
    await scene.grant(missing)
    async with scene.worker():
        assert await scene.deployed("r")


async def test_what_is_written_seldom(scene: Scene) -> None:
    """The worker's rights are enough for a dead letter, and for an outcome that is handed over."""
    await scene.grant(*worker_rights(scene.kafka))
    await scene.stage.publish(b"no JSON", b"somebody", [("ce_id", b"unreadable")])
    async with scene.worker():
        assert State.REJECTED is (await scene.stage.until_final(["unreadable"]))["unreadable"][-1].state

    async def outcome() -> DeploymentSettled:
        return DeploymentSettled(request_id="r", attempt=1, outcome="failed", reason="It failed.", by="a test")

    sender = SettlementSender(scene.kafka, "/tests")
    with structlog.testing.capture_logs() as lines:
        sender.hand_over(0, outcome())
        await sender.finished(10)
    assert ["outcome handed over"] == [line["event"] for line in lines]


def making(scene: Scene) -> KafkaSettings:
    """The settings of a worker that shall make topics, under other names than those that are there."""
    names = {f"{it}_topic": f"{scene.user}.new-{it}" for it in ("requests", "status", "settlements", "dead_letter")}
    return scene.kafka.model_copy(update={"create_topics": True, **names})


async def test_the_topics_are_made(scene: Scene) -> None:
    """With the rights to make them and the worker's, and no other."""
    kafka = making(scene)
    await scene.grant(*worker_rights(kafka), *creator_rights(kafka))
    assert await prepare_kafka(kafka, asyncio.Event())


@pytest.mark.parametrize("number", range(len(creator_rights(ANY))), ids=[str(it) for it in creator_rights(ANY)])
async def test_each_right_is_needed_to_make_topics(scene: Scene, number: int) -> None:
    """Without one the worker ends at its start and names it."""
    kafka = making(scene)
    missing = creator_rights(kafka)[number]
    await scene.grant(*worker_rights(kafka), *(it for it in creator_rights(kafka) if it != missing))
    with pytest.raises(ConfigurationError) as raised:
        await prepare_kafka(kafka, asyncio.Event())
    assert without(missing, kafka) == str(raised.value)
