from typing import Any

from tests.component.chart.rendering import find, find_all, nested, render
from tests.component.chart.values import Json
from worker.adapters.kafka.topics import required_topics
from worker.settings import KafkaSettings


def _pod_template(*changes: Json) -> Any:
    return find(render(*changes), "Deployment")["spec"]["template"]


def test_pods_follow_their_overrides() -> None:
    """Changed overrides replace the pods, because the worker reads overrides once; unchanged overrides do not."""
    one, other = ({"overrides": {"entries": [{"match": {"node": node}}]}} for node in ("a", "b"))
    assert _pod_template(one) == _pod_template(one, {"service": {"enabled": True}})
    assert _pod_template(one) != _pod_template(other)


def test_pods_follow_the_demo_s_secrets() -> None:
    """A change of the Secret that the chart creates in the demo replaces the pods; an unchanged Secret keeps them."""
    one, other = (
        {"demo": {"enabled": True, "secrets": {"catalog": it}}, "secrets": {"catalog": {"existingSecret": ""}}}
        for it in ("a", "b")
    )
    assert _pod_template(one) == _pod_template(one, {"scaling": {"replicas": 1}})
    assert _pod_template(one) != _pod_template(other)


def test_pods_are_left_alone() -> None:
    """A change that does not concern the pods does not restart them."""
    for change in (
        nested("scaling.replicas", 3),
        nested("service.enabled", True),
        nested("dashboard.enabled", True),
        nested("networkPolicy.enabled", True),
        nested("podDisruptionBudget.enabled", False),
        nested("revisionHistoryLimit", 1),
    ):
        assert _pod_template() == _pod_template(change)


def test_no_secret_is_rendered() -> None:
    """Existing Secrets are referenced, and the chart's own exists in the demo only."""
    assert [] == find_all(render(), "Secret")
    demo = render({"demo": {"enabled": True, "secrets": {"kafka": "s3cret"}}})
    assert {"kafka": "s3cret"} == find(demo, "Secret")["stringData"]
    assert "s3cret" not in str([it for it in demo if it["kind"] != "Secret"])


def test_topics_are_those_the_worker_wants() -> None:
    """The topics have the names, partitions, replicas and configuration that the worker would create."""
    kafka = KafkaSettings(bootstrap_servers="kafka:9092", requests_topic="r", status_topic="s", partitions=5)
    given = {"requestsTopic": "r", "statusTopic": "s", "partitions": 5}
    found = render({"topics": {"mode": "strimzi", "strimzi": {"cluster": "main"}}, "settings": {"kafka": given}})
    assert [
        (it.name, kafka.partitions, kafka.replication_factor, dict(it.configs)) for it in required_topics(kafka)
    ] == [
        (
            it["spec"]["topicName"],
            it["spec"]["partitions"],
            it["spec"]["replicas"],
            {key: str(value) for key, value in it["spec"]["config"].items()},
        )
        for it in find_all(found, "KafkaTopic")
    ]


def test_topics_survive() -> None:
    """`helm uninstall` keeps the topics unless the values disable that."""
    topics: Json = {"topics": {"mode": "strimzi", "strimzi": {"cluster": "main", "namespace": "kafka"}}}
    for it in find_all(render(topics), "KafkaTopic"):
        assert {"helm.sh/resource-policy": "keep"} == it["metadata"]["annotations"]
        assert ("kafka", "main") == (it["metadata"]["namespace"], it["metadata"]["labels"]["strimzi.io/cluster"])
    for it in find_all(render(topics, nested("topics.strimzi.keep", False)), "KafkaTopic"):
        assert "annotations" not in it["metadata"]
