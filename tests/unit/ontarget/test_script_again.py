"""Repeated runs of the script against a fake API: after a crash, in a namespace of others, and with --delete."""

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.unit.ontarget.bundles import (
    deployment,
    pipeline,
    service,
    single_model,
    snapshot,
)
from tests.unit.ontarget.kube_api import TOKEN, KubeApi
from tests.unit.ontarget.running import PYTHONS, Result, process

Command = Callable[..., Result]


def test_second_run_changes_nothing(
    command: Command, api: KubeApi, secret: list[object], config: Callable[..., list[object]], tmp_path: Path
) -> None:
    """The same command again changes no object and no file, and never changes the bundle's own manifests."""
    bundle = pipeline(tmp_path / "bundle", shared_folder=True)
    manifests = snapshot(bundle / "deployments")
    arguments = [*secret, *config(hostname="example.org")]
    command(bundle, *arguments)
    changes, files = list(api.changes), snapshot(bundle)

    done = command(bundle, *arguments)

    assert (0, "") == (done.code, done.err)
    assert changes == api.changes
    assert files == snapshot(bundle)
    assert manifests.items() <= snapshot(bundle / "deployments").items()


class Crash(Exception):
    """The process died."""


def test_interrupted_runs_are_finished(
    script: ModuleType,
    command: Command,
    api: KubeApi,
    secret: list[object],
    config: Callable[..., list[object]],
    tmp_path: Path,
) -> None:
    """After a crash at any write, the next run reaches the same state as an undisturbed run."""
    arguments = [*secret, *config(hostname="example.org")]

    class Dying(script.Cluster):  # type: ignore[name-defined, misc]
        """A cluster that crashes after a number of writes."""

        def apply(self, document: Any) -> Any:
            applied = super().apply(document)
            self.left -= 1
            if self.left == 0:
                raise Crash
            return applied

    def ended(folder: Path) -> tuple[Any, Any]:
        ports = {it["spec"]["ports"][0]["nodePort"] for it in api.named("services").values()}
        assert 6 == len(ports)
        spec = {key: json.dumps(it.get("spec") or it.get("data")) for key, it in api.objects.items()}
        texts = {name: text.decode() for name, (text, _) in snapshot(folder).items()}
        for position, name in enumerate(sorted(api.named("services"))):  # port numbers differ between runs
            number = str(api.node_port(name))
            spec = {key: text.replace(number, f"port {position}") for key, text in spec.items()}
            texts = {key: text.replace(number, f"port {position}") for key, text in texts.items()}
        return spec, texts

    undisturbed = pipeline(tmp_path / "undisturbed", shared_folder=True)
    command(undisturbed, *arguments)
    expected = ended(undisturbed)
    writes = 1 + 1 + 1 + 6 * 2 + 3 + 3

    for lived in range(1, writes + 1):
        api.objects.clear()
        bundle = pipeline(tmp_path / f"after-{lived}", shared_folder=True)
        wrong: list[str] = []
        options = script.parse(["-n", "play", "-bp", str(bundle), *map(str, arguments)])
        cluster = Dying.connect("play")
        cluster.left = lived
        with pytest.raises(Crash):
            script.deploy(script.read_settings(options, wrong), script.read_bundle(bundle, "play", wrong), cluster)
        cluster.close()

        assert 0 == command(bundle, *arguments).code
        assert expected == ended(bundle), f"after {lived} writes"


def test_delete(
    command: Command, api: KubeApi, secret: list[object], config: Callable[..., list[object]], tmp_path: Path
) -> None:
    """`--delete` removes everything but the namespace and others' objects, and can be repeated."""
    bundle = pipeline(tmp_path / "bundle", shared_folder=True)
    command(bundle, *secret, *config(hostname="example.org"))
    api.put("services", service("stranger", "other"))
    api.put_namespace("elsewhere")
    api.put("services", service("alpha"), "elsewhere")

    first, changes = command(bundle, "--delete"), list(api.changes)
    second = command(bundle, "--delete")

    assert (0, 0) == (first.code, second.code)
    assert {
        ("", "namespaces", "play"),
        ("", "namespaces", "elsewhere"),
        ("play", "services", "stranger"),
        ("elsewhere", "services", "alpha"),
    } == set(api.objects)
    assert changes == api.changes
    assert 0 == command(bundle).code


def test_delete_without_namespace(command: Command, api: KubeApi, tmp_path: Path) -> None:
    """Deleting a solution that was never deployed succeeds and creates no namespace."""
    done = command(single_model(tmp_path / "bundle"), "--delete")

    assert (0, {}) == (done.code, api.objects)


