"""The chart on a real API server, in namespaces that enforce Pod Security `restricted`."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.component.chart.custom_resources import RESOURCES, Resource
from tests.component.chart.golden import NAMES, values_of
from tests.component.chart.helm_binary import HELM_3, HELM_4
from tests.component.chart.judging import pods
from tests.component.chart.rendering import LEAST, RELEASE, component_of, helm, merged, objects
from tests.component.chart.rendering import Refused as NotRendered
from tests.component.chart.values import CHART, Json
from tests.extended.cluster.api import Api, Refused, until
from tests.extended.cluster.control_plane import ControlPlane

_DEFINITIONS = "apis/apiextensions.k8s.io/v1/customresourcedefinitions"
# The objects that `placed` refers to, without which its pods would be rejected.
_CLUSTER_OBJECTS: dict[str, Json] = {
    "apis/scheduling.k8s.io/v1/priorityclasses": {"metadata": {"name": "graphene-high"}, "value": 1000},
    "apis/node.k8s.io/v1/runtimeclasses": {"metadata": {"name": "gvisor"}, "handler": "runsc"},
}
# The chart's topics are deleted with it, so that nothing is left.
_TOPICS_GO: Json = {"topics": {"strimzi": {"namespace": "", "keep": False}}}
_ALL: Json = {
    "scaling": {"mode": "keda", "minReplicas": 2},
    "topics": {"mode": "strimzi", "strimzi": {"cluster": "main"}},
    **{name: {"enabled": True} for name in ("service", "podMonitor", "prometheusRule", "dashboard", "networkPolicy")},
    "demo": {"enabled": True, "secrets": {"kafka": "not-a-secret", "gateway": "not-a-secret-but-long-enough-for-one"}},
    "gateway": {
        "enabled": True,
        "autoscaling": {"enabled": True},
        "httpRoute": {"enabled": True, "parentRefs": [{"name": "public"}]},
    },
    "serviceAccount": {"create": True},
    "overrides": {"entries": [{"match": {"node": "*"}, "patch": {"spec": {"replicas": 2}}}]},
    "settings": {
        "kafka": {"securityProtocol": "SASL_SSL", "saslUsername": "u"},
        "gateway": {"publicUrl": "https://graphene.example/deployer"},
    },
    "tls": {"kafka": {"ca": {"existingConfigMap": "ca"}, "client": {"existingSecret": "client"}}},
}
RESTRICTED = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn", "audit")}


@pytest.fixture(scope="module")
def api(cluster: ControlPlane) -> Iterator[Api]:
    """Yield access to an API server that knows the custom resources."""
    with closing(cluster.open_api()) as api:
        for resource in RESOURCES.values():
            api.call("POST", _DEFINITIONS, resource.definition)
        for path, document in _CLUSTER_OBJECTS.items():
            api.call("POST", path, document)
        assert until(lambda: all(_is_served(api, it) for it in RESOURCES.values()))
        yield api
        for path, document in _CLUSTER_OBJECTS.items():
            api.call("DELETE", f"{path}/{document['metadata']['name']}")
        for resource in RESOURCES.values():
            api.call("DELETE", f"{_DEFINITIONS}/{resource.definition['metadata']['name']}")


def _is_served(api: Api, resource: Resource) -> bool:
    """Return whether the resource is served; its storage takes a second after it is established."""
    try:
        api.call("GET", f"apis/{resource.api_version}/{resource.plural}")
    except Refused:
        return False
    return True


class Release:
    """`helm` in one namespace."""

    def __init__(self, api: Api, cluster: ControlPlane, namespace: str, home: Path) -> None:
        api.make_namespace(namespace, RESTRICTED)
        self.namespace = namespace
        self._api = api
        self._home = home
        self._access = ("--kubeconfig", str(cluster.kubeconfig), "--namespace", namespace)

    def helm(
        self, verb: str, *more: str, values: Json | None = None, version: Path = HELM_4, name: str = RELEASE
    ) -> str:
        """Return helm's output. Raises tests.component.chart.rendering.Refused."""
        text = "" if values is None else json.dumps(merged(LEAST, values, _TOPICS_GO))
        return helm(verb, name, *more, *self._access, values=text, home=self._home, version=version)

    def installed(self) -> set[tuple[str, str]]:
        """Return kind and name of the objects of `helm get manifest`, each found on the API server."""
        found = objects(helm("get", "manifest", RELEASE, *self._access, home=self._home))
        there = {(it["kind"], it["metadata"]["name"]) for it in self._api.everything(self.namespace)}
        wanted = {(it["kind"], it["metadata"]["name"]) for it in found}
        assert set() == wanted - there
        return wanted

    def check_pod(self) -> Json:
        """Return the pod of `helm test`."""
        (pod,) = objects(helm("get", "hooks", RELEASE, *self._access, home=self._home))
        return pod

    def deployment(self) -> Json:
        """Return the Deployment of the workers."""
        (found,) = (it for it in self.deployments() if component_of(it) == "worker")
        return found

    def deployments(self) -> list[Json]:
        """Return the Deployments of the workers and, if there are any, of the gateways."""
        found: list[Json] = self._api.find("Deployment", self.namespace)
        return found

    def pods_are_made(self) -> bool:
        """Return whether the wanted number of pods is made: Pod Security admits them."""
        wanted = sum(it["spec"]["replicas"] for it in self.deployments())
        return bool(until(lambda: wanted == len(self._api.find("Pod", self.namespace))))

    def is_gone(self) -> bool:
        """Return whether the namespace is empty."""
        return bool(until(lambda: not self._api.everything(self.namespace)))


