"""Manifests as model objects of the kubernetes client: one Service and one Deployment per container, claims."""

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
from worker.domain.bundle.plan import GRPC_PORT, WEBUI_PORT, Container, Plan
from worker.domain.bundle.shared_folders import SharedFolder

Manifest = V1Deployment | V1Service | V1PersistentVolumeClaim

# The same in every manifest, made once; nothing changes a model object after it was made.
_SECCOMP = V1PodSecurityContext(seccomp_profile=V1SeccompProfile(type="RuntimeDefault"))
_PORTS = [
    V1ContainerPort(name="protobuf-api", container_port=GRPC_PORT),
    V1ContainerPort(name="webui", container_port=WEBUI_PORT),
]
# By TCP: most model images do not answer the gRPC health protocol.
_READINESS = V1Probe(tcp_socket=V1TCPSocketAction(port=GRPC_PORT), period_seconds=5)
# What Pod Security `restricted` asks for beyond the pod's seccomp profile.
_RESTRICTED = V1SecurityContext(
    allow_privilege_escalation=False, run_as_non_root=True, capabilities=V1Capabilities(drop=["ALL"])
)


def render(plan: Plan, options: settings.BundleSettings) -> dict[str, Manifest]:
    """File name below `deployments/` → its one object."""
    manifests: dict[str, Manifest] = {}
    for container in plan.containers:
        prefix = "" if plan.kind is Kind.SINGLE_MODEL else f"{container.name}_"
        manifests[f"{prefix}service.yaml"] = service(container, plan)
        manifests[f"{prefix}deployment.yaml"] = deployment(container, plan, options)
    for folder in plan.shared_folders:
        manifests[folder.file_name] = volume_claim(folder, plan, options)
    return manifests


def service(container: Container, plan: Plan) -> V1Service:
    """NodePort with exactly one port: the script on the target makes one number of all the ports it finds."""
    port = V1ServicePort(name="protobuf-api", port=container.service_port, target_port=GRPC_PORT)
    return V1Service(
        api_version="v1",
        kind="Service",
        metadata=V1ObjectMeta(name=container.name, labels=_labels(container.name, container.component, plan)),
        spec=V1ServiceSpec(type="NodePort", selector=_selector(container), ports=[port]),
    )


def deployment(container: Container, plan: Plan, options: settings.BundleSettings) -> V1Deployment:
    """One replica. Labels may change with a revision, the selector may not: it is `app` alone."""
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
    """ReadWriteMany: every node of the pipeline writes to it. Without a class the cluster's default is used."""
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
    """Nothing here keeps an ordinary image from starting; only the restricted profile may."""
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
    """`app` is what Graphene's tools look for; the others are Kubernetes' recommended labels."""
    return {
        "app": name,
        "app.kubernetes.io/name": name,
        "app.kubernetes.io/instance": str(plan.solution_id),
        "app.kubernetes.io/version": str(plan.revision_id),
        "app.kubernetes.io/component": component,
        "app.kubernetes.io/part-of": "graphene-playground",
        "app.kubernetes.io/managed-by": "playground-deployer",
    }
