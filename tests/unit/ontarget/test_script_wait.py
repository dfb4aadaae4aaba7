"""Following a deployment until everything is ready."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.unit.ontarget.bundles import (
    pipeline,
)
from tests.unit.ontarget.kube_api import KubeApi
from tests.unit.ontarget.running import Result

Command = Callable[..., Result]


def test_wait(
    script: ModuleType, api: KubeApi, kubeconfig: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--wait` reports once per change how many are ready, and why the others are not, until all are ready."""
    cluster, bundle, waited = _deployed(script, tmp_path)
    api.slow = {"alpha": 4, "beta": 2}

    script.wait(cluster, bundle, 600, waited.append)
    cluster.close()

    assert [
        "1 of 3 ready, waiting for alpha (ErrImagePull), beta (ErrImagePull)",
        "2 of 3 ready, waiting for alpha (ErrImagePull)",
        "3 of 3 ready",
    ] == capsys.readouterr().out.splitlines()[-3:]
    assert [1, 1, 1] == waited


def test_wait_on_a_terminal(
    script: ModuleType, api: KubeApi, kubeconfig: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal one line is rewritten, cut to the terminal's width, and finished with the last report."""
    cluster, bundle, waited = _deployed(script, tmp_path)
    api.slow = {"alpha": 2}
    written: list[str] = []

    class Terminal:
        """The parts of a terminal that `print` needs."""

        write, flush, isatty = written.append, staticmethod(lambda: None), staticmethod(lambda: True)

    monkeypatch.setattr("sys.stdout", Terminal())
    monkeypatch.setenv("COLUMNS", "32")
    script.wait(cluster, bundle, 600, waited.append)
    cluster.close()

    assert "\r\x1b[K2 of 3 ready, waiting for alpha\r\x1b[K3 of 3 ready\n" == "".join(written)


def test_wait_ends(script: ModuleType, api: KubeApi, kubeconfig: Path, tmp_path: Path) -> None:
    """At the time-out the message names the Deployments that are not ready, with their reasons."""
    cluster, bundle, waited = _deployed(script, tmp_path)
    api.slow = {"alpha": 99}

    with pytest.raises(script.Problem, match=r"After 0 s not ready: alpha \(ErrImagePull\)"):
        script.wait(cluster, bundle, 0, waited.append)
    cluster.close()


@pytest.mark.parametrize(
    ("conditions", "why"),
    [
        (None, ""),
        ([{"type": "Progressing", "status": "True", "message": "making"}], ""),
        ([{"type": "ReplicaFailure", "status": "False", "message": "once"}], ""),
        ([{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "odd"}], "FailedCreate"),
        (
            [{"type": "ReplicaFailure", "status": "True", "message": 'pods "a-x7" is forbidden: exceeded quota: q'}],
            "exceeded quota: q",
        ),
    ],
)
def test_pods_that_are_not_made(conditions: Any, why: str, script: ModuleType) -> None:
    """For pods that are not created, the reason is the cluster's own, and the same at each of its attempts."""
    assert why == script.failure({"status": {"conditions": conditions}})
    assert "" == script.failure(None)


def _deployed(script: ModuleType, tmp_path: Path) -> tuple[Any, Any, list[float]]:
    folder, wrong = pipeline(tmp_path / "bundle"), list[str]()
    options = script.parse(["-n", "play", "-bp", str(folder)])
    settings, bundle = script.read_settings(options, wrong), script.read_bundle(folder, "play", wrong)
    cluster = script.Cluster.connect("play")
    script.deploy(settings, bundle, cluster)
    return cluster, bundle, []