@pytest.fixture
def release(api: Api, cluster: ControlPlane, tmp_path: Path) -> Callable[[str], Release]:
    """Return a function that makes a release in a new namespace."""
    return lambda namespace: Release(api, cluster, namespace, tmp_path)


@pytest.mark.parametrize("name", NAMES)
def test_install_and_uninstall(name: str, release: Callable[[str], Release], api: Api) -> None:
    """The API server accepts every object and the pod of `helm test`, and makes the pods; uninstall removes all."""
    here = release(f"chart-{name}")

    here.helm("install", str(CHART), values=values_of(name))

    assert len(here.installed()) >= 1
    assert here.pods_are_made(), here.deployment()["status"]
    api.try_pod(here.check_pod(), here.namespace)

    here.helm("uninstall")
    assert here.is_gone(), [it["metadata"]["name"] for it in api.everything(here.namespace)]


def test_upgrades(release: Callable[[str], Release]) -> None:
    """Upgrades from each set of values to the next keep the same Deployment: no immutable field changes."""
    here = release("chart-upgrades")
    here.helm("install", str(CHART), values={})
    identity = here.deployment()["metadata"]["uid"]
    seen = set()

    for values in [*(values_of(name) for name in NAMES if name not in ("extended", "placed")), _ALL]:
        here.helm("upgrade", str(CHART), values=values)
        seen |= {kind for kind, _ in here.installed()}
        assert identity == here.deployment()["metadata"]["uid"]

    assert {"HorizontalPodAutoscaler", "Ingress", "NetworkPolicy", "PodDisruptionBudget", "Secret", *RESOURCES} <= seen
    here.helm("rollback")
    assert identity == here.deployment()["metadata"]["uid"]
    here.helm("uninstall")
    assert here.is_gone()


def test_from_helm_3_to_helm_4(release: Callable[[str], Release]) -> None:
    """Helm 4 upgrades and removes what Helm 3 installed and changed."""
    here = release("chart-helm-3")
    here.helm("install", str(CHART), values={}, version=HELM_3)
    identity = here.deployment()["metadata"]["uid"]
    here.helm("upgrade", str(CHART), values={"scaling": {"mode": "hpa"}}, version=HELM_3)
    here.helm("upgrade", str(CHART), values=_ALL)
    assert here.installed()
    assert identity == here.deployment()["metadata"]["uid"]
    here.helm("uninstall")
    assert here.is_gone()


def test_upgrade_to_another_name(release: Callable[[str], Release]) -> None:
    """An upgrade to another name replaces all objects of the first name."""
    here = release("chart-renamed")
    here.helm("install", str(CHART), values={})
    before = here.installed()
    here.helm("upgrade", str(CHART), values={"fullnameOverride": "other"})
    assert set() == before & here.installed()
    assert "other" == here.deployment()["metadata"]["name"]
    here.helm("uninstall")
    assert here.is_gone()


def test_two_releases_in_one_namespace(release: Callable[[str], Release]) -> None:
    """A second release must not share a topic or the group with the first on the same brokers.

    Its install and its upgrade are rejected. With separate names, or on other brokers, it is accepted.
    """
    here = release("chart-two")
    here.helm("install", str(CHART), values={})
    names = {
        "requestsTopic": "course.requests",
        "statusTopic": "course.status",
        "settlementsTopic": "course.settlements",
        "deadLetterTopic": "course.dead-letter",
        "groupId": "course",
    }
    for shared in names:
        own = {"settings": {"kafka": {name: value for name, value in names.items() if name != shared}}}
        with pytest.raises(NotRendered) as caught:
            here.helm("install", str(CHART), values=own, name="course")
        assert [shared] == re.findall(
            rf"settings\.kafka\.(\w+): .* is also used by the release {RELEASE} in this namespace", str(caught.value)
        )
    here.helm("install", str(CHART), values={"settings": {"kafka": names}}, name="course")
    here.helm("upgrade", str(CHART), values={"scaling": {"replicas": 3}})
    with pytest.raises(NotRendered, match=r"settings\.kafka\.groupId: course is also used by the release course"):
        here.helm("upgrade", str(CHART), values={"settings": {"kafka": {"groupId": "course"}}})
    elsewhere = {"settings": {"kafka": {"bootstrapServers": "elsewhere:9092"}}}
    here.helm("install", str(CHART), values=elsewhere, name="elsewhere")
    for name in (RELEASE, "course", "elsewhere"):
        here.helm("uninstall", name=name)
    assert here.is_gone()


def test_what_pod_security_stops(release: Callable[[str], Release], api: Api) -> None:
    """Pod Security `restricted` is in force: it rejects the same pod with one more right."""
    here = release("chart-refused")
    here.helm("install", str(CHART), values={})
    check = here.check_pod()
    ((_, spec),) = pods([check])
    del spec["containers"][0]["securityContext"]["capabilities"]
    with pytest.raises(Refused, match="unrestricted capabilities"):
        api.try_pod(check, here.namespace)
