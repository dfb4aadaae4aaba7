import pytest

from tests.component.chart.combinations import combinations
from tests.component.chart.golden import NAMES, values_of
from tests.component.chart.judging import problems
from tests.component.chart.rendering import MIDDLE, deployment, render
from tests.component.chart.values import Json

_RENAMED = {"extended", "placed"}  # nameOverride, fullnameOverride


def _immutable(found: list[Json], component: str = "worker") -> Json:
    selector: Json = deployment(found, component)["spec"]["selector"]
    return selector


@pytest.mark.parametrize("name", [it for it in NAMES if it != "extended"])
def test_selectors_stay(name: str) -> None:
    """Only the name values change the immutable fields of a Deployment; any other change would make an upgrade fail."""
    assert {
        "matchLabels": {
            "app.kubernetes.io/name": "playground-deployer",
            "app.kubernetes.io/instance": "deployer",
            "app.kubernetes.io/component": "worker",
        }
    } == _immutable(render(values_of(name)))


@pytest.mark.parametrize("name", [it for it in NAMES if it.startswith("gateway")])
def test_selectors_of_the_gateway_stay(name: str) -> None:
    """Only the name values change the immutable fields of the gateway's Deployment."""
    assert {
        "matchLabels": {
            "app.kubernetes.io/name": "playground-deployer",
            "app.kubernetes.io/instance": "deployer",
            "app.kubernetes.io/component": "gateway",
        }
    } == _immutable(render(values_of(name)), "gateway")


def test_selectors_stay_in_all_combinations() -> None:
    """No pair of choices changes the selectors, except the choices of a name."""
    selectors = [_immutable(render(values))["matchLabels"] for values in combinations() if "nameOverride" not in values]
    assert len(selectors) > 5
    assert [] == [it for it in selectors if it != selectors[0]]


@pytest.mark.parametrize(
    "label", ["app.kubernetes.io/name", "app.kubernetes.io/instance", "app.kubernetes.io/component"]
)
def test_labels_of_the_selector_are_taken(label: str) -> None:
    """Values cannot remove the selector's labels from a pod."""
    found = render({"podLabels": {label: "other"}, "commonLabels": {label: "other"}})
    assert [] == problems(found, MIDDLE)
    assert "other" not in _immutable(found)["matchLabels"].values()


@pytest.mark.parametrize(
    ("release", "values", "name"),
    [
        ("deployer", {}, "deployer-playground-deployer"),
        ("playground-deployer", {}, "playground-deployer"),
        ("my-playground-deployer-2", {}, "my-playground-deployer-2"),
        ("x", {"nameOverride": "worker"}, "x-worker"),
        ("x", {"fullnameOverride": "all"}, "all"),
        ("123", {"service": {"enabled": False}}, "123-playground-deployer"),
        ("a.b", {}, "a-b-playground-deployer"),
        ("x", {"image": {"tag": "1.0-"}}, "x-playground-deployer"),
        ("r" * 53, {}, "r" * 50),
        ("x", {"fullnameOverride": "f" * 49 + "-f"}, "f" * 49),
    ],
)
def test_name(release: str, values: Json, name: str) -> None:
    """Names follow the convention of charts, and are short enough for every suffix."""
    found = render(_ALL, values, release=release)
    assert name == deployment(found)["metadata"]["name"]
    assert [] == problems(found, MIDDLE)


_ALL: Json = {
    "service": {"enabled": True},
    "networkPolicy": {"enabled": True},
    "serviceAccount": {"create": True},
    "scaling": {"mode": "keda", "minReplicas": 2},
    "topics": {"mode": "strimzi", "strimzi": {"cluster": "main"}},
    "dashboard": {"enabled": True},
    "overrides": {"entries": [{}]},
}


@pytest.mark.parametrize("secret", ["123", "true", "null", "1e3", "0x10"])
def test_names_that_look_like_something_else(secret: str) -> None:
    """Names that look like another type are allowed, and stay strings."""
    found = render({"secrets": {"catalog": {"existingSecret": secret, "key": secret}}, "priorityClassName": secret})
    assert [] == problems(found, MIDDLE)


def test_labels_of_every_object() -> None:
    """All objects have the recommended labels."""
    recommended = {f"app.kubernetes.io/{it}" for it in ("name", "instance", "version", "managed-by")}
    found = render(_ALL, {"podMonitor": {"enabled": True}, "prometheusRule": {"enabled": True}})
    assert 15 == len(found)
    assert [] == [it["kind"] for it in found if not recommended | {"helm.sh/chart"} <= it["metadata"]["labels"].keys()]
