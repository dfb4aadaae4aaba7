"""One secured Apache Kafka for all tests here; each test has its own topics, group and user on it."""

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from schemas import State
from tests.component.kafka_security.administrator import Administrator, administrator
from tests.component.kafka_security.secured import Secured, secured_kafka
from tests.support.stage import Stage, open_stage
from worker.adapters.kafka.acls import AclBinding
from worker.app import run
from worker.errors import ConfigurationError
from worker.settings import ClientSettings, KafkaSettings, Settings, read_settings

PASSWORD = "canarySaslPassword_Jm5Nb7Vc1Xz9Lk3"


@pytest.fixture(scope="session")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """Provide an Apache Kafka that starts with the first test that needs it."""
    secured = secured_kafka(tmp_path_factory.mktemp("certificates"))
    asyncio.run(secured.kafka.start())
    try:
        yield secured
    finally:
        asyncio.run(secured.kafka.stop())


@pytest.fixture
async def admin(secured: Secured) -> AsyncIterator[Administrator]:
    """Provide an administrator of that Kafka."""
    async with administrator(secured.plain) as admin:
        yield admin


async def startup_error(settings: Settings) -> str:
    """Return the message with which a worker fails at startup."""
    with pytest.raises(ConfigurationError) as raised:
        async with asyncio.timeout(20):
            await run(settings, asyncio.Event())
    return str(raised.value)


@dataclass(frozen=True, slots=True)
class Scene:
    """A stage whose worker logs in as a user without any ACL."""

    stage: Stage
    admin: Administrator
    user: str

    @property
    def settings(self) -> Settings:
        """The worker's settings."""
        return read_settings(self.stage.env, Settings)

    @property
    def kafka(self) -> KafkaSettings:
        """The Kafka settings of the worker and of commands."""
        return read_settings(self.stage.env, ClientSettings).kafka

    def connect(self, settings: Mapping[str, str]) -> None:
        """Replace every setting for the connection to Kafka."""
        for name in [*self.stage.env]:
            if name.startswith(("DEPLOYER_KAFKA__S", "DEPLOYER_KAFKA__BOOTSTRAP")) and not name.endswith("_TOPIC"):
                del self.stage.env[name]
        self.stage.env.update(settings)

    @asynccontextmanager
    async def worker(self) -> AsyncIterator[None]:
        """Run a worker in this process and raise its error at the end."""
        stop = asyncio.Event()
        work = asyncio.create_task(run(self.settings, stop))
        try:
            yield
        finally:
            stop.set()
            await work

    async def deployed(self, *request_ids: str) -> bool:
        """Return whether all these requests are deployed, once they have ended."""
        statuses = await self.stage.until_final(request_ids)
        return all(State.DEPLOYED is statuses[it][-1].state for it in request_ids)

    async def grant(self, *acls: AclBinding) -> None:
        """Grant ACLs to the worker."""
        await self.admin.grant(f"User:{self.user}", acls)


@pytest.fixture
async def scene(secured: Secured, admin: Administrator, unique: str, tmp_path: Path) -> AsyncIterator[Scene]:
    """Provide topics and a stage whose worker logs in with its password over TLS."""
    await admin.set_password(unique, PASSWORD)
    async with open_stage(secured.plain, unique, tmp_path, partitions=1) as stage:
        stage.env |= {"DEPLOYER_KAFKA__CREATE_TOPICS": "false", "DEPLOYER_RUNTIME__HTTP_PORT": "0"}
        scene = Scene(stage, admin, unique)
        scene.connect(secured.scram(unique, PASSWORD))
        yield scene


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Ignore the warning about bootstrap connections: aiokafka does not await their end, which is slow over TLS."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"))


@pytest.fixture(autouse=True)
def collect_garbage() -> Iterator[None]:
    """Collect the remains of such connections in the test that opened them, not in another folder's."""
    yield
    gc.collect()
