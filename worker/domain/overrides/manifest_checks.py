"""Find combinations of fields that the API server rejects although each field is valid on its own.

This is not the API server's whole validation. It covers what overrides are for: resources, scheduling, probes,
environment, security and storage. The sentences are for the operator: they give the position, the mistake, and what to
write instead.
"""

import re
from collections.abc import Iterator

from kubernetes.client.models import (
    V1Container,
    V1ContainerPort,
    V1Deployment,
    V1DeploymentSpec,
    V1EnvFromSource,
    V1EnvVar,
    V1PersistentVolumeClaim,
    V1PodSecurityContext,
    V1PodSpec,
    V1Probe,
    V1SecurityContext,
    V1Toleration,
    V1Volume,
)

from worker.domain.bundle.blueprint import check_image
from worker.domain.overrides.field_checks import (
    amount,
    amount_problems,
    is_label_key,
    is_label_value,
    is_object_name,
    is_port_name,
    over_limit,
    resource_problems,
)
from worker.errors import NotDeployable

_POD = "spec.template.spec"
_DNS_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
# Newer API servers accept nearly every name. This is what all API servers accept.
_VARIABLE = re.compile(r"(?!\.\.|\.\Z)[-._a-zA-Z][-._a-zA-Z0-9]*")
_HANDLERS = {"exec": "var_exec", "grpc": "grpc", "httpGet": "http_get", "tcpSocket": "tcp_socket"}


def deployment_problems(deployment: V1Deployment) -> Iterator[str]:
    """Yield a sentence for each mistake in a Deployment that still has everything that `manifests` rendered."""
    if deployment.spec is None or deployment.spec.template.spec is None:
        return
    yield from _rollout(deployment.spec)
    yield from _pod(deployment.spec.template.spec)


def claim_problems(claim: V1PersistentVolumeClaim) -> Iterator[str]:
    """Yield a sentence for each mistake in a claim."""
    spec = claim.spec
    if spec is None:
        return
    modes = spec.access_modes or []
    if not modes:
        yield "spec.accessModes: name at least one, such as ReadWriteMany."
    if len(modes) > 1 and "ReadWriteOncePod" in modes:
        yield "spec.accessModes: ReadWriteOncePod cannot be combined with other modes."
    requests = (spec.resources and spec.resources.requests) or {}
    limits = (spec.resources and spec.resources.limits) or {}
    yield from amount_problems(requests, "spec.resources.requests")
    yield from amount_problems(limits, "spec.resources.limits")
    yield from over_limit(requests, limits, "spec.resources")
    if amount(requests.get("storage", "0")) == 0:
        yield "spec.resources.requests.storage: give an amount, such as 10Gi."


def _rollout(spec: V1DeploymentSpec) -> Iterator[str]:
    if (spec.progress_deadline_seconds or 600) <= (spec.min_ready_seconds or 0):
        yield "spec.progressDeadlineSeconds: is longer than minReadySeconds; it is 600 when not given."
    if spec.strategy is None:
        return
    kind, rolling = spec.strategy.type, spec.strategy.rolling_update
    if kind not in (None, "Recreate", "RollingUpdate"):
        yield "spec.strategy.type: is Recreate or RollingUpdate."
    if kind == "Recreate" and rolling is not None:
        yield "spec.strategy: rollingUpdate has no meaning with type Recreate; leave it out."
    if rolling is not None and rolling.max_unavailable in (0, "0%") and rolling.max_surge in (0, "0%"):
        yield "spec.strategy.rollingUpdate: maxSurge and maxUnavailable are not both 0, or nothing could ever change."


