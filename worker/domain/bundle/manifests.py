"""The manifests: model objects of the kubernetes client, and their YAML.

Each container gets a Service and a Deployment, and each shared folder gets a claim.

Readers of YAML 1.1 and 1.2 interpret this YAML alike. PyYAML writes strings such as `1e3`, `0889694` or `y` without
quotes, and Kubernetes' reader takes them for numbers and booleans. This writer leaves a string unquoted only if the
string starts with a letter or a slash, contains only letters, digits, `_`, `.`, `/` and `-`, and is not a YAML 1.1
keyword. Every other string is double-quoted as in JSON. This writer is also ten times as fast as PyYAML.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any

from kubernetes.client.models import (
    V1Capabilities,
    V1Container,
    V1ContainerPort,
    V1Deployment,
    V1DeploymentSpec,
    V1EnvVar,
    V1LabelSelector,
    V1LocalObjectReference,
    V1ObjectMeta,
    V1PersistentVolumeClaim,
    V1PersistentVolumeClaimSpec,
    V1PersistentVolumeClaimVolumeSource,
    V1PodSecurityContext,
    V1PodSpec,
    V1PodTemplateSpec,
    V1Probe,
    V1SeccompProfile,
    V1SecurityContext,
    V1Service,
    V1ServicePort,
    V1ServiceSpec,
    V1TCPSocketAction,
    V1Volume,
    V1VolumeMount,
    V1VolumeResourceRequirements,
)

from schemas import Kind
from worker import settings
from worker.domain.bundle.blueprint import SharedFolder
from worker.domain.bundle.plan import GRPC_PORT, WEBUI_PORT, Container, Plan

Manifest = V1Deployment | V1Service | V1PersistentVolumeClaim

# Shared by all manifests: model objects are never changed after creation.
_SECCOMP = V1PodSecurityContext(seccomp_profile=V1SeccompProfile(type="RuntimeDefault"))
_PORTS = [
    V1ContainerPort(name="protobuf-api", container_port=GRPC_PORT),
    V1ContainerPort(name="webui", container_port=WEBUI_PORT),
]
# A TCP probe, because most model images do not implement the gRPC health protocol.
_READINESS = V1Probe(tcp_socket=V1TCPSocketAction(port=GRPC_PORT), period_seconds=2)
# The orchestrator has no state to save, and as process 1 it ignores SIGTERM: by default its pod would stay for 30 s.
_ORCHESTRATOR_GRACE = 5  # seconds
# What Pod Security `restricted` requires in addition to the pod's seccomp profile.
_RESTRICTED = V1SecurityContext(
    allow_privilege_escalation=False, run_as_non_root=True, capabilities=V1Capabilities(drop=["ALL"])
)

_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9_./-]*", re.ASCII)
_WORDS = frozenset(["y", "n", "yes", "no", "on", "off", "true", "false", "null"])
# Written as escapes: not printable in YAML, or a line break in YAML 1.1 only.
_ESCAPED = re.compile("[\x7f-\xa0\u2028\u2029\ufeff\ufffe\uffff]")
_MAX_KEY = 1024  # characters, after which a YAML reader stops searching for the colon


def manifest_files(
    plan: Plan,
    options: settings.BundleSettings,
    override: Callable[[Manifest], tuple[Manifest, tuple[int, ...]]] | None = None,
) -> tuple[dict[str, bytes], dict[str, tuple[int, ...]]]:
    """Return the manifests by path, and for each file that overrides apply to, the numbers of the operator's entries.

    `override` applies the operator's entries to a manifest, and may raise OverridesInvalid.
    """
    files: dict[str, bytes] = {}
    overridden: dict[str, tuple[int, ...]] = {}
    for name, rendered in render(plan, options).items():
        manifest, entries = override(rendered) if override else (rendered, ())
        path = f"deployments/{name}"
        files[path] = dump(manifest.model_dump(by_alias=True, exclude_none=True))
        if entries:
            overridden[path] = entries
    return files, overridden


def render(plan: Plan, options: settings.BundleSettings) -> dict[str, Manifest]:
    """Return the object for each file, by the file's name below `deployments/`."""
    manifests: dict[str, Manifest] = {}
    for container in plan.containers:
        prefix = "" if plan.kind is Kind.SINGLE_MODEL else f"{container.name}_"
        manifests[f"{prefix}service.yaml"] = service(container, plan)
        manifests[f"{prefix}deployment.yaml"] = deployment(container, plan, options)
    for folder in plan.shared_folders:
        manifests[folder.file_name] = volume_claim(folder, plan, options)
    return manifests


def service(container: Container, plan: Plan) -> V1Service:
    """Return a NodePort Service with one port: the script on the target requires one, and sets it to the NodePort."""
    port = V1ServicePort(name="protobuf-api", port=container.service_port, target_port=GRPC_PORT)
    return V1Service(
        api_version="v1",
        kind="Service",
        metadata=V1ObjectMeta(name=container.name, labels=_labels(container.name, container.component, plan)),
        spec=V1ServiceSpec(type="NodePort", selector=_selector(container), ports=[port]),
    )


