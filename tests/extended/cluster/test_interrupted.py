"""A run of the script that dies, and the next run."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.extended.cluster import pythons
from tests.extended.cluster.api import Api
from tests.extended.cluster.control_plane import ControlPlane
from tests.extended.cluster.golden import expected, normalised, ours
from tests.extended.cluster.pythons import Python
from tests.extended.cluster.server import FULL, Configuration, Deployment, Server
from tests.support.golden import files_below
from tests.support.script import load_script


class Crash(BaseException):
    """The simulated death of the process."""


def test_whatever_was_done_last(
    cluster: ControlPlane,
    api: Api,
    build_zip: Callable[..., bytes],
    server: Callable[[Python, Configuration], Server],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After a crash at any step, the next run leads to the same objects and files as an undisturbed run."""
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig))
    script, playground = load_script(), server(pythons.running(), FULL)
    monkeypatch.chdir(playground.folder)
    undisturbed, steps = _deploy(script, playground, build_zip("news-training"), dies_after=None)
    files = _files(undisturbed, api)

    for lived in range(1, steps + 1):
        deployment, _ = _deploy(script, playground, build_zip("news-training"), dies_after=lived)

        assert 0 == script.main(playground.arguments(deployment))
        found = normalised(ours(api, deployment), deployment.namespace)
        assert expected("news-training", FULL, found) == found, f"after {lived} of {steps} steps"
        assert files == _files(deployment, api), f"after {lived} of {steps} steps"
        api.call("DELETE", f"api/v1/namespaces/{deployment.namespace}")

    # namespace, secret, claim, 8 Services twice, 4 Ingresses, 4 Deployments; 8 derived files and dockerinfo.json
    assert 1 + 1 + 1 + 16 + 4 + 4 + 8 + 1 == steps


def _deploy(script: ModuleType, playground: Server, archive: bytes, dies_after: int | None) -> tuple[Deployment, int]:
    """Run the script in this process; return the deployment and the number of steps that it survived."""
    deployment, steps = playground.unpack(archive), 0

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any) -> Any:
            nonlocal steps
            result = function(*arguments)
            steps += 1
            if steps == dies_after:
                raise Crash
            return result

        return step

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(script.Cluster, "apply", counted(script.Cluster.apply))
        patch.setattr(script, "write", counted(script.write))
        if dies_after is None:
            assert 0 == script.main(playground.arguments(deployment))
        else:
            with pytest.raises(Crash):
                script.main(playground.arguments(deployment))
    return deployment, steps


def _files(deployment: Deployment, api: Api) -> dict[str, bytes]:
    """Return the files, with names in place of the namespace and the NodePorts."""
    files = files_below(deployment.folder)
    words = {deployment.namespace: "NAMESPACE"}
    for service in api.find("Service", deployment.namespace):
        words[str(service["spec"]["ports"][0]["nodePort"])] = service["metadata"]["name"].upper()
    for name in files:
        if name == "dockerinfo.json" or Path(name).stem.endswith(("webui", "ingress")):
            for word, other in words.items():
                files[name] = files[name].replace(word.encode(), other.encode())
    return files
