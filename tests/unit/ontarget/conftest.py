"""Fixtures: the script as a module and as a process, and a cluster for it."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.support.script import load_script
from tests.unit.ontarget.bundles import AUTHS
from tests.unit.ontarget.kube_api import TOKEN, KubeApi, serving
from tests.unit.ontarget.running import Result


@pytest.fixture(scope="session")
def script() -> ModuleType:
    """The module kubernetes-client-script.py."""
    return load_script()


@pytest.fixture
def api() -> Iterator[KubeApi]:
    """An empty cluster."""
    with serving() as running:
        yield running


@pytest.fixture
def kubeconfig(api: KubeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A kubeconfig for the cluster, named in KUBECONFIG."""
    path = tmp_path / "kubeconfig"
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
        "clusters": [{"name": "here", "cluster": {"server": api.host}}],
        "users": [{"name": "me", "user": {"token": TOKEN}}],
    }
    path.write_text(json.dumps(document))
    monkeypatch.setenv("KUBECONFIG", str(path))
    return path


@pytest.fixture
def secret(tmp_path: Path) -> list[object]:
    """The command-line arguments for a pull secret."""
    path = tmp_path / "docker.json"
    path.write_text(json.dumps(AUTHS))
    return ["-sn", "acumos-registry", "-ps", path]


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., list[object]]:
    """The command-line arguments for a config.json with these keys."""

    def arguments(**keys: Any) -> list[object]:
        path = tmp_path / "config.json"
        path.write_text(json.dumps(keys))
        return ["--config-file", path]

    return arguments


@pytest.fixture
def command(script: ModuleType, kubeconfig: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """Run the script in this process, in the namespace `play`."""

    def run(bundle: Path, *arguments: object) -> Result:
        code = script.main(["-n", "play", "-bp", str(bundle), *map(str, arguments)])
        return Result(code, *capsys.readouterr())

    return run
