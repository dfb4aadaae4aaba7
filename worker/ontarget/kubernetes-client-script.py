#!/usr/bin/env python3
"""Bring the solution in this folder to life in a Kubernetes namespace.

    python3 kubernetes-client-script.py -n NAMESPACE --dry-run   check everything, change nothing
    python3 kubernetes-client-script.py -n NAMESPACE --wait      deploy, and follow it until all is ready
    python3 kubernetes-client-script.py -n NAMESPACE --delete    remove what belongs to this solution

The same command again changes nothing, or finishes what was interrupted. Besides Python 3.8 it needs the
packages of requirements.txt, and access to the cluster by a kubeconfig or from inside a pod. Exit code 0: done,
1: failed, with the reason on stderr, 2: wrong arguments.
"""

# The playground server runs this file out of the uploaded bundle. It relies on the flags, on names that end in
# `webui` and `webuiingress`, and on dockerinfo.json. The orchestrator dials <Service>:<port of dockerinfo.json>,
# which people outside the cluster use as well: therefore every Service's port is made equal to its NodePort.

from __future__ import annotations

import sys

# Before anything else is imported: the bundle's author may have put a yaml.py into this folder. `os` is there already.
if __name__ == "__main__":
    import os

    own = os.path.dirname(os.path.realpath(__file__))  # noqa: PTH120 - pathlib would be imported from there
    sys.path[:] = [it for it in sys.path if os.path.realpath(it) != own]

import argparse
import base64
import copy
import io
import json
import os
import re
import shutil
import stat
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Iterator, Mapping, NamedTuple, Sequence
from urllib.parse import quote, urlencode, urlsplit

try:
    import yaml
except ImportError:
    sys.exit("error: The Python package PyYAML is missing. Run: pip install -r requirements.txt")

MANAGER = "playground-deployer"
MANAGED_BY = "app.kubernetes.io/managed-by"
INSTANCE = "app.kubernetes.io/instance"  # the solution's id: tells our objects from everybody else's
VERSION = "app.kubernetes.io/version"  # the revision's id
WEBUI, WEBUI_INGRESS, WEBUI_PORT = "webui", "webuiingress", 8062
OF_THE_HOST = ("hostNetwork", "hostPID", "hostIPC")  # with one of them a pod sees what is not the solution's
DERIVED = ("webui.yaml", "ingress.yaml")  # files that we write beside the bundle's own
WAIT_SECONDS, REQUEST_SECONDS = 600, 30
MAX_MANIFEST, MAX_FILE = 2**18, 2**24  # bytes of a manifest, of which a cluster takes little more, and of another file
MAX_DEPTH = 32  # of a manifest; what an affinity says is 15 levels down
MAX_NUMBER = 100  # characters of a number: reading 200 kB of `1:00:00:…`, which YAML takes for one, takes seconds

# Namespaces of the cluster and of what runs it. We have an administrator's rights: a solution of such a name must
# not come to lie among them.
SYSTEM_NAMESPACE = re.compile(
    "default|kube|kube-.*|kubernetes|kubernetes-.*|openshift|openshift-.*|argocd|calico-apiserver|calico-system"
    "|cattle-fleet-system|cattle-system|cert-manager|flux-system|gatekeeper-system|ingress-nginx|istio-system"
    "|knative-eventing|knative-serving|kyverno|linkerd|longhorn-system|metallb-system|rook-ceph|tigera-operator|velero"
)

# kind → apiVersion and plural, in the order of applying: pods find their secret, folders and Services.
KINDS = {
    "Namespace": ("v1", "namespaces"),
    "Secret": ("v1", "secrets"),
    "PersistentVolumeClaim": ("v1", "persistentvolumeclaims"),
    "Service": ("v1", "services"),
    "Ingress": ("networking.k8s.io/v1", "ingresses"),
    "Deployment": ("apps/v1", "deployments"),
    "Pod": ("v1", "pods"),
    "StatefulSet": ("apps/v1", "statefulsets"),
    "DaemonSet": ("apps/v1", "daemonsets"),
    "Job": ("batch/v1", "jobs"),
    "CronJob": ("batch/v1", "cronjobs"),
}
IN_BUNDLE = ("PersistentVolumeClaim", "Service", "Deployment")
WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob")  # whoever has one uses the namespace
DELETED = ("Deployment", "Ingress", "Service", "PersistentVolumeClaim", "Secret")

Object = Mapping[str, Any]


class Problem(Exception):
    """What keeps us from going on, in sentences a person can act on, each an argument."""


class Manifest(NamedTuple):
    """An object and its file in deployments/."""

    document: dict[str, Any]
    path: Path

    @property
    def kind(self) -> str:
        """Deployment, Service, …"""
        return str(self.document["kind"])

    @property
    def name(self) -> str:
        """Its name in the cluster."""
        return str(self.document["metadata"]["name"])


