"""The gateway on a secured Apache Kafka, with exactly the ACLs that the documentation lists."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest

from tests.component.kafka_security.conftest import PASSWORD, Scene
from tests.component.kafka_security.secured import Secured
from tests.support.worker_process import CHECKED, GATEWAY, WorkerProcess, running_worker, start_worker
from worker.adapters.kafka.acls import gateway_acls, missing_acl, notification_acls, worker_acls
from worker.sandbox.graphene import CCDS_PATH
from worker.sandbox.graphene_data import Stored, stored_case
from worker.sandbox.http_server import Fault
from worker.sandbox.playground import ANY_USER, PLAYGROUND_FAULTS
from worker.sandbox.users import sandbox_token
from worker.settings import KafkaSettings

DEPLOYED, PARKED, GIVEN_UP = (stored_case(it) for it in ("entity-recogniser", "sudoku", "news-training"))
BROWSER = {"Accept": "text/html", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
OWN = {
    "DEPLOYER_GATEWAY__SESSION_KEY": "k" * 32,
    "DEPLOYER_GATEWAY__WAIT_SECONDS": "30",
    "DEPLOYER_GATEWAY__ADMIN_ROLE": "MLP System User",
}
ANY = KafkaSettings(bootstrap_servers="localhost:9092")
SECONDS = 30


@asynccontextmanager
async def starting(scene: Scene, folder: Path, **settings: str) -> AsyncIterator[WorkerProcess]:
    """Start a gateway that may never become ready; it must exit cleanly when it is stopped."""
    more = {f"DEPLOYER_GATEWAY__{name}": value for name, value in settings.items()}
    gateway = await start_worker({**scene.stage.env, **OWN, **more}, folder / "gateway.log", GATEWAY)
    try:
        yield gateway
        await gateway.stop()
    finally:
        await gateway.kill()


async def until_ready_says(gateway: WorkerProcess, reason: str) -> None:
    """Wait until /ready answers 503 with a reason that begins with this text."""
    said = ""
    async with aiohttp.ClientSession() as session:
        try:
            async with asyncio.timeout(SECONDS):
                while not said.startswith(reason):
                    assert gateway.runs, gateway.log.read_text()
                    try:
                        async with session.get(f"{gateway.url}/ready") as response:
                            said = (await response.json()).get("reason", "ready")
                    except aiohttp.ClientConnectionError:
                        pass
                    await asyncio.sleep(0.05)  # nothing notifies us, so poll
        except TimeoutError:
            pytest.fail(f"{said!r} instead of {reason!r}\n{gateway.url}\n{gateway.log.read_text()}")


async def click(session: aiohttp.ClientSession, gateway: WorkerProcess, asked: Stored) -> tuple[int, str]:
    """Open the portal's link; return the status and the Location."""
    path = f"/deploy/{asked.solution_id}/{asked.revision_id}?jwtToken={sandbox_token(datetime.now(UTC))}"
    async with session.get(gateway.url + path, allow_redirects=False) as response:
        assert response.status in (302, 303), await response.text()
        return response.status, response.headers["Location"]


async def post(session: aiohttp.ClientSession, url: str, **form: str) -> str:
    """Submit a page's form; return the Location."""
    async with session.post(url, data=form, allow_redirects=False) as response:
        assert 303 == response.status, await response.text()
        return response.headers["Location"]


