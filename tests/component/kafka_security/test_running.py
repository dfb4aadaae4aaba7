"""A running worker whose access is revoked reports the reason, stops, and loses no request."""

import asyncio
from collections.abc import Callable

import pytest

from tests.component.kafka_security.conftest import PASSWORD, Scene
from tests.component.kafka_security.secured import Secured
from worker.adapters.kafka import startup
from worker.adapters.kafka.acls import AclBinding, missing_acl, worker_acls
from worker.adapters.kafka.startup import until_access_denied
from worker.app import run
from worker.errors import ConfigurationError
from worker.sandbox.graphene_data import stored_case
from worker.settings import KafkaSettings

MODEL = stored_case("entity-recogniser")


@pytest.fixture(autouse=True)
def frequent_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Check access more often than a production worker does."""
    monkeypatch.setattr(startup, "CHECK_SECONDS", 0.5)


def reads_requests(kafka: KafkaSettings) -> AclBinding:
    """Return the ACL that the consumer needs."""
    return worker_acls(kafka)[0]


def writes_statuses(kafka: KafkaSettings) -> AclBinding:
    """Return the ACL that the partition processors need."""
    return worker_acls(kafka)[3]


@pytest.mark.parametrize("acl_of", [reads_requests, writes_statuses])
async def test_an_acl_is_removed(acl_of: Callable[[KafkaSettings], AclBinding], scene: Scene) -> None:
    """The worker names the removed ACL and stops; a request sent in between is deployed once the ACL is back."""
    acl = acl_of(scene.kafka)
    await scene.grant(*worker_acls(scene.kafka))
    work = asyncio.create_task(run(scene.settings, asyncio.Event()))
    await scene.stage.ask(MODEL, "before")
    assert await scene.deployed("before")
    await scene.admin.revoke(f"User:{scene.user}", acl)
    await scene.stage.ask(MODEL, "meanwhile")
    with pytest.raises(ConfigurationError) as raised:
        await work
    assert missing_acl(acl, scene.kafka) == str(raised.value)
    await scene.grant(acl)
    async with scene.worker():
        assert await scene.deployed("before", "meanwhile")


async def test_an_acl_that_is_replaced_stops_no_worker(scene: Scene) -> None:
    """Replacing an ACL deletes it first, so only the third denial in a row stops the worker."""
    checks = 0

    async def sleep() -> None:
        nonlocal checks
        checks += 1
        if checks == 2:
            await scene.grant(*worker_acls(scene.kafka))
        if checks == 4:
            await scene.admin.revoke(f"User:{scene.user}", reads_requests(scene.kafka))

    async def look() -> None:
        pass

    with pytest.raises(ConfigurationError, match="Read on the topic"):
        await until_access_denied(scene.kafka, sleep, look)
    assert 6 == checks  # denied twice, allowed twice, and denied for the third time in a row after two more


async def test_the_password_is_changed(scene: Scene, secured: Secured) -> None:
    """After a password change the worker continues until its connections are lost, then stops without losing a
    request."""
    await scene.grant(*worker_acls(scene.kafka))
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