@dataclass(frozen=True)
class Bundle:
    """The unpacked solution.zip."""

    base: Path
    manifests: tuple[Manifest, ...]
    docker_info: dict[str, Any] | None  # pipelines have one

    def of(self, kind: str) -> list[Manifest]:
        """The manifests of one kind."""
        return [manifest for manifest in self.manifests if manifest.kind == kind]

    @property
    def labels(self) -> dict[str, str]:
        """What all objects of this solution carry."""
        theirs = self.manifests[0].document["metadata"]["labels"]
        return {MANAGED_BY: MANAGER, **{key: theirs[key] for key in (INSTANCE, VERSION) if key in theirs}}

    @property
    def is_pipeline(self) -> bool:
        """As the playground server sees it."""
        return (self.base / "orchestrator_client").is_dir()


@dataclass(frozen=True)
class Settings:
    """What is wanted besides the bundle: from the arguments, config.json and the pull secret's file."""

    namespace: str
    pull_policy: str
    secret_name: str | None
    secret_text: str = field(repr=False)
    hostname: str | None
    letsencrypt: bool
    ingress_class: str | None  # None: the cluster's default class
    variables: tuple[tuple[re.Pattern[str], str, str], ...] = field(repr=False)  # image pattern, name, value


# ---------------------------------------------------------------------------------------------- the command line


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The flags of the playground server, and ours."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw, allow_abbrev=False)
    add = parser.add_argument
    add("-n", "--namespace", required=True, help="where to deploy; made when it is missing")
    add("-bp", "--base_path", type=Path, default=Path(__file__).parent, help="the bundle (default: this folder)")
    add("-ipp", "--image_pull_policy", default="Always", choices=["Always", "IfNotPresent", "Never"])
    add("-ps", "--path_docker_secret", type=Path, help="a Docker config.json that may pull the images")
    add("-sn", "--secret_name", help="name of the pull secret to make of it")
    add("-cf", "--config-file", type=Path, help="the playground's config.json")
    add("--allow-system-namespace", action="store_true", help="take `default` or a namespace of the cluster's own, too")
    add = parser.add_mutually_exclusive_group().add_argument
    add("--dry-run", action="store_true", help="check everything, change nothing, need no cluster")
    add("--delete", action="store_true", help="remove what belongs to this solution, shared folders included")
    add("--wait", type=seconds, nargs="?", const=WAIT_SECONDS, metavar="SECONDS", help="follow it until all is ready")
    options = parser.parse_args(arguments)
    if bool(options.secret_name) != bool(options.path_docker_secret):
        parser.error("-sn/--secret_name and -ps/--path_docker_secret belong together")
    return options


def seconds(text: str) -> int:
    """Up to a day: more is a mistake, and very much more no clock can add. Raises ValueError."""
    number = int(text)
    if not 0 <= number <= 24 * 60 * 60:
        raise ValueError
    return number


# ----------------------------------------------------------------------------------------- reading and checking
# Readers put what is wrong into `wrong` and go on, so that one run tells everything.


def read_settings(options: argparse.Namespace, wrong: list[str]) -> Settings:
    """The arguments and config.json, of which every key may be missing."""
    secret: dict[str, Any] = {}
    if options.path_docker_secret:  # the server starts us without a shell that would know `~`
        secret = read_json(at_home(options.path_docker_secret), wrong)
    config = read_json(options.config_file, wrong) if options.config_file else {}
    settings = Settings(
        options.namespace,
        options.image_pull_policy,
        options.secret_name,
        json.dumps(secret),
        config.get("hostname") or None,
        bool(config.get("letsencrypt_ingress")),
        config.get("ingress_class_name", "nginx"),
        tuple(read_variables(config.get("environment_variables") or [], wrong)),
    )
    if not is_label(settings.namespace):
        wrong.append(f"'{settings.namespace}' is no name for a namespace: a-z, 0-9 and '-', at most 63 characters.")
    if SYSTEM_NAMESPACE.fullmatch(settings.namespace) and not options.allow_system_namespace:
        taken = f"The namespace {settings.namespace} is kept for the cluster itself."
        wrong.append(f"{taken} Take another, or say --allow-system-namespace.")
    if not is_subdomain(settings.secret_name or "none"):
        wrong.append(f"'{settings.secret_name}' is no name for a pull secret: a-z, 0-9, '-' and '.'.")
    if not is_subdomain(settings.hostname or "none"):
        wrong.append(f"hostname in {options.config_file} is no name of a host. Correct it or leave it out.")
    if not is_subdomain(settings.ingress_class or "none"):
        wrong.append(f"ingress_class_name in {options.config_file} is no name. Correct it or leave it out.")
    return settings


def read_variables(entries: Any, wrong: list[str]) -> Iterator[tuple[re.Pattern[str], str, str]]:
    """`environment_variables` of config.json. Values may be secrets and are in no message."""
    for entry in entries if isinstance(entries, list) else [{}]:
        try:
            value = entry["value"] if isinstance(entry["value"], str) else json.dumps(entry["value"])
            yield re.compile(entry["docker_image_pattern"]), str(entry["name"]), value
        except (TypeError, KeyError, re.error, OverflowError, RecursionError):
            needed = "docker_image_pattern (a regular expression), name and value"
            wrong.append(f"environment_variables in the config file must be a list of objects with {needed}.")


