"""Generated solutions: each is refused for a reason, or results in a bundle that keeps every promise.

PROPERTIES=50000 generates 50,000 pipelines instead of 2,000, and a fifth as many single models;
tests/support/generated.py has PROPERTIES_SEED.
"""

import asyncio
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.strategies import SearchStrategy

from schemas import Kind
from tests.component.properties import grammar, oracle, promises, repository
from tests.component.properties.blueprints import pipelines, single_models
from tests.component.properties.choices import Case, Choices
from tests.component.properties.faults import FAULTS
from tests.support.builders import OPTIONS, SHIPPED, edge, node, operation, solution
from tests.support.corpus import record, say
from tests.support.fakes import FakeArtifacts, FakeCatalog
from tests.support.generated import SEED
from tests.support.script import load_script
from worker.build import Builder
from worker.domain.bundle.archive import Bundle
from worker.domain.bundle.plan import Plan
from worker.errors import CODES, DeploymentError, one_line

WANTED = int(os.environ.get("PROPERTIES") or 2000)
SAMPLE = 2000
ROUND = 250  # hypothesis remembers its examples; rounds reset that, and are spread over processes


class Tally:
    """The generated cases and their outcomes."""

    def __init__(self) -> None:
        self.all = Counter[str]()
        self.codes = Counter[str]()
        self.nodes = Counter[str]()
        self.folders = Counter[int]()

    def count(self, case: Case, code: str | None) -> None:
        """Count one case; `code` is the code of its refusal."""
        self.all["cases"] += 1
        self.codes[code or "deployed"] += 1
        if case.document is None:
            return
        nodes = _objects(case.document.get("nodes"))
        models = [it for it in nodes if not oracle.is_folder(it)]
        self.folders[len(nodes) - len(models)] += 1
        for limit in (1, 5, 20, 100, 200):
            if len(models) <= limit:
                self.nodes[f"up to {limit}"] += 1
                break
        self.all["hostile"] += _is_hostile(case.document.get("name"), models)
        self.all["cyclic"] += _is_cyclic(models)

    def lines(self, what: str) -> Iterator[str]:
        """Yield the lines of the table."""
        share = {name: f"{100 * count / self.all['cases']:.0f} %" for name, count in self.all.items()}
        hostile = f", hostile names or images {share['hostile']}, cyclic {share['cyclic']}" if self.nodes else ""
        yield f"  {what}, seed {SEED}: deployed {100 * self.codes['deployed'] / self.all['cases']:.0f} %{hostile}"
        if self.nodes:
            sizes = ", ".join(f"{name} {self.nodes[name]}" for name in sorted(self.nodes, key=_number))
            folders = ", ".join(f"{number}: {count}" for number, count in sorted(self.folders.items()))
            yield f"  nodes {sizes}; shared folders {folders}"
        yield f"  {', '.join(f'{code} {count}' for code, count in self.codes.most_common())}"


pytestmark = pytest.mark.timeout(600)  # a round takes seconds, but shrinking a failure may take minutes


def _number(text: str) -> int:
    return int(text.rpartition(" ")[2])


def _objects(value: object) -> list[promises.Json]:
    return [it for it in value if isinstance(it, dict)] if isinstance(value, list) else []


def _is_hostile(name: object, models: list[promises.Json]) -> bool:
    names = [str(it.get("container_name")) for it in models]
    images = [str(it.get("image")) for it in models]
    return not (
        grammar.keeps_its_pipeline_name(str(name))
        and all(map(grammar.keeps_its_name, names))
        and all(map(grammar.is_image, images))
    )


def _is_cyclic(models: list[promises.Json]) -> bool:
    """Return whether some node reaches itself."""
    edges: dict[str, set[str]] = {}
    for model in models:
        targets = edges.setdefault(str(model.get("container_name")).lower(), set())
        for entry in _objects(model.get("operation_signature_list")):
            targets |= {str(it.get("container_name")).lower() for it in _objects(entry.get("connected_to"))}
    while leaves := {name for name, targets in edges.items() if not targets & edges.keys()}:
        edges = {name: targets for name, targets in edges.items() if name not in leaves}
    return bool(edges)


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    """One event loop for all cases."""
    with asyncio.Runner() as running:
        yield running


def build(case: Case, runner: asyncio.Runner) -> tuple[Plan, Bundle] | DeploymentError:
    """Build a case as the worker does, with dependencies that serve the case's content."""
    artifacts = FakeArtifacts(repository.PROTOS | {"org/blueprint.json": case.data})
    builder = Builder(FakeCatalog(case.solution), artifacts, SHIPPED, case.options)
    try:
        return runner.run(builder.build(case.solution.solution_id, case.solution.revision_id, None))
    except DeploymentError as refusal:
        return refusal


def allowed_codes(case: Case) -> set[str]:
    """Return the codes with which the case may be refused; without codes it must be deployed."""
    if case.solution.kind is Kind.SINGLE_MODEL:
        return oracle.judge_single_model(case.solution.name, case.solution.image)
    if case.document is None:
        return {"blueprint-invalid"}
    return oracle.judge_pipeline(case.document, case.options.max_nodes)


