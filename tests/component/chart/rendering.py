"""The chart as helm renders it; every render is cached."""

import copy
import json
import os
import subprocess
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml

from tests.component.chart.helm_binary import HELM_4, helm_binary
from tests.component.chart.values import CHART, Json
from tests.support.kubernetes_schemas import VALIDATORS
from tests.support.paths import DATA

CHART_DATA = DATA / "chart"
RELEASE, NAMESPACE = "deployer", "graphene"
FULL_NAME = "deployer-playground-deployer"
OLDEST, MIDDLE, NEWEST = VALIDATORS  # versions of Kubernetes

LEAST: Json = yaml.safe_load((CHART_DATA / "least.values.yaml").read_text(encoding="utf-8"))
"""The minimum values."""


class Refused(Exception):
    """Helm's error message."""


def helm(*arguments: str, values: str = "", home: Path | None = None, version: Path = HELM_4) -> str:
    """Return what helm prints. Raises Refused with its message. `home` holds helm's cache of a cluster."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(values)
        file.flush()
        more = ["--values", file.name] if values else []
        done = subprocess.run(
            [helm_binary(version), *arguments, *more],
            env={**os.environ, "GOGC": "off", **({"HOME": str(home)} if home else {})},  # helm exits before it pays
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise Refused(done.stderr)
    return done.stdout


RENDERED: dict[str, tuple[str, str]] = {}
"""What was rendered of what: helm's output and its error message, one of which is empty."""


def _template(values: str, release: str, kubernetes: str, version: Path) -> tuple[str, str]:
    key = json.dumps([values, release, kubernetes, version.name])
    if key not in RENDERED:
        command = ("template", release, str(CHART), "--namespace", NAMESPACE, "--kube-version", kubernetes)
        try:
            RENDERED[key] = helm(*command, values=values, version=version), ""
        except Refused as refused:
            RENDERED[key] = "", str(refused)
    return RENDERED[key]


def merged(base: Json, *changes: Json) -> Json:
    """Merge values; later values win, as with several --values files."""
    result = copy.deepcopy(base)
    for change in changes:
        for key, value in change.items():
            both = isinstance(value, dict) and isinstance(result.get(key), dict)
            result[key] = merged(result[key], value) if both else copy.deepcopy(value)
    return result


def nested(path: str, value: Any) -> Json:
    """Return `a.b: 1` as {a: {b: 1}}."""
    first, _, rest = path.partition(".")
    return {first: nested(rest, value) if rest else value}


def text(*changes: Json, release: str = RELEASE, kubernetes: str = MIDDLE, version: Path = HELM_4) -> str:
    """Return what helm renders from LEAST and the changes. Raises Refused."""
    result, refusal = _template(json.dumps(merged(LEAST, *changes)), release, f"{kubernetes}.0", version)
    if refusal:
        raise Refused(refusal)
    return result


def render(*changes: Json, release: str = RELEASE, kubernetes: str = MIDDLE) -> list[Json]:
    """Return the rendered objects."""
    return objects(text(*changes, release=release, kubernetes=kubernetes))


def objects(rendered: str) -> list[Json]:
    """Return the objects in a text with several documents."""
    return [it for it in yaml.load_all(rendered, yaml.CSafeLoader) if it]


def render_ahead(cases: Iterable[Json], kubernetes: str = MIDDLE, version: Path = HELM_4) -> None:
    """Render many cases in parallel, for tests that use them individually."""

    def one(changes: Json) -> None:
        _template(json.dumps(merged(LEAST, changes)), RELEASE, f"{kubernetes}.0", version)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(one, cases))


def find(found: list[Json], kind: str, suffix: str = "") -> Json:
    """Return the only object of a kind."""
    (it,) = find_all(found, kind, suffix)
    return it


def find_all(found: list[Json], kind: str, suffix: str = "") -> list[Json]:
    """Return the objects of a kind whose names end with this suffix."""
    return [it for it in found if it["kind"] == kind and it["metadata"]["name"].endswith(suffix)]


def deployment(found: list[Json], component: str = "worker") -> Json:
    """Return the Deployment of the workers, or of the gateways."""
    (it,) = (it for it in find_all(found, "Deployment") if component_of(it) == component)
    return it


def component_of(it: Json) -> str:
    """Return the component of a Deployment, from its pods' labels."""
    return str(it["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/component"])


def pod(found: list[Json], component: str = "worker") -> Json:
    """Return the workers' pod spec, or the gateways'."""
    spec: Json = deployment(found, component)["spec"]["template"]["spec"]
    return spec


def worker(found: list[Json], component: str = "worker") -> Json:
    """Return the worker container, or the gateway's."""
    container: Json = next(it for it in pod(found, component)["containers"] if it["name"] == component)
    return container


def variables(found: list[Json]) -> dict[str, str]:
    """Return the worker's variables that have values."""
    return {it["name"]: it["value"] for it in worker(found)["env"] if "value" in it}


def mounted_files(found: list[Json], component: str = "worker") -> dict[str, str]:
    """Return the worker's files, or the gateway's: name → kind/object/key."""
    (volume,) = (it for it in pod(found, component)["volumes"] if it["name"] == "files")
    return {
        item["path"]: f"{kind}/{source['name']}/{item['key']}"
        for entry in volume["projected"]["sources"]
        for kind, source in entry.items()
        for item in source["items"]
    }