def read_bundle(base: Path, namespace: str, wrong: list[str]) -> Bundle:
    """blueprint.json, deployments/*.yaml and dockerinfo.json."""
    if not dig(read_json(base / "blueprint.json", wrong, base), "name"):
        wrong.append(f"{base / 'blueprint.json'} gives the solution no name.")
    info = base / "dockerinfo.json"
    docker_info = read_json(info, wrong, base) if os.path.lexists(info) else None  # a link to nothing is there, too
    bundle = Bundle(base, tuple(read_manifests(base, namespace, wrong)), docker_info)
    try:
        inside(base, base / "orchestrator_client" / "orchestrator_client.py")
    except Problem as problem:
        wrong.append(str(problem))
    if not wrong:
        wrong.extend(check_bundle(bundle))
    return bundle


def read_manifests(base: Path, namespace: str, wrong: list[str]) -> Iterator[Manifest]:
    """The bundle's own manifests, those that are right."""
    folder = base / "deployments"
    try:
        for path in sorted(folder.glob("*")):  # with those that we would write
            inside(base, path)
    except Problem as problem:
        wrong.append(str(problem))
        return
    paths = [path for path in sorted(folder.glob("*.yaml")) if not path.name.endswith(DERIVED)]
    if not paths:
        wrong.append(f"There are no manifests in {folder}. Is -bp the unpacked solution.zip?")
    for path in paths:
        try:
            documents = read_yaml(read_file(path, MAX_MANIFEST, base))
        except Problem as problem:
            wrong.append(f"{path.name} cannot be read: {problem}")
            continue
        except OSError as error:
            wrong.append(f"{path.name} cannot be read: {error.strerror}.")
            continue
        faults = (
            ["must hold one YAML document"] if len(documents) != 1 else list(check_manifest(documents[0], namespace))
        )
        wrong.extend(f"{path.name} {fault}." for fault in faults)
        if not faults:
            yield Manifest(documents[0], path)


def read_yaml(data: bytes) -> list[Any]:
    """The documents, of what JSON has, as the cluster speaks JSON. Raises Problem, which quotes nothing of them."""
    try:
        documents: list[Any] = json.loads(json.dumps(list(yaml.load_all(data.decode(), Loader)), allow_nan=False))
    except Problem:
        raise
    except UnicodeDecodeError:
        raise Problem("It is not UTF-8.") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise Problem(f"Its YAML is wrong{place}.") from None
    except Exception:  # noqa: BLE001 - PyYAML raises whatever int() and others raise for a value that is not of its tag
        raise Problem("It holds what JSON cannot say, such as a date, or a value that is not of its tag.") from None
    return documents


class Loader(yaml.SafeLoader):
    """YAML within bounds, which are looked at before a value is made: a few aliases of aliases become gigabytes."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """One value with all that is in it."""
        if self.check_event(yaml.AliasEvent):
            raise Problem("It has an alias (*). Write out what it stands for.")
        if self.depth == MAX_DEPTH:
            raise Problem(f"It is more than {MAX_DEPTH} levels deep.")
        self.depth += 1
        node: yaml.Node | None = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        """An integer, perhaps in base 60."""
        return super().construct_yaml_int(bounded(node))

    def construct_yaml_float(self, node: yaml.ScalarNode) -> float:
        """Another number, perhaps in base 60."""
        return super().construct_yaml_float(bounded(node))


def bounded(node: yaml.ScalarNode) -> yaml.ScalarNode:
    """A number that is read in no time. Raises Problem."""
    if len(node.value) > MAX_NUMBER:
        raise Problem(f"It has a number of more than {MAX_NUMBER} characters.")
    return node


for it in ("int", "float"):
    Loader.add_constructor(f"tag:yaml.org,2002:{it}", getattr(Loader, f"construct_yaml_{it}"))


def read_json(path: Path, wrong: list[str], bundle: Path | None = None) -> dict[str, Any]:
    """A JSON object, of the bundle or the operator's. What it says is in no message: it may be a secret."""
    try:
        document = json.loads(read_file(path, MAX_FILE, bundle).decode())
    except Problem as problem:
        wrong.append(str(problem))
    except OSError as error:
        wrong.append(f"{path} cannot be read: {error.strerror}.")
    except (ValueError, RecursionError):
        wrong.append(f"{path} is not JSON.")
    else:
        if isinstance(document, dict):
            return document
        wrong.append(f"{path} does not hold a JSON object.")
    return {}


def check_manifest(document: Any, namespace: str) -> Iterator[str]:
    """What is wrong with one manifest alone; each goes on from the file's name."""
    kind, name = dig(document, "kind"), dig(document, "metadata", "name")
    if kind not in IN_BUNDLE or dig(document, "apiVersion") != KINDS[kind][0]:
        yield f"must be one of {', '.join(f'{KINDS[kind][0]} {kind}' for kind in IN_BUNDLE)}"
    elif not is_subdomain(name):
        yield "has no valid metadata.name"
    elif kind == "Service":
        yield from check_service(name, document["spec"] if dig(document, "spec") else {})
    elif kind == "Deployment":
        first = dig(document, "spec", "template", "spec", "containers", 0)
        if dig(first, "name") != name or not isinstance(dig(first, "image"), str):
            yield f"must have an image and a container called '{name}', as the Deployment is"
        else:
            yield from check_containers(document["spec"]["template"]["spec"])
        yield from check_pod(dig(document, "spec", "template"), namespace)
    if dig(document, "metadata", "namespace") not in (None, namespace):
        yield f"names another namespace than {namespace}: leave metadata.namespace out"
    if not isinstance(dig(document, "metadata", "labels", INSTANCE), str):
        yield f"has no label {INSTANCE}, by which its object would be found again"


