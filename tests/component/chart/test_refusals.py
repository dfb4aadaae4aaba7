import json

import pytest

from tests.component.chart.refusals import REFUSALS, Refusal
from tests.component.chart.rendering import LEAST, Refused, helm, merged, nested, objects, render, text
from tests.component.chart.values import CHART, Json


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda it: it.because)
def test_refused(refusal: Refusal) -> None:
    """Invalid values are refused with an error that names the value."""
    with pytest.raises(Refused) as refused:
        render(refusal.values, kubernetes=refusal.kubernetes)
    assert refusal.because in str(refused.value)


def test_nothing_is_given() -> None:
    """Without values, one error lists all missing values, one line each."""
    with pytest.raises(Refused) as refused:
        helm("template", "deployer", str(CHART))
    assert [
        "settings.kafka.bootstrapServers",
        "settings.catalog.url",
        "settings.catalog.username",
        "settings.artifacts.url",
        "settings.artifacts.username",
        "settings.playground.deployUrl",
        "secrets.artifacts.existingSecret",
        "secrets.auth.existingSecret",
        "secrets.catalog.existingSecret",
    ] == [line.partition(":")[0] for line in str(refused.value).splitlines() if ": missing." in line]


def test_older_kubernetes_is_refused() -> None:
    """kubeVersion is enforced: Kubernetes 1.24 is refused."""
    with pytest.raises(Refused, match=r"chart requires kubeVersion: >=1\.25\.0-0"):
        text(kubernetes="1.24")


@pytest.mark.parametrize("version", ["1.25", "1.26", "1.28", "1.30", "1.33", "1.35", "1.37"])
def test_newer_kubernetes_is_taken(version: str) -> None:
    """Every version of Kubernetes from the oldest supported is accepted."""
    assert 3 == len(render(kubernetes=version))


def test_the_gateway_s_key_is_never_made_up() -> None:
    """The key comes from a Secret or the demo's values and is never generated: install and upgrade render the same."""
    on: Json = {"gateway": {"enabled": True}, "settings": {"gateway": {"publicUrl": "https://g.example"}}}
    with pytest.raises(Refused, match=r"secrets\.gateway\.existingSecret: missing"):
        render(on)
    demo: Json = {"demo": {"enabled": True, "secrets": {"gateway": "k" * 32}}}
    upgraded = helm(*("template", "deployer", str(CHART), "--is-upgrade"), values=json.dumps(merged(LEAST, on, demo)))
    installed = helm("template", "deployer", str(CHART), values=json.dumps(merged(LEAST, on, demo)))
    assert upgraded == installed
    assert "Secret" in {it["kind"] for it in objects(installed)}


def test_least_values() -> None:
    """None of the least values can be left out."""
    left_out = [
        f"{group}.{name}.{key}" for group, names in LEAST.items() for name, keys in names.items() for key in keys
    ]
    for path in left_out:
        with pytest.raises(Refused, match=f"{path}: missing"):
            text(nested(path, "" if path.startswith("secrets") else None))