def judge(case: Case, runner: asyncio.Runner) -> str | None:
    """Assert everything about one case, and return the code of its refusal."""
    outcome, allowed = build(case, runner), allowed_codes(case)
    if isinstance(outcome, DeploymentError):
        assert outcome.code in allowed & CODES.keys(), outcome.message
        assert is_a_sentence(outcome.message)
        return outcome.code
    assert not allowed
    plan, bundle = outcome
    promises.keep_all(case, plan, bundle, load_script())
    assert all(map(is_a_sentence, map(one_line, plan.warnings)))
    if promises.is_in_sample(bundle, 4):
        again = build(case, runner)
        assert isinstance(again, tuple)
        assert bundle.data == again[1].data
    return None


def is_a_sentence(message: str) -> bool:
    """Return whether a message is one printable line that begins and ends like a sentence."""
    return re.match(r"[A-Z'].*\.$", message) is not None and message.isprintable() and len(message) <= 1000


def drawn(cases: SearchStrategy[Case], size: int, number: int, judged: Callable[[Case], object]) -> None:
    """Run one round of a property."""

    @seed(SEED + number)
    @settings(
        max_examples=size,
        deadline=None,
        database=None,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
    )
    @given(cases)
    def holds(case: Case) -> None:
        judged(case)

    holds()


def judge_all(name: str, cases: SearchStrategy[Case], size: int, number: int, runner: asyncio.Runner) -> None:
    """Run one round, in which every case must hold."""
    wrong = 1
    try:
        drawn(cases, size, number, lambda case: judge(case, runner))
        wrong = 0
    finally:
        record(f"{name}, seed {SEED}", size, wrong)


@pytest.mark.parametrize("number", range((WANTED + ROUND - 1) // ROUND))
def test_pipelines(number: int, runner: asyncio.Runner) -> None:
    """Each pipeline is refused for a reason that the independent oracle knows, or its bundle keeps every promise."""
    judge_all("generated pipelines", pipelines(), min(ROUND, WANTED - number * ROUND), number, runner)


@pytest.mark.parametrize("number", range((WANTED // 5 + ROUND - 1) // ROUND))
def test_single_models(number: int, runner: asyncio.Runner) -> None:
    """Each single model is refused for a reason that the oracle knows, or its bundle keeps every promise."""
    judge_all("generated single models", single_models(), min(ROUND, WANTED // 5 - number * ROUND), number, runner)


def with_fault(fault: int, value: int) -> Case:
    """Return a tame pipeline with one fault."""
    document: promises.Json = {
        "name": "faulty",
        "nodes": [
            node("first", operation("run", edge("second")), proto_uri="org/b.proto"),
            node("second", operation(), proto_uri="org/shared.proto"),
        ],
    }
    FAULTS[fault](document, Choices(bytes((0, value))))
    return Case(solution(), document, json.dumps(document).encode(), OPTIONS)


VALUES = range(8)


@pytest.mark.parametrize("fault", range(len(FAULTS)))
def test_every_fault_on_its_own(fault: int, runner: asyncio.Runner) -> None:
    """Each fault is handled correctly in a tame pipeline with each of its values, so none depends on the seed."""
    for value in VALUES:
        judge(with_fault(fault, value), runner)


def test_the_generator_reaches_every_corner() -> None:
    """The generated inputs are not tame: enough of them are hostile, large, deployed or refused.

    The oracle determines their outcomes; the tests above verify that the deployer agrees with the oracle.
    """
    found, single_models_found = Tally(), Tally()
    for number in range(SAMPLE // ROUND):
        drawn(pipelines(), ROUND, number, lambda case: found.count(case, verdict(case)))
    drawn(single_models(), SAMPLE // 5, 0, lambda case: single_models_found.count(case, verdict(case)))
    for fault in range(len(FAULTS)):
        for value in VALUES:
            case = with_fault(fault, value)
            found.count(case, verdict(case))
    for what, tally in (("pipelines", found), ("single models", single_models_found)):
        for line in tally.lines(what):
            say(line)
    assert found.all["hostile"] >= 0.3 * found.all["cases"]
    assert found.all["cyclic"] >= 0.2 * found.all["cases"]
    assert found.codes["deployed"] >= 0.5 * found.all["cases"]
    assert single_models_found.codes["deployed"] >= 0.5 * single_models_found.all["cases"]
    assert {0, 1, 2, 3} <= found.folders.keys()
    assert {"up to 1", "up to 5", "up to 20", "up to 100", "up to 200"} <= found.nodes.keys()
    plan_codes = {
        "blueprint-invalid", "no-nodes", "too-many-nodes", "node-not-runnable", "image-empty", "image-invalid",
        "name-reserved", "name-collision", "shared-folder-invalid", "proto-missing",
    }  # fmt: skip
    assert plan_codes <= found.codes.keys()


def verdict(case: Case) -> str | None:
    """Return the code with which the oracle refuses the case, if any."""
    allowed = allowed_codes(case)
    return min(allowed, default=None) if len(allowed) < 2 else "one of several"
