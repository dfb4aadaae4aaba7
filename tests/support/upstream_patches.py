"""The results of Kubernetes' own code for patches: the cases in tests/data/patches, and how they were written.

`python -m tests.support.upstream_patches JUDGE` rewrites verdicts.json and merges.json; README.md there explains how to
build JUDGE. The tests only read the files.
"""

import json
import random
import subprocess
import sys
from typing import Any

import yaml

from tests.support.paths import DATA

FOLDER = DATA / "patches"
MERGES = 150

Json = dict[str, Any]

LABELS = {"app": "node", "app.kubernetes.io/component": "model"}
DEPLOYMENT: Json = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "node", "labels": LABELS},
    "spec": {
        "replicas": 1,
        "selector": {"matchLabels": {"app": "node"}},
        "template": {
            "metadata": {"labels": LABELS},
            "spec": {
                "automountServiceAccountToken": False,
                "enableServiceLinks": False,
                "imagePullSecrets": [{"name": "acumos-registry"}],
                "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
                "containers": [
                    {
                        "name": "node",
                        "image": "registry.example/node:1",
                        "ports": [
                            {"name": "protobuf-api", "containerPort": 8061},
                            {"name": "webui", "containerPort": 8062},
                        ],
                        "env": [{"name": "SHARED_FOLDER_PATH", "value": "/data/shared"}],
                        "volumeMounts": [{"name": "shared-folder", "mountPath": "/data/shared"}],
                        "readinessProbe": {"tcpSocket": {"port": 8061}, "periodSeconds": 5},
                    }
                ],
                "volumes": [{"name": "shared-folder", "persistentVolumeClaim": {"claimName": "shared-folder"}}],
            },
        },
    },
}
CLAIM: Json = {
    "apiVersion": "v1",
    "kind": "PersistentVolumeClaim",
    "metadata": {"name": "shared-folder", "labels": {"app": "shared-folder"}},
    "spec": {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}},
}


def cases() -> list[tuple[str, Json]]:
    """Return the target of each patch of cases.yaml, and the patch."""
    document = yaml.safe_load((FOLDER / "cases.yaml").read_text(encoding="utf-8"))
    return [(place, patch) for place, patches in document.items() for patch in patches]


def whole(place: str, patch: Json) -> tuple[Json, Json]:
    """Return the manifest of a case, and its patch from the root of the manifest."""
    if place == "container":
        place, patch = "pod", {"containers": [{"name": "node"} | patch]}
    if place == "pod":
        patch = {"template": {"spec": patch}}
    return (CLAIM if place == "claim" else DEPLOYMENT), {"spec": patch}


def random_patch(chance: random.Random) -> Json:
    """Return a patch of a pod: mappings, merged lists, other lists, nulls, `$patch`; no alternatives or tolerations.

    `$patch` occurs only where DEPLOYMENT has a value: elsewhere Kubernetes leaves the word itself in the result.
    """

    def some(options: Json) -> Json:
        return {key: make() for key, make in options.items() if chance.random() < 0.4}

    def either(*values: Any) -> Any:
        return chance.choice(values)

    def elements(key: str, names: list[Any], element: Json, there: int = 0) -> list[Json]:
        """Return list elements; `there` is the number of leading names that DEPLOYMENT has."""
        chosen = chance.sample(names, chance.randint(0, len(names)))
        gone = {name for name in names[:there] if chance.random() < 0.2}
        made = [{key: name} | ({"$patch": "delete"} if name in gone else some(element)) for name in chosen]
        return [{"$patch": "replace"}, *made] if there and not gone and chance.random() < 0.2 else made

    times = {"periodSeconds": lambda: either(1, None), "failureThreshold": lambda: either(3, 9, None)}
    amounts = {"cpu": lambda: either("1", "2", None), "memory": lambda: either("1Gi", None)}
    context = {"runAsUser": lambda: either(1, 2, None), "capabilities": lambda: either({"drop": ["ALL"]}, None)}
    variable = {"value": lambda: either("x", "y", None)}
    port = {"name": lambda: either("a", "b", None)}
    mount = {"readOnly": lambda: either(True, None)}
    new = {
        "args": lambda: either(["a"], ["b", "c"], [], None),
        "env": lambda: elements("name", ["A", "B"], variable),
        "livenessProbe": lambda: either(some(times), {"tcpSocket": {"port": either(1, 2)}}, None),
        "ports": lambda: elements("containerPort", [9090, 9091], port),
        "resources": lambda: either({"limits": some(amounts), "requests": some(amounts)}, None),
        "securityContext": lambda: either(some(context), None),
    }
    own = new | {
        "env": lambda: elements("name", ["SHARED_FOLDER_PATH", "A", "B"], variable, 1),
        "ports": lambda: elements("containerPort", [8061, 8062, 9090], port, 2),
        "readinessProbe": lambda: either(some(times), None, {"$patch": "replace", "periodSeconds": 9}),
        "volumeMounts": lambda: elements("mountPath", ["/data/shared", "/b"], mount, 1),
    }
    term = {"matchExpressions": [{"key": "gpu", "operator": "Exists"}]}
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}}
    pod = {
        "affinity": lambda: affinity,
        "hostAliases": lambda: elements("ip", ["10.0.0.1", "10.0.0.2"], {"hostnames": lambda: either(["a"], ["b"])}),
        "imagePullSecrets": lambda: elements("name", ["acumos-registry", "other"], {}, 1),
        "initContainers": lambda: elements("name", ["first", "second"], new),
        "nodeSelector": lambda: either({"gpu": "true"}, {"gpu": None}, {}),
        "securityContext": lambda: either({"seccompProfile": None}, {"fsGroup": 1}, {"$patch": "replace"}, None),
        "volumes": lambda: elements("name", ["shared-folder"], {}, 1),
    }
    containers = elements("name", ["node"], own) + elements("name", ["proxy"], new)
    return some(pod) | ({"containers": containers} if containers else {})


def main(judge: str) -> None:
    """Run JUDGE and write the files."""
    rows = [(place, patch, *whole(place, patch)) for place, patch in cases()]
    answers = _ask(judge, [(document, patch) for _, _, document, patch in rows])
    verdicts = [
        [place, patch, next(iter([*([answer["error"]] if "error" in answer else []), *answer["errors"]]), None)]
        for (place, patch, *_), answer in zip(rows, answers, strict=True)
    ]
    chance = random.Random(7)
    patches = [random_patch(chance) for _ in range(MERGES)]
    merged = _ask(judge, [whole("pod", patch) for patch in patches])
    merges = [
        [patch, answer["merged"]["spec"]["template"]["spec"]] for patch, answer in zip(patches, merged, strict=True)
    ]
    for name, found in (("verdicts", verdicts), ("merges", merges)):
        lines = ",\n".join(json.dumps(it, separators=(",", ":")) for it in found)
        (FOLDER / f"{name}.json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")


def _ask(judge: str, questions: list[tuple[Json, Json]]) -> list[Any]:
    lines = "\n".join(json.dumps({"doc": document, "patch": patch}) for document, patch in questions)
    done = subprocess.run([judge], input=lines, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


if __name__ == "__main__":
    main(sys.argv[1])
