"""A Kubernetes control plane for the tests of this folder, and what they deploy on it."""

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import cache
from pathlib import Path

import pytest

from tests.extended.cluster import pythons
from tests.extended.cluster.api import Api
from tests.extended.cluster.binary import VERSION, hyperkube_binary
from tests.extended.cluster.control_plane import ControlPlane
from tests.extended.cluster.pythons import NEWEST, OLDEST, Python
from tests.extended.cluster.server import Configuration, Server
from tests.support.kept import needed
from worker.app import open_builder
from worker.sandbox.environment import graphene_environment
from worker.sandbox.graphene import graphene_app
from worker.sandbox.graphene_data import CASES
from worker.sandbox.http_server import served
from worker.settings import BuilderSettings, read_settings

_PYTHONS = pytest.StashKey[dict[str, int]]()


@pytest.fixture(scope="session")
def binary(pytestconfig: pytest.Config) -> Path:
    """Build the binary first if it is missing, which takes minutes."""

    def say(line: str) -> None:
        with pytestconfig.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
            sys.stdout.write(f"\n{line}\n")
            sys.stdout.flush()

    return needed(lambda: hyperkube_binary(say))


@pytest.fixture(scope="session")
def cluster(binary: Path) -> Iterator[ControlPlane]:
    """Run one control plane for all tests; each test has separate namespaces."""
    with ControlPlane(binary) as running:
        yield running


@pytest.fixture(scope="session")
def api(cluster: ControlPlane) -> Iterator[Api]:
    """Access through which tests inspect and change the cluster."""
    with closing(cluster.open_api()) as api:
        yield api


@pytest.fixture(params=[NEWEST, OLDEST])
def python(request: pytest.FixtureRequest) -> Python:
    """The newest client, and the oldest client on the oldest Python."""
    found = pythons.running() if request.param == NEWEST else needed(pythons.oldest)
    counts = request.config.stash.setdefault(_PYTHONS, {})
    counts[str(found)] = counts.get(str(found), 0) + 1
    return found


@pytest.fixture(scope="session")
def build_zip() -> Callable[..., bytes]:
    """Return solution.zip of a sandbox case; keywords are settings of the group BUNDLE."""

    async def build(case: str, **options: str) -> bytes:
        async with served(graphene_app()) as address:
            environment = graphene_environment(address)
            environment |= {f"DEPLOYER_BUNDLE__{name}": value for name, value in options.items()}
            async with open_builder(read_settings(environment, BuilderSettings)) as builder:
                _, bundle = await builder.build(CASES[case].solution_id, CASES[case].revision_id, None)
        return bundle.data

    return cache(lambda case, **options: asyncio.run(build(case, **options)))


@pytest.fixture
def server(cluster: ControlPlane, tmp_path: Path) -> Callable[[Python, Configuration], Server]:
    """Return a playground server with its folder."""
    return lambda python, configuration: Server(tmp_path / "server", cluster.kubeconfig, python, configuration)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Report the environment in which the script ran."""
    for python, count in config.stash.get(_PYTHONS, {}).items():
        terminalreporter.write_line(f"kubernetes-client-script.py on Kubernetes {VERSION}: {count} tests, {python}")
