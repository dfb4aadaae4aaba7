import pytest

from tests.component.chart.rendering import find, render
from tests.component.chart.values import Json

KEDA: Json = {"scaling": {"mode": "keda"}}
_KAFKA_LOGIN: Json = {"kafka": {"existingSecret": "login"}}


def _trigger(*changes: Json) -> Json:
    (trigger,) = find(render(KEDA, *changes), "ScaledObject")["spec"]["triggers"]
    metadata: Json = trigger["metadata"]
    return metadata


def test_keda_looks_at_the_worker_s_own_lag() -> None:
    """KEDA reads brokers, group and topic from the settings, and the options avoid the scaler's pitfalls."""
    kafka = {"bootstrapServers": "a:1, b:2", "groupId": "g", "requestsTopic": "t"}
    assert {
        "bootstrapServers": "a:1,b:2",
        "consumerGroup": "g",
        "topic": "t",
        "lagThreshold": "32",
        "activationLagThreshold": "0",
        "limitToPartitionsWithLag": "true",
        "excludePersistentLag": "false",
        "allowIdleConsumers": "false",
        "offsetResetPolicy": "earliest",
        "version": "2.8.0",
        "sasl": "none",
        "tls": "disable",
    } == _trigger({"settings": {"kafka": kafka}})


@pytest.mark.parametrize(
    ("in_flight", "given", "threshold"), [(8, None, "8"), (8, 100, "100"), (1000000, None, "1000000")]
)
def test_lag_per_pod(in_flight: int, given: int | None, threshold: str) -> None:
    """By default the lag threshold is the number of requests that a pod processes at once."""
    changes = {"settings": {"runtime": {"maxInFlight": in_flight}}, "scaling": {"keda": {"lagThreshold": given}}}
    assert threshold == _trigger(changes)["lagThreshold"]


@pytest.mark.parametrize(
    ("protocol", "mechanism", "sasl", "tls"),
    [
        ("SSL", "PLAIN", "none", "enable"),
        ("SASL_PLAINTEXT", "PLAIN", "plaintext", "disable"),
        ("SASL_SSL", "SCRAM-SHA-256", "scram_sha256", "enable"),
        ("SASL_SSL", "SCRAM-SHA-512", "scram_sha512", "enable"),
    ],
)
def test_keda_logs_in_as_the_worker(protocol: str, mechanism: str, sasl: str, tls: str) -> None:
    """Each protocol and mechanism is translated to KEDA's name."""
    kafka = {"securityProtocol": protocol, "saslMechanism": mechanism, "saslUsername": "u"}
    seen = _trigger({"settings": {"kafka": kafka}, "secrets": _KAFKA_LOGIN})
    assert (sasl, tls) == (seen["sasl"], seen["tls"])


def test_keda_reads_the_worker_s_secrets() -> None:
    """KEDA references the worker's password and certificates; the user name comes from the worker's variable."""
    changes: Json = {
        "settings": {"kafka": {"securityProtocol": "SASL_SSL"}},
        "secrets": {"kafka": {"existingSecret": "login", "usernameKey": "user"}},
        "tls": {"kafka": {"ca": {"existingConfigMap": "ca"}, "client": {"existingSecret": "client"}}},
    }
    assert {
        "env": [{"parameter": "username", "name": "DEPLOYER_KAFKA__SASL_USERNAME", "containerName": "worker"}],
        "secretTargetRef": [
            {"parameter": "password", "name": "login", "key": "password"},
            {"parameter": "cert", "name": "client", "key": "tls.crt"},
            {"parameter": "key", "name": "client", "key": "tls.key"},
        ],
        "configMapTargetRef": [{"parameter": "ca", "name": "ca", "key": "ca.crt"}],
    } == find(render(KEDA, changes), "TriggerAuthentication")["spec"]


@pytest.mark.parametrize(
    ("mode", "kind", "most"),
    [("keda", "ScaledObject", "maxReplicaCount"), ("hpa", "HorizontalPodAutoscaler", "maxReplicas")],
)
def test_no_more_pods_than_partitions(mode: str, kind: str, most: str) -> None:
    """Unless set, the maximum number of pods is the number of partitions."""
    found = render({"scaling": {"mode": mode}, "settings": {"kafka": {"partitions": 7}}})
    assert 7 == find(found, kind)["spec"][most]


def test_pods_go_one_by_one() -> None:
    """Both scalers wait equally long and remove one pod per minute, because each change is a rebalance."""
    down = {
        "scaleDown": {
            "stabilizationWindowSeconds": 900,
            "policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}],
        }
    }
    scaling = {"stabilizationSeconds": 900}
    hpa = find(render({"scaling": {"mode": "hpa", **scaling}}), "HorizontalPodAutoscaler")["spec"]
    keda = find(render({"scaling": {"mode": "keda", **scaling}}), "ScaledObject")["spec"]
    assert down == hpa["behavior"]
    assert down == keda["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]


def test_metrics_of_the_autoscaler() -> None:
    """The autoscaler uses CPU alone, a custom metric alone, or both."""
    own = {"type": "External", "external": {"metric": {"name": "lag"}, "target": {"type": "Value", "value": "5"}}}

    def metrics(**hpa: object) -> list[str]:
        found = render({"scaling": {"mode": "hpa", "hpa": hpa}})
        return [it["type"] for it in find(found, "HorizontalPodAutoscaler")["spec"]["metrics"]]

    assert ["Resource"] == metrics()
    assert ["External"] == metrics(cpuUtilization=None, metrics=[own])
    assert ["Resource", "External"] == metrics(metrics=[own])


@pytest.mark.parametrize("mode", ["hpa", "keda"])
def test_who_scales_decides(mode: str) -> None:
    """With a scaler the Deployment has no replica count, because each upgrade would overwrite the scaler's."""
    assert "replicas" not in find(render({"scaling": {"mode": mode}}), "Deployment")["spec"]


def test_none() -> None:
    """0 replicas is respected, and stops the worker."""
    assert 0 == find(render({"scaling": {"replicas": 0}}), "Deployment")["spec"]["replicas"]