def check_containers(pod: Object) -> Iterator[str]:
    """What the variables of config.json go by."""
    for key in ("containers", "initContainers"):
        for it in listed(pod.get(key)):
            variables = [dig(variable, "name") for variable in listed(dig(it, "env"))]
            if not all(isinstance(text, str) for text in (dig(it, "image"), *variables)):
                yield f"must have {key} that have an image, and a name for each variable"


def check_pod(template: Any, namespace: str) -> Iterator[str]:
    """What would lead out of the pod or the namespace. All else an operator's override may have set."""
    for key in OF_THE_HOST:
        if dig(template, "spec", key) not in (None, False):
            yield f"wants {key}, which shares the host's namespace with the pod: leave it out"
    if dig(template, "metadata", "namespace") not in (None, namespace):
        yield f"names another namespace than {namespace} in its template: leave it out"


def check_service(name: str, spec: Object) -> Iterator[str]:
    """The playground reads one NodePort per Service; the web page's Service and Ingress are named after it."""
    if not re.match("[a-z]", name) or not is_label(name + WEBUI_INGRESS):
        yield f"gives its Service the name '{name}': a-z first, then a-z, 0-9 and '-', at most 51 characters"
    ports = dig(spec, "ports")
    if dig(spec, "type") != "NodePort" or not isinstance(ports, list) or len(ports) != 1 or not dig(ports, 0, "port"):
        yield "must be a Service of type NodePort with exactly one port"
    if not isinstance(dig(spec, "selector"), dict):
        yield "must have a selector"


def check_bundle(bundle: Bundle) -> Iterator[str]:
    """What is wrong between manifests that are right alone."""
    services, deployments = ({manifest.name for manifest in bundle.of(kind)} for kind in ("Service", "Deployment"))
    if not deployments:
        yield "deployments/ holds no Deployment."
    for name in sorted(services ^ deployments):
        yield f"'{name}' must be the name of a Service and of a Deployment."
    for name in sorted(name for name in services if name + WEBUI in services):
        yield f"The Service '{name}{WEBUI}' takes the name of the web page of '{name}'."
    objects = [f"{manifest.kind} '{manifest.name}'" for manifest in bundle.manifests]
    for twice in sorted({it for it in objects if objects.count(it) > 1}):
        yield f"Two files hold the {twice}."
    if len({manifest.document["metadata"]["labels"][INSTANCE] for manifest in bundle.manifests}) > 1:
        yield f"The manifests differ in the label {INSTANCE}: they are of several solutions."
    if bundle.is_pipeline and (bundle.docker_info is None or "orchestrator" not in services):
        yield "A pipeline needs dockerinfo.json, and a Service and a Deployment 'orchestrator'."
    entries = [] if bundle.docker_info is None else dig(bundle.docker_info, "docker_info_list")
    for number, entry in enumerate(entries if isinstance(entries, list) else [None], 1):
        name = dig(entry, "container_name")
        if not isinstance(name, str) or name.lower() not in services:
            yield f"dockerinfo.json: there is no Service for the container_name of entry {number}."


def notes(settings: Settings, bundle: Bundle) -> Iterator[str]:
    """What works, but perhaps not as meant."""
    pods = [dig(deployment.document, "spec", "template", "spec") for deployment in bundle.of("Deployment")]
    secrets = [dig(secret, "name") for pod in pods for secret in listed(dig(pod, "imagePullSecrets"))]
    if settings.secret_name and settings.secret_name not in secrets:
        yield f"no Deployment pulls its image with the secret '{settings.secret_name}'."
    for service in bundle.of("Service") if settings.hostname else []:
        if len(f"{service.name}-{settings.namespace}") > 63:
            yield f"the host name of the web page of '{service.name}' is too long to be resolved: use its NodePort."


def dig(document: Any, *path: str | int) -> Any:
    """The value at a path of keys and positions; None where it ends early."""
    for key in path:
        try:
            document = document[key]
        except (KeyError, IndexError, TypeError):
            return None
    return document


def listed(value: Any) -> list[Any]:
    """A list that may be missing; what is no list has one element that is nothing, for the checks to refuse."""
    return value if isinstance(value, list) else [] if value is None else [None]


def is_label(name: Any) -> bool:
    """RFC 1123 label."""
    return bool(isinstance(name, str) and len(name) <= 63 and re.fullmatch("[a-z0-9]([a-z0-9-]*[a-z0-9])?", name))


def is_subdomain(name: Any) -> bool:
    """RFC 1123 subdomain."""
    return isinstance(name, str) and len(name) <= 253 and all(map(is_label, name.split(".")))


