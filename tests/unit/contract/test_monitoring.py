"""Alerts, dashboard and page refer to existing metrics, and the page has all of them."""

import json
import re
from types import SimpleNamespace
from typing import Any

import yaml
from prometheus_client import Metric

from tests.support.fakes import FakeTime
from tests.support.paths import ROOT
from worker.delivery.admission import RESERVED_BYTES, Admission, Breakers, Budget, KeyQueue, Limiter
from worker.delivery.collector import WorkerCollector
from worker.domain.partition_state import PartitionState, RequestTable
from worker.gateway import metrics as gateway
from worker.observability.metrics import PREFIX, REGISTRY

PAGE = ROOT / "docs" / "operating.md"
ALERTS = ROOT / "helm" / "files" / "alerts.yaml"
GATEWAY_ALERTS = ALERTS.with_name("gateway-alerts.yaml")
DASHBOARD = ROOT / "helm" / "files" / "dashboard.json"


def families() -> list[Metric]:
    """Return the worker's metrics: those that are counted first, then those that are read from the state."""
    time = FakeTime()
    shared = SimpleNamespace(key_queue=KeyQueue())
    state = PartitionState(RequestTable(), 0)
    processor = SimpleNamespace(partition=0, ready=True, state=state, jobs=[], context=shared)
    requests: Any = SimpleNamespace(processors={0: processor}, draining_since=None, unprocessed=dict)
    admission = Admission(Limiter(1), Breakers(time.seconds, time.sleep), Budget(RESERVED_BYTES))
    collector = WorkerCollector(requests, admission, {"request": 0.0, "post": 0.0}, time.clocks())
    collector.ends = {0: 0}
    return [it for it in REGISTRY.collect() if it.name.startswith(PREFIX)] + list(collector.collect())


def gateway_families() -> list[Metric]:
    """Return the gateway's metrics, whose documentation and labels `make pages` writes into the page."""
    return [it for it in gateway.REGISTRY.collect() if it.name.startswith(gateway.PREFIX)]


def names() -> set[str]:
    """Return the metrics' names as queries write them."""
    return {name for family in families() + gateway_families() for name in _samples(family)}


def _samples(family: Metric) -> list[str]:
    if family.type == "counter":
        return [f"{family.name}_total"]
    if family.type == "histogram":
        return [f"{family.name}_{it}" for it in ("bucket", "count", "sum")]
    return [family.name]


def metrics_table() -> str:
    """Return the table that belongs between the page's marks."""
    rows = ["| metric | labels | kind | meaning |", "|---|---|---|---|"]
    for it in families():
        shown = f"{it.name}_total" if it.type == "counter" else it.name
        labels = sorted({label for sample in it.samples for label in sample.labels} - {"le"})
        rows.append(f"| `{shown}` | {', '.join(labels)} | {it.type} | {it.documentation} |")
    return "\n".join(rows)


def used(text: str) -> set[str]:
    return set(re.findall(rf"\b(?:{PREFIX}|{gateway.PREFIX})_[a-z_]+", text))


def queries() -> str:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return "\n".join(target["expr"] for panel in panels for target in panel.get("targets", []))


def rules() -> list[dict[str, Any]]:
    files = (yaml.safe_load(path.read_text()) for path in (ALERTS, GATEWAY_ALERTS))
    return [rule for file in files for group in file["groups"] for rule in group["rules"]]


def test_alerts_ask_for_metrics_that_exist() -> None:
    """Alerts query existing metrics only, since a renamed metric would silence its alert."""
    assert set() == used("\n".join(rule["expr"] for rule in rules())) - names()


def test_the_dashboard_shows_every_metric_and_no_other() -> None:
    """The dashboard shows every metric, a histogram by its buckets, and no other."""
    shown = {it.removesuffix("_bucket") for it in used(queries())}
    assert {_samples(it)[0].removesuffix("_bucket") for it in families() + gateway_families()} == shown
    assert set() == used(queries()) - names()


def test_the_dashboard_s_panels_are_told_apart() -> None:
    """Panels have unique ids, of which Grafana would drop a duplicate, unique titles and a description."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    assert len(panels) == len({panel["id"] for panel in panels}) == len({panel["title"] for panel in panels})
    assert all(panel["description"].endswith(".") for panel in panels if panel["type"] != "row")


def test_the_page_explains_every_metric() -> None:
    """The page has the table generated from the metrics; a failure prints what belongs between the marks."""
    table = re.search(r"<!-- metrics -->\n(.*)\n<!-- /metrics -->", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert table is not None
    assert metrics_table() == table[1]


def test_the_page_says_what_to_do_about_every_alert() -> None:
    """The page has a heading for each alert, in the order of the rules."""
    headings = re.findall(r"^### (Playground(?:Deployer|Gateway)\w+)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert [rule["alert"] for rule in rules()] == headings
