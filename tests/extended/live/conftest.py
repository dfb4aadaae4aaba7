"""A node, a Kafka, a worker and a gateway, shared by all tests; each test deploys into separate namespaces."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import pytest_asyncio

from tests.extended.cluster.api import Api
from tests.extended.cluster.server import Deployment
from tests.extended.live.images import oci_layout
from tests.extended.live.machine import STATE, is_inside
from tests.extended.live.node import Node, running_node
from tests.extended.live.playground import Deploying
from tests.extended.live.worker_image import worker_layout
from tests.support.kept import Unavailable, needed
from tests.support.stage import Stage, open_stage
from tests.support.topics import unique_name
from tests.support.worker_process import WorkerProcess
from worker.sandbox.playground import playground_app
from worker.sandbox.users import SANDBOX_USER

_SECONDS = pytest.StashKey[list[tuple[str, str, float]]]()


@pytest.fixture(scope="session", autouse=True)
def _machine() -> None:
    """Skip the tests outside a separate machine; in CI, fail them."""

    def look() -> None:
        if not is_inside():
            raise Unavailable("Run `make test-live`, which makes the machine that these tests need.")

    needed(look)


@dataclass(slots=True)
class Seconds:
    """Durations, for the table at the end."""

    rows: list[tuple[str, str, float]] = field(default_factory=list)

    def note(self, case: str, what: str, seconds: float) -> None:
        """Note one cell of the table."""
        self.rows.append((case, what, seconds))


@pytest.fixture(scope="session")
def seconds(pytestconfig: pytest.Config) -> Seconds:
    """Collect the durations for the table."""
    found = Seconds()
    pytestconfig.stash[_SECONDS] = found.rows
    return found


@pytest.fixture(scope="session")
def node(_machine: None, seconds: Seconds) -> Iterator[Node]:
    """Run one node for all tests."""
    with running_node([oci_layout(), worker_layout()]) as running:
        seconds.note("node", "ready", running.seconds)
        yield running


@pytest.fixture(scope="session")
def api(node: Node) -> Iterator[Api]:
    """Access through which tests inspect and change the cluster."""
    with closing(node.cluster.open_api()) as api:
        yield api


@pytest.fixture(autouse=True)
def _cleared(api: Api) -> Iterator[None]:
    """Delete a test's namespaces, so that nothing of it runs during the next test."""
    before = {it["metadata"]["name"] for it in api.call("GET", "api/v1/namespaces")["items"]}
    yield
    for it in api.call("GET", "api/v1/namespaces")["items"]:
        if (name := it["metadata"]["name"]) not in before:
            api.call("DELETE", f"api/v1/namespaces/{name}")


@dataclass(slots=True)
class World:
    """Everything that a request passes through."""

    stage: Stage
    worker: WorkerProcess
    gateway: str
    scripts: Deploying

    def deployment(self, namespace: str) -> Deployment:
        """Return the bundle that the playground has unpacked for the sandbox's user."""
        return self.scripts.deployment(SANDBOX_USER.email, namespace)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def world(kafka: str, node: Node, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """Yield a world whose playground deploys on the node."""
    folder: Path = tmp_path_factory.mktemp("world")
    scripts = Deploying(folder / "server", node.cluster)
    async with AsyncExitStack() as stack:
        stage = await stack.enter_async_context(
            open_stage(kafka, unique_name(), folder, make_playground=lambda it: playground_app(it, scripts=scripts))
        )
        worker = await stack.enter_async_context(stage.worker(folder / "worker.log"))
        gateway = await stack.enter_async_context(stage.gateway(folder / "gateway.log", WAIT_SECONDS="60"))
        yield World(stage, worker, gateway.url, scripts)


@pytest.fixture
def shared_volume(api: Api) -> Iterator[Path]:
    """Yield the folder of a ReadWriteMany volume for a claim without a class; all pods of the node may write to it."""
    name = unique_name()
    folder = STATE / "volumes" / name
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    spec = {
        "accessModes": ["ReadWriteMany"],
        "capacity": {"storage": "1Gi"},
        "hostPath": {"path": str(folder)},
        "persistentVolumeReclaimPolicy": "Retain",
    }
    api.call("POST", "api/v1/persistentvolumes", {"metadata": {"name": name}, "spec": spec})
    yield folder
    api.call("DELETE", f"api/v1/persistentvolumes/{name}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the durations, for docs/performance.md."""
    for case, what, seconds in config.stash.get(_SECONDS, []):
        terminalreporter.write_line(f"{case}: {what} after {seconds:.1f} s")