def _pod(pod: V1PodSpec) -> Iterator[str]:
    for field, shared in (("hostNetwork", pod.host_network), ("hostPID", pod.host_pid), ("hostIPC", pod.host_ipc)):
        if shared:  # which Kubernetes accepts
            yield f"{_POD}.{field}: the script on the playground refuses pods that share it with the node; omit it."
    for number, toleration in enumerate(pod.tolerations or ()):
        yield from _toleration(toleration, f"{_POD}.tolerations[{number}]")
    yield from _security(pod.security_context, f"{_POD}.securityContext")
    for volume in pod.volumes or ():
        yield from _volume(volume, f"{_POD}.volumes[{volume.name[:80]}]")
    if pod.resources is not None:
        yield from resource_problems(pod.resources, f"{_POD}.resources")
    volumes = {volume.name for volume in pod.volumes or ()}
    names: set[str] = set()
    for field, containers in (("containers", pod.containers), ("initContainers", pod.init_containers or [])):
        for container in containers:
            place = f"{_POD}.{field}[{container.name[:80]}]"
            if container.name in names:
                yield f"{place}: another container has this name."
            names.add(container.name)
            yield from _container(container, volumes, place)
            yield from _order(container, first=field == "initContainers", place=place)


def _toleration(toleration: V1Toleration, place: str) -> Iterator[str]:
    if toleration.operator not in (None, "Equal", "Exists", "Lt", "Gt"):
        yield f"{place}.operator: is Equal or Exists."
    if toleration.key and not is_label_key(toleration.key):
        yield f"{place}.key: is of the form [domain/]name."
    if not toleration.key and toleration.operator != "Exists":
        yield f"{place}: without a key, which means every taint, operator is Exists."
    if toleration.operator == "Exists" and toleration.value:
        yield f"{place}: operator Exists has no value; write operator: Equal, or leave the value out."
    if not is_label_value(toleration.value or ""):
        yield f"{place}.value: has at most 63 letters, digits, '.', '_' and '-'."
    if toleration.toleration_seconds is not None and toleration.effect != "NoExecute":
        yield f"{place}: tolerationSeconds goes with effect NoExecute only."


def _volume(volume: V1Volume, place: str) -> Iterator[str]:
    if not _DNS_LABEL.fullmatch(volume.name):
        yield f"{place}: a volume's name has at most 63 lower-case letters, digits and hyphens."
    sources = len(volume.model_dump(exclude_none=True)) - 1
    if sources != 1:
        yield f"{place}: has {sources or 'no'} sources; give one, such as emptyDir: {{}}."


def _container(container: V1Container, volumes: set[str], place: str) -> Iterator[str]:
    if not _DNS_LABEL.fullmatch(container.name):
        yield f"{place}: a container's name has at most 63 lower-case letters, digits and hyphens."
    if not container.image:
        yield f"{place}: has no image. The node's own container is called '*' in a patch."
    else:
        try:
            check_image(container.image, place)
        except NotDeployable as error:
            yield error.message
    if container.resources is not None:
        yield from resource_problems(container.resources, f"{place}.resources")
    yield from _environment(container.env or [], container.env_from or [], place)
    yield from _ports(container.ports or [], f"{place}.ports")
    for mount in container.volume_mounts or ():
        if mount.name not in volumes:
            yield f"{place}.volumeMounts[{mount.mount_path[:80]}]: there is no volume '{mount.name[:80]}'."
    yield from _probes(container, place)
    yield from _security(container.security_context, f"{place}.securityContext")


def _order(container: V1Container, *, first: bool, place: str) -> Iterator[str]:
    """Check the fields that depend on the run order: init containers exit, unless they restart; others keep running."""
    if not first and container.restart_policy is not None:
        yield f"{place}.restartPolicy: is for init containers."
    watched = (container.liveness_probe, container.readiness_probe, container.startup_probe, container.lifecycle)
    if first and container.restart_policy is None and any(it is not None for it in watched):
        yield f"{place}: an init container has probes and a lifecycle only with restartPolicy: Always."
    hooks = container.lifecycle and (container.lifecycle.post_start, container.lifecycle.pre_stop)
    if any(hook is not None and len(hook.model_dump(exclude_none=True)) != 1 for hook in hooks or ()):
        yield f"{place}.lifecycle: give exactly one of exec, httpGet, sleep and tcpSocket."


def _environment(variables: list[V1EnvVar], sources: list[V1EnvFromSource], place: str) -> Iterator[str]:
    for variable in variables:
        yield from _variable(variable, f"{place}.env[{variable.name[:80]}]")
    for number, source in enumerate(sources):
        references = [it for it in (source.secret_ref, source.config_map_ref) if it is not None]
        if len(references) != 1 or not is_object_name(references[0].name):
            yield f"{place}.envFrom[{number}]: has one of secretRef and configMapRef, with the name of an object."


