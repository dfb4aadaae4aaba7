"""The CPU time of one bundle, from the plan to the zip, compared with a straightforward implementation."""

import asyncio
import time
import zipfile
from collections.abc import Callable
from io import BytesIO
from statistics import median, quantiles
from typing import Any

import yaml
from kubernetes.client import ApiClient

from tests.extended.bench.dependencies import PROTO, pipeline
from tests.extended.bench.results import Row
from tests.support.builders import OPTIONS, solution
from worker.app import shipped_files
from worker.build import KnownProtobufs
from worker.domain.bundle.archive import build_bundle
from worker.domain.bundle.blueprint import read_blueprint
from worker.domain.bundle.manifests import render
from worker.domain.bundle.plan import Plan, plan_pipeline

SHIPPED = shipped_files()
SIZES = (1, 10, 100, 200)
KNOWN, LOOP = KnownProtobufs(), asyncio.new_event_loop()


def measure() -> list[Row]:
    """Measure for about 20 s."""
    ours = _times(lambda: _ours(20), 200)
    first = _times(lambda: _ours(20, KnownProtobufs()), 20)
    obvious = _times(lambda: _obvious(_plan(20)), 20)
    sizes = {nodes: median(_times(lambda nodes=nodes: _ours(nodes), 40)) for nodes in SIZES}  # type: ignore[misc]
    per_node = [(sizes[more] - sizes[1]) / (more - 1) for more in SIZES[1:]]
    return [
        Row("20-node bundle, plan to zip, protobufs known, CPU, median", median(ours), "ms", at_most=6),
        Row("the same with 20 protobufs that are read for the first time", median(first), "ms"),
        Row("the same the obvious way", median(obvious), "ms"),
        Row("times faster than the obvious way", median(obvious) / median(ours), "", at_least=11),
        Row("p90/p50 of the bundle", quantiles(ours, n=10)[8] / median(ours), "", at_most=1.3),
        *(Row(f"{nodes} nodes, median", sizes[nodes], "ms") for nodes in SIZES),
        Row("cost per further node, largest / smallest", max(per_node) / min(per_node), "", at_most=1.2),
    ]


def _plan(nodes: int) -> Plan:
    return plan_pipeline(solution(), read_blueprint(pipeline(nodes), 200), OPTIONS.orchestrator_image)


def _ours(nodes: int, known: KnownProtobufs = KNOWN) -> None:
    plan = _plan(nodes)
    protos = {it.name: PROTO + f"// of {it.name}\n".encode() for it in plan.containers if it.proto_uri}
    LOOP.run_until_complete(known.check(plan, protos))
    build_bundle(plan, protos, SHIPPED, OPTIONS)


def _obvious(plan: Plan) -> None:
    """Build the same files with model objects, the client's own serialiser, PyYAML and a deflated zip."""
    sanitize: Callable[[Any], Any] = ApiClient().sanitize_for_serialization
    with zipfile.ZipFile(BytesIO(), "w", zipfile.ZIP_DEFLATED) as archive:
        for name, manifest in render(plan, OPTIONS).items():
            archive.writestr(f"deployments/{name}", yaml.safe_dump(sanitize(manifest)))
        for container in plan.containers:
            archive.writestr(f"microservice/{container.name}.proto", PROTO)
        for name, data in SHIPPED.items():
            archive.writestr(name, data)


def _times(work: Callable[[], None], rounds: int) -> list[float]:
    """Return the CPU milliseconds of each round, after a tenth of the rounds as a warm-up."""
    times = []
    for number in range(rounds + rounds // 10):
        start = time.process_time()
        work()
        if number >= rounds // 10:
            times.append((time.process_time() - start) * 1000)
    return times
