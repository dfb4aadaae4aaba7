"""Waiting for pods until they are ready: the test acts as the kubelet."""

from collections.abc import Callable
from subprocess import Popen

import pytest

from tests.extended.cluster.api import Api, Json, until
from tests.extended.cluster.pythons import Python
from tests.extended.cluster.server import BARE, Configuration, Deployment, Server

Playground = Callable[[Python, Configuration], Server]


@pytest.mark.timeout(60)
def test_wait(python: Python, api: Api, build_zip: Callable[..., bytes], server: Playground, unique: str) -> None:
    """--wait reports late pods and the reasons once per change, and ends when all are ready; Services lead to them."""
    node = f"node-{unique}"
    api.call("POST", "api/v1/nodes", {"metadata": {"name": node}})
    playground = server(python, BARE)
    deployment = playground.unpack(build_zip("sudoku"))
    names = ["orchestrator", "sudoku-asp-solver", "sudoku-design-evaluator", "sudoku-gui"]
    with playground.start(deployment, "--wait") as process:
        pods = until(lambda: found if len(found := _pods(deployment, api)) == 4 else {})
        assert names == sorted(pods)
        for pod in pods.values():
            _bind(api, pod, node)
        assert f"0 of 4 ready, waiting for {', '.join(names)}" == _next_report(process)
        waiting = {"reason": "ErrImagePull", "message": "no such image"}
        status = {"name": "sudoku-gui", "ready": False, "restartCount": 0, "image": "x", "imageID": "",
                  "state": {"waiting": waiting}}  # fmt: skip
        _report(api, pods["sudoku-gui"], {"phase": "Pending", "containerStatuses": [status]})
        told = _next_report(process)
        assert f"0 of 4 ready, waiting for {', '.join(names[:3])}, sudoku-gui (ErrImagePull)" == told
        for number, name in enumerate(names[:3], 1):
            _make_ready(api, pods[name], number)
            late = [*names[number:3], "sudoku-gui (ErrImagePull)"]
            assert f"{number} of 4 ready, waiting for {', '.join(late)}" == _next_report(process)
        assert process.poll() is None
        _make_ready(api, pods["sudoku-gui"], 4)
        told = _next_report(process)
        if told.startswith("3 of 4"):  # its pod was seen before its Deployment was
            told = _next_report(process)
        assert "4 of 4 ready" == told
        assert process.stdout
        assert process.stderr
        out, err = process.stdout.read(), process.stderr.read()

    assert (0, "") == (process.returncode, err)
    assert "Start the pipeline with: " in out
    for number, name in enumerate(names, 1):
        for service, port in ((name, 8061), (f"{name}webui", 8062)):
            wanted = [(f"10.1.0.{number}", port)]
            assert until(lambda: wanted == _endpoints(deployment, api, service)), service  # noqa: B023


def test_time_is_up(python: Python, api: Api, build_zip: Callable[..., bytes], server: Playground) -> None:
    """When the time is up, everything is applied, and the exit code and the message report what is missing."""
    playground = server(python, BARE)
    deployment = playground.unpack(build_zip("entity-recogniser"))

    done = playground.run(deployment, "--wait", "0")

    late = "After 0 s not ready: entity-recogniser. Run this again with --wait to look further."
    assert (1, f"error: {late}\n") == (done.code, done.err)
    assert "0 of 1 ready, waiting for entity-recogniser\n" in done.out
    assert 1 == len(api.find("Deployment", deployment.namespace))


def _pods(deployment: Deployment, api: Api) -> dict[str, Json]:
    return {it["metadata"]["labels"]["app"]: it for it in api.find("Pod", deployment.namespace)}


def _bind(api: Api, pod: Json, node: str) -> None:
    """Bind the pod to a node, as a scheduler does; Services lead to no unscheduled pod."""
    path = f"api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}/binding"
    api.call("POST", path, {"metadata": {"name": pod["metadata"]["name"]}, "target": {"kind": "Node", "name": node}})


def _report(api: Api, pod: Json, status: Json) -> None:
    api.patch("Pod", pod["metadata"]["namespace"], pod["metadata"]["name"], {"status": status})


def _make_ready(api: Api, pod: Json, number: int) -> None:
    address = f"10.1.0.{number}"
    now = pod["metadata"]["creationTimestamp"]
    conditions = [{"type": it, "status": "True", "lastTransitionTime": now} for it in ("Ready", "ContainersReady")]
    status = {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "conditions": conditions}
    _report(api, pod, status | {"containerStatuses": []})


def _next_report(process: Popen[str]) -> str:
    assert process.stdout
    return next(line.rstrip() for line in process.stdout if " ready" in line)


def _endpoints(deployment: Deployment, api: Api, service: str) -> list[tuple[str, int]]:
    """Return the endpoints to which the cluster routes connections to the Service."""
    return [
        (address, port["port"])
        for it in api.find("EndpointSlice", deployment.namespace)
        if it["metadata"]["labels"]["kubernetes.io/service-name"] == service
        for endpoint in it["endpoints"] or []
        if endpoint["conditions"]["ready"]
        for address in endpoint["addresses"]
        for port in it["ports"]
    ]
