"""The API server as its administrator sees it."""

import json
import time
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode

from urllib3 import PoolManager

Json = dict[str, Any]
T = TypeVar("T")

_GROUPS = {
    "Deployment": "apis/apps/v1",
    "ReplicaSet": "apis/apps/v1",
    "StatefulSet": "apis/apps/v1",
    "DaemonSet": "apis/apps/v1",
    "Job": "apis/batch/v1",
    "CronJob": "apis/batch/v1",
    "Ingress": "apis/networking.k8s.io/v1",
    "EndpointSlice": "apis/discovery.k8s.io/v1",
    "RoleBinding": "apis/rbac.authorization.k8s.io/v1",
}
_CONNECTIONS = 8


class Refused(Exception):
    """The API server's answer to a failed request."""


class Api:
    """Requests with a token. Methods raise Refused, and urllib3's HTTPError while the API server is unreachable."""

    def __init__(self, url: str, token: str, ca: Path) -> None:
        self._url = url
        self._headers = {"Authorization": f"Bearer {token}"}
        self._connections = PoolManager(ca_certs=str(ca), retries=False, timeout=30, maxsize=_CONNECTIONS)

    def close(self) -> None:
        """Close the connections."""
        self._connections.clear()

    def call(self, method: str, path: str, body: Any = None, kind: str = "json", **query: str) -> Json:
        """Return the answer; `kind` of the body: json, merge-patch+json, apply-patch+yaml."""
        answer = self._connections.request(
            method,
            f"{self._url}/{path}?{urlencode(query)}",
            body=None if body is None else json.dumps(body).encode(),
            headers=self._headers | {"Content-Type": f"application/{kind}"},
        )
        if answer.status >= 400:
            raise Refused(f"{method} {path}: {answer.status} {answer.data.decode()}")
        return json.loads(answer.data) if answer.data.startswith(b"{") else {}

    def text(self, path: str, **query: str) -> str:
        """Return an answer that is not JSON, such as the log of a pod."""
        answer = self._connections.request("GET", f"{self._url}/{path}?{urlencode(query)}", headers=self._headers)
        if answer.status >= 400:
            raise Refused(f"GET {path}: {answer.status}")
        return answer.data.decode(errors="replace")

    def get(self, kind: str, namespace: str, name: str) -> Json:
        """Return one object."""
        return self.call("GET", _path(kind, namespace, name))

    def find(self, kind: str, namespace: str) -> list[Json]:
        """Return all objects of a kind."""
        return list(self.call("GET", _path(kind, namespace))["items"])

    def make_namespace(self, name: str, labels: Mapping[str, str] | None = None) -> None:
        """Create a namespace as the playground server does."""
        self.call("POST", "api/v1/namespaces", {"metadata": {"name": name, "labels": labels or {}}})

    def has_namespace(self, name: str) -> bool:
        """Return whether the namespace exists, including while it is being deleted."""
        return name in {it["metadata"]["name"] for it in self.call("GET", "api/v1/namespaces")["items"]}

    def create(self, document: Json, namespace: str) -> Json:
        """Create an object that does not belong to a deployment of ours."""
        return self.call("POST", _path(document["kind"], namespace), document)

    def delete(self, kind: str, namespace: str, name: str) -> None:
        """Delete an object; its removal may take time."""
        self.call("DELETE", _path(kind, namespace, name))

    def patch(self, kind: str, namespace: str, name: str, change: Json) -> Json:
        """Change an object, including its `status`."""
        subresource = "/status" if "status" in change else ""
        return self.call("PATCH", _path(kind, namespace, name) + subresource, change, "merge-patch+json")

    def try_apply(self, document: Json, namespace: str) -> None:
        """Have the API server validate an object as if it were applied; nothing is stored."""
        path = _path(document["kind"], namespace, document["metadata"]["name"])
        query = {"fieldManager": "playground-deployer", "force": "true", "dryRun": "All"}
        self.call("PATCH", path, document, "apply-patch+yaml", **query)

    def try_pod(self, template: Json, namespace: str) -> None:
        """Have the API server and Pod Security validate a pod; nothing is stored."""
        pod = {**template, "metadata": {**template["metadata"], "generateName": "pod-"}}
        self.call("POST", _path("Pod", namespace), pod, dryRun="All")

    def everything(self, namespace: str) -> list[Json]:
        """Return all objects in a namespace except events, of every kind that the API server knows."""
        found = []
        for group, kind, plural in self._namespaced:
            items = self.call("GET", f"{group}/namespaces/{namespace}/{plural}")["items"]
            found += [{"apiVersion": group.split("/", 1)[1], "kind": kind, **item} for item in items]
        return found

    @cached_property
    def _namespaced(self) -> list[tuple[str, str, str]]:
        groups = [it["preferredVersion"]["groupVersion"] for it in self.call("GET", "apis")["groups"]]
        return [
            (path, it["kind"], it["name"])
            for path in ["api/v1", *(f"apis/{group}" for group in groups)]
            for it in self.call("GET", path)["resources"]
            if it["namespaced"] and "list" in it["verbs"] and it["kind"] != "Event"
        ]


def _path(kind: str, namespace: str, name: str = "") -> str:
    plural = "ingresses" if kind == "Ingress" else f"{kind.lower()}s"
    return f"{_GROUPS.get(kind, 'api/v1')}/namespaces/{namespace}/{plural}/{name}".rstrip("/")


def until(look: Callable[[], T], seconds: float = 30) -> T:
    """Return the first true value, or the last value when the time is up."""
    end = time.monotonic() + seconds
    while True:
        seen = look()
        if seen or time.monotonic() > end:
            return seen
        time.sleep(0.05)
