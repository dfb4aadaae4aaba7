import json
import re

import pytest
import yaml

from tests.component.chart.rendering import FULL_NAME, NAMESPACE, RELEASE, find, render
from tests.component.chart.values import CHART, Json

ALERTS = CHART / "files" / "alerts.yaml"
GATEWAY_ALERTS = ALERTS.with_name("gateway-alerts.yaml")
DASHBOARD = CHART / "files" / "dashboard.json"


@pytest.mark.parametrize(
    ("monitored", "own"),
    [(False, f'namespace="{NAMESPACE}"'), (True, f'namespace="{NAMESPACE}", release="{RELEASE}"')],
)
def test_alerts_are_those_of_the_file(monitored: bool, own: str) -> None:
    """They are unchanged, `{{ $value }}` included, except that each selector has the release's namespace, and with the
    chart's PodMonitor the release."""
    groups = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
    for rule in (rule for group in groups for rule in group["rules"]):
        selectors = re.findall(r"playground_deployer_[a-z_]+\b.?", rule["expr"])
        assert all(it.endswith("{") for it in selectors), rule["alert"]
        rule["expr"] = re.sub(r"(playground_deployer_[a-z_]+){", rf"\1{{{own}, ", rule["expr"])
        rule["expr"] = rule["expr"].replace(", }", "}")
    values: Json = {"prometheusRule": {"enabled": True}, "podMonitor": {"enabled": monitored}}
    assert groups == find(render(values), "PrometheusRule")["spec"]["groups"]


def test_no_release_hides_the_alerts_of_another() -> None:
    """Whatever is summed up is summed up for each release, so that two of one namespace are two alerts."""
    for file in (ALERTS, GATEWAY_ALERTS):
        groups = yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]
        rules = [rule for group in groups for rule in group["rules"]]
        assert [] == [it["alert"] for it in rules if re.search(r"\b(by|on) \((?!namespace, release\b)", it["expr"])]
    on: Json = {"gateway": {"enabled": True}, "settings": {"gateway": {"publicUrl": "https://g.example"}}}
    found = render(on, {"secrets": {"gateway": {"existingSecret": "s"}}, "podMonitor": {"enabled": True}})
    for suffix in (FULL_NAME, "-gateway"):
        (endpoint,) = find(found, "PodMonitor", suffix)["spec"]["podMetricsEndpoints"]
        assert {"targetLabel": "release", "replacement": RELEASE} == endpoint["relabelings"][0]


def test_alerts_of_the_gateway_come_with_it() -> None:
    """After the workers', with the release's namespace; without a gateway the one for its absence would fire."""
    on: Json = {
        "gateway": {"enabled": True},
        "settings": {"gateway": {"publicUrl": "https://g.example"}},
        "secrets": {"gateway": {"existingSecret": "s"}},
    }
    found = find(render({"prometheusRule": {"enabled": True}}, on), "PrometheusRule")["spec"]["groups"]
    assert ["playground-deployer", "playground-gateway"] == [group["name"] for group in found]
    selectors = [it for rule in found[1]["rules"] for it in re.findall(r"playground_gateway_[a-z_]+(.*)", rule["expr"])]
    assert len(selectors) > len(found[1]["rules"])
    assert [] == [it for it in selectors if not it.startswith(f'{{namespace="{NAMESPACE}"')]


def test_labels_for_each_alert() -> None:
    """They are added to the alerts' own labels; recording rules get none."""
    found = render({"prometheusRule": {"enabled": True, "ruleLabels": {"team": "graphene"}}})
    groups = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    labelled = [rule for group in find(found, "PrometheusRule")["spec"]["groups"] for rule in group["rules"]]
    assert [{**rule.get("labels", {}), **({"team": "graphene"} if "alert" in rule else {})} for rule in rules] == [
        rule.get("labels", {}) for rule in labelled
    ]


def test_a_severity_of_one_s_own() -> None:
    """A label in the values overrides the file's."""
    found = render({"prometheusRule": {"enabled": True, "ruleLabels": {"severity": "page"}}})
    alerts = [rule for group in find(found, "PrometheusRule")["spec"]["groups"] for rule in group["rules"]]
    assert {"page"} == {rule["labels"]["severity"] for rule in alerts if "alert" in rule}


def dashboard(release: str, *, monitored: bool) -> tuple[str, Json]:
    """Its file, and what is in that."""
    on: Json = {"dashboard": {"enabled": True}, "podMonitor": {"enabled": monitored}}
    ((name, text),) = find(render(on, release=release), "ConfigMap")["data"].items()
    return name, json.loads(text)


def test_dashboard_is_that_of_the_file() -> None:
    """Grafana's own `{{…}}` are untouched; only name and choice are the release's."""
    expected = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    _, found = dashboard(RELEASE, monitored=True)
    chosen = {it["name"]: it["current"] for it in found["templating"]["list"]}
    assert {"text": [NAMESPACE], "value": [NAMESPACE]} == chosen["namespace"]
    assert {"text": [RELEASE], "value": [RELEASE]} == chosen["release"]
    for both in (expected, found):
        del both["uid"], both["title"]
        for variable in both["templating"]["list"]:
            del variable["current"]
    assert expected == found


def test_two_releases_have_two_dashboards() -> None:
    """In another file of the sidecar, with another uid and title: else Grafana shows only one of them."""
    (one, first), (other, second) = (dashboard(release, monitored=True) for release in (RELEASE, "course"))
    assert one != other
    assert [first[it] for it in ("uid", "title")] != [second[it] for it in ("uid", "title")]
    assert f"Playground deployer: {NAMESPACE}/course" == second["title"]


def test_the_dashboard_shows_everything_when_nothing_says_whose_a_metric_is() -> None:
    """Only the chart's PodMonitor gives the label by which the release is chosen."""
    _, found = dashboard(RELEASE, monitored=False)
    (release,) = (it for it in found["templating"]["list"] if it["name"] == "release")
    assert "$__all" == release["current"]["value"]


def test_sidecar_label() -> None:
    """The default label is there; others are added, and another sidecar's label replaces it."""

    def labels(given: Json) -> Json:
        found = render({"dashboard": {"enabled": True, "labels": given}})
        own: Json = find(found, "ConfigMap")["metadata"]["labels"]
        return {key: value for key, value in own.items() if "/" not in key}

    assert {"grafana_dashboard": "1"} == labels({})
    assert {"grafana_dashboard": "1", "a": "b"} == labels({"a": "b"})
    assert {"other": "1"} == labels({"grafana_dashboard": None, "other": "1"})


def test_metrics_are_read_where_they_are() -> None:
    """PodMonitor and Service refer to the container's port by name, whatever its number."""
    found = render(
        {
            "podMonitor": {"enabled": True},
            "service": {"enabled": True, "port": 80},
            "settings": {"runtime": {"httpPort": 9999}},
        }
    )
    ports = find(found, "Deployment")["spec"]["template"]["spec"]["containers"][0]["ports"]
    assert [{"name": "http", "containerPort": 9999}] == ports
    (endpoint,) = find(found, "PodMonitor")["spec"]["podMetricsEndpoints"]
    assert ("http", "/metrics") == (endpoint["port"], endpoint["path"])
    assert [{"name": "http", "port": 80, "targetPort": "http"}] == find(found, "Service")["spec"]["ports"]
