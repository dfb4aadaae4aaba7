"""A worker that Kafka turns away while it works: it says why, ends, and loses nothing."""

import asyncio
from collections.abc import Callable

import pytest

from tests.component.kafka_security.conftest import PASSWORD, Scene
from tests.component.kafka_security.secured import Secured
from worker.adapters.kafka import startup as entrance
from worker.adapters.kafka.acls import Right, without, worker_rights
from worker.adapters.kafka.startup import until_turned_away
from worker.app import run
from worker.errors import ConfigurationError
from worker.sandbox.graphene_data import stored_case
from worker.settings import KafkaSettings

MODEL = stored_case("entity-recogniser")


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks follow each other sooner than in a worker that runs for months."""
    monkeypatch.setattr(entrance, "LOOK_SECONDS", 0.5)


def reads_requests(kafka: KafkaSettings) -> Right:
    """Missed by the consumer."""
    return worker_rights(kafka)[0]


def writes_statuses(kafka: KafkaSettings) -> Right:
    """Missed by the lanes."""
    return worker_rights(kafka)[3]


@pytest.mark.parametrize("right_of", [reads_requests, writes_statuses])
async def test_a_right_is_taken_away(right_of: Callable[[KafkaSettings], Right], scene: Scene) -> None:
    """The worker names it, and the request that came meanwhile is deployed once it is given back."""
    right = right_of(scene.kafka)
    await scene.grant(*worker_rights(scene.kafka))
    work = asyncio.create_task(run(scene.settings, asyncio.Event()))
    await scene.stage.ask(MODEL, "before")
    assert await scene.deployed("before")
    await scene.admin.revoke(f"User:{scene.user}", right)
    await scene.stage.ask(MODEL, "meanwhile")
    with pytest.raises(ConfigurationError) as raised:
        await work
    assert without(right, scene.kafka) == str(raised.value)
    await scene.grant(right)
    async with scene.worker():
        assert await scene.deployed("before", "meanwhile")


async def test_a_right_that_is_replaced_ends_nobody(scene: Scene) -> None:
    """Whoever changes an ACL deletes it first: only the third refusal in a row counts."""
    pauses = 0

    async def pause() -> None:
        nonlocal pauses
        pauses += 1
        if pauses == 2:
            await scene.grant(*worker_rights(scene.kafka))
        if pauses == 4:
            await scene.admin.revoke(f"User:{scene.user}", reads_requests(scene.kafka))

    with pytest.raises(ConfigurationError, match="Read on the topic"):
        await until_turned_away(scene.kafka, pause)
    assert 6 == pauses  # twice refused, twice let in, and refused for the third time after two more


async def test_the_password_is_changed(scene: Scene, secured: Secured) -> None:
    """The worker works on while its connections stand. It ends when they have gone, and loses nothing."""
    await scene.grant(*worker_rights(scene.kafka))
    scene.connect(secured.scram(scene.user, PASSWORD, "PROXIED"))
    async with secured.proxy() as proxy:
        work = asyncio.create_task(run(scene.settings, asyncio.Event()))
        await scene.stage.ask(MODEL, "before")
        assert await scene.deployed("before")
        await scene.admin.set_password(scene.user, "the-new-password")
        await scene.stage.ask(MODEL, "standing")
        assert await scene.deployed("standing")
        proxy.reset()
        await scene.stage.ask(MODEL, "meanwhile")
        with pytest.raises(
            ConfigurationError, match=r"^DEPLOYER_KAFKA__SASL_USERNAME and DEPLOYER_KAFKA__SASL_PASSWORD: "
        ):
            await work
    scene.connect(secured.scram(scene.user, "the-new-password"))
    async with scene.worker():
        assert await scene.deployed("before", "standing", "meanwhile")
