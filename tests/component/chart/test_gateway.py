"""The gateway's routes, and who may reach them."""

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
    """Return the paths that lead to the gateway, each with whether it is a prefix."""
    if find_all(found, "Ingress"):
        (rule,) = find(found, "Ingress")["spec"]["rules"]
        return {it["path"]: it["pathType"] == "Prefix" for it in rule["http"]["paths"]}
    (rule,) = find(found, "HTTPRoute")["spec"]["rules"]
    return {it["path"]["value"]: it["path"]["type"] == "PathPrefix" for it in rule["matches"]}


def is_reached(path: str, found: list[Json]) -> bool:
    """Match a path like an ingress, where a prefix covers whole path segments."""
    return any(
        path == known or (below and path.startswith(f"{known.rstrip('/')}/")) for known, below in paths(found).items()
    )


def routes(url: str) -> set[str]:
    """Return the paths of all routes that the gateway serves behind this URL."""
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
    """All routes are reached below the public URL, prefix included, and cluster-internal paths are not."""
    found = render(how, {"settings": {"gateway": {"publicUrl": url}}})
    base = urlsplit(url).path.rstrip("/")
    served = routes(url)
    assert len(served) > 10
    assert [] == sorted(it for it in served if not is_reached(it, found))
    inside = [f"{prefix}/{it}" for prefix in {"", base} for it in ("live", "ready", "metrics", "deployments", "v10")]
    assert [] == [it for it in inside if is_reached(it, found)]


@pytest.mark.parametrize(("how", "kind"), [(INGRESS, "Ingress"), (ROUTE, "HTTPRoute")])
def test_the_host_is_that_of_the_url(how: Json, kind: str) -> None:
    """The host is the public URL's, without the port, which neither kind allows, and in lower case for Kubernetes."""
    spec = find(render(how, {"settings": {"gateway": {"publicUrl": "https://A.example:8443/x"}}}), kind)["spec"]
    assert ["a.example"] == (spec["hostnames"] if kind == "HTTPRoute" else [it["host"] for it in spec["rules"]])


def test_tokens_in_urls_are_not_logged() -> None:
    """By default ingress-nginx neither logs nor buffers, and outlasts the gateway's longest answer of 300 s."""
    found = find(render(INGRESS), "Ingress")["metadata"]["annotations"]
    assert {"enable-access-log": "false", "proxy-buffering": "off", "proxy-read-timeout": "330"} == {
        key.removeprefix("nginx.ingress.kubernetes.io/"): value for key, value in found.items()
    }


def test_the_route_ends_no_stream() -> None:
    """The route does not limit event streams, which last as long as their page, and can omit the timeouts field."""
    (rule,) = find(render(ROUTE), "HTTPRoute")["spec"]["rules"]
    assert {"request": "0s"} == rule["timeouts"]
    (rule,) = find(render(ROUTE, {"gateway": {"httpRoute": {"timeouts": None}}}), "HTTPRoute")["spec"]["rules"]
    assert "timeouts" not in rule


def test_who_may_connect_and_whereto() -> None:
    """Only the peers in the values and the metrics readers may connect.

    Egress covers the worker's dependencies, except the playground.
    """
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
    """Without peers in the values any client may connect, because a front door that admits no one is useless."""
    found = render(ON, {"networkPolicy": {"enabled": True, "metricsFrom": [{"podSelector": {}}]}})
    assert [{"ports": [{"port": "http", "protocol": "TCP"}]}] == find(found, "NetworkPolicy", "-gateway")["spec"][
        "ingress"
    ]


def test_the_worker_does_not_notice() -> None:
    """The worker's pods are the same with and without a gateway."""
    assert worker(render()) == worker(render(ON))
    assert deployment(render())["spec"] == deployment(render(ON))["spec"]


def test_its_service_account_has_no_token() -> None:
    """Neither the gateway's service account nor its pod mounts a token."""
    found = render(ON)
    account, spec = find(found, "ServiceAccount"), deployment(found, "gateway")["spec"]["template"]["spec"]
    assert account["metadata"]["name"] == spec["serviceAccountName"] == "deployer-playground-deployer-gateway"
    assert (False, False) == (account["automountServiceAccountToken"], spec["automountServiceAccountToken"])


@pytest.mark.parametrize(("kubernetes", "sleeps"), [("1.25", False), ("1.31", True)])
def test_a_pause_before_the_end(kubernetes: str, sleeps: bool) -> None:
    """The gateway's pod pauses before it stops, while the Service removes it.

    Clusters without that feature omit the pause, and the grace period is adapted.
    """
    found = render(ON, kubernetes=kubernetes)
    assert sleeps == ("lifecycle" in worker(found, "gateway"))
    spec = deployment(found, "gateway")["spec"]["template"]["spec"]
    assert (20 if sleeps else 15) == spec["terminationGracePeriodSeconds"]
