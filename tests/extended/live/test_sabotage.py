"""Deliberate faults: the live tests notice them."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.extended.cluster import pythons
from tests.extended.cluster.api import Api
from tests.extended.cluster.server import BARE, Deployment, Server
from tests.extended.live.conftest import World
from tests.extended.live.node import Node
from tests.extended.live.people import PODS_SECONDS, orchestrate, solve, until_ready
from worker.sandbox.graphene_data import stored_case

pytestmark = pytest.mark.asyncio(loop_scope="session")

Spoil = Callable[[Deployment], None]


def _replace(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def _nobody(_: Deployment) -> None:
    pass


def _wrong_service(deployment: Deployment) -> None:
    _replace(deployment.folder / "dockerinfo.json", '"ip_address":"sudoku-asp-solver"', '"ip_address":"sudoku-solver"')


def _missing_protobuf(deployment: Deployment) -> None:
    (deployment.folder / "microservice" / "sudoku-gui.proto").unlink()


def _no_probe(deployment: Deployment) -> None:
    file = deployment.folder / "deployments" / "orchestrator_deployment.yaml"
    probe = "        readinessProbe:\n          periodSeconds: 2\n          tcpSocket:\n            port: 8061\n"
    _replace(file, probe, "")


def _one_writer(deployment: Deployment) -> None:
    _replace(deployment.folder / "deployments" / "pvc.yaml", "ReadWriteMany", "ReadWriteOnce")


def _other_port(deployment: Deployment) -> None:
    """Change a port after the script, which writes the ports."""
    file = deployment.folder / "dockerinfo.json"
    document = json.loads(file.read_text())
    for entry in document["docker_info_list"]:
        if entry["container_name"] == "sudoku-asp-solver":
            entry["port"] += 1
    file.write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("case", "before", "after", "seen"),
    [
        ("sudoku", _wrong_service, _nobody, "sudoku-solver"),
        ("sudoku", _missing_protobuf, _nobody, "without a protobuf"),
        ("sudoku", _no_probe, _nobody, "is Ready, and does not answer"),
        ("sudoku", _nobody, _other_port, "UNAVAILABLE"),
        ("news-training", _one_writer, _nobody, "unbound immediate PersistentVolumeClaims"),
    ],
    ids=["a wrong Service", "a missing protobuf", "no probe", "another NodePort", "ReadWriteOnce"],
)
async def test_a_fault_is_seen(
    case: str, before: Spoil, after: Spoil, seen: str, world: World, node: Node, api: Api, tmp_path: Path,
    shared_volume: Path,
) -> None:  # fmt: skip
    """Each fault breaks the path from a bundle to a result, and is noticed at the expected step."""
    server = Server(tmp_path / "server", node.cluster.kubeconfig, pythons.running(), BARE)
    bundle = await world.stage.bundle_alone(stored_case(case))
    deployment = server.unpack(bundle.data)
    before(deployment)
    api.make_namespace(deployment.namespace)
    assert 0 == server.run(deployment).code
    after(deployment)
    with pytest.raises(AssertionError, match=seen):
        _use(api, deployment, 10 if before is _one_writer else PODS_SECONDS)


def _use(api: Api, deployment: Deployment, seconds: float) -> None:
    until_ready(api, deployment.namespace, seconds)
    orchestrate(deployment, "initialize", "run")
    solve(api, deployment.namespace, seconds=6)
