"""Manifests that leave their namespace, and manifests that only seem to."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.ontarget.bundles import claim, deployment, pipeline, service, write_yaml
from tests.unit.ontarget.kube_api import KubeApi
from tests.unit.ontarget.running import Result

Command = Callable[..., Result]

KINDS = {"alpha_service.yaml": service, "alpha_deployment.yaml": deployment, "pvc.yaml": lambda _: claim()}


@pytest.mark.parametrize("flags", [["--dry-run"], ["--delete"], []])
@pytest.mark.parametrize("namespace", ["kube-system", "default", "play-2", "", "Play", 5, ["play"], {"play": "play"}])
@pytest.mark.parametrize("file", KINDS)
def test_another_namespace(
    file: str, namespace: Any, flags: list[str], command: Command, api: KubeApi, tmp_path: Path
) -> None:
    """An object of any kind that names another namespace is rejected before the cluster is called."""
    bundle = pipeline(tmp_path / "bundle", shared_folder=True)
    document = KINDS[file]("alpha")
    document["metadata"]["namespace"] = namespace
    write_yaml(bundle / "deployments" / file, document)
    api.portal = "nobody must ask"

    done = command(bundle, *flags)

    sentence = f"error: {file} names another namespace than play: leave metadata.namespace out.\n"
    assert (1, sentence) == (done.code, done.err)


def test_another_namespace_in_a_template(command: Command, tmp_path: Path) -> None:
    """A Deployment whose pod template names another namespace is rejected."""
    bundle, document = pipeline(tmp_path / "bundle"), deployment("alpha")
    document["spec"]["template"]["metadata"]["namespace"] = "kube-system"
    write_yaml(bundle / "deployments" / "alpha_deployment.yaml", document)

    done = command(bundle, "--dry-run")

    assert 1 == done.code
    assert "alpha_deployment.yaml names another namespace than play in its template" in done.err


@pytest.mark.parametrize("namespace", ["play", None])
def test_its_own_namespace(namespace: str | None, command: Command, tmp_path: Path) -> None:
    """A manifest may name its own namespace or none."""
    bundle = pipeline(tmp_path / "bundle")
    for make in (service, deployment):
        document = make("alpha")
        document["metadata"]["namespace"] = namespace
        write_yaml(bundle / "deployments" / f"alpha_{make.__name__}.yaml", document)

    assert (0, "") == (command(bundle).code, command(bundle, "--dry-run").err)


@pytest.mark.parametrize("flags", [["--dry-run"], []])
@pytest.mark.parametrize("value", [True, "true", "false", 1, {}])
@pytest.mark.parametrize("key", ["hostNetwork", "hostPID", "hostIPC"])
def test_namespaces_of_the_host(
    key: str, value: Any, flags: list[str], command: Command, api: KubeApi, tmp_path: Path
) -> None:
    """A pod that shares a host namespace is rejected, as is any value that could be read as a request for one."""
    bundle, document = pipeline(tmp_path / "bundle"), deployment("alpha")
    document["spec"]["template"]["spec"][key] = value
    write_yaml(bundle / "deployments" / "alpha_deployment.yaml", document)
    api.portal = "nobody must ask"

    done = command(bundle, *flags)

    assert 1 == done.code
    assert f"error: alpha_deployment.yaml wants {key}, which shares the host's namespace" in done.err


def test_what_overrides_may_set(command: Command, api: KubeApi, tmp_path: Path) -> None:
    """Everything else that an operator's override sets is applied unchanged."""
    bundle, document = pipeline(tmp_path / "bundle"), deployment("alpha")
    of_the_host = {"hostNetwork": False, "hostPID": None, "hostIPC": False, "hostUsers": False}
    wanted = {
        "tolerations": [{"key": "gpu", "operator": "Exists"}],
        "nodeSelector": {"gpu": "true"},
        "serviceAccountName": "model-runner",
        "runtimeClassName": "nvidia",
        "priorityClassName": "low",
        "hostAliases": [{"ip": "10.0.0.9", "hostnames": ["store"]}],
        "securityContext": {"runAsUser": 1000, "fsGroup": 1000},
        "volumes": [{"name": "data", "hostPath": {"path": "/data"}}, {"name": "cache", "emptyDir": {}}],
        "dnsPolicy": "ClusterFirst",
        "shareProcessNamespace": True,
    }
    document["spec"]["template"]["spec"].update(of_the_host, **wanted)
    container = document["spec"]["template"]["spec"]["containers"][0]
    container.update(securityContext={"privileged": True}, resources={"limits": {"nvidia.com/gpu": "1"}})
    write_yaml(bundle / "deployments" / "alpha_deployment.yaml", document)

    done = command(bundle)

    assert (0, "") == (done.code, done.err)
    applied = api.named("deployments")["alpha"]["spec"]["template"]["spec"]
    assert wanted.items() <= applied.items()
    assert {"privileged": True} == applied["containers"][0]["securityContext"]
