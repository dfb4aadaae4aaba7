"""The worker on a secured Apache Kafka, with exactly the rights that the documentation gives it."""

from pathlib import Path

import pytest
import structlog

from schemas import DeploymentSettled, State
from tests.kafka_security.conftest import Scene
from tests.kafka_security.secured import CLIENT_PRINCIPAL, Secured
from worker.adapters.settlements import SettlementSender
from worker.errors import ConfigurationError
from worker.kafka_rights import without, worker_rights
from worker.sandbox.graphene_data import stored_case
from worker.settings import Kafka

CASES = ("entity-recogniser", "sudoku", "news-training")
ANY = Kafka(bootstrap_servers="localhost:9092")


async def deploys_all(scene: Scene, log: Path) -> bool:
    """The three cases, by a worker as a process of its own."""
    for case in CASES:
        await scene.stage.ask(stored_case(case), case)
    async with scene.stage.worker(log):
        return await scene.deployed(*CASES)


async def test_a_login_over_tls(scene: Scene, tmp_path: Path) -> None:
    """SASL_SSL with SCRAM-SHA-512: a user with the worker's rights and no other deploys the three cases."""
    await scene.grant(*worker_rights(scene.kafka))
    assert await deploys_all(scene, tmp_path / "log")


async def test_a_certificate_of_our_own(scene: Scene, secured: Secured, tmp_path: Path) -> None:
    """Mutual TLS: so does a user who is the name in its certificate."""
    scene.connect(secured.mtls())
    await scene.admin.grant(CLIENT_PRINCIPAL, worker_rights(scene.kafka))
    assert await deploys_all(scene, tmp_path / "log")


async def test_tls_alone(scene: Scene, secured: Secured, tmp_path: Path) -> None:
    """So does a user whom nobody knows, where that is allowed to do everything."""
    scene.connect(secured.tls())
    assert await deploys_all(scene, tmp_path / "log")


@pytest.mark.parametrize("number", range(len(worker_rights(ANY))), ids=[str(it) for it in worker_rights(ANY)])
async def test_each_right_is_needed(scene: Scene, number: int) -> None:
    """Without it the worker ends at its start and names it; with it the request of before is deployed."""
    await scene.stage.ask(stored_case("entity-recogniser"), "r")
    missing = worker_rights(scene.kafka)[number]
    await scene.grant(*(it for it in worker_rights(scene.kafka) if it != missing))
    with pytest.raises(ConfigurationError) as raised:
        async with scene.worker() as work:
            await work
    assert without(missing, scene.kafka) == str(raised.value)
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
