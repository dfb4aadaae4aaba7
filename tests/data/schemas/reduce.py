"""Make the schemas beside this file out of the ones that the package kubernetes-validate brings (see README.md).

Taken are the kinds that a bundle, its script and the chart make, and what they refer to. Left out is what decides
nothing (descriptions, `x-kubernetes-*`), and `status`, which no manifest has. `null` is no value here: nothing we write
needs it.
"""

import json
import sys
from pathlib import Path
from typing import Any

KINDS = {
    "ConfigMap": "io.k8s.api.core.v1.ConfigMap",
    "Deployment": "io.k8s.api.apps.v1.Deployment",
    "HorizontalPodAutoscaler": "io.k8s.api.autoscaling.v2.HorizontalPodAutoscaler",
    "Ingress": "io.k8s.api.networking.v1.Ingress",
    "NetworkPolicy": "io.k8s.api.networking.v1.NetworkPolicy",
    "PersistentVolumeClaim": "io.k8s.api.core.v1.PersistentVolumeClaim",
    "Pod": "io.k8s.api.core.v1.Pod",
    "PodDisruptionBudget": "io.k8s.api.policy.v1.PodDisruptionBudget",
    "Secret": "io.k8s.api.core.v1.Secret",
    "Service": "io.k8s.api.core.v1.Service",
    "ServiceAccount": "io.k8s.api.core.v1.ServiceAccount",
}
VERSIONS = ("1.25", "1.31", "1.37")
DROPPED = ("description", "$id", "$schema", "default")


def reduced(value: Any) -> Any:
    """Without what decides nothing, and without null."""
    if isinstance(value, list):
        return [reduced(item) for item in value]
    if not isinstance(value, dict):
        return value
    if isinstance(value.get("type"), list):
        value = value | {"type": next(it for it in value["type"] if it != "null")}
    if "properties" in value:  # its keys are names of fields, `description` may be one
        fields = {name: reduced(field) for name, field in value["properties"].items()}
        return {key: reduced(it) for key, it in value.items() if kept(key)} | {"properties": fields}
    return {key: reduced(it) for key, it in value.items() if kept(key)}


def kept(key: str) -> bool:
    """Whether a keyword decides something."""
    return key not in DROPPED and not key.startswith("x-")


def references(value: Any) -> set[str]:
    """The definitions that a schema names."""
    if isinstance(value, list):
        return set().union(*map(references, value))
    if not isinstance(value, dict):
        return set()
    own = {value["$ref"].rpartition("/")[2]} if isinstance(value.get("$ref"), str) else set()
    return own.union(*map(references, value.values()))


def schema(definitions: dict[str, Any]) -> dict[str, Any]:
    """One schema for all kinds; `$defs` holds each kind under its own name."""
    chosen: dict[str, Any] = {}
    waiting = set(KINDS.values())
    while waiting:
        name = waiting.pop()
        definition = reduced(definitions[name])
        if name in KINDS.values():
            definition["properties"].pop("status", None)
            spec = definition["properties"].keys() & {"spec"}
            definition["required"] = ["apiVersion", "kind", "metadata", *spec]
        elif "properties" in definition and definition["additionalProperties"] is not False:
            raise ValueError(f"{name} allows unknown fields")
        chosen[name] = definition
        waiting |= references(definition) - chosen.keys()
    kinds = {kind: {"$ref": f"#/$defs/{name}"} for kind, name in KINDS.items()}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$defs": kinds | dict(sorted(chosen.items()))}


if __name__ == "__main__":
    for version in VERSIONS:
        source = Path(sys.argv[1], "kubernetes-json-schema", f"v{version}.0-local-strict", "_definitions.json")
        text = json.dumps(schema(json.loads(source.read_text())["$defs"]), separators=(",", ":"))
        Path(__file__).with_name(f"kubernetes-{version}.json").write_text(text + "\n")
