"""`--dry-run` as a process, as the playground server starts the script."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.ontarget.bundles import claim, deployment, pipeline, service, single_model, snapshot, write_yaml
from tests.unit.ontarget.running import PYTHONS, process

Spoil = Callable[[Path], object]

BUNDLES = {
    "single-model": single_model,
    "pipeline": pipeline,
    "shared-folder": lambda folder: pipeline(folder, shared_folder=True),
}


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("build", BUNDLES.values(), ids=BUNDLES)
@pytest.mark.parametrize("with_secret", [False, True])
def test_server_command_lines(
    build: Callable[[Path], Path],
    with_secret: bool,
    python: str,
    tmp_path: Path,
    config: Callable[..., list[object]],
    secret: list[object],
) -> None:
    """Both command lines of the playground server succeed for every kind of bundle, and nothing is written."""
    bundle = build(tmp_path / "bundle")
    server_config = config(hostname="play.example.org", allowed_ip_addresses=["127.0.0.1"])
    before = snapshot(tmp_path)
    pull = secret if with_secret else ["--image_pull_policy", "IfNotPresent"]

    done = process(bundle, "-n", "play", *pull, *server_config, "--dry-run", python=python)

    assert (0, "") == (done.code, done.err)
    assert before == snapshot(tmp_path)
    assert "dG9w" not in done.out


def test_order(tmp_path: Path, config: Callable[..., list[object]], secret: list[object]) -> None:
    """A dry run lists the objects in the order of applying: the pull secret first, the Deployments last."""
    bundle = pipeline(tmp_path / "bundle", nodes=["alpha"], shared_folder=True)

    done = process(bundle, "-n", "play", *secret, *config(hostname="play.example.org"), "--dry-run")

    steps = [line.split()[1:3] for line in done.out.splitlines() if line.strip()[:1].isdigit()]
    assert [
        ["Secret", "acumos-registry"],
        ["PersistentVolumeClaim", "shared-folder"],
        ["Service", "alpha"],
        ["Service", "alphawebui"],
        ["Ingress", "alphawebuiingress"],
        ["Service", "orchestrator"],
        ["Service", "orchestratorwebui"],
        ["Ingress", "orchestratorwebuiingress"],
        ["Deployment", "alpha"],
        ["Deployment", "orchestrator"],
    ] == steps


def test_needs_no_kubernetes(tmp_path: Path) -> None:
    """A dry run needs neither the kubernetes package nor a cluster."""
    trap = tmp_path / "trap"
    trap.mkdir()
    (trap / "kubernetes.py").write_text("raise ImportError('imported')\n")
    bundle = single_model(tmp_path / "bundle")

    dry = process(bundle, "-n", "play", "--dry-run", PYTHONPATH=str(trap), KUBECONFIG="/nowhere")
    wet = process(bundle, "-n", "play", PYTHONPATH=str(trap), KUBECONFIG="/nowhere")

    assert (0, "") == (dry.code, dry.err)
    assert "error: The Python package kubernetes is missing. Run: pip install -r requirements.txt\n" == wet.err


def test_default_base_path(tmp_path: Path) -> None:
    """Without -bp the bundle is the script's own folder."""
    bundle = single_model(tmp_path / "bundle")

    done = process(bundle, "-n", "play", "--dry-run", base_path=False)

    assert (0, "") == (done.code, done.err)


def _replace(path: str, old: str, new: str) -> Spoil:
    return lambda bundle: (bundle / path).write_text((bundle / path).read_text().replace(old, new))


def _yaml(path: str, *documents: Any) -> Spoil:
    return lambda bundle: write_yaml(bundle / "deployments" / path, *documents)


def _remove(pattern: str) -> Spoil:
    def spoil(bundle: Path) -> None:
        for path in bundle.glob(pattern):
            path.unlink()

    return spoil


def _node(name: str, instance: str | None = None) -> Spoil:
    def spoil(bundle: Path) -> None:
        solution = {} if instance is None else {"solution": instance}
        write_yaml(bundle / "deployments" / "z_service.yaml", service(name, **solution))
        write_yaml(bundle / "deployments" / "z_deployment.yaml", deployment(name, **solution))

    return spoil


ALPHA_SERVICE, ALPHA_DEPLOYMENT = "deployments/alpha_service.yaml", "deployments/alpha_deployment.yaml"

