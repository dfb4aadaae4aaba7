"""What people do with a deployment: wait for it, start it, look at its pages, and query it."""

import json
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Sequence
from typing import Any

from tests.extended.cluster.api import Api, Json, Refused, until
from tests.extended.cluster.orchestrator import CLIENT
from tests.extended.cluster.server import Deployment
from tests.extended.live.node import is_ready

PODS_SECONDS = 90
GRPC_PORT = 8061
HOST = "127.0.0.1"  # an address of the node
PUZZLE = "530070000600195000098000060800060003400803001700020006060000280000419005000080079"
SOLUTION = "534678912672195348198342567859761423426853791713924856961537284287419635345286179"


def until_ready(api: Api, namespace: str, seconds: float = PODS_SECONDS) -> None:
    """Wait until every pod is Ready, and verify that all of them are. Raises AssertionError with the known details."""
    assert until(lambda: all_ready(api, namespace), seconds), "\n".join(troubles(api, namespace))
    pods = api.find("Pod", namespace)
    if all(it["metadata"]["labels"]["app"] != "orchestrator" for it in pods):
        return  # a single model may have any service at that port, or none
    for pod in pods:
        try:
            socket.create_connection((pod["status"]["podIP"], GRPC_PORT), timeout=1).close()
        except OSError as error:
            raise AssertionError(f"{pod['metadata']['name']} is Ready, and does not answer") from error


def all_ready(api: Api, namespace: str) -> bool:
    """Return whether every Deployment has its pod, and that pod is Ready."""
    pods = [it for it in api.find("Pod", namespace) if "deletionTimestamp" not in it["metadata"]]
    return len(pods) == len(api.find("Deployment", namespace)) > 0 and all(map(is_ready, pods))


def troubles(api: Api, namespace: str) -> list[str]:
    """Return what keeps pods from being Ready: their events, and the ends of their logs."""
    said = [f"{it['reason']}: {it['message']}" for it in api.find("Event", namespace) if it["type"] != "Normal"]
    for pod in api.find("Pod", namespace):
        name = pod["metadata"]["name"]
        try:
            log = api.text(f"api/v1/namespaces/{namespace}/pods/{name}/log", tailLines="10")
        except Refused as reason:
            log = str(reason)
        said.append(f"--- {name} {pod['status']['phase']}\n{log}")
    return said


def orchestrate(deployment: Deployment, *commands: str) -> None:
    """Run the bundle's orchestrator client. Raises AssertionError with its output."""
    for command in commands:
        program = [sys.executable, str(deployment.folder / CLIENT), "--endpoint", HOST, command]
        done = subprocess.run(program, capture_output=True, text=True, timeout=60, check=False)
        assert 0 == done.returncode, done.stderr


def start(api: Api, deployment: Deployment) -> None:
    """Do the same as the server's Run button, as soon as the pods are Ready."""
    until_ready(api, deployment.namespace)
    orchestrate(deployment, "initialize", "run")


def page(api: Api, namespace: str, container: str) -> str:
    """Return the address of a container's page, with a trailing slash; wait for it, as NodePorts lag behind pods."""
    port = api.get("Service", namespace, f"{container}webui")["spec"]["ports"][0]["nodePort"]
    assert until(lambda: answers(port)), f"nobody answers at the page of {container}"
    return f"http://{HOST}:{port}/"


def answers(port: int) -> bool:
    """Return whether the node accepts connections on the port."""
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return False
    return True


def get_text(url: str) -> str:
    """Return the text of a page."""
    with urllib.request.urlopen(url, timeout=10) as answer:
        text: str = answer.read().decode()
    return text


def get_json(url: str) -> Any:
    """Return the JSON of a page."""
    return json.loads(get_text(url))


def solve(api: Api, namespace: str, puzzles: Sequence[str] = (PUZZLE,), seconds: float = 30) -> list[Json]:
    """Send puzzles to the Sudoku's page; return the verdicts in order of arrival."""
    url = page(api, namespace, "sudoku-gui")
    before = len(get_json(f"{url}state"))
    for puzzle in puzzles:
        request = urllib.request.Request(f"{url}design", json.dumps([*map(int, puzzle)]).encode(), method="POST")
        urllib.request.urlopen(request, timeout=10).close()
    found: list[Json] = until(lambda: _all(get_json(f"{url}state")[before:], len(puzzles)), seconds)
    assert found, "\n".join(troubles(api, namespace))
    return found


def _all(verdicts: list[Json], count: int) -> list[Json]:
    return verdicts if len(verdicts) == count else []


def solution(verdict: Json) -> str:
    """Return the digits of a verdict."""
    return "".join(map(str, verdict["solution"]))


def timed(do: Callable[[], Any]) -> float:
    """Return the seconds that the function takes."""
    begun = time.monotonic()
    do()
    return time.monotonic() - begun