# ---------------------------------------------------------------- planning: which objects, in which order; pure


def plan(settings: Settings, bundle: Bundle) -> Iterator[Manifest]:
    """Pull secret, folders, Services with their web pages, Deployments."""
    if settings.secret_name:
        yield Manifest(pull_secret(settings, bundle), Path("the file of -ps"))
    yield from bundle.of("PersistentVolumeClaim")
    for service in copy.deepcopy(bundle.of("Service")):
        stem = service.path.with_suffix("")
        yield service
        yield Manifest(webui_service(service), Path(f"{stem}_webui.yaml"))
        if settings.hostname:
            yield Manifest(webui_ingress(service, settings), Path(f"{stem}_ingress.yaml"))
    for deployment in copy.deepcopy(bundle.of("Deployment")):
        adapt_pod(deployment.document["spec"]["template"]["spec"], settings)
        yield deployment


def pull_secret(settings: Settings, bundle: Bundle) -> dict[str, Any]:
    """What the cluster pulls the images with."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": settings.secret_name, "labels": bundle.labels},
        "type": "kubernetes.io/dockerconfigjson",
        "data": {".dockerconfigjson": base64.b64encode(settings.secret_text.encode()).decode()},
    }


def webui_service(service: Manifest) -> dict[str, Any]:
    """The same pods, at the port of their web page."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": service.name + WEBUI, "labels": webui_labels(service)},
        "spec": {
            "type": "NodePort",
            "selector": service.document["spec"]["selector"],
            "ports": [{"name": WEBUI, "port": WEBUI_PORT, "targetPort": WEBUI_PORT}],
        },
    }


