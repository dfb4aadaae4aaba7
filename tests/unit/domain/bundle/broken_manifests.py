"""A valid bundle with the objects that the script adds, and ways to break it; each mistake changes one thing."""

import asyncio
from collections.abc import Callable
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

from tests.component.properties.promises import read_manifests
from tests.support.builders import (
    OPTIONS,
    PROTOBUF,
    SHIPPED,
    blueprint,
    edge,
    mount_volume,
    node,
    operation,
    shared_folder,
    solution,
)
from tests.support.fakes import FakeArtifacts, FakeCatalog
from tests.support.script import load_script
from worker.build import Builder

Objects = list[dict[str, Any]]
Change = Callable[[Objects], None]


def good() -> Objects:
    """Two models, a shared folder, the orchestrator; Services, Ingresses and the pull policy from the script."""
    return deepcopy(_good())


@cache
def _good() -> Objects:
    data = blueprint(
        shared_folder("/data", "gui", "solver"),
        node("gui", mount_volume(), operation("run", edge("solver")), proto_uri="p"),
        node("solver", proto_uri="p"),
    )
    wanted = solution()
    builder = Builder(FakeCatalog(wanted), FakeArtifacts({"org/blueprint.json": data, "p": PROTOBUF}), SHIPPED, OPTIONS)
    _, bundle = asyncio.run(builder.build(wanted.solution_id, wanted.revision_id, None))
    script = load_script()
    manifests = tuple(script.Manifest(it, Path(name)) for name, it in sorted(read_manifests(bundle).items()))
    settings = script.Settings("demo-1", "Always", None, "", "playground.example", True, "nginx", ())
    return [it.document for it in script.plan(settings, script.Bundle(Path(), manifests, None))]


def _find(objects: Objects, which: str) -> dict[str, Any]:
    kind, _, name = which.partition("/")
    return next(it for it in objects if (it["kind"], it["metadata"]["name"]) == (kind, name))


def put(which: str, path: str, value: Any) -> Change:
    """Put another value at a path of keys and positions; the value ... deletes it."""

    def change(objects: Objects) -> None:
        *way, last = (int(key) if key.isdigit() else key for key in path.split())
        place: Any = _find(objects, which)
        for key in way:
            place = place[key]
        if value is ...:
            del place[last]
        else:
            place[last] = value

    return change


def add(which: str, path: str, *items: Any) -> Change:
    """Append entries to a list; without any, append its first entry again."""

    def change(objects: Objects) -> None:
        place: Any = _find(objects, which)
        for key in path.split():
            place = place[int(key) if key.isdigit() else key]
        place.extend(deepcopy(items) or deepcopy(place[:1]))

    return change


def both(*changes: Change) -> Change:
    """Combine changes into one mistake that affects several places."""

    def change(objects: Objects) -> None:
        for one in changes:
            one(objects)

    return change


def again(which: str) -> Change:
    """Repeat an object, as if two files held it."""
    return lambda objects: objects.append(deepcopy(_find(objects, which)))


def without(which: str) -> Change:
    """Remove an object."""
    return lambda objects: objects.remove(_find(objects, which))


SERVICE, WEB, INGRESS = "Service/gui", "Service/guiwebui", "Ingress/guiwebuiingress"
DEPLOYMENT, CLAIM = "Deployment/gui", "PersistentVolumeClaim/shared-folder"
POD = "spec template spec"
BOX = f"{POD} containers 0"
LABELS = "spec template metadata labels"
CPU = {"requests": {"cpu": "2"}, "limits": {"cpu": "1500m"}}

