"""What a run of the script creates in the cluster and in the bundle."""

import base64
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from tests.unit.ontarget.bundles import (
    AUTHS,
    REVISION,
    SOLUTION,
    deployment,
    labels,
    pipeline,
    service,
    single_model,
    write_yaml,
)
from tests.unit.ontarget.kube_api import KubeApi
from tests.unit.ontarget.running import Result

Command = Callable[..., Result]

OURS = {"app.kubernetes.io/managed-by": "playground-deployer", "app.kubernetes.io/instance": SOLUTION}


def test_single_model(command: Command, api: KubeApi, tmp_path: Path) -> None:
    """A single model needs no dockerinfo.json, config.json or namespace, and gets two Services and a Deployment."""
    bundle = single_model(tmp_path / "bundle")

    done = command(bundle)

    assert (0, "") == (done.code, done.err)
    assert {"entity-recogniser", "entity-recogniserwebui"} == set(api.named("services"))
    assert {"entity-recogniser"} == set(api.named("deployments"))
    assert "Active" == api.objects["", "namespaces", "play"]["status"]["phase"]
    assert not (bundle / "dockerinfo.json").exists()
    assert f"http://127.0.0.1:{api.node_port('entity-recogniserwebui')}" in done.out
    assert "orchestrator" not in done.out


def test_ports(command: Command, api: KubeApi, tmp_path: Path) -> None:
    """Every Service's port is the NodePort that the cluster chose, and dockerinfo.json has it as a number."""
    bundle = pipeline(tmp_path / "bundle")
    fixed = service("alpha")
    fixed["spec"]["ports"][0]["nodePort"] = 30555
    write_yaml(bundle / "deployments" / "alpha_service.yaml", fixed)

    done = command(bundle)

    ports = {name: it["spec"]["ports"][0] for name, it in api.named("services").items()}
    assert {"alpha", "beta", "orchestrator", "alphawebui", "betawebui", "orchestratorwebui"} == set(ports)
    assert all(port["port"] == port["nodePort"] != 30555 for port in ports.values())
    assert {8061, 8062} == {port["targetPort"] for port in ports.values()}
    expected = [
        {"container_name": name, "ip_address": name, "port": api.node_port(name)}
        for name in ("alpha", "beta", "orchestrator")
    ]
    assert {"docker_info_list": expected} == json.loads((bundle / "dockerinfo.json").read_text())
    assert f"--endpoint 127.0.0.1:{api.node_port('orchestrator')}" in done.out


def test_web_page(command: Command, api: KubeApi, tmp_path: Path) -> None:
    """The web page's Service has the names that the playground looks for, in the cluster and in its file."""
    bundle = single_model(tmp_path / "bundle")

    command(bundle)

    port = api.node_port("entity-recogniserwebui")
    expected: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": "entity-recogniserwebui",
            "labels": {
                **labels("entity-recogniser"),
                "app.kubernetes.io/name": "entity-recogniserwebui",
                "app.kubernetes.io/component": "server",
            },
        },
        "spec": {
            "type": "NodePort",
            "selector": {"app": "entity-recogniser"},
            "ports": [{"name": "webui", "port": port, "targetPort": 8062, "nodePort": port}],
        },
    }
    assert expected == yaml.safe_load((bundle / "deployments" / "service_webui.yaml").read_text())
    assert expected["metadata"]["labels"] == api.named("services")["entity-recogniserwebui"]["metadata"]["labels"]
    assert not (bundle / "deployments" / "service_ingress.yaml").exists()
    assert {} == api.named("ingresses")


@pytest.mark.parametrize(
    ("keys", "ingress_class", "annotations", "tls"),
    [
        ({}, "nginx", None, None),
        ({"ingress_class_name": "traefik"}, "traefik", None, None),
        ({"ingress_class_name": None}, None, None, None),
        (
            {"letsencrypt_ingress": True, "unique_deployment_per_solution": True},
            "nginx",
            {"cert-manager.io/cluster-issuer": "letsencrypt-prod"},
            [{"hosts": ["alpha-play.example.org"], "secretName": "alphawebuiingress-tls"}],
        ),
    ],
)
def test_ingress(
    keys: dict[str, Any],
    ingress_class: str | None,
    annotations: dict[str, str] | None,
    tls: list[Any] | None,
    command: Command,
    config: Callable[..., list[object]],
    api: KubeApi,
    tmp_path: Path,
) -> None:
    """With a host name the web page gets an Ingress, with TLS only if certificates are issued."""
    bundle = pipeline(tmp_path / "bundle")

    done = command(bundle, *config(hostname="example.org", **keys))

    derived = yaml.safe_load((bundle / "deployments" / "alpha_service_ingress.yaml").read_text())
    applied = api.named("ingresses")["alphawebuiingress"]
    assert derived["spec"] == applied["spec"]
    backend = {"service": {"name": "alphawebui", "port": {"name": "webui"}}}
    http = {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}
    assert [{"host": "alpha-play.example.org", "http": http}] == applied["spec"]["rules"]
    assert ingress_class == applied["spec"].get("ingressClassName")
    assert tls == applied["spec"].get("tls")
    assert annotations == applied["metadata"].get("annotations")
    assert f"http{'s' if tls else ''}://alpha-play.example.org" in done.out


