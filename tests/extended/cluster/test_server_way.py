"""The playground server's steps with each sandbox case: unpack, start the script, read the results."""

from collections.abc import Callable

import pytest

from tests.extended.cluster import pythons
from tests.extended.cluster.api import Api, Json, until
from tests.extended.cluster.golden import Key, expected, normalised, ours, settle, versions
from tests.extended.cluster.pythons import NEWEST, OLDEST, Python
from tests.extended.cluster.server import BARE, CONFIGURATIONS, FULL, HOSTNAME, Configuration, Deployment, Server, look
from tests.support.golden import DEPLOYABLE
from tests.unit.ontarget.bundles import snapshot


@pytest.mark.parametrize(
    ("python", "configuration"),
    [*((NEWEST, it) for it in CONFIGURATIONS), (OLDEST, FULL), (OLDEST, BARE)],
    indirect=["python"],
    ids=str,
)
@pytest.mark.parametrize("case", DEPLOYABLE)
def test_from_zip_to_nothing(
    case: str,
    configuration: Configuration,
    python: Python,
    api: Api,
    build_zip: Callable[..., bytes],
    server: Callable[[Python, Configuration], Server],
) -> None:
    """A run makes exactly the golden objects and files, a second run changes nothing, and --delete leaves nothing."""
    playground = server(python, configuration)
    deployment = playground.unpack(build_zip(case))
    manifests = snapshot(deployment.folder / "deployments")
    api.make_namespace(deployment.namespace)

    first = playground.run(deployment)

    assert (0, "") == (first.code, first.err)
    settle(api, deployment)
    objects = ours(api, deployment)
    found = normalised(objects, deployment.namespace)
    assert expected(case, configuration, found) == found
    _check_server_view(deployment, api, configuration)
    _check_orchestrator_view(deployment, objects)

    files = snapshot(deployment.folder)
    second = playground.run(deployment)

    assert (0, first.out) == (second.code, second.out)
    assert versions(objects) == versions(ours(api, deployment))
    assert files == snapshot(deployment.folder)
    assert manifests.items() <= snapshot(deployment.folder / "deployments").items()

    last = playground.run(deployment, "--delete")

    assert (0, "") == (last.code, last.err)
    until(lambda: not api.everything(deployment.namespace))
    assert [] == api.everything(deployment.namespace)


def _check_server_view(deployment: Deployment, api: Api, configuration: Configuration) -> None:
    """Assert that every container has its page where the server looks for it, and the Run button its port."""
    seen = look(deployment, api)
    assert seen.keys() == {it["metadata"]["name"] for it in api.find("Deployment", deployment.namespace)}
    assert len(seen) == len({it.page_port for it in seen.values()})
    host = f"-{deployment.namespace}.{HOSTNAME}"
    assert {name: name + host if configuration.hostname else None for name in seen} == {
        name: it.page_host for name, it in seen.items()
    }
    folders = {it.shared_folder for name, it in seen.items() if name != "orchestrator"}
    claims = api.find("PersistentVolumeClaim", deployment.namespace)
    assert ({"/data/shared"} if claims else {None}) == folders
    assert bool(claims) == (deployment.folder / "deployments" / "pvc.yaml").exists()


def _check_orchestrator_view(deployment: Deployment, objects: dict[Key, Json]) -> None:
    """Assert that every node of blueprint.json has its dockerinfo.json entry, its proto, and its Service."""
    nodes = [it["container_name"] for it in deployment.json("blueprint.json")["nodes"]]
    protos = {path.stem for path in (deployment.folder / "microservice").glob("*.proto")}
    services = {name: it["spec"]["ports"] for (kind, name), it in objects.items() if kind == "Service"}
    assert set(nodes) == protos
    for ports in services.values():
        assert 1 == len(ports)
        assert ports[0]["port"] == ports[0]["nodePort"]  # the port inside the cluster, and outside
    if (deployment.folder / "orchestrator_client").exists():
        entries = {it["container_name"]: it for it in deployment.docker_info}
        assert {*nodes, "orchestrator"} == set(entries)
        assert len(entries) == len(deployment.docker_info)
        for name, entry in entries.items():
            assert (name, services[name][0]["nodePort"]) == (entry["ip_address"], entry["port"])
            assert 8061 == services[name][0]["targetPort"]
    else:
        assert [] == deployment.docker_info
        assert 1 == len(nodes)
        assert nodes[0] in services


def test_a_namespace_of_its_own(
    python: Python,
    api: Api,
    build_zip: Callable[..., bytes],
    server: Callable[[Python, Configuration], Server],
) -> None:
    """A missing namespace is created, and --delete keeps it."""
    playground = server(python, BARE)
    deployment = playground.unpack(build_zip("entity-recogniser"))

    first = playground.run(deployment)
    last = playground.run(deployment, "--delete")

    assert [(0, "")] * 2 == [(done.code, done.err) for done in (first, last)]
    namespace = api.call("GET", f"api/v1/namespaces/{deployment.namespace}")
    assert "Active" == namespace["status"]["phase"]
    assert "playground-deployer" == namespace["metadata"]["labels"]["app.kubernetes.io/managed-by"]


def test_after_a_reset(
    api: Api, build_zip: Callable[..., bytes], server: Callable[[Python, Configuration], Server]
) -> None:
    """The script's next run keeps the mark by which the server's Reset restarts the pods of each Deployment."""
    playground = server(pythons.running(), FULL)
    deployment = playground.unpack(build_zip("sudoku"))
    assert 0 == playground.run(deployment).code
    mark = {"kubectl.kubernetes.io/restartedAt": "2026-11-24T12:00:00Z"}
    for it in api.find("Deployment", deployment.namespace):
        change = {"spec": {"template": {"metadata": {"annotations": mark}}}}
        api.patch("Deployment", deployment.namespace, it["metadata"]["name"], change)

    assert 0 == playground.run(deployment).code

    found = api.find("Deployment", deployment.namespace)
    assert [mark] * 4 == [it["spec"]["template"]["metadata"]["annotations"] for it in found]
    assert [2] * 4 == [it["metadata"]["generation"] for it in found]
