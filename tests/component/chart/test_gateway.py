"""What is reached of the gateway, and by whom."""

from urllib.parse import urlsplit

import pytest
from aiohttp import web

from tests.component.chart.judging import selects
from tests.component.chart.rendering import deployment, find, find_all, merged, render, worker
from tests.component.chart.values import Json
from worker.gateway.pages import Pages
from worker.gateway.routes import Routes
from worker.settings import GatewaySettings

URL = "https://graphene.example/playground-deployer"
ON: Json = {
    "gateway": {"enabled": True},
    "settings": {"gateway": {"publicUrl": URL}},
    "secrets": {"gateway": {"existingSecret": "session"}},
}
INGRESS = merged(ON, {"gateway": {"ingress": {"enabled": True}}})
ROUTE = merged(ON, {"gateway": {"httpRoute": {"enabled": True, "parentRefs": [{"name": "public"}]}}})


def paths(found: list[Json]) -> dict[str, bool]:
    """Return the paths that lead to the gateway: whether what is below counts, too."""
    if find_all(found, "Ingress"):
        (rule,) = find(found, "Ingress")["spec"]["rules"]
        return {it["path"]: it["pathType"] == "Prefix" for it in rule["http"]["paths"]}
    (rule,) = find(found, "HTTPRoute")["spec"]["rules"]
    return {it["path"]["value"]: it["path"]["type"] == "PathPrefix" for it in rule["matches"]}


def is_reached(path: str, found: list[Json]) -> bool:
    """Match as an ingress does: a prefix counts whole parts of a path."""
    return any(
        path == known or (below and path.startswith(f"{known.rstrip('/')}/")) for known, below in paths(found).items()
    )


def routes(url: str) -> set[str]:
    """Return the paths of all routes of the gateway, as it serves them behind this URL."""
    settings = GatewaySettings.model_validate({"session_key": "k" * 32, "public_url": url})
    app = web.Application()
    sessions: object = None
    gateway = type("Gateway", (), {"sessions": sessions})()
    base = urlsplit(url).path.rstrip("/")
    Routes(gateway, None, None, Pages(base, url, None), settings).add_to(app)  # type: ignore[arg-type]
    return {it.canonical for it in app.router.resources() if it.canonical.startswith(base or "/")}


@pytest.mark.parametrize("how", [INGRESS, ROUTE], ids=["Ingress", "HTTPRoute"])
@pytest.mark.parametrize("url", [URL, f"{URL}/", "https://deploy.example"])
def test_every_route_is_reached_and_nothing_else(how: Json, url: str) -> None:
    """Below the public URL, without stripping; what is for the cluster alone stays there."""
    found = render(how, {"settings": {"gateway": {"publicUrl": url}}})
    base = urlsplit(url).path.rstrip("/")
    served = routes(url)
    assert len(served) > 10
    assert [] == sorted(it for it in served if not is_reached(it, found))
    inside = [f"{prefix}/{it}" for prefix in {"", base} for it in ("live", "ready", "metrics", "deployments", "v10")]
    assert [] == [it for it in inside if is_reached(it, found)]


@pytest.mark.parametrize(("how", "kind"), [(INGRESS, "Ingress"), (ROUTE, "HTTPRoute")])
def test_the_host_is_that_of_the_url(how: Json, kind: str) -> None:
    """Without its port, which neither kind has there, and in small letters, as Kubernetes wants it."""
    spec = find(render(how, {"settings": {"gateway": {"publicUrl": "https://A.example:8443/x"}}}), kind)["spec"]
    assert ["a.example"] == (spec["hostnames"] if kind == "HTTPRoute" else [it["host"] for it in spec["rules"]])


def test_tokens_in_urls_are_not_logged() -> None:
    """By default ingress-nginx logs nothing of it, buffers nothing, and outlasts the longest answer of 300 s."""
    found = find(render(INGRESS), "Ingress")["metadata"]["annotations"]
    assert {"enable-access-log": "false", "proxy-buffering": "off", "proxy-read-timeout": "330"} == {
        key.removeprefix("nginx.ingress.kubernetes.io/"): value for key, value in found.items()
    }


def test_the_route_ends_no_stream() -> None:
    """An event stream lasts as long as its page; where the implementation has no time-outs, there are none."""
    (rule,) = find(render(ROUTE), "HTTPRoute")["spec"]["rules"]
    assert {"request": "0s"} == rule["timeouts"]
    (rule,) = find(render(ROUTE, {"gateway": {"httpRoute": {"timeouts": None}}}), "HTTPRoute")["spec"]["rules"]
    assert "timeouts" not in rule


def test_who_may_connect_and_whereto() -> None:
    """Whom the values name, and who reads the metrics; to the worker's dependencies, without the playground."""
    peers: Json = {"podSelector": {"matchLabels": {"app": "ingress"}}}
    readers: Json = {"podSelector": {"matchLabels": {"app": "prometheus"}}}
    found = render(
        ON,
        {
            "gateway": {"networkPolicy": {"from": [peers]}},
            "networkPolicy": {"enabled": True, "metricsFrom": [readers]},
            "settings": {"playground": {"deployUrl": "https://playground.example:7777/deploy_solution"}},
        },
    )
    own, other = (find(found, "NetworkPolicy", suffix)["spec"] for suffix in ("-gateway", "-playground-deployer"))
    assert [{"ports": [{"port": "http", "protocol": "TCP"}], "from": [peers, readers]}] == own["ingress"]
    ports = [[port["port"] for rule in it["egress"] for port in rule["ports"]] for it in (own, other)]
    assert [[53, 53, 443, 8000, 9092], [53, 53, 443, 8000, 9092, 7777]] == ports
    labels = [deployment(found, it)["spec"]["template"]["metadata"]["labels"] for it in ("gateway", "worker")]
    assert [True, False] == [selects(own["podSelector"], it) for it in labels]
    assert [False, True] == [selects(other["podSelector"], it) for it in labels]
    assert selects(other["podSelector"], find(found, "Pod", "-check")["metadata"]["labels"])


def test_anybody_may_connect_unless_somebody_is_named() -> None:
    """A policy that lets nobody in would be no front door."""
    found = render(ON, {"networkPolicy": {"enabled": True, "metricsFrom": [{"podSelector": {}}]}})
    assert [{"ports": [{"port": "http", "protocol": "TCP"}]}] == find(found, "NetworkPolicy", "-gateway")["spec"][
        "ingress"
    ]


def test_the_worker_does_not_notice() -> None:
    """Its pods are the same with and without a gateway."""
    assert worker(render()) == worker(render(ON))
    assert deployment(render())["spec"] == deployment(render(ON))["spec"]


def test_its_service_account_has_no_token() -> None:
    """Neither the account nor the pod mounts one."""
    found = render(ON)
    account, spec = find(found, "ServiceAccount"), deployment(found, "gateway")["spec"]["template"]["spec"]
    assert account["metadata"]["name"] == spec["serviceAccountName"] == "deployer-playground-deployer-gateway"
    assert (False, False) == (account["automountServiceAccountToken"], spec["automountServiceAccountToken"])


@pytest.mark.parametrize(("kubernetes", "sleeps"), [("1.25", False), ("1.31", True)])
def test_a_pause_before_the_end(kubernetes: str, sleeps: bool) -> None:
    """While the Service forgets the pod; clusters that do not know it leave it out, and the grace period follows."""
    found = render(ON, kubernetes=kubernetes)
    assert sleeps == ("lifecycle" in worker(found, "gateway"))
    spec = deployment(found, "gateway")["spec"]["template"]["spec"]
    assert (20 if sleeps else 15) == spec["terminationGracePeriodSeconds"]