# how a valid pipeline is changed, and what stderr then shows
BROKEN: dict[str, tuple[Spoil, str]] = {
    "no blueprint": (_remove("blueprint.json"), "blueprint.json cannot be read"),
    "blueprint not JSON": (_replace("blueprint.json", "{", "["), "blueprint.json is not JSON"),
    "blueprint a list": (lambda it: (it / "blueprint.json").write_text("[]"), "does not hold a JSON object"),
    "blueprint not UTF-8": (lambda it: (it / "blueprint.json").write_bytes(b'{"name": "\xff"}'), "is not JSON"),
    "no name": (_replace("blueprint.json", '"name"', '"title"'), "blueprint.json gives the solution no name"),
    "no manifests": (_remove("deployments/*"), "There are no manifests in"),
    "not YAML": (_replace(ALPHA_SERVICE, "{", "{{"), "alpha_service.yaml cannot be read"),
    "two documents": (_yaml("alpha_service.yaml", service("alpha"), claim()), "must hold one YAML document"),
    "no document": (_yaml("alpha_service.yaml"), "alpha_service.yaml must hold one YAML document"),
    "no kind": (_replace(ALPHA_SERVICE, '"kind"', '"sort"'), "alpha_service.yaml must be one of v1 Pers"),
    "a text": (_yaml("alpha_service.yaml", "text"), "alpha_service.yaml must be one of v1 Pers"),
    "a date": (
        lambda it: (it / "deployments" / "pvc.yaml").write_text("kind: 2020-01-01\n"),
        "It holds what JSON cannot say, such as a date",
    ),
    "other kind": (_yaml("extra.yaml", {"apiVersion": "v1", "kind": "Pod"}), "extra.yaml must be one of v1 Pers"),
    "other version": (_replace(ALPHA_DEPLOYMENT, "apps/v1", "apps/v1beta1"), "apps/v1 Deployment"),
    "no object name": (_yaml("pvc.yaml", claim("")), "pvc.yaml has no valid metadata.name"),
    "no labels": (_replace(ALPHA_SERVICE, "/instance", "/nothing"), "no label app.kubernetes.io/instance"),
    "ClusterIP": (_replace(ALPHA_SERVICE, "NodePort", "ClusterIP"), "NodePort with exactly one port"),
    "two ports": (_replace(ALPHA_SERVICE, '"ports": [', '"ports": [{"port": 1}, '), "with exactly one port"),
    "no ports": (_replace(ALPHA_SERVICE, '"ports"', '"doors"'), "with exactly one port"),
    "no selector": (_replace(ALPHA_SERVICE, '"selector"', '"chooser"'), "alpha_service.yaml must have a selector"),
    "other container": (
        _replace(ALPHA_DEPLOYMENT, '"name": "alpha",\n            "image"', '"name": "a", "image"'),
        "a container called 'alpha'",
    ),
    "no container": (_replace(ALPHA_DEPLOYMENT, '"containers"', '"boxes"'), "a container called 'alpha'"),
    "no image": (_replace(ALPHA_DEPLOYMENT, '"image"', '"picture"'), "must have an image"),
    "Service without Deployment": (_remove(ALPHA_DEPLOYMENT), "'alpha' must be the name of a Ser"),
    "Deployment without Service": (_remove(ALPHA_SERVICE), "'alpha' must be the name of a Service"),
    "digit first": (_node("1st"), "gives its Service the name '1st'"),
    "no room for webuiingress": (_node("a" * 52), "at most 51 characters"),
    "upper case": (_node("Gamma"), "has no valid metadata.name"),
    "web page's name taken": (_node("alphawebui"), "'alphawebui' takes the name of the web page of 'alpha'"),
    "same name twice": (_yaml("again.yaml", service("alpha")), "Two files hold the Service 'alpha'"),
    "two solutions": (_node("gamma", instance="other"), "they are of several solutions"),
    "no dockerinfo": (_remove("dockerinfo.json"), "A pipeline needs dockerinfo.json"),
    "no orchestrator": (
        _remove("deployments/orchestrator*"),
        "a Service and a Deployment 'orchestrator'",
    ),
    "dockerinfo names a stranger": (_replace("dockerinfo.json", "ALPHA", "GAMMA"), "the container_name of entry 1."),
    "dockerinfo without list": (
        _replace("dockerinfo.json", "docker_info_list", "list"),
        "the container_name of entry 1.",
    ),
}


@pytest.mark.parametrize(("spoil", "sentence"), BROKEN.values(), ids=BROKEN)
def test_broken_bundles(spoil: Spoil, sentence: str, tmp_path: Path) -> None:
    """A bundle that cannot be deployed exits with 1 and a message on stderr, before any cluster is called."""
    bundle = pipeline(tmp_path / "bundle")
    spoil(bundle)

    done = process(bundle, "-n", "play", "--dry-run", KUBECONFIG="/nowhere")

    assert 1 == done.code
    assert sentence in done.err
    assert all(line.startswith("error: ") for line in done.err.splitlines())


def test_everything_at_once(tmp_path: Path) -> None:
    """One run reports the errors of several files."""
    bundle = pipeline(tmp_path / "bundle")
    for name in ("no name", "ClusterIP", "no image"):
        BROKEN[name][0](bundle)

    done = process(bundle, "-n", "Play", "--dry-run")

    assert 4 == len(done.err.splitlines())
