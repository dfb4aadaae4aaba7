"""The alert rules and the dashboard's queries, verified by Prometheus's own promtool."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.component.chart.rendering import find, render
from tests.component.chart.test_monitoring import GATEWAY, rules_of
from tests.support.debian import debian_tool
from tests.support.paths import ROOT

RULES = ROOT / "helm" / "files" / "alerts.yaml"
TESTS = Path(__file__).with_name("test.yaml")
GATEWAY_RULES = RULES.with_name("gateway-alerts.yaml")
GATEWAY_TESTS = TESTS.with_name("gateway-test.yaml")
BOTH = pytest.mark.parametrize(
    ("rules", "tests"), [(RULES, TESTS), (GATEWAY_RULES, GATEWAY_TESTS)], ids=["worker", "gateway"]
)
DASHBOARD = ROOT / "helm" / "files" / "dashboard.json"


@pytest.fixture(scope="session")
def promtool() -> Path:
    return debian_tool("prometheus", "usr/bin/promtool")


def judge(promtool: Path, *arguments: str | Path) -> str:
    """Return an empty string on success, else promtool's output."""
    done = subprocess.run([promtool, *arguments], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


@BOTH
def test_every_rule_is_valid(promtool: Path, rules: Path, tests: Path) -> None:
    """promtool accepts every rule, as Prometheus would on loading it."""
    assert "" == judge(promtool, "check", "rules", rules)


@BOTH
def test_every_alert_fires_when_it_should_and_else_is_silent(promtool: Path, rules: Path, tests: Path) -> None:
    """Every alert fires and stays silent as test.yaml and gateway-test.yaml expect."""
    assert "" == judge(promtool, "test", "rules", tests)


@BOTH
def test_every_alert_has_a_test_that_fires_and_one_that_does_not(rules: Path, tests: Path) -> None:
    """Every alert has a test in which it fires and a test in which it does not, also a new alert."""
    alerts = {rule["alert"] for group in yaml.safe_load(rules.read_text())["groups"] for rule in group["rules"]}
    fires: set[str] = set()
    silent: set[str] = set()
    for one in yaml.safe_load(tests.read_text())["tests"]:
        for expected in one["alert_rule_test"]:
            (fires if expected["exp_alerts"] else silent).add(expected["alertname"])
    assert (alerts, alerts) == (fires, silent)


def test_a_wrong_rule_is_noticed(promtool: Path, tmp_path: Path) -> None:
    """The tests above can fail: they do with another threshold."""
    files, tests = tmp_path / RULES.relative_to(ROOT).parent, tmp_path / TESTS.relative_to(ROOT).parent
    files.mkdir(parents=True)
    tests.mkdir(parents=True)
    (files / RULES.name).write_text(RULES.read_text().replace("(600) + sum", "(0) + sum"))
    (tests / TESTS.name).write_text(TESTS.read_text())
    assert "a request that is given up after its hour of retries" in judge(
        promtool, "test", "rules", tests / TESTS.name
    )


def test_what_the_chart_makes_of_them_is_valid(promtool: Path, tmp_path: Path) -> None:
    """The chart's rules are valid with release selectors, links, and an operator's threshold, time and severity."""
    tunable = {name for name, rule in rules_of(RULES, GATEWAY_RULES).items() if re.search(r"\([0-9.]+\)", rule["expr"])}
    changes = {name: {"threshold": 1234.5, "for": "2h", "severity": "info"} for name in tunable}
    on = {"podMonitor": {"enabled": True}, "prometheusRule": {"enabled": True, "alerts": changes}}
    rendered = render(GATEWAY, on)
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump(find(rendered, "PrometheusRule")["spec"]))
    assert "" == judge(promtool, "check", "rules", path)
    made = {name: (rule["expr"], rule.get("for"), rule["labels"]) for name, rule in rules_of(path).items()}
    assert tunable == {name for name, (expr, *_) in made.items() if "(1234.5)" in expr}
    assert tunable == {name for name, (_, *more) in made.items() if ["2h", {"severity": "info"}] == more}


def test_every_query_of_the_dashboard_is_promql(promtool: Path, tmp_path: Path) -> None:
    """Every dashboard query is valid PromQL: each is loaded as a recording rule with Grafana's variables filled in."""
    queries = [target["expr"] for panel in panels() for target in panel.get("targets", [])]
    rules = [{"record": f"panel:{number}", "expr": filled(query)} for number, query in enumerate(queries)]
    path = tmp_path / "queries.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    assert "" == judge(promtool, "check", "rules", path)


def filled(query: str) -> str:
    for variable, value in (("namespace", ".*"), ("release", ".*"), ("__rate_interval", "5m"), ("__range", "6h")):
        query = query.replace(f"${variable}", value)
    return query


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    return found
