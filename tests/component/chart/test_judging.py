from collections.abc import Callable

import pytest

from tests.component.chart.judging import problems, restricted_problems
from tests.component.chart.rendering import MIDDLE, find, pod, render, worker
from tests.component.chart.values import Json

_ALL: Json = {
    "scaling": {"mode": "keda", "minReplicas": 2},
    "settings": {"kafka": {"securityProtocol": "SSL"}},
    "tls": {"kafka": {"ca": {"existingSecret": "ca"}}},
    **{name: {"enabled": True} for name in ("service", "podMonitor", "prometheusRule", "networkPolicy")},
}
_WITH_GATEWAY: Json = {
    **_ALL,
    "gateway": {"enabled": True, "ingress": {"enabled": True}, "autoscaling": {"enabled": True}},
    "settings": {**_ALL["settings"], "gateway": {"publicUrl": "https://graphene.example"}},
    "secrets": {"gateway": {"existingSecret": "session"}},
}
_BY_RELEASE = {"app.kubernetes.io/name": "playground-deployer", "app.kubernetes.io/instance": "deployer"}
Found = list[Json]
Break = Callable[[Found], object]

_MISTAKES: dict[str, Break] = {
    "unknown field": lambda it: worker(it).update(imagePolicy="Always"),
    "wrong type": lambda it: find(it, "Service")["spec"]["ports"][0].update(port="80"),
    "selector of nothing": lambda it: find(it, "Deployment")["spec"]["selector"]["matchLabels"].update(a="b"),
    "Service without pods": lambda it: find(it, "Service")["spec"]["selector"].update(a="b"),
    "budget without pods": lambda it: find(it, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"].update(a="b"),
    "monitor without pods": lambda it: find(it, "PodMonitor")["spec"]["selector"]["matchLabels"].update(a="b"),
    "policy without pods": lambda it: find(it, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"].update(a="b"),
    "scaler of nothing": lambda it: find(it, "ScaledObject")["spec"]["scaleTargetRef"].update(name="x"),
    "login that is not there": lambda it: it.remove(find(it, "TriggerAuthentication")),
    "number in KEDA's text": lambda it: find(it, "ScaledObject")["spec"]["triggers"][0]["metadata"].update(lag=1),
    "unknown field of KEDA": lambda it: find(it, "ScaledObject")["spec"].update(replicas=1),
    "rule without expression": lambda it: find(it, "PrometheusRule")["spec"]["groups"][0]["rules"][0].pop("expr"),
    "invalid duration": lambda it: find(it, "PodMonitor")["spec"]["podMetricsEndpoints"][0].update(interval="1 m"),
    "invalid name": lambda it: find(it, "NetworkPolicy")["metadata"].update(name="A"),
    "Service that begins with a digit": lambda it: find(it, "Service")["metadata"].update(name="1a"),
    "invalid label": lambda it: find(it, "Service")["metadata"]["labels"].update(a="b c"),
    "another namespace": lambda it: find(it, "Service")["metadata"].update(namespace="default"),
    "mount of no volume": lambda it: worker(it)["volumeMounts"].append({"name": "x", "mountPath": "/x"}),
    "probe of no port": lambda it: worker(it)["readinessProbe"]["httpGet"].update(port="metrics"),
    "the same object twice": lambda it: it.append(find(it, "Service")),
}
_MIXED_UP: dict[str, Break] = {
    "Service of both": lambda it: find(it, "Service", "-gateway")["spec"].update(selector=_BY_RELEASE),
    "policy for both": lambda it: find(it, "NetworkPolicy", "-deployer")["spec"]["podSelector"].pop("matchExpressions"),
    "monitor of both": lambda it: find(it, "PodMonitor", "-gateway")["spec"].update(
        selector={"matchLabels": _BY_RELEASE}
    ),
    "Ingress to no Service": lambda it: it.remove(find(it, "Service", "-gateway")),
    "Ingress to no port": lambda it: find(it, "Service", "-gateway")["spec"]["ports"][0].update(name="web"),
    "autoscaler of nothing": lambda it: it.remove(find(it, "Deployment", "-gateway")),
    "unknown field of an Ingress": lambda it: find(it, "Ingress")["spec"].update(className="nginx"),
}
_TOO_MUCH: dict[str, Break] = {
    "root": lambda it: pod(it)["securityContext"].update(runAsNonRoot=False),
    "user 0": lambda it: worker(it)["securityContext"].update(runAsUser=0),
    "no seccomp profile": lambda it: pod(it)["securityContext"].pop("seccompProfile"),
    "privileges": lambda it: worker(it)["securityContext"].pop("allowPrivilegeEscalation"),
    "capabilities": lambda it: worker(it)["securityContext"]["capabilities"].update(drop=["NET_RAW"]),
    "one capability": lambda it: worker(it)["securityContext"]["capabilities"].update(add=["SYS_TIME"]),
    "the node's network": lambda it: pod(it).update(hostNetwork=True),
    "the node's port": lambda it: worker(it)["ports"][0].update(hostPort=8080),
    "the node's files": lambda it: pod(it)["volumes"].append({"name": "x", "hostPath": {"path": "/"}}),
}


@pytest.mark.parametrize("mistake", _MISTAKES)
def test_mistake(mistake: str) -> None:
    """The validation of the other tests detects each mistake, and reports none without it."""
    found = render(_ALL)
    assert [] == problems(found, MIDDLE)
    _MISTAKES[mistake](found)
    assert [] != problems(found, MIDDLE)


@pytest.mark.parametrize("mistake", _MIXED_UP)
def test_mistake_with_a_gateway(mistake: str) -> None:
    """The validation detects confusion of workers and gateways, whose labels are almost the same."""
    found = render(_WITH_GATEWAY)
    assert [] == problems(found, MIDDLE)
    _MIXED_UP[mistake](found)
    assert [] != problems(found, MIDDLE)


@pytest.mark.parametrize("problem", _TOO_MUCH)
def test_too_much_for_restricted(problem: str) -> None:
    """The validation detects everything that Pod Security `restricted` rejects."""
    found = render(_ALL)
    assert [] == restricted_problems(found)
    _TOO_MUCH[problem](found)
    assert [] != restricted_problems(found)