async def test_its_acls_are_enough(scene: Scene, secured: Secured, tmp_path: Path) -> None:
    """The gateway's ACLs suffice for a click, the page, deploying again, a settlement and a replay.

    The worker has a login of its own.
    """
    await scene.admin.set_password(f"{scene.user}-worker", PASSWORD)
    await scene.admin.grant(f"User:{scene.user}-worker", worker_acls(scene.kafka))
    await scene.grant(*gateway_acls(scene.kafka))
    of_worker = {
        **scene.stage.env,
        **secured.scram(f"{scene.user}-worker", PASSWORD),
        "DEPLOYER_RUNTIME__REQUEST_DEADLINE_SECONDS": "0.001",  # no second attempt: the first leaves a dead letter
    }
    async with (
        running_worker(of_worker, tmp_path / "worker.log", CHECKED),
        running_worker({**scene.stage.env, **OWN}, tmp_path / "gateway.log", GATEWAY) as gateway,
        aiohttp.ClientSession(headers=BROWSER, cookie_jar=aiohttp.CookieJar(unsafe=True)) as session,
    ):
        assert 302 == (await click(session, gateway, DEPLOYED))[0]
        (first,) = scene.stage.statuses.by_request()
        async with session.get(f"{gateway.url}/requests/{first}") as response:
            nonce = re.search(r'name="nonce" value="([^"]+)"', await response.text())
        assert nonce
        again = await post(session, f"{gateway.url}/requests/{first}/again", nonce=nonce[1])
        assert await scene.deployed(again.rpartition("/")[2])

        scene.stage.playground.faults[ANY_USER] = PLAYGROUND_FAULTS["reset"]
        _, parked = await click(session, gateway, PARKED)
        await post(session, f"{gateway.url}{parked}/settle", outcome="failed", reason="The dashboard has none.")
        request_id = parked.rpartition("/")[2]
        settled = (await scene.stage.until_final([request_id]))[request_id][-1]
        assert settled.error and "resolved-as-failed" == settled.error.code

        scene.stage.playground.faults.clear()
        scene.stage.graphene.faults[CCDS_PATH] = Fault(500)
        _, given_up = await click(session, gateway, GIVEN_UP)
        request_id = given_up.rpartition("/")[2]
        ended = (await scene.stage.until_final([request_id]))[request_id][-1]
        assert ended.error and ended.error.code.startswith("catalog-")
        scene.stage.graphene.faults.clear()
        replay = await post(session, f"{gateway.url}{given_up}/replay")
        assert await scene.deployed(replay.rpartition("/")[2])


@pytest.mark.parametrize("number", range(len(gateway_acls(ANY))), ids=[str(it) for it in gateway_acls(ANY)])
async def test_each_acl_is_needed(scene: Scene, number: int, tmp_path: Path) -> None:
    """Without an ACL the gateway is not ready and names it; once it is granted, the gateway becomes ready by itself."""
    missing = gateway_acls(scene.kafka)[number]
    await scene.grant(*(it for it in gateway_acls(scene.kafka) if it != missing))
    async with starting(scene, tmp_path) as gateway:
        await until_ready_says(gateway, missing_acl(missing, scene.kafka))
        await scene.grant(missing)
        assert await gateway.is_ready()
    log = gateway.log.read_text()
    assert ("Kafka denies what the gateway needs" in log, "Kafka grants what the gateway needs" in log) == (True, True)


async def test_notifying_needs_a_group(scene: Scene, tmp_path: Path) -> None:
    """NOTIFY requires one additional ACL, which the gateway names when it is missing."""
    await scene.grant(*gateway_acls(scene.kafka))
    (missing,) = notification_acls(scene.kafka)
    async with starting(scene, tmp_path, NOTIFY="true") as gateway:
        await until_ready_says(gateway, missing_acl(missing, scene.kafka))
        await scene.grant(missing)
        assert await gateway.is_ready()


async def test_an_acl_that_is_removed(scene: Scene, tmp_path: Path) -> None:
    """A running gateway notices that an ACL is removed."""
    await scene.grant(*gateway_acls(scene.kafka))
    async with starting(scene, tmp_path) as gateway:
        assert await gateway.is_ready()
        removed = gateway_acls(scene.kafka)[-1]
        await scene.admin.revoke(f"User:{scene.user}", removed)
        await until_ready_says(gateway, missing_acl(removed, scene.kafka))


async def test_a_wrong_login(scene: Scene, secured: Secured, tmp_path: Path) -> None:
    """After a wrong login, /ready and the log name the settings and show no password."""
    scene.connect(secured.scram(scene.user, "another-password"))
    rejected = "DEPLOYER_KAFKA__SASL_USERNAME and DEPLOYER_KAFKA__SASL_PASSWORD: Kafka rejects this login."
    async with starting(scene, tmp_path) as gateway:
        await until_ready_says(gateway, rejected)
    log = gateway.log.read_text()
    assert (True, False) == (rejected in log, "another-password" in log)
