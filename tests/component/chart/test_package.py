import json
import tarfile
from pathlib import Path

import pytest

from tests.component.chart.golden import NAMES, values_of
from tests.component.chart.helm_binary import HELM_3, HELM_4
from tests.component.chart.rendering import LEAST, NAMESPACE, RELEASE, helm, merged, objects, worker
from tests.component.chart.values import CHART, Json
from worker import __version__


def _lint(changes: Json) -> str:
    return helm("lint", "--strict", str(CHART), values=json.dumps(merged(LEAST, changes)))


@pytest.mark.parametrize("name", NAMES)
def test_lint(name: str) -> None:
    """`helm lint --strict` finds nothing."""
    assert "0 chart(s) failed" in _lint(values_of(name))


def test_packages_are_the_same(tmp_path: Path) -> None:
    """Two packages have the same file names and bytes, and no development files."""
    contents = []
    for folder in (tmp_path / "one", tmp_path / "other"):
        helm("package", str(CHART), "--destination", str(folder))
        with tarfile.open(folder / f"playground-deployer-{__version__}.tgz") as package:
            contents.append([(it.name, it.mode, package.extractfile(it).read()) for it in package if it.isfile()])  # type: ignore[union-attr]
    assert contents[0] == contents[1]
    tracked = {f"playground-deployer/{path.relative_to(CHART)}" for path in CHART.rglob("*") if path.is_file()}
    assert tracked - {"playground-deployer/.helmignore"} == {name for name, _, _ in contents[0]} - {
        "playground-deployer/.helmignore"
    }


def test_part_of_another_chart(tmp_path: Path) -> None:
    """As part of another chart, it reads the parent's globals, which may hold values of other charts."""
    (tmp_path / "charts").mkdir()
    (tmp_path / "charts" / "playground-deployer").symlink_to(CHART)
    (tmp_path / "Chart.yaml").write_text("{apiVersion: v2, name: graphene, version: 1.0.0}")
    values = {"playground-deployer": LEAST, "global": {"domain": "example", "imageRegistry": "mirror.example"}}
    found = objects(helm("template", RELEASE, str(tmp_path), values=json.dumps(values)))
    assert f"mirror.example/playground-deployer:{__version__}" == worker(found)["image"]


_GATEWAY: Json = {
    "gateway": {"enabled": True},
    "settings": {"gateway": {"publicUrl": "https://graphene.example/deployer/"}},
    "secrets": {"gateway": {"existingSecret": "session"}},
}
_SASL: Json = {
    "settings": {"kafka": {"securityProtocol": "SASL_SSL", "saslUsername": "u"}},
    "secrets": {"kafka": {"existingSecret": "login"}},
}


def _notes(*changes: Json) -> str:
    output = helm(
        *("install", RELEASE, str(CHART), "--namespace", NAMESPACE, "--dry-run=client"),
        values=json.dumps(merged(LEAST, *changes)),
    )
    return output.partition("NOTES:\n")[2]


def test_notes_say_what_is_next() -> None:
    """The notes explain how to wait for the release, test it and read its log, without a warning."""
    notes = _notes()
    assert "kubectl --namespace graphene rollout status deployment/deployer-playground-deployer" in notes
    assert "helm test deployer --namespace graphene --logs" in notes
    assert "WARNING" not in notes


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"scaling": {"replicas": 13}}, "WARNING: scaling.replicas exceeds settings.kafka.partitions"),
        ({"demo": {"enabled": True}}, "WARNING: demo.enabled stores secrets in the release."),
        (
            {"podMonitor": {"enabled": True}, "networkPolicy": {"enabled": True}},
            "WARNING: podMonitor.enabled is set, but networkPolicy.metricsFrom allows no client",
        ),
        ({}, "The topics must exist"),
        ({"networkPolicy": {"enabled": True}}, "networkPolicy.egress.*.ports"),
        (_GATEWAY, "Your requests are at https://graphene.example/deployer/requests."),
        (_GATEWAY, "That URL is not reachable from outside yet: set gateway.ingress or gateway.httpRoute"),
        (_GATEWAY, "must keep query strings out of their logs"),
        (
            merged(_GATEWAY, {"settings": {"gateway": {"publicUrl": "http://g.example"}}}),
            "WARNING: settings.gateway.publicUrl has no TLS",
        ),
        (merged(_GATEWAY, _SASL), "WARNING: the gateway uses the worker's Kafka login"),
    ],
)
def test_notes_warn(changes: Json, said: str) -> None:
    """The notes warn of valid but probably unintended values."""
    assert said in _notes(changes)


@pytest.mark.parametrize(
    ("changes", "silent"),
    [
        ({"topics": {"mode": "worker"}}, "The topics must exist"),
        ({}, "networkPolicy.egress"),
        ({"podMonitor": {"enabled": True}}, "WARNING"),
        ({}, "gateway"),
        (_GATEWAY, "WARNING"),
        (merged(_GATEWAY, {"gateway": {"ingress": {"enabled": True}}}), "not reachable from outside"),
        (
            merged(_GATEWAY, _SASL, {"gateway": {"kafka": {"existingSecret": "own", "saslUsername": "gateway"}}}),
            "WARNING",
        ),
        (
            {"podMonitor": {"enabled": True}, "networkPolicy": {"enabled": True, "metricsFrom": [{"podSelector": {}}]}},
            "WARNING",
        ),
    ],
)
def test_notes_are_silent(changes: Json, silent: str) -> None:
    """The notes contain no warning without a reason."""
    assert silent not in _notes(changes)


@pytest.mark.parametrize(("lock", "version"), [(HELM_4, "v4.3.1"), (HELM_3, "v3.17.2")])
def test_helm_is_the_locked_one(lock: Path, version: str) -> None:
    """The locked wheels contain the helm versions that they claim."""
    assert version == helm("version", "--template", "{{.Version}}", version=lock)
