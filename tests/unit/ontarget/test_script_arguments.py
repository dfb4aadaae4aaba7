"""Arguments, config.json and the pull secret's file, validated by a dry run."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from tests.support.script import load_script
from tests.unit.ontarget.bundles import single_model
from tests.unit.ontarget.kube_api import KubeApi
from tests.unit.ontarget.running import Result, process
from worker.domain.bundle.plan import SYSTEM_NAMESPACES, pipeline_name
from worker.errors import NotDeployable

Command = Callable[..., Result]

CONFIGS = {
    "not JSON": ("{", "is not JSON"),
    "placeholder": ('{"hostname": "your_host_name"}', "hostname in"),
    "hostname a number": ('{"hostname": 5}', "hostname in"),
    "class": ('{"ingress_class_name": "N G"}', "ingress_class_name in"),
    "variables": (
        '{"environment_variables": {"X": "s3cret-value"}}',
        "environment_variables in the config file must be a list",
    ),
    "variable": ('{"environment_variables": ["X=1"]}', "docker_image_pattern (a regular expression), name and value"),
    "no value": ('{"environment_variables": [{"docker_image_pattern": ".", "name": "X"}]}', "name and value"),
    "no pattern": (
        '{"environment_variables": [{"docker_image_pattern": "(", "name": "X", "value": "s3cret-value"}]}',
        "docker_image_pattern",
    ),
}


@pytest.mark.parametrize(("text", "sentence"), CONFIGS.values(), ids=CONFIGS)
def test_broken_config(text: str, sentence: str, tmp_path: Path) -> None:
    """An invalid config.json is rejected with the name of the key, and without its values."""
    path = tmp_path / "config.json"
    path.write_text(text)

    done = process(single_model(tmp_path / "bundle"), "-n", "play", "-cf", path, "--dry-run")

    assert 1 == done.code
    assert sentence in done.err
    assert "s3cret-value" not in done.err


@pytest.mark.parametrize("text", [None, "s3cret-value", '["s3cret-value"]'])
def test_broken_pull_secret(text: str | None, tmp_path: Path) -> None:
    """A pull secret file that is missing or not a JSON object is rejected and never quoted."""
    path = tmp_path / "docker.json"
    if text is not None:
        path.write_text(text)

    done = process(single_model(tmp_path / "bundle"), "-n", "play", "-sn", "s", "-ps", path, "--dry-run")

    assert 1 == done.code
    assert str(path) in done.err
    assert "s3cret-value" not in done.err


@pytest.mark.parametrize("namespace", ["Play", "a_b", "a-", "a" * 64, ""])
def test_namespace_names(namespace: str, tmp_path: Path) -> None:
    """A namespace name that Kubernetes would not accept is rejected."""
    done = process(single_model(tmp_path / "bundle"), "-n", namespace, "--dry-run")

    assert 1 == done.code
    assert f"error: '{namespace}' is no name for a namespace" in done.err


OF_THE_CLUSTER = (
    "default", "kube", "kube-system", "kube-public", "kube-node-lease", "kube-x", "kubernetes", "kubernetes-dashboard",
    "kubernetes-x", "openshift", "openshift-monitoring", "argocd", "istio-system", "cert-manager", "ingress-nginx",
    "metallb-system", "calico-system", "calico-apiserver", "tigera-operator", "cattle-system", "cattle-fleet-system",
    "flux-system", "gatekeeper-system", "knative-serving", "linkerd", "longhorn-system", "rook-ceph",
)  # fmt: skip


@pytest.mark.parametrize("namespace", OF_THE_CLUSTER)
@pytest.mark.parametrize("flag", ["--dry-run", "--delete", "--wait"])
def test_namespaces_of_the_cluster(namespace: str, flag: str, command: Command, api: KubeApi, tmp_path: Path) -> None:
    """A namespace of the cluster itself is rejected for every action, before the cluster is called."""
    api.portal = "nobody must ask"

    done = command(single_model(tmp_path / "bundle"), "-n", namespace, flag)

    assert (1, f"error: The namespace {namespace} is kept for the cluster itself. Take another, or say ") == (
        done.code,
        done.err.partition("--")[0],
    )


def test_worker_and_script_keep_the_same_namespaces() -> None:
    """The script, which imports nothing of the worker, has the same list of system namespaces.

    Otherwise the worker could accept a namespace that the script rejects, or the reverse.
    """
    listed = SYSTEM_NAMESPACES.replace(",", "|").replace("*", ".*")
    assert listed == load_script().SYSTEM_NAMESPACE.pattern


@pytest.mark.parametrize("reserved", ["", "default", "platform-*", "mine,kube-*"])
@pytest.mark.parametrize("namespace", OF_THE_CLUSTER)
def test_solutions_with_names_of_the_cluster(namespace: str, reserved: str) -> None:
    """The worker rejects these names before the script does, so the user reads the worker's message.

    This holds for every value of the setting.
    """
    with pytest.raises(NotDeployable):
        pipeline_name(namespace, reserved)


NAMES = (
    "Kubernetes Tutorial", "kubernetes_tutorial", "Kübernetes Tutorial", "Kube", "kübe", "KUBE_X", "kube.system",
    "Kubeflow", "velero 2",
    "kube-" + "x" * 40, "Openshift: a tour", "openshift", "OpenShift", "Default", "défault", "default!", "Velero",
    "Istio System", "istio.system", "Calico  system", "kubernetes" + " " * 30 + "x", "Linkerd", "My kube-system",
    "KUBERNETES", "Kubernetes\u2013Tutorial", "\uff4bube-x", "\u212aubernetes x", "Rook Ceph", "cert manager",
)  # fmt: skip


@pytest.mark.parametrize("reserved", ["", "default", "mine"])
@pytest.mark.parametrize("name", NAMES)
def test_no_accepted_name_is_refused_by_the_script(name: str, reserved: str, script: ModuleType) -> None:
    """No accepted name, bare or with the playground server's suffix, is a system namespace for the script."""
    try:
        bare = pipeline_name(name, reserved).lower().replace(" ", "-").replace("_", "-")
    except NotDeployable:
        return
    taken = script.SYSTEM_NAMESPACE
    assert [None, None] == [taken.fullmatch(it) for it in (bare, bare + "-0123456789abcdef0123456789abcdef")]


