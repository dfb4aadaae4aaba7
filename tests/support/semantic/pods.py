"""Problems in a Deployment that an API server would find."""

from collections.abc import Iterator

from tests.support.semantic.words import (
    LABEL,
    PORT_NAME,
    SUBDOMAIN,
    VARIABLE,
    Json,
    labels,
    port_problems,
    quantity,
    twice,
)


def deployment(spec: Json) -> Iterator[str]:
    """Yield the problems of one Deployment by itself."""
    pod, own = spec["template"]["spec"], spec["template"].get("metadata", {}).get("labels", {})
    selector = spec["selector"].get("matchLabels", {})
    if not selector or not selector.items() <= own.items():
        yield "its selector does not match its own pods"
    if spec.get("replicas", 1) < 0:
        yield f"replicas {spec['replicas']}"
    if spec.get("strategy", {}).get("type", "Recreate") not in ("Recreate", "RollingUpdate"):
        yield "strategy"
    yield from labels(own)
    yield from labels(selector)
    yield from _pod(pod)


def _pod(pod: Json) -> Iterator[str]:
    containers = pod.get("containers", []) + pod.get("initContainers", [])
    volumes = [volume["name"] for volume in pod.get("volumes", [])]
    if not pod.get("containers"):
        yield "no containers"
    if pod.get("restartPolicy", "Always") != "Always":
        yield f"restartPolicy {pod['restartPolicy']}"
    secrets = [secret.get("name", "") for secret in pod.get("imagePullSecrets", [])]
    yield from (f"imagePullSecrets {secret!r}" for secret in secrets if not SUBDOMAIN.fullmatch(secret))
    yield from twice("imagePullSecrets", secrets)
    yield from twice("container", (container["name"] for container in containers))
    yield from twice("volume", volumes)
    for volume in pod.get("volumes", []):
        if not LABEL.fullmatch(volume["name"]) or len(volume) != 2:
            yield f"volume {volume['name']}"
    yield from _seccomp(pod.get("securityContext", {}))
    for container in containers:
        yield from _container(container, set(volumes))


def _container(container: Json, volumes: set[str]) -> Iterator[str]:
    image = container.get("image", "")
    if not LABEL.fullmatch(container["name"]):
        yield f"container {container['name']}"
    if not image or image != image.strip():
        yield f"image {image!r}"
    if container.get("imagePullPolicy", "Always") not in ("Always", "IfNotPresent", "Never"):
        yield f"imagePullPolicy {container['imagePullPolicy']}"
    ports = container.get("ports", [])
    for port in ports:
        yield from port_problems(port, "containerPort", PORT_NAME)
    yield from twice("port name", (port.get("name") for port in ports))
    yield from twice("containerPort", ((port["containerPort"], port.get("protocol", "TCP")) for port in ports))
    yield from _variables(container.get("env", []))
    yield from _mounts(container.get("volumeMounts", []), volumes)
    yield from _resources(container.get("resources", {}))
    yield from _seccomp(container.get("securityContext", {}))
    for kind in ("readinessProbe", "livenessProbe", "startupProbe"):
        yield from _probe(kind, container.get(kind), ports)


def _variables(variables: list[Json]) -> Iterator[str]:
    yield from twice("variable", (variable["name"] for variable in variables))
    for variable in variables:
        if not VARIABLE.fullmatch(variable["name"]) or ("value" in variable and "valueFrom" in variable):
            yield f"variable {variable['name']}"


def _mounts(mounts: list[Json], volumes: set[str]) -> Iterator[str]:
    yield from twice("mountPath", (mount["mountPath"] for mount in mounts))
    for mount in mounts:
        if mount["name"] not in volumes:
            yield f"it mounts {mount['name']}, which is no volume"
        if not mount["mountPath"].startswith("/") or ":" in mount["mountPath"]:
            yield f"mountPath {mount['mountPath']}"
        if mount.get("subPath", "x").startswith("/") or ".." in mount.get("subPath", "").split("/"):
            yield f"subPath {mount['subPath']}"


def _resources(resources: Json) -> Iterator[str]:
    limits = {name: quantity(value) for name, value in resources.get("limits", {}).items()}
    requests = {name: quantity(value) for name, value in resources.get("requests", {}).items()}
    for name, amount in (*limits.items(), *requests.items()):
        if amount is None or amount < 0:
            yield f"quantity of {name}"
    for name, amount in requests.items():
        limit = limits.get(name)
        if amount is not None and limit is not None and amount > limit:
            yield f"it requests more {name} than its limit"


def _probe(kind: str, probe: Json | None, ports: list[Json]) -> Iterator[str]:
    if probe is None:
        return
    handlers = [probe[key] for key in ("tcpSocket", "httpGet", "grpc", "exec") if key in probe]
    if len(handlers) != 1:
        yield f"{kind} has {len(handlers)} handlers"
    known = {port.get("name") for port in ports} | {port["containerPort"] for port in ports}
    yield from (f"{kind} port {it['port']}" for it in handlers if "port" in it and it["port"] not in known)
    for key in ("periodSeconds", "timeoutSeconds", "failureThreshold", "successThreshold"):
        if probe.get(key, 1) < 1:
            yield f"{kind} {key}"
    if kind != "readinessProbe" and probe.get("successThreshold", 1) != 1:
        yield f"{kind} successThreshold"


def _seccomp(context: Json) -> Iterator[str]:
    profile = context.get("seccompProfile", {"type": "RuntimeDefault"})
    if profile["type"] not in ("RuntimeDefault", "Unconfined", "Localhost"):
        yield f"seccompProfile {profile['type']}"
    if ("localhostProfile" in profile) != (profile["type"] == "Localhost"):
        yield "localhostProfile"
    if context.get("runAsNonRoot") and context.get("runAsUser") == 0:
        yield "runAsNonRoot as user 0"
    if context.get("privileged") and context.get("allowPrivilegeEscalation") is False:
        yield "privileged without privilege escalation"