def webui_ingress(service: Manifest, settings: Settings) -> dict[str, Any]:
    """The web page under a host name of its own; with TLS only where cert-manager makes the certificate."""
    name, host = service.name + WEBUI_INGRESS, webui_host(service, settings)
    metadata: dict[str, Any] = {"name": name, "labels": webui_labels(service)}
    # By the port's name: its number is the NodePort.
    backend = {"service": {"name": service.name + WEBUI, "port": {"name": WEBUI}}}
    rule = {"host": host, "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}
    spec: dict[str, Any] = {"rules": [rule]}
    if settings.ingress_class:
        spec["ingressClassName"] = settings.ingress_class
    if settings.letsencrypt:
        metadata["annotations"] = {"cert-manager.io/cluster-issuer": "letsencrypt-prod"}
        spec["tls"] = [{"hosts": [host], "secretName": f"{name}-tls"}]
    return {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": metadata, "spec": spec}


def webui_labels(service: Manifest) -> dict[str, str]:
    """Those of the Service, and the two that the playground's scripts have always set."""
    own = {"app.kubernetes.io/name": service.name + WEBUI, "app.kubernetes.io/component": "server"}
    return {**service.document["metadata"]["labels"], **own}


def webui_host(service: Manifest, settings: Settings) -> str:
    """The host name of a web page."""
    return f"{service.name}-{settings.namespace}.{settings.hostname}"


def adapt_pod(pod: dict[str, Any], settings: Settings) -> None:
    """The pull policy, and the variables of config.json that are meant for its images."""
    for container in [*pod["containers"], *(pod.get("initContainers") or [])]:
        container["imagePullPolicy"] = settings.pull_policy
        for pattern, name, value in settings.variables:
            if pattern.match(container["image"]):
                others = [it for it in container.get("env") or [] if it["name"] != name]
                container["env"] = [*others, {"name": name, "value": value}]


# ------------------------------------------------------------------------------------------------------ the cluster


class Cluster:
    """One namespace of a Kubernetes API, and the only place that talks to it.

    The kubernetes package gives access and connections; the rest is plain REST, because its classes for objects
    differ too much between the versions 21 and 37.
    """

    def __init__(self, client: Any, namespace: str) -> None:
        self.namespace = namespace
        self._configuration = client.configuration
        self._connections = client.rest_client.pool_manager

    @classmethod
    def connect(cls, namespace: str) -> Cluster:
        """By the kubeconfig (KUBECONFIG, else ~/.kube/config), else as the pod we run in. Raises Problem."""
        try:
            from kubernetes import client, config  # noqa: PLC0415 - not needed for --dry-run
        except ImportError:
            raise Problem("The Python package kubernetes is missing. Run: pip install -r requirements.txt") from None
        files = os.environ.get("KUBECONFIG") or "~/.kube/config"
        configuration = client.Configuration()
        try:
            if any(at_home(file).exists() for file in files.split(os.pathsep)):
                config.load_kube_config(config_file=files, client_configuration=configuration)
            else:
                config.load_incluster_config(client_configuration=configuration)
            return cls(client.ApiClient(configuration), namespace)
        except OSError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever the file makes of the package; the text may quote a token
            why = f"{type(error).__name__}; try `kubectl config view`"
            raise Problem(f"No access to a cluster, neither by {files} nor as a pod ({why}).") from None

    @property
    def host(self) -> str:
        """Where NodePorts may be tried: the address of the API, which small clusters have on a node."""
        return urlsplit(self._configuration.host).hostname or "localhost"

    def get(self, kind: str, name: str) -> dict[str, Any] | None:
        """The object as it is; None when there is none."""
        return self._request("GET", kind, name)

    def find(self, kind: str, selector: str = "") -> list[dict[str, Any]]:
        """All objects of a kind, or those with the labels `key=value,…`."""
        return list((self._request("GET", kind, labelSelector=selector) or {}).get("items") or [])

    def apply(self, document: Object) -> dict[str, Any]:
        """Server-side apply: made when missing, brought to what is said here, else left as it is."""
        kind, name = document["kind"], document["metadata"]["name"]
        body = json.dumps(document).encode()
        applied = self._request("PATCH", kind, name, body, fieldManager=MANAGER, force="true")
        if applied is None:
            raise Problem(f"{kind} {name} cannot be made: there is no namespace {self.namespace}.")
        if dig(applied, "metadata", "deletionTimestamp"):
            raise Problem(f"{kind} {name} is still being deleted. Run this again when it is gone.")
        return applied

    def delete(self, kind: str, name: str) -> None:
        """Gone, with all that it owns; it need not be there."""
        self._request("DELETE", kind, name, propagationPolicy="Background")

    def close(self) -> None:
        """Give the connections back."""
        self._connections.clear()

    def _request(
        self, method: str, kind: str, name: str = "", body: bytes | None = None, **query: str
    ) -> dict[str, Any] | None:
        """The answer; None for 404. Raises Problem with the cluster's own reason."""
        from urllib3.exceptions import HTTPError  # noqa: PLC0415 - comes with kubernetes

        version, plural = KINDS[kind]
        group = f"apis/{version}" if "/" in version else f"api/{version}"
        place = plural if kind == "Namespace" else f"namespaces/{self.namespace}/{plural}"
        url = f"{self._configuration.host}/{group}/{place}/{quote(name)}".rstrip("/") + f"?{urlencode(query)}"
        headers = {"Content-Type": "application/apply-patch+yaml"} if body else {}
        logins = self._configuration.auth_settings().values()
        headers.update({login["key"]: login["value"] for login in logins if login["value"]})
        try:
            answer = self._connections.request(method, url, body=body, headers=headers, timeout=REQUEST_SECONDS)
            document = json.loads(answer.data)
        except HTTPError as error:
            raise Problem(f"The cluster at {self._configuration.host} cannot be reached: {error}") from None
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, dict):
            raise Problem(f"What answers at {self._configuration.host} is no Kubernetes API.")
        if answer.status == 404:
            return None
        if answer.status >= 400:
            # The cluster's message may quote the object, and a secret must not be quoted.
            message = answer.reason if kind == "Secret" else dig(document, "message")
            raise Problem(f"The cluster refused {method} {kind} {name} with {answer.status}: {message}")
        return document


# ------------------------------------------------------------------------------------- doing: deploy, delete, wait


def deploy(settings: Settings, bundle: Bundle, cluster: Cluster) -> dict[str, int]:
    """Apply everything; returns Service name → NodePort. Raises Problem. Run again, it goes on where it ended."""
    prepare_namespace(cluster)
    refuse_others(cluster, bundle)
    ports: dict[str, int] = {}
    for manifest in plan(settings, bundle):
        if manifest.kind == "Service":
            ports[manifest.name] = expose(manifest.document, cluster)
        else:
            cluster.apply(manifest.document)
        if manifest.path.name.endswith(DERIVED):
            write(manifest.path, to_yaml(manifest.document), bundle.base)
        print(f"  {manifest.kind:<22} {manifest.name}", flush=True)
    if bundle.docker_info is not None:
        for entry in bundle.docker_info["docker_info_list"]:
            name = entry["container_name"].lower()
            address = str(entry.get("ip_address") or name).lower()
            entry.update(container_name=name, ip_address=address, port=ports[name])
        write(bundle.base / "dockerinfo.json", json.dumps(bundle.docker_info, indent=2) + "\n", bundle.base)
    return ports


def prepare_namespace(cluster: Cluster, pause: Callable[[float], None] = time.sleep) -> None:
    """There and active. Raises Problem while it is going away."""
    name = cluster.namespace
    if cluster.get("Namespace", name) is None:
        metadata = {"name": name, "labels": {MANAGED_BY: MANAGER}}
        cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    for _ in range(REQUEST_SECONDS):
        phase = dig(cluster.get("Namespace", name), "status", "phase")
        if phase == "Active":
            return
        if phase == "Terminating":
            raise Problem(f"The namespace {name} is being deleted. Wait until it is gone, or take another.")
        pause(1)
    raise Problem(f"The namespace {name} does not become active.")


def refuse_others(cluster: Cluster, bundle: Bundle) -> None:
    """Two solutions in one namespace would take each other's names. Raises Problem."""
    ours = bundle.labels[INSTANCE]
    found = [it for kind in WORKLOADS for it in cluster.find(kind)]
    others = {str(dig(it, "metadata", "name")) for it in found if dig(it, "metadata", "labels", INSTANCE) != ours}
    if others:
        names = ", ".join(sorted(others)[:3])
        raise Problem(
            f"The namespace {cluster.namespace} belongs to another deployment ({names}). "
            "Take another namespace, or remove that deployment first."
        )


def expose(service: dict[str, Any], cluster: Cluster) -> int:
    """Apply a Service, its port being the NodePort that the API server chooses; returns it."""
    name, port = service["metadata"]["name"], service["spec"]["ports"][0]
    port.pop("nodePort", None)
    chosen = node_port(cluster.get("Service", name)) or node_port(cluster.apply(service))
    if not chosen:
        raise Problem(f"The cluster gave the Service {name} no NodePort.")
    port.update(port=chosen, nodePort=chosen)
    cluster.apply(service)
    return chosen


def node_port(service: Object | None) -> int | None:
    """The one it has in the cluster, if any."""
    return dig(service, "spec", "ports", 0, "nodePort") if dig(service, "spec", "type") == "NodePort" else None


def delete(cluster: Cluster, bundle: Bundle) -> None:
    """Everything in the namespace with this solution's labels; the namespace itself stays."""
    for kind in DELETED:
        for document in cluster.find(kind, f"{INSTANCE}={bundle.labels[INSTANCE]},{MANAGED_BY}={MANAGER}"):
            cluster.delete(kind, document["metadata"]["name"])
            print(f"  {kind:<22} {document['metadata']['name']}", flush=True)


def wait(cluster: Cluster, bundle: Bundle, seconds: float, pause: Callable[[float], None] = time.sleep) -> None:
    """Follow the Deployments until all are ready. Raises Problem when the time is up."""
    names, end, shown = [it.name for it in bundle.of("Deployment")], time.monotonic() + seconds, ""
    while True:
        found = {it["metadata"]["name"]: it for it in cluster.find("Deployment")}
        late = [name for name in names if not is_ready(found.get(name))]
        reasons = {dig(pod, "metadata", "labels", "app"): reason(pod) for pod in cluster.find("Pod")} if late else {}
        whys = {name: reasons.get(name) or failure(found.get(name)) for name in late}
        told = ", ".join(f"{name} ({why})" if why else name for name, why in whys.items())
        line = f"{len(names) - len(late)} of {len(names)} ready" + (f", waiting for {visible(told)}" if late else "")
        if line != shown:
            show_progress(line, last=not late)
        shown = line
        if not late:
            return
        if time.monotonic() >= end:
            raise Problem(f"After {seconds:g} s not ready: {told}. Run this again with --wait to look further.")
        pause(1)


def show_progress(line: str, *, last: bool) -> None:
    """One line that changes on a terminal; elsewhere a line for each change."""
    if sys.stdout.isatty():
        print(f"\r\x1b[K{line[: shutil.get_terminal_size().columns - 1]}", end="\n" if last else "", flush=True)
    else:
        print(line, flush=True)


def is_ready(deployment: Object | None) -> bool:
    """As `kubectl rollout status` judges it."""
    status, wanted = dig(deployment, "status") or {}, dig(deployment, "spec", "replicas")
    return (
        deployment is not None
        and status.get("observedGeneration", 0) >= deployment["metadata"].get("generation", 0)
        and status.get("updatedReplicas", 0) == status.get("availableReplicas", 0) == status.get("replicas", 0)
        and status.get("replicas", 0) == wanted
    )


def reason(pod: Object) -> str:
    """Why a pod is not ready, in the cluster's word; empty when it gives none."""
    waiting = (dig(it, "state", "waiting", "reason") for it in dig(pod, "status", "containerStatuses") or [])
    failed = (it.get("reason") for it in dig(pod, "status", "conditions") or [] if it.get("status") == "False")
    return next(filter(None, (*waiting, *failed)), "")


def failure(deployment: Object | None) -> str:
    """Why there is no pod, in the cluster's words: Pod Security, a quota. Without the pod's name, new at each try."""
    for condition in dig(deployment, "status", "conditions") or []:
        if condition.get("type") == "ReplicaFailure" and condition.get("status") == "True":
            return str(condition.get("message")).partition(" is forbidden: ")[2] or str(condition.get("reason"))
    return ""


# ------------------------------------------------------------------------------------------------------------ files
# Somebody else has filled the bundle's folder: a link in it could lead to any file of ours.


def at_home(path: str | Path) -> Path:
    """With a home folder for `~`; as it is where there is none, so that it is found missing."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 - Path.expanduser() raises


def inside(bundle: Path, path: Path) -> Path:
    """The path, when neither it nor a folder on its way from the bundle is a link. Raises Problem."""
    for part in (path, *path.parents):
        if part == bundle:
            break
        if part.is_symlink():
            raise Problem(f"{part} is a link, and links in a bundle are not followed.")
    return path


def without_links(path: str, flags: int) -> int:
    """Open a file for open(), without following a link and without waiting for the other end of a pipe."""
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0), 0o666)


def read_file(path: Path, limit: int, bundle: Path | None) -> bytes:
    """An ordinary file of the bundle; without one the operator's, where links are as good. Raises Problem, OSError."""
    with open(inside(bundle, path), "rb", opener=without_links) if bundle else path.open("rb") as file:
        data = file.read(limit + 1) if stat.S_ISREG(os.fstat(file.fileno()).st_mode) or not bundle else None
    if data is None:
        raise Problem(f"{path} is no ordinary file.")
    if len(data) > limit:
        raise Problem(f"{path} is larger than {limit // 1024} KiB.")
    return data


class Dumper(yaml.SafeDumper):
    """YAML that readers of 1.1 and 1.2 agree on: PyYAML would leave strings such as 1e3 or y without quotes."""

    def ignore_aliases(self, _: Any) -> bool:
        """No anchors: they are hard to read."""
        return True


def represent_text(dumper: Dumper, text: str) -> yaml.Node:
    """Without quotes only what no YAML reader takes for something else."""
    words = ("y", "n", "yes", "no", "on", "off", "true", "false", "null")
    plain = re.fullmatch("[A-Za-z][A-Za-z0-9_./-]*", text) and text.lower() not in words
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if plain else '"')


