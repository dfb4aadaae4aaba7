"""Problems in a bundle's manifests that only an API server would find, and properties that the script relies on.

Schemas check fields and types. These rules go further: Kubernetes' validation of names, labels, ports, quantities and
references, the duplicates that server-side apply rejects, and the agreement between objects.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from tests.support.semantic.pods import deployment
from tests.support.semantic.words import (
    LABEL,
    PORT_NAME,
    RFC_1035,
    SUBDOMAIN,
    Json,
    is_label_key,
    labels,
    port_problems,
    quantity,
    twice,
)


def problems(objects: Iterable[Json]) -> list[str]:
    """Return the problems, one sentence each; empty when a cluster would accept all objects and they fit together."""
    found = list(objects)
    wrong = [f"{it['kind']} {it['metadata'].get('name')}: {fault}" for it in found for fault in _alone(it)]
    return wrong + list(_together(found))


def _alone(it: Json) -> Iterator[str]:
    """Yield the problems of one object by itself."""
    name = it["metadata"].get("name", "")
    if not (RFC_1035 if it["kind"] == "Service" else SUBDOMAIN).fullmatch(name):
        yield "its name is none"
    if "namespace" in it["metadata"]:
        yield "it names a namespace, but the script's -n decides"
    yield from labels(it["metadata"].get("labels", {}))
    yield from (f"annotation {key}" for key in it["metadata"].get("annotations", {}) if not is_label_key(key.lower()))
    yield from _RULES[it["kind"]](it["spec"])


# ------------------------------------------------------------------------------------------------------- services


def _service(spec: Json) -> Iterator[str]:
    ports = spec.get("ports", [])
    if spec.get("type", "ClusterIP") not in ("ClusterIP", "NodePort", "LoadBalancer"):
        yield f"type {spec['type']}"
    if not ports:
        yield "no ports"
    for port in ports:
        yield from port_problems(port, "port", LABEL, required=len(ports) > 1)
        target = port.get("targetPort", port["port"])
        if not (PORT_NAME.fullmatch(target) if isinstance(target, str) else 0 < target < 65536):
            yield f"targetPort {target}"
        if "nodePort" in port and not 30000 <= port["nodePort"] <= 32767:
            yield f"nodePort {port['nodePort']}"
    yield from twice("port name", (port.get("name") for port in ports))
    yield from twice("port", ((port["port"], port.get("protocol", "TCP")) for port in ports))
    yield from labels(spec.get("selector", {}))
    if not spec.get("selector"):
        yield "no selector"


def _ingress(spec: Json) -> Iterator[str]:
    if not SUBDOMAIN.fullmatch(spec.get("ingressClassName", "none")):
        yield f"ingressClassName {spec['ingressClassName']}"
    for rule in spec["rules"]:
        if not SUBDOMAIN.fullmatch(rule.get("host", "none").removeprefix("*.")):
            yield f"host {rule['host']}"
        for path in rule["http"]["paths"]:
            if path["pathType"] not in ("Exact", "Prefix", "ImplementationSpecific"):
                yield f"pathType {path['pathType']}"
            if not path.get("path", "/").startswith("/"):
                yield f"path {path['path']}"
    for tls in spec.get("tls", []):
        if not SUBDOMAIN.fullmatch(tls.get("secretName", "none")) or not all(map(SUBDOMAIN.fullmatch, tls["hosts"])):
            yield "tls"


# --------------------------------------------------------------------------------------------------------- claims


def _claim(spec: Json) -> Iterator[str]:
    modes = spec.get("accessModes", [])
    if not modes or not set(modes) <= {"ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod"}:
        yield f"accessModes {modes}"
    if "ReadWriteOncePod" in modes and len(modes) > 1:
        yield "ReadWriteOncePod with another mode"
    size = quantity(spec.get("resources", {}).get("requests", {}).get("storage", ""))
    if size is None or size <= 0:
        yield "requests.storage"
    if not SUBDOMAIN.fullmatch(spec.get("storageClassName") or "none"):
        yield f"storageClassName {spec['storageClassName']}"


# ------------------------------------------------------------------------------------------------ between objects


def _together(objects: list[Json]) -> Iterator[str]:
    """Yield the problems between objects, and of what the playground relies on: one Service port, names that agree."""
    yield from twice("object", ((it["kind"], it["metadata"].get("name")) for it in objects))
    services, pods, claims = (
        {it["metadata"].get("name"): it["spec"] for it in objects if it["kind"] == kind}
        for kind in ("Service", "Deployment", "PersistentVolumeClaim")
    )
    for name, service in services.items():
        yield from (f"Service {name}: {fault}" for fault in _target(service, pods.values()))
    for name, it in pods.items():
        pod = it["template"]["spec"]
        if [container["name"] for container in pod.get("containers", [])] != [name] or name not in services:
            yield f"Deployment {name}: its container, its Service and itself are not called the same"
        for volume in pod.get("volumes", []):
            claim = volume.get("persistentVolumeClaim", {}).get("claimName")
            if claim not in claims:
                yield f"Deployment {name}: there is no claim {claim}"
            elif len(pods) > 1 and "ReadWriteMany" not in claims[claim].get("accessModes", []):
                yield f"PersistentVolumeClaim {claim}: several pods write to it, and it is not ReadWriteMany"
    for it in objects:
        if it["kind"] == "Ingress":
            yield from (f"Ingress {it['metadata'].get('name')}: {fault}" for fault in _backends(it["spec"], services))


def _target(service: Json, pods: Iterable[Json]) -> Iterator[str]:
    """Yield the problems of the Deployment behind a Service; there must be exactly one."""
    selector = service.get("selector", {}).items()
    chosen = [
        pod["template"] for pod in pods if selector <= pod["template"].get("metadata", {}).get("labels", {}).items()
    ]
    if len(chosen) != 1:
        yield f"it selects {len(chosen)} Deployments"
        return
    ports = [port for container in chosen[0]["spec"].get("containers", []) for port in container.get("ports", [])]
    known = {port.get("name") for port in ports} | {port["containerPort"] for port in ports}
    if service.get("type") != "NodePort" or len(service.get("ports", [])) != 1:
        yield "it is no NodePort with exactly one port, as the script needs it"
    for port in service.get("ports", []):
        if port.get("targetPort", port["port"]) not in known:
            yield f"there is no targetPort {port.get('targetPort', port['port'])} behind it"


def _backends(spec: Json, services: dict[Any, Json]) -> Iterator[str]:
    for path in (path for rule in spec["rules"] for path in rule["http"]["paths"]):
        backend = path["backend"]["service"]
        ports = services.get(backend["name"], {}).get("ports", [])
        wanted = backend["port"].get("name", backend["port"].get("number"))
        if wanted not in [it for port in ports for it in (port.get("name"), port["port"])]:
            yield f"there is no {backend['name']}:{wanted}"


_RULES: dict[str, Callable[[Json], Iterator[str]]] = {
    "Service": _service,
    "Deployment": deployment,
    "PersistentVolumeClaim": _claim,
    "Ingress": _ingress,
}
