"""What a cluster would reject in rendered objects."""

from collections.abc import Iterator
from typing import Any

from tests.component.chart.custom_resources import RESOURCES, shape_problems
from tests.component.chart.rendering import NAMESPACE
from tests.component.chart.values import Json
from tests.support.kubernetes_schemas import schema_problems
from tests.support.semantic.pods import deployment
from tests.support.semantic.words import RFC_1035, SUBDOMAIN, is_label_key, labels, twice

_VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}


def problems(found: list[Json], kubernetes: str) -> list[str]:
    """Return problems with schemas, names, labels and references; empty if a cluster of that version accepts all."""
    wrong = [f"{it['kind']} {it['metadata']['name']}: {fault}" for it in found for fault in _alone(it, kubernetes)]
    wrong += twice("object", ((it["kind"], it["metadata"]["name"]) for it in found))
    return wrong + list(_references(found))


def pods(found: list[Json]) -> Iterator[tuple[str, Json]]:
    """Yield every pod spec with its name."""
    for it in found:
        if it["kind"] == "Pod":
            yield it["metadata"]["name"], it["spec"]
        if it["kind"] == "Deployment":
            yield it["metadata"]["name"], it["spec"]["template"]["spec"]


def restricted_problems(found: list[Json]) -> list[str]:
    """Return what Pod Security `restricted` rejects in the pods."""
    return [f"{name}: {fault}" for name, spec in pods(found) for fault in _restricted(spec)]


def _alone(it: Json, kubernetes: str) -> Iterator[str]:
    metadata = it["metadata"]
    if it["kind"] in RESOURCES:
        yield from shape_problems(it)
    else:
        yield from schema_problems(it, [kubernetes])
    if not (RFC_1035 if it["kind"] == "Service" else SUBDOMAIN).fullmatch(metadata["name"]):
        yield "its name is invalid"
    if metadata.get("namespace", NAMESPACE) != NAMESPACE and it["kind"] != "KafkaTopic":
        yield f"namespace {metadata['namespace']}"
    yield from labels(metadata.get("labels", {}))
    yield from (f"annotation {key}" for key in metadata.get("annotations", {}) if not is_label_key(key.lower()))
    if it["kind"] == "Deployment":
        yield from deployment(it["spec"])


def _references(found: list[Json]) -> Iterator[str]:
    """Check that everything that is selected, scaled, routed to or used exists."""
    names = {(it["kind"], it["metadata"]["name"]) for it in found}
    ports = {it["metadata"]["name"]: it["spec"]["ports"] for it in found if it["kind"] == "Service"}
    for it in found:
        spec = it.get("spec", {})
        yield from _selections(it, found)
        target = spec.get("scaleTargetRef", {}).get("name")
        if target and ("Deployment", target) not in names:
            yield f"{it['kind']} scales {target}, which is not there"
        for service, port in _backends(it):
            if not any(port in (known["name"], known["port"]) for known in ports.get(service, [])):
                yield f"{it['kind']} leads to {service}:{port}, which is not there"
        for trigger in spec.get("triggers", []):
            reference = trigger.get("authenticationRef")
            if reference and ("TriggerAuthentication", reference["name"]) not in names:
                yield f"{it['kind']} refers to {reference['name']}, which is not there"


def _selections(it: Json, found: list[Json]) -> Iterator[str]:
    """Check that a selector selects the pods of one Deployment; pods of worker and gateway share the release's
    labels."""
    spec = it.get("spec", {})
    match it["kind"]:
        case "PodDisruptionBudget" | "PodMonitor":
            selector = spec["selector"]
        case "NetworkPolicy":
            selector = spec["podSelector"]
        case "Service":
            selector = {"matchLabels": spec["selector"]}
        case _:
            return
    all_pods = [pod["spec"]["template"]["metadata"]["labels"] for pod in found if pod["kind"] == "Deployment"]
    if 1 != sum(selects(selector, own) for own in all_pods):
        yield f"{it['kind']} {it['metadata']['name']} does not select the pods of one Deployment"


def selects(selector: Json, own: Json) -> bool:
    """Return whether a label selector matches these labels."""
    ways = {"In": lambda value, values: value in values, "NotIn": lambda value, values: value not in values}
    return selector.get("matchLabels", {}).items() <= own.items() and all(
        ways[it["operator"]](own.get(it["key"]), it["values"]) for it in selector.get("matchExpressions", [])
    )


def _backends(it: Json) -> Iterator[tuple[str, Any]]:
    for rule in it.get("spec", {}).get("rules", []) if it["kind"] in ("Ingress", "HTTPRoute") else []:
        for path in rule.get("http", {}).get("paths", []):
            service = path["backend"]["service"]
            yield service["name"], service["port"].get("name", service["port"].get("number"))
        for backend in rule.get("backendRefs", []):
            yield backend["name"], backend["port"]


def _restricted(spec: Json) -> Iterator[str]:
    context = spec.get("securityContext", {})
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(key):
            yield key
    for volume in spec.get("volumes", []):
        if not volume.keys() - {"name"} <= _VOLUMES:
            yield f"volume {volume['name']}"
    for container in spec["containers"] + spec.get("initContainers", []):
        yield from (f"{container['name']} {fault}" for fault in _restricted_container(container, context))


def _restricted_container(container: Json, of_the_pod: Json) -> Iterator[str]:
    own = container.get("securityContext", {})
    context, capabilities = of_the_pod | own, own.get("capabilities", {})
    if context.get("runAsNonRoot") is not True or context.get("runAsUser", 1) == 0:
        yield "may run as root"
    if context.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"):
        yield "has no seccomp profile"
    if own.get("allowPrivilegeEscalation") is not False or own.get("privileged"):
        yield "may gain privileges"
    if "ALL" not in capabilities.get("drop", []) or set(capabilities.get("add", [])) - {"NET_BIND_SERVICE"}:
        yield "keeps capabilities"
    if any("hostPort" in port for port in container.get("ports", [])):
        yield "takes a host port"