def deployment(container: Container, plan: Plan, options: settings.BundleSettings) -> V1Deployment:
    """Return a Deployment of one replica.

    Labels may change with a revision, but the selector must not, so the selector consists of `app` alone.
    """
    labels = _labels(container.name, container.component, plan)
    return V1Deployment(
        api_version="apps/v1",
        kind="Deployment",
        metadata=V1ObjectMeta(name=container.name, labels=labels),
        spec=V1DeploymentSpec(
            replicas=1,
            selector=V1LabelSelector(match_labels=_selector(container)),
            template=V1PodTemplateSpec(metadata=V1ObjectMeta(labels=labels), spec=_pod(container, options)),
        ),
    )


def volume_claim(folder: SharedFolder, plan: Plan, options: settings.BundleSettings) -> V1PersistentVolumeClaim:
    """Return a claim that every node can write to. Without a storage class, the cluster's default applies."""
    return V1PersistentVolumeClaim(
        api_version="v1",
        kind="PersistentVolumeClaim",
        metadata=V1ObjectMeta(name=folder.claim, labels=_labels(folder.claim, "shared-folder", plan)),
        spec=V1PersistentVolumeClaimSpec(
            access_modes=["ReadWriteMany"],
            storage_class_name=options.storage_class,
            resources=V1VolumeResourceRequirements(requests={"storage": options.storage_size}),
        ),
    )


def _pod(container: Container, options: settings.BundleSettings) -> V1PodSpec:
    """Require nothing that keeps an ordinary image from starting, except with the restricted profile."""
    pull_secrets = [V1LocalObjectReference(name=options.image_pull_secret)] if options.image_pull_secret else None
    volumes = [
        V1Volume(
            name=folder.claim,
            persistent_volume_claim=V1PersistentVolumeClaimVolumeSource(claim_name=folder.claim),
        )
        for folder in container.folders
    ]
    return V1PodSpec(
        automount_service_account_token=False,
        # A pipeline of 20 nodes has 40 Services, whose links would add 280 variables to every container.
        enable_service_links=False,
        security_context=_SECCOMP,
        image_pull_secrets=pull_secrets,
        termination_grace_period_seconds=_ORCHESTRATOR_GRACE if container.component == "orchestrator" else None,
        containers=[_container(container, restricted=options.security_profile == "restricted")],
        volumes=volumes or None,
    )


def _container(container: Container, *, restricted: bool) -> V1Container:
    path = container.folder_path
    mounts = [V1VolumeMount(name=folder.claim, mount_path=folder.path) for folder in container.folders]
    return V1Container(
        name=container.name,
        image=container.image,
        ports=_PORTS,
        env=[V1EnvVar(name="SHARED_FOLDER_PATH", value=path)] if path else None,
        volume_mounts=mounts or None,
        readiness_probe=_READINESS if container.dialled else None,
        security_context=_RESTRICTED if restricted else None,
    )


def _selector(container: Container) -> dict[str, str]:
    return {"app": container.name}


def _labels(name: str, component: str, plan: Plan) -> dict[str, str]:
    """Return Kubernetes' recommended labels, and `app`, which Graphene's tools look for."""
    return {
        "app": name,
        "app.kubernetes.io/name": name,
        "app.kubernetes.io/instance": str(plan.solution_id),
        "app.kubernetes.io/version": str(plan.revision_id),
        "app.kubernetes.io/component": component,
        "app.kubernetes.io/part-of": "graphene-playground",
        "app.kubernetes.io/managed-by": "playground-deployer",
    }


def dump(document: Mapping[str, Any]) -> bytes:
    """Write a mapping of str, int, bool, lists and mappings as a YAML document in UTF-8.

    Raises ValueError for values that YAML cannot represent in this form: a key over 1,024 characters, or half a
    surrogate pair.
    """
    lines: list[str] = []
    _mapping(lines, document, "", "")
    return ("\n".join(lines) + "\n").encode()


def _mapping(lines: list[str], mapping: Mapping[str, Any], start: str, indent: str) -> None:
    """Write a mapping. `start` begins its first line: in a sequence, a dash replaces the indentation."""
    for key, value in mapping.items():
        if isinstance(value, dict) and value:
            lines.append(f"{start}{_key(key)}:")
            _mapping(lines, value, indent + "  ", indent + "  ")
        elif isinstance(value, list | tuple) and value:
            lines.append(f"{start}{_key(key)}:")
            _sequence(lines, value, indent, indent)
        else:
            lines.append(f"{start}{_key(key)}: {_scalar(value)}")
        start = indent


def _sequence(lines: list[str], items: Iterable[Any], start: str, indent: str) -> None:
    inner = indent + "  "
    for item in items:
        if isinstance(item, dict) and item:
            _mapping(lines, item, f"{start}- ", inner)
        elif isinstance(item, list | tuple) and item:
            _sequence(lines, item, f"{start}- ", inner)
        else:
            lines.append(f"{start}- {_scalar(item)}")
        start = indent


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        return _string(value)
    # JSON and YAML write numbers, booleans, null, [] and {} alike.
    return str(value) if type(value) is int else json.dumps(value)


@lru_cache(maxsize=4096)
def _key(key: str) -> str:
    text = _string(key)
    if len(text) > _MAX_KEY:
        raise ValueError(f"a key of {len(text)} characters")
    return text


@lru_cache(maxsize=4096)  # the same keys, labels and names recur in all manifests
def _string(value: str) -> str:
    if _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    return _ESCAPED.sub(lambda match: f"\\u{ord(match[0]):04x}", json.dumps(value, ensure_ascii=False))