def test_order_and_labels(
    command: Command, api: KubeApi, secret: list[object], config: Callable[..., list[object]], tmp_path: Path
) -> None:
    """The pull secret is applied first and the Deployments last; all have the labels that `--delete` selects."""
    command(pipeline(tmp_path / "bundle", shared_folder=True), *secret, *config(hostname="example.org"))

    kinds = list(dict.fromkeys(change.split("/")[0] for change in api.changes))
    assert ["namespaces", "secrets", "persistentvolumeclaims", "services", "ingresses", "deployments"] == kinds
    objects = [it for (namespace, _, _), it in api.objects.items() if namespace]
    assert 1 + 1 + 6 + 3 + 3 == len(objects)
    assert all(OURS.items() <= it["metadata"]["labels"].items() for it in objects)
    assert {REVISION} == {it["metadata"]["labels"]["app.kubernetes.io/version"] for it in objects}


def test_pull_secret(
    command: Command, api: KubeApi, secret: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pull secret has the given name and content; `~` in its path is the home folder."""
    monkeypatch.setenv("HOME", str(tmp_path))

    done = command(single_model(tmp_path / "bundle"), *secret[:3], "~/docker.json")

    made = api.named("secrets")["acumos-registry"]
    assert "kubernetes.io/dockerconfigjson" == made["type"]
    assert AUTHS == json.loads(base64.b64decode(made["data"][".dockerconfigjson"]))
    assert "dG9w" not in done.out


def test_refused_secret_is_not_quoted(
    command: Command, api: KubeApi, secret: list[object], script: ModuleType, tmp_path: Path
) -> None:
    """The cluster's message about a Secret is left out, because it may quote the Secret."""
    api.refused["secrets"] = f"bad value: {json.dumps(AUTHS)}"

    done = command(single_model(tmp_path / "bundle"), *secret)

    assert (1, "error: The cluster refused PATCH Secret acumos-registry with 422: Unprocessable Entity\n") == (
        done.code,
        done.err,
    )
    settings = script.Settings("play", "Always", "s", "s3cret", None, False, None, (("p", "n", "s3cret"),))
    assert "s3cret" not in repr(settings)


@pytest.mark.parametrize(
    ("arguments", "policy"),
    [([], "Always"), (["-ipp", "Never"], "Never"), (["--image_pull_policy", "IfNotPresent"], "IfNotPresent")],
)
def test_pull_policy(arguments: list[str], policy: str, command: Command, api: KubeApi, tmp_path: Path) -> None:
    """The pull policy applies to containers and init containers."""
    bundle = single_model(tmp_path / "bundle")
    with_init = deployment("entity-recogniser")
    with_init["spec"]["template"]["spec"]["initContainers"] = [{"name": "init", "image": "busybox"}]
    write_yaml(bundle / "deployments" / "deployment.yaml", with_init)

    command(bundle, *arguments)

    pod = api.named("deployments")["entity-recogniser"]["spec"]["template"]["spec"]
    assert [policy] * 2 == [it["imagePullPolicy"] for it in pod["containers"] + pod["initContainers"]]


def test_environment(command: Command, api: KubeApi, config: Callable[..., list[object]], tmp_path: Path) -> None:
    """Variables of config.json go to images whose beginning matches, and replace variables of the same name."""
    bundle = pipeline(tmp_path / "bundle", nodes=["alpha", "beta"])
    with_env = deployment("alpha")
    with_env["spec"]["template"]["spec"]["containers"][0]["env"] = [
        {"name": "SHARED_FOLDER_PATH", "value": "/data"},
        {"name": "MODE", "value": "test"},
    ]
    write_yaml(bundle / "deployments" / "alpha_deployment.yaml", with_env)
    variables = [
        {"docker_image_pattern": "registry.example/.*/alpha", "name": "MODE", "value": "play"},
        {"docker_image_pattern": "registry.example/", "name": "WORKERS", "value": 4},
        {"docker_image_pattern": "models/", "name": "NOT_AT_THE_BEGINNING", "value": "x"},
    ]

    done = command(bundle, *config(environment_variables=variables))

    env = {
        name: it["spec"]["template"]["spec"]["containers"][0].get("env")
        for name, it in api.named("deployments").items()
    }
    workers = {"name": "WORKERS", "value": "4"}
    assert 0 == done.code
    assert [workers] == env["beta"]
    assert [{"name": "SHARED_FOLDER_PATH", "value": "/data"}, {"name": "MODE", "value": "play"}, workers] == env[
        "alpha"
    ]
