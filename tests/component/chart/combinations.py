"""Pairs of choices: a small set of values in which every two choices of different values meet."""

from functools import cache
from itertools import combinations as pairs_of
from itertools import product

from tests.component.chart.rendering import merged
from tests.component.chart.values import Json

_SASL: Json = {
    "settings": {"kafka": {"securityProtocol": "SASL_SSL"}},
    "secrets": {"kafka": {"existingSecret": "kafka-login", "usernameKey": "user"}},
    "tls": {"kafka": {"ca": {"existingSecret": "kafka-ca"}}},
}
_MTLS: Json = {
    "settings": {"kafka": {"securityProtocol": "SSL"}},
    "tls": {"kafka": {"ca": {"existingConfigMap": "ca"}, "client": {"existingSecret": "client"}}},
}
_JWKS: Json = {
    "settings": {"auth": {"jwksUrl": "https://issuer.example/certs", "algorithm": "ES256"}},
    "secrets": {"auth": {"existingSecret": ""}},
}
_GATEWAY: Json = {
    "settings": {"gateway": {"publicUrl": "https://graphene.example/deployer/"}},
    "secrets": {"gateway": {"existingSecret": "session"}},
}

CHOICES: dict[str, list[Json]] = {
    "scaling": [
        {"scaling": {"mode": "fixed", "replicas": 1}},
        {"scaling": {"mode": "hpa"}},
        {"scaling": {"mode": "keda", "minReplicas": 2}},
    ],
    "kafka": [{}, _SASL, _MTLS],
    "tokens": [{}, _JWKS],
    "topics": [{}, {"topics": {"mode": "worker"}}, {"topics": {"mode": "strimzi", "strimzi": {"cluster": "main"}}}],
    "network": [
        {},
        {"networkPolicy": {"enabled": True}},
        {"networkPolicy": {"enabled": True, "metricsFrom": [{"podSelector": {}}]}},
    ],
    "monitoring": [
        {},
        {name: {"enabled": True} for name in ("service", "podMonitor", "prometheusRule", "dashboard")},
    ],
    "gateway": [
        {},
        {"gateway": {"enabled": True, "ingress": {"enabled": True}}, **_GATEWAY},
        {
            "gateway": {
                "enabled": True,
                "autoscaling": {"enabled": True},
                "httpRoute": {"enabled": True, "parentRefs": [{"name": "public"}]},
                "serviceAccount": {"create": False},
                "networkPolicy": {"from": [{"namespaceSelector": {}}]},
            },
            **_GATEWAY,
        },
    ],
    "overrides": [
        {},
        {"overrides": {"entries": [{"match": {"node": "*"}, "patch": {}}]}},
        {"overrides": {"existingConfigMap": "mine"}},
    ],
    "names": [{}, {"nameOverride": "w"}, {"fullnameOverride": "f" * 63}],
    "account": [{}, {"serviceAccount": {"create": True}}, {"serviceAccount": {"name": "there-already"}}],
    "additions": [
        {},
        {
            "sidecars": [{"name": "s", "image": "s:1"}],
            "initContainers": [{"name": "i", "image": "i:1"}],
            "extraVolumes": [{"name": "v", "emptyDir": {}}],
            "extraVolumeMounts": [{"name": "v", "mountPath": "/v"}],
            "commonLabels": {"a": "b"},
        },
    ],
    "stop": [{}, {"settings": {"runtime": {"drainSeconds": 500}}}, {"preStopSleepSeconds": 3}],
    "image": [
        {},
        {"image": {"tag": "1.2.3", "registry": "registry.example"}},
        {"image": {"digest": f"sha256:{'0' * 64}"}, "global": {"imageRegistry": "mirror.example"}},
    ],
}

_Pair = tuple[tuple[str, int], tuple[str, int]]


def wanted_pairs() -> set[_Pair]:
    """Return every pair of choices of different values."""
    return {
        ((one, first), (other, second))
        for one, other in pairs_of(CHOICES, 2)
        for first, second in product(range(len(CHOICES[one])), range(len(CHOICES[other])))
    }


@cache
def chosen() -> list[dict[str, int]]:
    """Build rows greedily: each starts with a missing pair and adds what covers most of the others."""
    missing = wanted_pairs()
    rows: list[dict[str, int]] = []
    while missing:
        row = dict(min(missing))
        for name in (it for it in CHOICES if it not in row):
            ways = [{**row, name: index} for index in range(len(CHOICES[name]))]
            row = max(ways, key=lambda way: len(_covered(way) & missing))
        missing -= _covered(row)
        rows.append(row)
    return rows


def combinations() -> list[Json]:
    """Return the values of each row."""
    return [merged({}, *(CHOICES[name][row[name]] for name in CHOICES)) for row in chosen()]


def _covered(row: dict[str, int]) -> set[_Pair]:
    names = [name for name in CHOICES if name in row]
    return {((one, row[one]), (other, row[other])) for one, other in pairs_of(names, 2)}