@pytest.mark.parametrize("owner", ["other", None])
@pytest.mark.parametrize("kind", ["deployments", "statefulsets", "daemonsets", "jobs", "cronjobs"])
def test_namespace_of_others(kind: str, owner: str | None, command: Command, api: KubeApi, tmp_path: Path) -> None:
    """A namespace with another deployment's workloads of any kind is rejected before anything is written."""
    theirs = deployment("stranger", owner or "")
    if owner is None:
        del theirs["metadata"]["labels"]
    api.put_namespace()
    api.put(kind, theirs)

    done = command(single_model(tmp_path / "bundle"))

    assert 1 == done.code
    assert "The namespace play belongs to another deployment (stranger)." in done.err
    assert [] == api.changes


def test_namespace_of_our_own_workloads(command: Command, api: KubeApi, tmp_path: Path) -> None:
    """Workloads with our solution's label, and workloads in other namespaces, do not block a deployment."""
    api.put_namespace()
    api.put("jobs", deployment("import"))
    api.put("statefulsets", deployment("stranger", "other"), "elsewhere")

    assert 0 == command(single_model(tmp_path / "bundle")).code


def test_namespace_going_away(command: Command, api: KubeApi, tmp_path: Path) -> None:
    """A namespace that is being deleted is rejected with a message of its own."""
    api.put_namespace(phase="Terminating")

    done = command(single_model(tmp_path / "bundle"))

    assert (1, "error: The namespace play is being deleted. Wait until it is gone, or take another.\n") == (
        done.code,
        done.err,
    )
    assert [] == api.changes


def test_namespace_that_takes_its_time(script: ModuleType, api: KubeApi, kubeconfig: Path) -> None:
    """The script waits for a namespace that is not active yet, but only for a limited time."""
    api.put_namespace(phase="Pending")
    cluster = script.Cluster.connect("play")
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            api.put_namespace(phase="Active")

    script.prepare_namespace(cluster, pause)
    api.put_namespace(phase="Pending")
    with pytest.raises(script.Problem, match="does not become active"):
        script.prepare_namespace(cluster, lambda _: None)
    cluster.close()

    assert [1, 1, 1] == pauses


def test_folder_still_being_deleted(command: Command, api: KubeApi, tmp_path: Path) -> None:
    """A claim that is still being deleted is not mistaken for the new claim."""
    bundle = pipeline(tmp_path / "bundle", shared_folder=True)
    command(bundle)
    api.named("persistentvolumeclaims")["shared-folder"]["metadata"]["deletionTimestamp"] = "2026-11-24T10:00:00Z"

    done = command(bundle)

    assert 1 == done.code
    assert "PersistentVolumeClaim shared-folder is still being deleted. Run this again" in done.err


def test_no_access(
    command: Command, api: KubeApi, kubeconfig: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every failure to reach the cluster exits with 1 and its own message."""
    bundle, good = single_model(tmp_path / "bundle"), kubeconfig.read_text()
    errors = []

    api.portal = "<html>Log in</html>"
    errors.append(command(bundle).err)
    api.portal = ""
    kubeconfig.write_text(good.replace(TOKEN, "wrong"))
    errors.append(command(bundle).err)
    kubeconfig.write_text(good.replace(api.host, "http://127.0.0.1:1"))
    errors.append(command(bundle).err)
    kubeconfig.write_text("{")
    errors.append(command(bundle).err)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "nothing"))
    errors.append(command(bundle).err)

    beginnings = [
        f"error: What answers at {api.host} is no Kubernetes API.",
        "error: The cluster refused GET Namespace play with 401: Unauthorized",
        "error: The cluster at http://127.0.0.1:1 cannot be reached: ",
        "error: No access to a cluster, neither by ",
        "error: No access to a cluster, neither by ",
    ]
    assert beginnings == [message[: len(begin)] for message, begin in zip(errors, beginnings, strict=True)]
    assert {} == api.objects


@pytest.mark.parametrize("python", PYTHONS)
def test_as_a_process(
    python: str,
    api: KubeApi,
    kubeconfig: Path,
    secret: list[object],
    config: Callable[..., list[object]],
    tmp_path: Path,
) -> None:
    """Deploying, repeating and deleting work with each available interpreter and the server's command line."""
    bundle = pipeline(tmp_path / "bundle", shared_folder=True)
    arguments = ["-n", "play", *secret, *config(hostname="example.org", letsencrypt_ingress=True)]

    quiet: dict[str, Any] = {"python": python, "PYTHONWARNINGS": "ignore"}  # some libraries warn about old Pythons

    first = process(bundle, *arguments, **quiet)
    changes = list(api.changes)
    second = process(bundle, *arguments, "--wait", **quiet)
    same = changes == api.changes
    last = process(bundle, "-n", "play", "--delete", **quiet)

    assert [(0, "")] * 3 == [(done.code, done.err) for done in (first, second, last)]
    assert same
    assert "3 of 3 ready" in second.out
    assert [("", "namespaces", "play")] == list(api.objects)