Dumper.add_representer(str, represent_text)


def to_yaml(document: Object) -> str:
    """One document, keys in their order."""
    return str(yaml.dump(document, Dumper=Dumper, sort_keys=False, default_flow_style=False, width=2**16))


def write(path: Path, text: str, bundle: Path) -> None:
    """Whole or not at all, and only when something changes. Raises Problem."""
    if inside(bundle, path).exists() and read_file(path, MAX_FILE, bundle) == text.encode():
        return
    beside = path.with_name(f".{path.name}.new")
    if os.path.lexists(beside):  # of a run that was killed
        beside.unlink()
    with open(beside, "xb", opener=without_links) as file:
        file.write(text.encode())
    beside.replace(path)  # even of a link that has just come nothing but itself is lost


# ------------------------------------------------------------------------------------------------------------- main


def visible(text: str) -> str:
    """On one line and without control characters, which a terminal obeys: names of files may have them."""
    return "".join(it if it.isprintable() else it.encode("unicode_escape").decode() for it in text)


def show_plan(settings: Settings, bundle: Bundle) -> None:
    """What a run would do, in its order."""
    print(f"Would be applied to the namespace {settings.namespace}:")
    for number, manifest in enumerate(plan(settings, bundle), 1):
        print(f"  {number:>3}. {manifest.kind:<22} {manifest.name:<40} {visible(manifest.path.name)}")
    print("Then dockerinfo.json would get the NodePorts." if bundle.docker_info else "There is no dockerinfo.json.")
    print("Nothing is wrong, and nothing was changed.")


