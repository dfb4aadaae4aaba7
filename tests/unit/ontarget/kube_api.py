"""A fake Kubernetes API with the behaviour that the script on the target relies on.

Server-side apply replaces what was applied before, keeps what the server has added, and changes nothing if nothing
differs. NodePorts are allocated and kept as by the real server.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import yaml

TOKEN = "let-me-in"

_PATH = re.compile(
    r"/(?:api/v1|apis/(?:apps|batch|networking\.k8s\.io)/v1)(?:/namespaces/(?P<namespace>[^/]+))?/(?P<plural>[a-z]+)"
    r"(?:/(?P<name>[^/]+))?"
)
_VERSIONS = {"ingresses": "networking.k8s.io/v1", "deployments": "apps/v1"}
_SERVICE_NAME = re.compile("[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
_LABEL_VALUE = re.compile("([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?")
_HOST = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")

Json = dict[str, Any]
Key = tuple[str, str, str]  # namespace, plural, name


class Refusal(Exception):
    """An error answer: status code and message."""


class KubeApi:
    """The cluster's objects and the changes made to them."""

    def __init__(self) -> None:
        self.objects: dict[Key, Json] = {}
        self.changes: list[str] = []  # "plural/name" of every change, in order
        self.slow: dict[str, int] = {}  # Deployment → number of queries until it is ready
        self.refused: dict[str, str] = {}  # plural → message of its 422 answer
        self.portal = ""  # a page that a proxy returns instead
        self.host = ""
        self._next_port = 30000
        self._version = 0
        self._lock = Lock()

    def named(self, plural: str, namespace: str = "play") -> dict[str, Json]:
        """Return the objects of a kind in a namespace."""
        return {key[2]: it for key, it in self.objects.items() if key[:2] == (namespace, plural)}

    def node_port(self, name: str) -> int:
        """Return the NodePort of a Service in the namespace `play`."""
        return int(self.named("services")[name]["spec"]["ports"][0]["nodePort"])

    def put_namespace(self, name: str = "play", phase: str = "Active") -> None:
        """Add an existing namespace."""
        self.objects["", "namespaces", name] = {"metadata": {"name": name}, "status": {"phase": phase}}

    def put(self, plural: str, document: Json, namespace: str = "play") -> None:
        """Add an object that another user has created."""
        self.objects[namespace, plural, document["metadata"]["name"]] = deepcopy(document)

    def answer(self, method: str, target: str, headers: Any, body: bytes) -> tuple[int, Json]:
        """Answer one request."""
        url = urlsplit(target)
        match = _PATH.fullmatch(url.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        with self._lock:
            try:
                if headers.get("Authorization") != f"Bearer {TOKEN}":
                    raise Refusal(401, "Unauthorized")
                if match is None:
                    raise Refusal(404, "the server could not find the requested resource")
                key = (match["namespace"] or "", match["plural"], match["name"] or "")
                if method == "PATCH":
                    return 200, self._apply(key, query, headers, body)
                if method == "DELETE":
                    return 200, self._delete(key, query)
                return 200, self._get(key) if key[2] else self._list(key, query)
            except Refusal as refusal:
                status, message = refusal.args
                return status, {"kind": "Status", "status": "Failure", "message": message}

    def _get(self, key: Key) -> Json:
        if key not in self.objects:
            raise Refusal(404, f"{key[1]} {key[2]!r} not found")
        return self.objects[key]

    def _list(self, key: Key, query: dict[str, str]) -> Json:
        wanted = dict(pair.split("=") for pair in query.get("labelSelector", "").split(",") if pair)
        if key[1] == "pods":
            return {"items": [self._pod(name) for name in self.named("deployments", key[0]) if self.slow.get(name)]}
        found = [
            it
            for it in self.named(key[1], key[0]).values()
            if wanted.items() <= it["metadata"].get("labels", {}).items()
        ]
        return {"items": [self._with_status(it) for it in found] if key[1] == "deployments" else found}

    def _with_status(self, deployment: Json) -> Json:
        name = deployment["metadata"]["name"]
        self.slow[name] = max(0, self.slow.get(name, 0) - 1)
        generation = deployment["metadata"].get("generation")
        status = {"observedGeneration": generation, "replicas": 1, "updatedReplicas": 1}
        return {**deployment, "status": status if self.slow[name] else {**status, "availableReplicas": 1}}

    @staticmethod
    def _pod(name: str) -> Json:
        waiting = {"reason": "ErrImagePull", "message": "no such image"}
        return {
            "metadata": {"labels": {"app": name}},
            "status": {"containerStatuses": [{"state": {"waiting": waiting}}]},
        }

    def _delete(self, key: Key, query: dict[str, str]) -> Json:
        if query.get("propagationPolicy") != "Background":
            raise Refusal(422, "pods would be left over")
        self._get(key)
        self.changes.append(f"-{key[1]}/{key[2]}")
        return self.objects.pop(key)

    def _apply(self, key: Key, query: dict[str, str], headers: Any, body: bytes) -> Json:
        namespace, plural, name = key
        if headers.get("Content-Type") != "application/apply-patch+yaml" or not query.get("fieldManager"):
            raise Refusal(415, "not a server-side apply")
        if plural in self.refused:
            raise Refusal(422, self.refused[plural])
        if namespace:
            phase = self._get(("", "namespaces", namespace))["status"]["phase"]
            if phase == "Terminating" and key not in self.objects:
                raise Refusal(403, f"unable to create new content in namespace {namespace}: it is being terminated")
        document = yaml.safe_load(body)
        if (document["apiVersion"], document["metadata"]["name"]) != (_VERSIONS.get(plural, "v1"), name):
            raise Refusal(400, "the object is not the one of the path")
        before = self.objects.get(key)
        after = self._admitted(key, document, before)
        if before is None or {**before, "metadata": {**before["metadata"], "resourceVersion": None}} != after:
            self._version += 1
            after["metadata"]["resourceVersion"] = str(self._version)
            self.objects[key] = after
            self.changes.append(f"{plural}/{name}")
        return self.objects[key]

    def _admitted(self, key: Key, document: Json, before: Json | None) -> Json:
        after = deepcopy(document)
        after["metadata"]["resourceVersion"] = None
        for value in after["metadata"].get("labels", {}).values():
            if not isinstance(value, str) or not _LABEL_VALUE.fullmatch(value):
                raise Refusal(422, f"invalid label value {value!r}")
        if before is not None and "deletionTimestamp" in before["metadata"]:
            after["metadata"]["deletionTimestamp"] = before["metadata"]["deletionTimestamp"]
        admit = getattr(self, f"_admit_{key[1]}", None)
        if admit:
            admit(after, before or {})
        return after

    def _admit_namespaces(self, after: Json, _: Json) -> None:
        after["status"] = {"phase": "Active"}

    def _admit_services(self, after: Json, before: Json) -> None:
        name, port = after["metadata"]["name"], after["spec"]["ports"][0]
        if not _SERVICE_NAME.fullmatch(name):
            raise Refusal(422, f"invalid Service name {name!r}")
        mine = dict.fromkeys(["port", "nodePort"]) | (before.get("spec", {}).get("ports") or [{}])[0]
        if "nodePort" not in port:
            port["nodePort"] = mine["nodePort"] if port["port"] == mine["port"] else self._free_port()
        others = [it for it in self.objects.values() if it.get("kind") == "Service" and it["metadata"]["name"] != name]
        if any(it["spec"]["ports"][0].get("nodePort") == port["nodePort"] for it in others):
            raise Refusal(422, "provided port is already allocated")
        port["protocol"] = "TCP"
        after["spec"]["clusterIP"] = "10.0.0.9"

    def _free_port(self) -> int:
        self._next_port += 7
        return self._next_port

    def _admit_secrets(self, after: Json, _: Json) -> None:
        if after["type"] != "kubernetes.io/dockerconfigjson" or set(after["data"]) != {".dockerconfigjson"}:
            raise Refusal(422, "not a pull secret")

    def _admit_ingresses(self, after: Json, _: Json) -> None:
        hosts = [rule["host"] for rule in after["spec"]["rules"]]
        hosts += [host for tls in after["spec"].get("tls", []) for host in tls["hosts"]]
        for host in hosts:
            if not _HOST.fullmatch(host):
                raise Refusal(422, f"invalid host {host!r}")

    def _admit_deployments(self, after: Json, before: Json) -> None:
        for container in after["spec"]["template"]["spec"]["containers"]:
            names = [variable["name"] for variable in container.get("env", [])]
            if len(names) > len(set(names)):
                raise Refusal(500, f"failed to create typed patch object: duplicate entries for key [name={names!r}]")
        metadata = before.get("metadata", {})
        changed = after["spec"] != before.get("spec")
        after["metadata"]["generation"] = metadata.get("generation", 0) + changed


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    api: ClassVar[KubeApi]

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        status, document = self.api.answer(self.command, self.path, self.headers, body)
        text = (self.api.portal or json.dumps(document)).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_PATCH = do_DELETE = _handle  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Log nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True


@contextmanager
def serving() -> Iterator[KubeApi]:
    """Serve the API on a local port."""
    api = KubeApi()
    handler = type("Handler", (_Handler,), {"api": api})
    with _Server(("127.0.0.1", 0), handler) as server:
        api.host = f"http://127.0.0.1:{server.server_port}"
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield api
        server.shutdown()
        thread.join()