def _variable(variable: V1EnvVar, place: str) -> Iterator[str]:
    if not _VARIABLE.fullmatch(variable.name):
        yield f"{place}: a variable's name has letters, digits, '-', '_' and '.', and no digit first."
    if variable.value_from is None:
        return
    if variable.value:
        yield f"{place}: has both value and valueFrom; give one."
    sources = variable.value_from.model_dump(exclude_none=True)
    if len(sources) != 1:
        yield f"{place}.valueFrom: has {len(sources) or 'no'} sources; give one, such as secretKeyRef."
    for reference in (variable.value_from.secret_key_ref, variable.value_from.config_map_key_ref):
        if reference is not None and not (reference.key and is_object_name(reference.name)):
            yield f"{place}.valueFrom: a reference has the name of an object and a key in it."


def _ports(ports: list[V1ContainerPort], place: str) -> Iterator[str]:
    names: set[str] = set()
    for port in ports:
        if port.name is not None and not is_port_name(port.name):
            yield f"{place}[{port.container_port}].name: has at most 15 lower-case letters, digits and hyphens."
        if port.name in names:
            yield f"{place}[{port.container_port}].name: another port has this name."
        names |= {port.name} if port.name else set()


def _probes(container: V1Container, place: str) -> Iterator[str]:
    ports = {port.name for port in container.ports or ()}
    if (readiness := container.readiness_probe) is not None:
        yield from _probe(readiness, ports, f"{place}.readinessProbe")
        if readiness.termination_grace_period_seconds is not None:
            yield f"{place}.readinessProbe.terminationGracePeriodSeconds: readiness ends nothing; leave it out."
    for field, probe in (("livenessProbe", container.liveness_probe), ("startupProbe", container.startup_probe)):
        if probe is not None:
            yield from _probe(probe, ports, f"{place}.{field}")
            if probe.success_threshold not in (None, 0, 1):
                yield f"{place}.{field}.successThreshold: is 1 for this probe."
            if probe.termination_grace_period_seconds == 0:
                yield f"{place}.{field}.terminationGracePeriodSeconds: is 1 or more."


def _probe(probe: V1Probe, ports: set[str | None], place: str) -> Iterator[str]:
    handlers = [name for name, attribute in _HANDLERS.items() if getattr(probe, attribute) is not None]
    if len(handlers) != 1:
        found = " and ".join(handlers) or "nothing"
        yield f"{place}: asks for {found}; give exactly one of {', '.join(_HANDLERS)}, also where the node had none."
    if probe.var_exec is not None and not probe.var_exec.command:
        yield f"{place}.exec: has no command."
    for action in (probe.http_get, probe.tcp_socket):
        if action is not None and isinstance(action.port, str) and action.port not in ports:
            yield f"{place}: this container has no port called '{action.port[:80]}'."


def _security(context: V1PodSecurityContext | V1SecurityContext | None, place: str) -> Iterator[str]:
    if context is None:
        return
    if isinstance(context, V1SecurityContext) and context.allow_privilege_escalation is False:
        added = (context.capabilities and context.capabilities.add) or []
        if context.privileged or "CAP_SYS_ADMIN" in added:
            yield f"{place}: allowPrivilegeEscalation: false goes with neither privileged nor CAP_SYS_ADMIN."
    if context.run_as_non_root and context.run_as_user == 0:
        yield f"{place}: runAsNonRoot does not go with runAsUser: 0; the container would never start."
    if (seccomp := context.seccomp_profile) is not None:
        if seccomp.type not in ("RuntimeDefault", "Unconfined", "Localhost"):
            yield f"{place}.seccompProfile.type: is RuntimeDefault, Unconfined or Localhost."
        if (seccomp.type == "Localhost") != bool(seccomp.localhost_profile):
            yield f"{place}.seccompProfile: localhostProfile goes with type Localhost, and with no other."