@pytest.mark.parametrize("namespace", ["default", "kube-system"])
def test_namespaces_of_the_cluster_when_wanted(namespace: str, command: Command, api: KubeApi, tmp_path: Path) -> None:
    """`--allow-system-namespace` allows such a namespace."""
    done = command(single_model(tmp_path / "bundle"), "-n", namespace, "--allow-system-namespace")

    assert (0, "") == (done.code, done.err)
    assert {"entity-recogniser"} == set(api.named("deployments", namespace))


@pytest.mark.parametrize(
    "namespace", ["defaults", "my-default", "kubed", "cube-system", "my-kube-system", "play-system"]
)
def test_namespaces_that_only_look_like_those_of_the_cluster(namespace: str, command: Command, tmp_path: Path) -> None:
    """A name that only contains or resembles a system namespace is allowed."""
    assert 0 == command(single_model(tmp_path / "bundle"), "-n", namespace, "--dry-run").code


def test_notes(tmp_path: Path, config: Callable[..., list[object]], secret: list[object]) -> None:
    """A probable mistake is reported as a note and does not fail the run."""
    bundle = single_model(tmp_path / "bundle")

    done = process(bundle, "-n", "a" * 50, *secret, "-sn", "other", *config(hostname="example.org"), "--dry-run")

    assert 0 == done.code
    assert [
        "note: no Deployment pulls its image with the secret 'other'.",
        "note: the host name of the web page of 'entity-recogniser' is too long to be resolved: use its NodePort.",
    ] == [line for line in done.out.splitlines() if line.startswith("note")]


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["-n"],
        ["-n", "play", "-sn", "only-the-name"],
        ["-n", "play", "-ps", "only-the-path"],
        ["-n", "play", "--dry-run", "--delete"],
        ["-n", "play", "-ipp", "Sometimes"],
        ["-n", "play", "--name", "abbreviated"],
        ["-n", "play", "--wait", "soon"],
        ["-n", "play", "--wait", "-1"],
        ["-n", "play", "--wait", "86401"],
        ["-n", "play", "--wait", "1" * 400],
    ],
)
def test_usage(arguments: list[str], tmp_path: Path) -> None:
    """Wrong arguments exit with 2 and print the usage."""
    done = process(single_model(tmp_path / "bundle"), *arguments)

    assert 2 == done.code
    assert done.err.startswith("usage:")