def show_result(settings: Settings, bundle: Bundle, ports: Mapping[str, int], host: str) -> None:
    """Where to find things."""
    print(f"\nIn the namespace {settings.namespace}, reachable on every node of the cluster, perhaps here:")
    for service in bundle.of("Service"):
        page = f"http://{host}:{ports[service.name + WEBUI]}"
        if settings.hostname:
            page = f"http{'s' if settings.letsencrypt else ''}://{webui_host(service, settings)} or {page}"
        print(f"  {service.name}: {host}:{ports[service.name]}, web page {page}")
    if bundle.is_pipeline:
        command = "python3 orchestrator_client/orchestrator_client.py --endpoint"
        print(f"Start the pipeline with: {command} {host}:{ports.get('orchestrator', 'PORT')} initialize, then run")


def run(options: argparse.Namespace) -> None:
    """What the arguments ask for. Raises Problem."""
    wrong: list[str] = []
    settings, bundle = read_settings(options, wrong), read_bundle(options.base_path, options.namespace, wrong)
    if wrong:
        raise Problem(*wrong)
    for note in () if options.delete else notes(settings, bundle):
        print(f"note: {note}")
    if options.dry_run:
        show_plan(settings, bundle)
        return
    cluster = Cluster.connect(settings.namespace)
    try:
        print(f"{'Deleting from' if options.delete else 'Applying to'} the namespace {settings.namespace}:")
        if options.delete:
            delete(cluster, bundle)
            return
        ports = deploy(settings, bundle, cluster)
        if options.wait is not None:
            wait(cluster, bundle, options.wait)
        show_result(settings, bundle, ports, cluster.host)
    finally:
        cluster.close()


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0 done, 1 failed; argparse exits with 2."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files, and the cluster's reasons
    try:
        run(parse(arguments))
        sys.stdout.flush()
    except Problem as problem:
        reasons = problem.args
    except OSError as error:
        reasons = (f"{error.filename or 'A file'}: {error.strerror or type(error).__name__}.",)
    except KeyboardInterrupt:
        reasons = ("Interrupted. Run the same command again to finish.",)
    except Exception as error:  # noqa: BLE001 - a traceback tells the reader nothing, and its text may be a secret
        lines = [it.lineno for it in traceback.extract_tb(error.__traceback__) if it.filename == __file__]
        place = f"{type(error).__name__} in line {lines[-1]} of this script"
        reasons = (
            f"The bundle, a setting or the cluster's answer is not as it should be ({place}). Please report this.",
        )
    else:
        return 0
    try:
        sys.stdout.flush()
    except OSError:  # whoever read it is gone, and Python itself would try again at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    for line in reasons:
        print(f"error: {visible(line)}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
