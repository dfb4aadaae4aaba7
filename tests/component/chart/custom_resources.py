"""The custom resources that the chart creates: the parts of their definitions that it uses, without unknown fields.

The render tests validate with them as JSON Schema, and `make test-cluster` installs them in its API server as CRDs.
"""

from dataclasses import dataclass

from jsonschema_rs import Draft202012Validator

from tests.component.chart.values import Json

_TEXT: Json = {"type": "string"}
_FLAG: Json = {"type": "boolean"}
_COUNT: Json = {"type": "integer", "minimum": 0}
_TEXTS: Json = {"type": "object", "additionalProperties": {"type": "string"}}
_DURATION: Json = {
    "type": "string",
    "pattern": "^(0|([0-9]+y)?([0-9]+w)?([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?)$",
}
_TIMEOUT: Json = {"type": "string", "pattern": "^([0-9]{1,5}(h|m|s|ms)){1,4}$"}  # of the Gateway API


def _object(*required: str, **properties: Json) -> Json:
    """Build an object schema; definitions may not have an empty `required`."""
    return {"type": "object", "properties": properties, **({"required": list(required)} if required else {})}


def _list(items: Json) -> Json:
    return {"type": "array", "items": items}


_SCALING_RULES = _object(
    stabilizationWindowSeconds={"type": "integer", "minimum": 0, "maximum": 3600},
    selectPolicy={"type": "string", "enum": ["Max", "Min", "Disabled"]},
    policies=_list(
        _object(
            "type", "value", "periodSeconds", type={"type": "string", "enum": ["Pods", "Percent"]}, value=_COUNT,
            periodSeconds={"type": "integer", "minimum": 1, "maximum": 1800},
        )
    ),
)  # fmt: skip
_FROM_OBJECT = _list(_object("parameter", "name", "key", parameter=_TEXT, name=_TEXT, key=_TEXT))
_RELABELING = _list({"type": "object", "x-kubernetes-preserve-unknown-fields": True})
_SELECTOR = _object("matchLabels", matchLabels=_TEXTS)

_SPECS: dict[str, Json] = {
    "ScaledObject": _object(
        "scaleTargetRef",
        "triggers",
        scaleTargetRef=_object("name", name=_TEXT, kind=_TEXT, apiVersion=_TEXT, envSourceContainerName=_TEXT),
        minReplicaCount=_COUNT,
        maxReplicaCount=_COUNT,
        pollingInterval=_COUNT,
        cooldownPeriod=_COUNT,
        advanced=_object(
            horizontalPodAutoscalerConfig=_object(behavior=_object(scaleUp=_SCALING_RULES, scaleDown=_SCALING_RULES)),
            restoreToOriginalReplicaCount=_FLAG,
        ),
        triggers=_list(
            _object("type", "metadata", type=_TEXT, metadata=_TEXTS, authenticationRef=_object("name", name=_TEXT))
        ),
    ),
    "TriggerAuthentication": _object(
        env=_list(_object("parameter", "name", parameter=_TEXT, name=_TEXT, containerName=_TEXT)),
        secretTargetRef=_FROM_OBJECT,
        configMapTargetRef=_FROM_OBJECT,
    ),
    "PodMonitor": _object(
        "selector",
        selector=_SELECTOR,
        podMetricsEndpoints=_list(
            _object(
                port=_TEXT,
                path=_TEXT,
                interval=_DURATION,
                scrapeTimeout=_DURATION,
                relabelings=_RELABELING,
                metricRelabelings=_RELABELING,
            )
        ),
    ),
    "PrometheusRule": _object(
        groups=_list(
            _object(
                "name",
                name=_TEXT,
                interval=_DURATION,
                rules=_list(
                    _object(
                        "expr",
                        alert=_TEXT,
                        record=_TEXT,
                        expr=_TEXT,
                        **{"for": _DURATION},
                        keep_firing_for=_DURATION,
                        labels=_TEXTS,
                        annotations=_TEXTS,
                    )
                ),
            )
        )
    ),
    "HTTPRoute": _object(
        parentRefs=_list(
            _object("name", name=_TEXT, namespace=_TEXT, sectionName=_TEXT, kind=_TEXT, group=_TEXT, port=_COUNT)
        ),
        hostnames=_list({"type": "string", "pattern": "^([*][.])?[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"}),
        rules=_list(
            _object(
                matches=_list(
                    _object(
                        path=_object(
                            type={"type": "string", "enum": ["Exact", "PathPrefix", "RegularExpression"]},
                            value={"type": "string", "pattern": "^/"},
                        )
                    )
                ),
                backendRefs=_list(_object("name", name=_TEXT, port=_COUNT)),
                timeouts=_object(request=_TIMEOUT, backendRequest=_TIMEOUT),
            )
        ),
    ),
    "KafkaTopic": _object(
        topicName=_TEXT,
        partitions={"type": "integer", "minimum": 1},
        replicas={"type": "integer", "minimum": 1, "maximum": 32767},
        config={"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    ),
}


@dataclass(frozen=True, slots=True)
class Resource:
    """A custom resource kind."""

    kind: str
    group: str
    version: str

    @property
    def api_version(self) -> str:
        """Return the apiVersion of its objects."""
        return f"{self.group}/{self.version}"

    @property
    def plural(self) -> str:
        """Return the plural in its URLs."""
        return self.kind.lower() + "s"

    @property
    def definition(self) -> Json:
        """Return the CustomResourceDefinition."""
        schema = _object("spec", spec=_SPECS[self.kind])
        return {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            # API groups of Kubernetes itself are protected: without the annotation an API server refuses them.
            "metadata": {
                "name": f"{self.plural}.{self.group}",
                "annotations": {"api-approved.kubernetes.io": "unapproved, a part of it for tests"},
            },
            "spec": {
                "group": self.group,
                "scope": "Namespaced",
                "names": {"kind": self.kind, "plural": self.plural, "singular": self.kind.lower()},
                "versions": [
                    {"name": self.version, "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
                ],
            },
        }


RESOURCES = {
    it.kind: it
    for it in (
        Resource("ScaledObject", "keda.sh", "v1alpha1"),
        Resource("TriggerAuthentication", "keda.sh", "v1alpha1"),
        Resource("PodMonitor", "monitoring.coreos.com", "v1"),
        Resource("PrometheusRule", "monitoring.coreos.com", "v1"),
        Resource("KafkaTopic", "kafka.strimzi.io", "v1beta2"),
        Resource("HTTPRoute", "gateway.networking.k8s.io", "v1"),
    )
}


def _closed(schema: Json) -> Json:
    """Validate as the API server does: unknown fields are errors."""
    if schema.get("type") == "array":
        return schema | {"items": _closed(schema["items"])}
    if "properties" not in schema:
        return schema
    properties = {name: _closed(it) for name, it in schema["properties"].items()}
    return schema | {"properties": properties, "additionalProperties": False}


_VALIDATORS = {kind: Draft202012Validator(_closed(spec)) for kind, spec in _SPECS.items()}


def shape_problems(it: Json) -> list[str]:
    """Return what is invalid in an object."""
    versions = {RESOURCES[it["kind"]].api_version} | ({"kafka.strimzi.io/v1"} if it["kind"] == "KafkaTopic" else set())
    wrong = [] if it["apiVersion"] in versions else [f"apiVersion {it['apiVersion']}"]
    return wrong + [fault.message for fault in _VALIDATORS[it["kind"]].iter_errors(it["spec"])]
