from typing import Any

import pytest

from tests.component.chart.rendering import find, find_all, render
from tests.component.chart.values import Json

_DNS = [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]
_PEERS: list[Json] = [{"ipBlock": {"cidr": "192.0.2.0/24"}}]


def _policy(*changes: Json) -> Json:
    spec: Json = find(render({"networkPolicy": {"enabled": True}}, *changes), "NetworkPolicy")["spec"]
    return spec


def _ports(*changes: Json) -> list[Any]:
    return [port["port"] for rule in _policy(*changes)["egress"] for port in rule["ports"]]


def test_default() -> None:
    """By default no ingress is allowed, and egress only to DNS and the ports of brokers, Nexus, CCDS and playground."""
    spec = _policy()
    assert ["Ingress", "Egress"] == spec["policyTypes"]
    assert "ingress" not in spec
    assert [53, 53, 443, 8000, 9092, 443] == _ports()
    assert _DNS == spec["egress"][0]["ports"]


@pytest.mark.parametrize(
    ("servers", "ports"),
    [("kafka:9092", [9092]), ("a:1,b:2,c:1", [1, 2]), ("[::1]:9094, [fd00::2]:9095", [9094, 9095])],
)
def test_ports_of_brokers(servers: str, ports: list[int]) -> None:
    """Each port is listed once, with IPv6 as well."""
    rule = _policy({"settings": {"kafka": {"bootstrapServers": servers}}})["egress"][3]
    assert [{"port": port, "protocol": "TCP"} for port in ports] == rule["ports"]


@pytest.mark.parametrize(
    ("url", "port"),
    [
        ("http://cds/ccds", 80),
        ("https://cds/ccds", 443),
        ("https://cds:8443/ccds", 8443),
        ("http://[fd00::1]/ccds", 80),
        ("http://[fd00::1]:8000/ccds", 8000),
    ],
)
def test_port_of_a_url(url: str, port: int) -> None:
    """The egress port is the URL's port, or the default port of its scheme."""
    assert [53, 53, 443, port, 9092, 443] == _ports({"settings": {"catalog": {"url": url}}})


def test_issuer() -> None:
    """Egress to the issuer of public keys exists only if an issuer is set."""
    jwks: Json = {
        "settings": {"auth": {"jwksUrl": "https://issuer:9443/certs", "algorithm": "RS256"}},
        "secrets": {"auth": {"existingSecret": ""}},
    }
    assert 9443 in _ports(jwks)


def test_collector() -> None:
    """Egress to the trace collector exists only if a collector is set."""
    assert [53, 53, 443, 8000, 9092, 443, 4318] == _ports({"settings": {"tracing": {"endpoint": "http://otel:4318"}}})


def test_ports_behind_a_service() -> None:
    """Ports can be added: policies apply to the pods' ports, not a Service's, and brokers may advertise others."""
    egress = {"dns": {"ports": [5353]}, "kafka": {"ports": [32000, 9092]}, "catalog": {"ports": [8080]}}
    assert [53, 53, 5353, 5353, 443, 8000, 8080, 9092, 32000, 443] == _ports({"networkPolicy": {"egress": egress}})


_DEPENDENCIES = ["dns", "artifacts", "catalog", "kafka", "playground"]


@pytest.mark.parametrize("dependency", _DEPENDENCIES)
def test_place_of_a_dependency(dependency: str) -> None:
    """Peers in the values apply to that dependency alone."""
    rules = _policy({"networkPolicy": {"egress": {dependency: {"to": _PEERS}}}})["egress"]
    assert [_PEERS if it == dependency else None for it in _DEPENDENCIES] == [rule.get("to") for rule in rules]


def test_peers_that_read_metrics() -> None:
    """The peers that read the metrics may connect to that one port only."""
    (rule,) = _policy({"networkPolicy": {"metricsFrom": _PEERS}})["ingress"]
    assert {"ports": [{"port": "http", "protocol": "TCP"}], "from": _PEERS} == rule


def test_further_rules() -> None:
    """Further rules are rendered as given, templates included."""
    rule: Json = {"to": [{"podSelector": {"matchLabels": {"a": "{{ .Release.Name }}"}}}]}
    assert {"to": [{"podSelector": {"matchLabels": {"a": "deployer"}}}]} == _policy(
        {"networkPolicy": {"extraEgress": [rule]}}
    )["egress"][-1]


def test_check_may_go_where_the_worker_may() -> None:
    """The pod of `helm test` is subject to the same policy, and no other selector matches it."""
    found = render({"service": {"enabled": True}, "podMonitor": {"enabled": True}})
    own = find(found, "Pod")["metadata"]["labels"]
    assert _policy()["podSelector"]["matchLabels"].items() <= own.items()
    selectors = [find(found, "Service")["spec"]["selector"]] + [
        it["spec"]["selector"]["matchLabels"]
        for kind in ("Deployment", "PodMonitor", "PodDisruptionBudget")
        for it in find_all(found, kind)
    ]
    assert 4 == len(selectors)
    assert [] == [it for it in selectors if it.items() <= own.items()]
