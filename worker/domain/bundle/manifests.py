"""The manifests: model objects of the kubernetes client, and the YAML that is made of them.

A Service and a Deployment for each container, and a claim for each shared folder. The YAML is such that readers of
YAML 1.1 and 1.2 agree on it: PyYAML writes strings such as `1e3`, `0889694` or `y` without quotes, and Kubernetes'
reader takes them for numbers and booleans. Here a string is plain only when it starts with a letter or a slash, holds
nothing but word characters and is not a YAML 1.1 keyword; everything else is double-quoted as in JSON. It is also ten
times as fast.
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

# The same in every manifest, made once; nothing changes a model object after it was made.
_SECCOMP = V1PodSecurityContext(seccomp_profile=V1SeccompProfile(type="RuntimeDefault"))
_PORTS = [
    V1ContainerPort(name="protobuf-api", container_port=GRPC_PORT),
    V1ContainerPort(name="webui", container_port=WEBUI_PORT),
]
# By TCP: most model images do not answer the gRPC health protocol.
_READINESS = V1Probe(tcp_socket=V1TCPSocketAction(port=GRPC_PORT), period_seconds=2)
# The orchestrator keeps nothing, and as process 1 it does not hear SIGTERM: without this its pod stays for 30 s.
_ORCHESTRATOR_GRACE = 5  # seconds
# What Pod Security `restricted` asks for beyond the pod's seccomp profile.
_RESTRICTED = V1SecurityContext(
    allow_privilege_escalation=False, run_as_non_root=True, capabilities=V1Capabilities(drop=["ALL"])
)

_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9_./-]*", re.ASCII)
_WORDS = frozenset(["y", "n", "yes", "no", "on", "off", "true", "false", "null"])
# Not printable in YAML, or a line break in YAML 1.1 only: written as escapes.
_ESCAPED = re.compile("[\x7f-\xa0\u2028\u2029\ufeff\ufffe\uffff]")
_MAX_KEY = 1024  # characters; YAML ends the search for the colon there


def manifest_files(
    plan: Plan,
    options: settings.BundleSettings,
    override: Callable[[Manifest], tuple[Manifest, tuple[int, ...]]] | None = None,
) -> tuple[dict[str, bytes], dict[str, tuple[int, ...]]]:
    """Write the manifests by their paths, and list which of the operator's entries changed which file.

    `override` applies the operator's entries to a manifest; it may raise OverridesInvalid.
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
    """Make the object of each file, by its name below `deployments/`."""
    manifests: dict[str, Manifest] = {}
    for container in plan.containers:
        prefix = "" if plan.kind is Kind.SINGLE_MODEL else f"{container.name}_"
        manifests[f"{prefix}service.yaml"] = service(container, plan)
        manifests[f"{prefix}deployment.yaml"] = deployment(container, plan, options)
    for folder in plan.shared_folders:
        manifests[folder.file_name] = volume_claim(folder, plan, options)
    return manifests


def service(container: Container, plan: Plan) -> V1Service:
    """Make a NodePort Service with one port: the script on the target makes one number of all the ports it finds."""
    port = V1ServicePort(name="protobuf-api", port=container.service_port, target_port=GRPC_PORT)
    return V1Service(
        api_version="v1",
        kind="Service",
        metadata=V1ObjectMeta(name=container.name, labels=_labels(container.name, container.component, plan)),
        spec=V1ServiceSpec(type="NodePort", selector=_selector(container), ports=[port]),
    )


def deployment(container: Container, plan: Plan, options: settings.BundleSettings) -> V1Deployment:
    """Make a Deployment of one replica. Labels may change with a revision, the selector may not: it is `app` alone."""
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
    """Make a claim that every node can write to. Without a class the cluster's default is used."""
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
    """Ask for nothing that keeps an ordinary image from starting; only the restricted profile may."""
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
        # A pipeline of 20 nodes has 40 Services, which would be 280 variables in every container.
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
    """Add Kubernetes' recommended labels to `app`, which Graphene's tools look for."""
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
    """Write one mapping of str, int, bool, lists and mappings as a YAML document in UTF-8.

    Raises ValueError for what no YAML can hold in this form: a key over 1,024 characters, half a surrogate pair.
    """
    lines: list[str] = []
    _mapping(lines, document, "", "")
    return ("\n".join(lines) + "\n").encode()


def _mapping(lines: list[str], mapping: Mapping[str, Any], start: str, indent: str) -> None:
    """Write a mapping; `start` begins its first line: in a sequence the dash takes the place of the indentation."""
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
    # Numbers, booleans, null, [] and {} are the same in JSON and YAML.
    return str(value) if type(value) is int else json.dumps(value)


@lru_cache(maxsize=4096)
def _key(key: str) -> str:
    text = _string(key)
    if len(text) > _MAX_KEY:
        raise ValueError(f"a key of {len(text)} characters")
    return text


@lru_cache(maxsize=4096)  # keys, labels and names come again and again
def _string(value: str) -> str:
    if _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    return _ESCAPED.sub(lambda match: f"\\u{ord(match[0]):04x}", json.dumps(value, ensure_ascii=False))
