import json
import re
from pathlib import Path

import pytest
import yaml

from tests.component.chart.rendering import FULL_NAME, NAMESPACE, RELEASE, find, render
from tests.component.chart.values import CHART, Json
from tests.support.paths import ROOT

ALERTS = CHART / "files" / "alerts.yaml"
GATEWAY_ALERTS = ALERTS.with_name("gateway-alerts.yaml")
DASHBOARD = CHART / "files" / "dashboard.json"
GATEWAY: Json = {
    "gateway": {"enabled": True},
    "settings": {"gateway": {"publicUrl": "https://g.example"}},
    "secrets": {"gateway": {"existingSecret": "s"}},
}


def alert_rules(*values: Json, group: int = 0) -> dict[str, Json]:
    """Return the alert rules that the chart renders, by name."""
    found = find(render({"prometheusRule": {"enabled": True}}, *values), "PrometheusRule")["spec"]["groups"]
    return {rule["alert"]: rule for rule in found[group]["rules"]}


def rules_of(*files: Path) -> dict[str, Json]:
    """Return the alert rules in the files, by name."""
    groups = [group for file in files for group in yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


@pytest.mark.parametrize(
    ("monitored", "own"),
    [(False, f'namespace="{NAMESPACE}"'), (True, f'namespace="{NAMESPACE}", release="{RELEASE}"')],
)
def test_alerts_are_those_of_the_file(monitored: bool, own: str) -> None:
    """The alerts equal the file, `{{ $value }}` included, apart from added selectors and a link to the runbook.

    Each selector has the release's namespace and, with the chart's PodMonitor, the release.
    """
    rules = rules_of(ALERTS)
    for name, rule in rules.items():
        selectors = re.findall(r"playground_deployer_[a-z_]+\b.?", rule["expr"])
        assert all(it.endswith("{") for it in selectors), name
        rule["expr"] = re.sub(r"(playground_deployer_[a-z_]+){", rf"\1{{{own}, ", rule["expr"])
        rule["expr"] = rule["expr"].replace(", }", "}")
        rule["annotations"]["runbook_url"] = f"docs/operating.md#{name.lower()}"
    assert rules == alert_rules({"podMonitor": {"enabled": monitored}})


def test_each_alert_leads_to_its_heading() -> None:
    """Each alert links to its heading in docs/operating.md, wherever that page is published."""
    published = {"prometheusRule": {"runbookUrl": "https://wiki.example/operating"}}
    headings = re.findall(
        r"^### (Playground\w+)$", (ROOT / "docs/operating.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    links = {
        name: rule["annotations"]["runbook_url"]
        for group in (0, 1)
        for name, rule in alert_rules(GATEWAY, published, group=group).items()
    }
    assert {name: f"https://wiki.example/operating#{name.lower()}" for name in headings} == links


def test_single_alerts_are_changed() -> None:
    """The values can change an alert's threshold, time and severity, or disable the alert, despite `ruleLabels`."""
    changes = {
        "PlaygroundDeployerConsumerLag": {"threshold": 5000, "for": "1h", "severity": "info"},
        "PlaygroundDeployerEventLoopLag": {"threshold": 0.5},
        "PlaygroundDeployerSlowPost": {"enabled": False},
    }
    found = alert_rules({"prometheusRule": {"alerts": changes, "ruleLabels": {"severity": "page"}}})
    lag, loop = found["PlaygroundDeployerConsumerLag"], found["PlaygroundDeployerEventLoopLag"]
    assert lag["expr"].endswith("> (5000)")
    assert ("1h", {"severity": "info"}) == (lag["for"], lag["labels"])
    assert loop["expr"].strip().endswith("> (0.5)")
    assert ("5m", {"severity": "page"}) == (loop["for"], loop["labels"])
    assert rules_of(ALERTS).keys() - {"PlaygroundDeployerSlowPost"} == found.keys()


@pytest.mark.parametrize("file", [ALERTS, GATEWAY_ALERTS], ids=["worker", "gateway"])
def test_what_may_be_changed_stands_in_one_place(file: Path) -> None:
    """No alert has two thresholds, and no sentence repeats a threshold or a time that the values can change."""
    for name, rule in rules_of(file).items():
        thresholds = re.findall(r"\(([0-9.]+)\)", rule["expr"])
        assert len(thresholds) <= 1, name
        said = " ".join(rule["annotations"].values())
        minutes = str(rule.get("for", "0m")).removesuffix("m")
        assert not re.search(rf"for {minutes} minutes|(than|over) [0-9]|one in", said), name


def test_no_release_hides_the_alerts_of_another() -> None:
    """Aggregations keep the release, so that two releases in one namespace have separate alerts."""
    rules = rules_of(ALERTS, GATEWAY_ALERTS).items()
    assert [] == [name for name, it in rules if re.search(r"\b(by|on) \((?!namespace, release\b)", it["expr"])]
    found = render(GATEWAY, {"podMonitor": {"enabled": True}})
    for suffix in (FULL_NAME, "-gateway"):
        (endpoint,) = find(found, "PodMonitor", suffix)["spec"]["podMetricsEndpoints"]
        assert {"targetLabel": "release", "replacement": RELEASE} == endpoint["relabelings"][0]


def test_alerts_of_the_gateway_come_with_it() -> None:
    """The gateway's alerts follow the workers', with the release's namespace, and exist only with a gateway.

    Without a gateway, the alert for its absence would fire.
    """
    found = find(render({"prometheusRule": {"enabled": True}}, GATEWAY), "PrometheusRule")["spec"]["groups"]
    assert ["playground-deployer", "playground-gateway"] == [group["name"] for group in found]
    selectors = [it for rule in found[1]["rules"] for it in re.findall(r"playground_gateway_[a-z_]+(.*)", rule["expr"])]
    assert len(selectors) > len(found[1]["rules"])
    assert [] == [it for it in selectors if not it.startswith(f'{{namespace="{NAMESPACE}"')]


def test_labels_for_each_alert() -> None:
    """The `ruleLabels` are added to the alerts' own labels."""
    found = alert_rules({"prometheusRule": {"ruleLabels": {"team": "graphene"}}})
    assert {name: {**rule["labels"], "team": "graphene"} for name, rule in rules_of(ALERTS).items()} == {
        name: rule["labels"] for name, rule in found.items()
    }


def test_a_severity_of_one_s_own() -> None:
    """A label in the values overrides the file's."""
    found = alert_rules({"prometheusRule": {"ruleLabels": {"severity": "page"}}})
    assert {"page"} == {rule["labels"]["severity"] for rule in found.values()}


def dashboard(release: str, *, monitored: bool) -> tuple[str, Json]:
    """Return the name of the dashboard's file, and its content."""
    on: Json = {"dashboard": {"enabled": True}, "podMonitor": {"enabled": monitored}}
    ((name, text),) = find(render(on, release=release), "ConfigMap")["data"].items()
    return name, json.loads(text)


def test_dashboard_is_that_of_the_file() -> None:
    """The dashboard equals the file, Grafana's `{{…}}` included; only name and selection are the release's."""
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
    """Two releases have dashboards with different files, uids and titles; otherwise Grafana would show only one."""
    (one, first), (other, second) = (dashboard(release, monitored=True) for release in (RELEASE, "course"))
    assert one != other
    assert [first[it] for it in ("uid", "title")] != [second[it] for it in ("uid", "title")]
    assert f"Playground deployer: {NAMESPACE}/course" == second["title"]


def test_the_dashboard_shows_everything_when_nothing_says_whose_a_metric_is() -> None:
    """Without the chart's PodMonitor, which sets the release label, the dashboard shows all releases."""
    _, found = dashboard(RELEASE, monitored=False)
    (release,) = (it for it in found["templating"]["list"] if it["name"] == "release")
    assert "$__all" == release["current"]["value"]


def test_sidecar_label() -> None:
    """The sidecar's default label is present; others are added, and another sidecar's label replaces it."""

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