# Mistakes that no schema finds, each with a part of the semantic check's message.
SEMANTIC: dict[str, tuple[str, Change]] = {
    "service name starts with a digit": ("its name is none", put("Service/solver", "metadata name", "3solver")),
    "service name of 64 characters": ("its name is none", put("Service/solver", "metadata name", "s" * 64)),
    "service name with an underscore": ("its name is none", put("Service/solver", "metadata name", "my_solver")),
    "service name with a dot": ("its name is none", put("Service/solver", "metadata name", "my.solver")),
    "deployment name in upper case": ("its name is none", put(DEPLOYMENT, "metadata name", "Gui")),
    "claim name with a slash": ("its name is none", put(CLAIM, "metadata name", "shared/folder")),
    "empty name": ("its name is none", put(SERVICE, "metadata name", "")),
    "a namespace of its own": (
        "it names a namespace, but the script's -n decides",
        put(DEPLOYMENT, "metadata namespace", "default"),
    ),
    "label value with a space": (
        "label app.kubernetes.io/version=one two",
        put(DEPLOYMENT, "metadata labels app.kubernetes.io/version", "one two"),
    ),
    "label value of 64 characters": (
        "label app.kubernetes.io/vers",
        put(DEPLOYMENT, "metadata labels app.kubernetes.io/version", "1" * 64),
    ),
    "label value ends with a dot": (
        "label app.kubernetes.io/name=gui.",
        put(SERVICE, "metadata labels app.kubernetes.io/name", "gui."),
    ),
    "label key with two slashes": ("label a/b/c=x", put(SERVICE, "metadata labels a/b/c", "x")),
    "label key with an upper-case prefix": (
        "label Example.org/x=x",
        put(SERVICE, "metadata labels Example.org/x", "x"),
    ),
    "annotation key with a foreign sign": ("annotation a@b", put(INGRESS, "metadata annotations a@b", "x")),
    "service selects another label value": ("it selects 0 Deployments", put(SERVICE, "spec selector app", "gui2")),
    "service selects two deployments": (
        "it selects 3 Deployments",
        put(SERVICE, "spec selector", {"app.kubernetes.io/part-of": "graphene-playground"}),
    ),
    "service without a selector": ("no selector", put(SERVICE, "spec selector", {})),
    "selector does not match the pods": (
        "its selector does not match its own pods",
        put(DEPLOYMENT, "spec selector matchLabels app", "gui2"),
    ),
    "empty selector of a deployment": (
        "its selector does not match its own pods",
        put(DEPLOYMENT, "spec selector matchLabels", {}),
    ),
    "pods lack the selected label": ("its selector does not match its own pods", put(DEPLOYMENT, f"{LABELS} app", ...)),
    "service port 0": ("port 0", put(SERVICE, "spec ports 0 port", 0)),
    "service port 65536": ("port 65536", put(SERVICE, "spec ports 0 port", 65536)),
    "target port 70000": ("targetPort 70000", put(SERVICE, "spec ports 0 targetPort", 70000)),
    "target port that no container has": (
        "there is no targetPort 9999 behind it",
        put(SERVICE, "spec ports 0 targetPort", 9999),
    ),
    "target port by a name that no container has": (
        "there is no targetPort grpc behind it",
        put(SERVICE, "spec ports 0 targetPort", "grpc"),
    ),
    "target port by a name that is none": (
        "targetPort Protobuf-API",
        put(SERVICE, "spec ports 0 targetPort", "Protobuf-API"),
    ),
    "port name in upper case": ("name of a port Protobuf", put(SERVICE, "spec ports 0 name", "Protobuf")),
    "node port out of range": ("nodePort 8061", put(WEB, "spec ports 0 nodePort", 8061)),
    "port protocol spelled wrong": ("protocol tcp", put(SERVICE, "spec ports 0 protocol", "tcp")),
    "two ports of one name": (
        "port name protobuf-api is there 2 times",
        add(SERVICE, "spec ports", {"name": "protobuf-api", "port": 1, "targetPort": 8061}),
    ),
    "two ports of one number": (
        "port (8556, 'TCP') is there 2 times",
        add(SERVICE, "spec ports", {"name": "other", "port": 8556, "targetPort": 8061}),
    ),
    "two ports without names": (
        "name of a port None",
        put(SERVICE, "spec ports", [{"port": 1, "targetPort": 8061}, {"port": 2, "targetPort": 8061}]),
    ),
    "second port, which breaks the script": (
        "it is no NodePort with exactly one port, as the script needs it",
        add(SERVICE, "spec ports", {"name": "web", "port": 1, "targetPort": 8062}),
    ),
    "no ports": ("no ports", put(SERVICE, "spec ports", [])),
    "service type spelled wrong": ("type Nodeport", put(SERVICE, "spec type", "Nodeport")),
    "service type the script cannot use": (
        "it is no NodePort with exactly one port, as the script needs it",
        put(SERVICE, "spec type", "ClusterIP"),
    ),
    "two services of one name": ("object ('Service', 'gui') is there 2 times", again(SERVICE)),
    "two deployments of one name": ("object ('Deployment', 'gui') is there 2 times", again(DEPLOYMENT)),
    "deployment without a service": ("its container, its Service and itself are not called the same", without(SERVICE)),
    "service without a deployment": ("it selects 0 Deployments", without(DEPLOYMENT)),
    "negative replicas": ("replicas -1", put(DEPLOYMENT, "spec replicas", -1)),
    "strategy spelled wrong": ("strategy", put(DEPLOYMENT, "spec strategy", {"type": "recreate"})),
    "no containers": ("no containers", put(DEPLOYMENT, f"{POD} containers", [])),
    "container name in upper case": ("container Gui", put(DEPLOYMENT, f"{BOX} name", "Gui")),
    "container is called otherwise": (
        "its container, its Service and itself are not called the same",
        put(DEPLOYMENT, f"{BOX} name", "model"),
    ),
    "two containers of one name": ("container gui is there 2 times", add(DEPLOYMENT, f"{POD} containers")),
    "empty image": ("image ''", put(DEPLOYMENT, f"{BOX} image", "")),
    "image with a space at its end": ("image 'model:1 '", put(DEPLOYMENT, f"{BOX} image", "model:1 ")),
    "pull policy spelled wrong": ("imagePullPolicy always", put(DEPLOYMENT, f"{BOX} imagePullPolicy", "always")),
    "restart policy of a job": ("restartPolicy OnFailure", put(DEPLOYMENT, f"{POD} restartPolicy", "OnFailure")),
    "container port 0": ("containerPort 0", put(DEPLOYMENT, f"{BOX} ports 0 containerPort", 0)),
    "container port name of 16 characters": (
        "name of a port web-interface-16",
        put(DEPLOYMENT, f"{BOX} ports 1 name", "web-interface-16"),
    ),
    "container port name of digits": ("name of a port 8062", put(DEPLOYMENT, f"{BOX} ports 1 name", "8062")),
    "container port name with two hyphens": (
        "name of a port web--ui",
        put(DEPLOYMENT, f"{BOX} ports 1 name", "web--ui"),
    ),
    "two container ports of one name": (
        "port name protobuf-api is there 2 times",
        put(DEPLOYMENT, f"{BOX} ports 1 name", "protobuf-api"),
    ),
    "one container port twice": (
        "containerPort (8061, 'TCP') is there 2 times",
        add(DEPLOYMENT, f"{BOX} ports", {"containerPort": 8061}),
    ),
    "the port of the service is gone": (
        "readinessProbe port 8061",
        put(DEPLOYMENT, f"{BOX} ports 0 containerPort", 8060),
    ),
    "variable twice": ("variable SHARED_FOLDER_PATH is there 2 times", add(DEPLOYMENT, f"{BOX} env")),
    "variable name with a space": ("variable SHARED FOLDER", put(DEPLOYMENT, f"{BOX} env 0 name", "SHARED FOLDER")),
    "variable name starts with a digit": ("variable 1ST", put(DEPLOYMENT, f"{BOX} env 0 name", "1ST")),
    "variable with two sources": (
        "variable SHARED_FOLDER_PATH",
        put(DEPLOYMENT, f"{BOX} env 0 valueFrom", {"fieldRef": {"fieldPath": "metadata.name"}}),
    ),
    "mount without a volume": (
        "it mounts data, which is no volume",
        put(DEPLOYMENT, f"{BOX} volumeMounts 0 name", "data"),
    ),
    "two mounts on one path": ("mountPath /data is there 2 times", add(DEPLOYMENT, f"{BOX} volumeMounts")),
    "mount path with a colon": ("mountPath /data:rw", put(DEPLOYMENT, f"{BOX} volumeMounts 0 mountPath", "/data:rw")),
    "relative mount path": ("mountPath data", put(DEPLOYMENT, f"{BOX} volumeMounts 0 mountPath", "data")),
    "sub-path that leaves the volume": ("subPath ../x", put(DEPLOYMENT, f"{BOX} volumeMounts 0 subPath", "../x")),
    "two volumes of one name": ("volume shared-folder is there 2 times", add(DEPLOYMENT, f"{POD} volumes")),
    "volume name with a dot": (
        "volume a.b",
        both(put(DEPLOYMENT, f"{POD} volumes 0 name", "a.b"), put(DEPLOYMENT, f"{BOX} volumeMounts 0 name", "a.b")),
    ),
    "volume with two sources": ("volume shared-folder", put(DEPLOYMENT, f"{POD} volumes 0 emptyDir", {})),
    "volume without a source": ("volume shared-folder", put(DEPLOYMENT, f"{POD} volumes 0", {"name": "shared-folder"})),
    "claim that is not in the bundle": (
        "there is no claim pipeline",
        put(DEPLOYMENT, f"{POD} volumes 0 persistentVolumeClaim claimName", "pipeline"),
    ),
    "claim file is missing": ("there is no claim shared-folder", without(CLAIM)),
    "requests over limits": ("it requests more cpu than its limit", put(DEPLOYMENT, f"{BOX} resources", CPU)),
    "bad quantity of memory": (
        "quantity of memory",
        put(DEPLOYMENT, f"{BOX} resources", {"limits": {"memory": "1GB"}}),
    ),
    "negative quantity": ("quantity of memory", put(DEPLOYMENT, f"{BOX} resources", {"limits": {"memory": "-1"}})),
    "probe of a port that is not there": (
        "readinessProbe port 8080",
        put(DEPLOYMENT, f"{BOX} readinessProbe tcpSocket port", 8080),
    ),
    "probe with two handlers": (
        "readinessProbe has 2 handlers",
        put(DEPLOYMENT, f"{BOX} readinessProbe exec", {"command": ["true"]}),
    ),
    "probe without a handler": (
        "readinessProbe has 0 handlers",
        put(DEPLOYMENT, f"{BOX} readinessProbe", {"periodSeconds": 5}),
    ),
    "probe every 0 seconds": (
        "readinessProbe periodSeconds",
        put(DEPLOYMENT, f"{BOX} readinessProbe periodSeconds", 0),
    ),
    "liveness needs two successes": (
        "livenessProbe successThreshold",
        put(DEPLOYMENT, f"{BOX} livenessProbe", {"tcpSocket": {"port": 8061}, "successThreshold": 2}),
    ),
    "seccomp profile spelled wrong": (
        "seccompProfile runtime/default",
        put(DEPLOYMENT, f"{POD} securityContext seccompProfile type", "runtime/default"),
    ),
    "seccomp profile without its file": (
        "localhostProfile",
        put(DEPLOYMENT, f"{POD} securityContext seccompProfile type", "Localhost"),
    ),
    "non-root as user 0": (
        "runAsNonRoot as user 0",
        put(DEPLOYMENT, f"{BOX} securityContext", {"runAsNonRoot": True, "runAsUser": 0}),
    ),
    "privileged without escalation": (
        "privileged without privilege escalation",
        put(DEPLOYMENT, f"{BOX} securityContext", {"privileged": True, "allowPrivilegeEscalation": False}),
    ),
    "pull secret with an underscore": (
        "imagePullSecrets 'acumos_registry'",
        put(DEPLOYMENT, f"{POD} imagePullSecrets 0 name", "acumos_registry"),
    ),
    "pull secret twice": (
        "imagePullSecrets acumos-registry is there 2 times",
        add(DEPLOYMENT, f"{POD} imagePullSecrets"),
    ),
    "access mode spelled wrong": ("accessModes ['ReadWriteMeny']", put(CLAIM, "spec accessModes", ["ReadWriteMeny"])),
    "access mode in short": ("accessModes ['RWX']", put(CLAIM, "spec accessModes", ["RWX"])),
    "no access mode": ("accessModes []", put(CLAIM, "spec accessModes", [])),
    "two modes of which one must be alone": (
        "ReadWriteOncePod with another mode",
        put(CLAIM, "spec accessModes", ["ReadWriteMany", "ReadWriteOncePod"]),
    ),
    "only one pod may write": (
        "several pods write to it, and it is not ReadWriteMany",
        put(CLAIM, "spec accessModes", ["ReadWriteOnce"]),
    ),
    "bad quantity of storage": ("requests.storage", put(CLAIM, "spec resources requests storage", "1 Gi")),
    "no storage": ("requests.storage", put(CLAIM, "spec resources requests storage", ...)),
    "storage of 0": ("requests.storage", put(CLAIM, "spec resources requests storage", "0")),
    "storage class in upper case": ("storageClassName NFS", put(CLAIM, "spec storageClassName", "NFS")),
    "ingress to a service that is not there": (
        "there is no gui-webui:webui",
        put(INGRESS, "spec rules 0 http paths 0 backend service name", "gui-webui"),
    ),
    "ingress to a port that is not there": (
        "there is no guiwebui:80",
        put(INGRESS, "spec rules 0 http paths 0 backend service port", {"number": 80}),
    ),
    "ingress host with an underscore": ("host your_host_name", put(INGRESS, "spec rules 0 host", "your_host_name")),
    "ingress path type spelled wrong": (
        "pathType prefix",
        put(INGRESS, "spec rules 0 http paths 0 pathType", "prefix"),
    ),
    "ingress path without a slash": ("path ui", put(INGRESS, "spec rules 0 http paths 0 path", "ui")),
    "ingress class in upper case": ("ingressClassName Nginx", put(INGRESS, "spec ingressClassName", "Nginx")),
    "TLS for a bad host": ("tls", put(INGRESS, "spec tls 0 hosts", ["*"])),
}

