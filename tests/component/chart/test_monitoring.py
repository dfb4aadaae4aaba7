import json
import re

import yaml

from tests.component.chart.rendering import NAMESPACE, find, render
from tests.component.chart.values import CHART, Json

ALERTS = CHART / "files" / "alerts.yaml"
DASHBOARD = CHART / "files" / "dashboard.json"


def test_alerts_are_those_of_the_file() -> None:
    """They are unchanged, `{{ $value }}` included, except that each selector has the release's namespace."""
    groups = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
    for rule in (rule for group in groups for rule in group["rules"]):
        selectors = re.findall(r"playground_deployer_[a-z_]+\b.?", rule["expr"])
        assert all(it.endswith("{") for it in selectors), rule["alert"]
        rule["expr"] = re.sub(r"(playground_deployer_[a-z_]+){", rf'\1{{namespace="{NAMESPACE}", ', rule["expr"])
        rule["expr"] = rule["expr"].replace(", }", "}")
    assert groups == find(render({"prometheusRule": {"enabled": True}}), "PrometheusRule")["spec"]["groups"]


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


def test_dashboard_is_that_of_the_file() -> None:
    """The bytes are the file's: Grafana's own `{{…}}` are untouched."""
    data = find(render({"dashboard": {"enabled": True}}), "ConfigMap")["data"]
    text = DASHBOARD.read_text(encoding="utf-8")
    assert {"playground-deployer.json": text.strip() + "\n"} == data
    assert "{{" in text
    assert json.loads(text)["uid"]


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
