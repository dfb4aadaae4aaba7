"""Generated bundles against the API server's own validation and Pod Security, which must accept all of them.

CLUSTER_BUNDLES=5000 generates that many instead of 500; for PROPERTIES_SEED see tests/support/generated.py.
"""

import asyncio
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from schemas import Kind
from tests.component.properties import naughty, promises
from tests.component.properties.blueprints import pipelines, single_models
from tests.component.properties.choices import Case
from tests.component.properties.test_blueprints import Tally, build, is_a_sentence
from tests.extended.cluster.api import Api, Json, Refused
from tests.extended.cluster.server import HOSTNAME, PULL_SECRET
from tests.support.builders import OPTIONS, blueprint_document, edge, node, operation, solution
from tests.support.corpus import record, say
from tests.support.generated import SEED
from tests.support.script import load_script
from tests.unit.ontarget.bundles import AUTHS
from worker.domain.bundle.archive import Bundle
from worker.errors import CODES, DeploymentError

WANTED = int(os.environ.get("CLUSTER_BUNDLES") or 500)
ROUND = 350  # hypothesis begins each round with simple examples
AT_ONCE = 4  # requests
LEVELS = {"default": "baseline", "restricted": "restricted"}  # security profile → Pod Security


class Judge:
    """The API server, called with dry runs; it validates each distinct object once."""

    def __init__(self, api: Api, unique: str) -> None:
        self.refusals: list[str] = []
        self.objects = 0
        self._api = api
        self._pool = ThreadPoolExecutor(AT_ONCE)
        self._known: set[str] = set()
        self._namespaces = {profile: f"{unique}-{level}" for profile, level in LEVELS.items()}
        for profile, level in LEVELS.items():
            api.make_namespace(self._namespaces[profile], {"pod-security.kubernetes.io/enforce": level})

    def close(self) -> None:
        """Close the connections."""
        self._pool.shutdown()

    def hear(self, batch: list[tuple[Case, Bundle]]) -> None:
        """Validate everything that the script would apply of these bundles, and their pods."""
        asked = [self._pool.submit(self._judge, *it) for case, bundle in batch for it in self._new(case, bundle)]
        self.refusals += [refusal for it in asked if (refusal := it.result())]
        self.objects += len(asked)

    def _new(self, case: Case, bundle: Bundle) -> Iterator[tuple[str, Json]]:
        namespace = self._namespaces[case.options.security_profile]
        for document in planned(bundle, namespace):
            text = json.dumps([namespace, document], sort_keys=True)
            if text not in self._known:
                self._known.add(text)
                yield namespace, document

    def _judge(self, namespace: str, document: Json) -> str | None:
        try:
            self._api.try_apply(document, namespace)
            if document["kind"] == "Deployment":
                self._api.try_pod(document["spec"]["template"], namespace)
        except Refused as refused:
            return str(refused)
        return None


def planned(bundle: Bundle, namespace: str) -> list[Json]:
    """Return the script's objects for a bundle with everything configured."""
    script = load_script()
    objects = promises.read_manifests(bundle)
    manifests = tuple(script.Manifest(it, Path("deployments", name)) for name, it in sorted(objects.items()))
    unpacked = script.Bundle(Path(), manifests, json.loads(bundle.files.get("dockerinfo.json", b"null")))
    configured = script.Settings(namespace, "Always", PULL_SECRET, json.dumps(AUTHS), HOSTNAME, True, "nginx", ())
    return [it.document for it in script.plan(configured, unpacked)]


@pytest.fixture
def judge(api: Api, unique: str) -> Iterator[Judge]:
    """Yield a judge with separate namespaces."""
    judge = Judge(api, unique)
    yield judge
    judge.close()


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    """Yield one event loop for all bundles of a test."""
    with asyncio.Runner() as running:
        yield running


def generate(size: int, number: int) -> list[Case]:
    """Generate more cases, as the property tests do: six pipelines for each single model."""
    cases: list[Case] = []

    @seed(SEED + number)
    @settings(
        max_examples=size,
        deadline=None,
        database=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    @given(st.integers(0, 6).flatmap(lambda it: pipelines() if it else single_models()))
    def collect(case: Case) -> None:
        cases.append(case)

    collect()
    return cases


def named(name: str) -> Iterator[Case]:
    """Yield a model, a pipeline, and a pipeline with a node of this name."""
    more = {"image": "registry.example/model:1.0", "proto_uri": "org/a.proto"}
    model = solution(kind=Kind.SINGLE_MODEL, name=name, image=more["image"], proto_uri=more["proto_uri"])
    yield Case(model, None, b"", OPTIONS)
    for document in (
        blueprint_document(node("first", **more), name=name),
        blueprint_document(node(name, operation("run", edge("last")), **more), node("last", **more)),
    ):
        yield Case(solution(), document, json.dumps(document).encode(), OPTIONS)


@pytest.mark.timeout(600)
def test_generated_bundles(judge: Judge, runner: asyncio.Runner) -> None:
    """The cluster accepts every generated bundle, with its web pages, pull secret and pods."""
    tally, known, number = Tally(), set[str](), 0
    while len(known) < WANTED:
        batch: list[tuple[Case, Bundle]] = []
        for case in generate(ROUND, number):
            outcome = build(case, runner)
            tally.count(case, outcome.code if isinstance(outcome, DeploymentError) else None)
            if not isinstance(outcome, DeploymentError) and outcome[1].sha256 not in known and len(known) < WANTED:
                known.add(outcome[1].sha256)
                batch.append((case, outcome[1]))
        judge.hear(batch)
        number += 1

    record("generated bundles at the API server, no two alike", len(known), len(judge.refusals))
    say(f"  {judge.objects} different objects in dry runs, their pods under baseline and restricted")
    for line in tally.lines("cases"):
        say(line)
    assert [] == judge.refusals
    assert tally.all["hostile"] >= 0.3 * sum(tally.folders.values())
    assert {0, 1, 2, 3} <= tally.folders.keys()
    assert {"up to 1", "up to 200"} <= tally.nodes.keys()


def test_hostile_names(judge: Judge, runner: asyncio.Runner) -> None:
    """A hostile name of a model, a pipeline or a node leads to an accepted bundle, or to a rejection with a reason."""
    batch: list[tuple[Case, Bundle]] = []
    wrong, refused = [], 0
    for name in naughty.HOSTILE_NAMES:
        for case in named(name):
            outcome = build(case, runner)
            if isinstance(outcome, DeploymentError):
                refused += 1
                if not (outcome.code in CODES and is_a_sentence(outcome.message)):
                    wrong.append(f"{name!r}: {outcome.code} {outcome.message!r}")
            else:
                batch.append((case, outcome[1]))
    judge.hear(batch)

    size = len(naughty.HOSTILE_NAMES)
    record("hostile names at the API server", size, len(wrong) + len(judge.refusals))
    say(f"  {len(batch)} bundles and {refused} refusals with a reason; {judge.objects} different objects")
    assert [] == wrong + judge.refusals
    assert size >= 200