# Mistakes that the schemas find.
SCHEMA: dict[str, Change] = {
    "unknown field": put(DEPLOYMENT, f"{BOX} imagePullpolicy", "Always"),
    "key in snake case": put(DEPLOYMENT, f"{POD} image_pull_secrets", []),
    "unknown field of a port": put(SERVICE, "spec ports 0 target_port", 8061),
    "unknown field at the top": put(CLAIM, "Spec", {}),
    "wrong apiVersion": put(DEPLOYMENT, "apiVersion", "extensions/v1beta1"),
    "no apiVersion": put(SERVICE, "apiVersion", ...),
    "no spec": put(CLAIM, "spec", ...),
    "no selector": put(DEPLOYMENT, "spec selector", ...),
    "port as text": put(SERVICE, "spec ports 0 port", "8556"),
    "replicas as text": put(DEPLOYMENT, "spec replicas", "1"),
    "label as number": put(DEPLOYMENT, "metadata labels app", 1000.0),
    "label as boolean": put(SERVICE, "spec selector app", True),
    "name as number": put(DEPLOYMENT, "metadata name", 7),
    "variable as number": put(DEPLOYMENT, f"{BOX} env 0 value", 1),
    "null": put(DEPLOYMENT, f"{BOX} image", None),
    "access modes as text": put(CLAIM, "spec accessModes", "ReadWriteMany"),
    "container without a name": put(DEPLOYMENT, f"{BOX} name", ...),
    "list where an object should be": put(DEPLOYMENT, f"{POD} securityContext", []),
    "ingress of 1.18": put(INGRESS, "spec rules 0 http paths 0 backend", {"serviceName": "gui", "servicePort": 80}),
    "status": put(SERVICE, "status", {"loadBalancer": {}}),
}
