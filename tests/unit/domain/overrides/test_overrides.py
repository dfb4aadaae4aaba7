"""Overrides: which manifests an entry matches, what stops the start, and what only a real node can show."""

import random
import time
from typing import Any

import pytest
import yaml

from tests.support import corpus
from tests.support.builders import OPTIONS, SHIPPED, blueprint, mount_volume, node, shared_folder, solution
from tests.support.upstream_patches import random_patch
from worker import settings
from worker.domain.bundle.archive import Bundle, build_bundle
from worker.domain.bundle.blueprint import read_blueprint
from worker.domain.bundle.manifests import render
from worker.domain.bundle.plan import Plan, plan_pipeline
from worker.domain.overrides.overrides import NO_OVERRIDES, Overrides, read_overrides
from worker.domain.overrides.patching import PatchError
from worker.errors import OverridesInvalid

Json = dict[str, Any]


def pipeline(*nodes: Json) -> Plan:
    return plan_pipeline(solution(), read_blueprint(blueprint(*nodes), 200), OPTIONS.orchestrator_image)


PLAN = pipeline(
    shared_folder("/data", "gui"),
    node("gui", mount_volume()),
    node("solver", image="registry.example:5000/models/solver:2.1@sha256:" + "a" * 64),
)
DEPLOYMENTS = ("gui_deployment.yaml", "solver_deployment.yaml", "orchestrator_deployment.yaml")


def pod(**fields: Any) -> Json:
    """A patch of a Deployment's pod."""
    return {"spec": {"template": {"spec": fields}}}


def own(**fields: Any) -> Json:
    """A patch of the node's own container."""
    return pod(containers=[{"name": "*"} | fields])


def overrides(*entries: tuple[Json, Json], options: settings.BundleSettings = OPTIONS) -> Overrides:
    """Overrides with these pairs of match and patch."""
    return read_overrides({"overrides": [{"match": match, "patch": patch} for match, patch in entries]}, options)


def refused(*entries: tuple[Json, Json], options: settings.BundleSettings = OPTIONS) -> tuple[str, ...]:
    """Return the problems with which these entries stop the start."""
    with pytest.raises(PatchError) as refusal:
        overrides(*entries, options=options)
    return refusal.value.problems


def build(plan: Plan, with_overrides: Overrides) -> Bundle:
    protos = {it.name: b'syntax = "proto3";\n' for it in plan.containers if it.proto_uri}
    return build_bundle(plan, protos, SHIPPED, OPTIONS, with_overrides)


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        ({"node": "*"}, DEPLOYMENTS),
        ({"node": "gui"}, ["gui_deployment.yaml"]),
        ({"node": "*[ue]r"}, ["solver_deployment.yaml"]),
        ({"node": "orchestrator"}, ["orchestrator_deployment.yaml"]),
        ({"node": "g"}, []),
        ({"component": "model"}, DEPLOYMENTS[:2]),
        ({"component": "orchestrator"}, ["orchestrator_deployment.yaml"]),
        ({"image": "registry.example/models/gui:1.0"}, ["gui_deployment.yaml"]),
        ({"image": "registry.example/models/gui"}, ["gui_deployment.yaml"]),
        ({"image": "registry.example/models/gui:2.0"}, []),
        ({"image": "registry.example/models/gu"}, []),
        ({"image": "registry.example:5000/models/solver"}, ["solver_deployment.yaml"]),
        ({"image": "registry.example:5000/models/solver:2.1"}, ["solver_deployment.yaml"]),
        ({"image": "registry.example:5000"}, []),
        ({"image": "*@sha256:*"}, ["solver_deployment.yaml"]),
        ({"image": "*/models/*"}, DEPLOYMENTS[:2]),
        ({"image": "*/models/*", "node": "g*"}, ["gui_deployment.yaml"]),
        ({"image": "*/solver", "node": "g*"}, []),
        ({"claim": "*"}, ["pvc.yaml"]),
        ({"claim": "shared-folder"}, ["pvc.yaml"]),
        ({"claim": "shared-folder-*"}, []),
    ],
)
def test_an_entry_changes_what_it_matches(match: Json, expected: list[str]) -> None:
    """An entry changes the manifests that it matches and no other byte of the bundle; it never matches a Service."""
    patch = {"metadata": {"annotations": {"changed": "yes"}}}
    before, after = build(PLAN, NO_OVERRIDES), build(PLAN, overrides((match, patch)))
    changed = [name for name in before.files if before.files[name] != after.files[name]]
    paths = [f"deployments/{name}" for name in expected]
    assert sorted(paths + (["MANIFEST.json"] if paths else [])) == sorted(changed)
    assert dict.fromkeys(paths, (1,)) == after.overridden


def test_later_entries_win_and_tolerations_add_up() -> None:
    """Later entries win even over more specific entries, and tolerations accumulate."""
    taint = {"operator": "Exists", "key": "a"}
    entries = overrides(
        ({"node": "gui"}, own(resources={"limits": {"cpu": 1, "memory": "2Gi"}})),
        ({"node": "gui"}, pod(tolerations=[taint])),
        ({"node": "*"}, own(resources={"limits": {"cpu": 2}})),
        ({"node": "*"}, pod(tolerations=[{"operator": "Exists", "key": "b"}])),
    )
    manifest, numbers = entries.apply(render(PLAN, OPTIONS)["gui_deployment.yaml"])
    spec = manifest.model_dump(exclude_none=True)["spec"]["template"]["spec"]
    assert {"cpu": "2", "memory": "2Gi"} == spec["containers"][0]["resources"]["limits"]
    assert ["a", "b"] == [toleration["key"] for toleration in spec["tolerations"]]
    assert (1, 2, 3, 4) == numbers


def test_the_manifest_that_was_rendered_does_not_change() -> None:
    """Applying overrides returns a new manifest, the same each time, and leaves the rendered manifest unchanged."""
    entries = overrides(({"node": "*"}, own(env=[{"name": "A", "value": "x"}])))
    rendered = render(PLAN, OPTIONS)
    before = {name: manifest.model_dump() for name, manifest in rendered.items()}
    results = [{name: entries.apply(it)[0].model_dump() for name, it in rendered.items()} for _ in range(2)]
    assert before == {name: manifest.model_dump() for name, manifest in rendered.items()}
    assert results[0] == results[1] != before


@pytest.mark.parametrize("empty", [NO_OVERRIDES, overrides(), overrides(({"node": "*"}, {}), ({"claim": "*"}, {}))])
def test_what_changes_nothing_changes_no_byte(empty: Overrides) -> None:
    """Without entries, or with empty patches, the bundle has the same bytes."""
    assert build(PLAN, NO_OVERRIDES).data == build(PLAN, empty).data


def relied_on(bundle: Bundle) -> dict[str, Any]:
    """Return what scripts, Services and selectors rely on, read without the code under test."""
    found: dict[str, Any] = {"nodes": bundle.nodes}
    for name, data in bundle.files.items():
        if not name.startswith("deployments/"):
            continue
        manifest = yaml.safe_load(data)
        if manifest["kind"] == "Deployment":
            spec = manifest["spec"]
            template, container = spec["template"], spec["template"]["spec"]["containers"][0]
            ports = [port for port in container["ports"] if port["containerPort"] in (8061, 8062)]
            found[name] = (manifest["metadata"], spec["selector"], template["metadata"], ports)
            found[name] += (container["name"], container["image"])
        else:
            found[name] = manifest
    return found


def test_a_patch_never_moves_what_is_fixed() -> None:
    """Each of 200 random patches is rejected or keeps names, labels, images, ports, Services and claims."""
    chance, taken, wrong = random.Random(20261124), 0, 0
    before = relied_on(build(PLAN, NO_OVERRIDES))
    for _ in range(200):
        patch = random_patch(chance)
        for container in patch.get("containers", ()):
            container.update({"name": "*"} if container["name"] == "node" else {"image": "registry.example/proxy:1"})
        try:
            bundle = build(PLAN, overrides(({"node": "*"}, pod(**patch))))
        except PatchError:
            continue
        taken += 1
        wrong += before != relied_on(bundle)
    corpus.record("random patches that moved nothing fixed", taken, wrong)
    assert (True, 0) == (taken > 40, wrong)


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        (None, "the file: must be an object."),
        ([], "the file: must be an object."),
        ({}, "the file: overrides: is missing."),
        ({"overrides": {}}, "the file: overrides: must be a list."),
        ({"override": [], "overrides": []}, "the file: override: no such field."),
        ({"overrides": [1]}, "entry 1: must be an object."),
        ({"overrides": [{"match": {"node": "*"}}]}, "entry 1: patch: is missing."),
        ({"overrides": [{"patch": {}}]}, "entry 1: match: is missing."),
        ({"overrides": [{"match": {"node": "*"}, "patch": []}]}, "entry 1: patch: must be an object."),
        ({"overrides": [{"match": {"node": 1}, "patch": {}}]}, "entry 1: match.node: must be text; put it in quotes."),
        ({"overrides": [{"match": {"nodes": "*"}, "patch": {}}]}, "entry 1: match.nodes: no such field."),
        (
            {"overrides": [{"match": {"node": "*"}, "patch": {}}, {"match": {}, "patch": {}}]},
            'entry 2: match: names nothing; node: "*" is every node.',
        ),
        (
            {"overrides": [{"match": {"component": "models"}, "patch": {}}]},
            "entry 1: match.component: Input should be 'model' or 'orchestrator'.",
        ),
    ],
)
def test_a_file_of_another_shape_is_refused(document: Any, problem: str) -> None:
    """The error names the entry, counted from 1, and the field."""
    with pytest.raises(PatchError) as refusal:
        read_overrides(document, OPTIONS)
    assert (problem,) == refusal.value.problems


@pytest.mark.parametrize(
    ("match", "problem"),
    [
        ({"node": "Sudoku GUI"}, "lower-case letters, digits and hyphens; this fits none"),
        ({"node": ""}, "lower-case letters, digits and hyphens; this fits none"),
        ({"claim": "WorkerContext"}, "lower-case letters, digits and hyphens; this fits none"),
        ({"image": "https://registry.example/gui"}, "without a scheme; this fits none"),
        ({"image": ""}, "without a scheme; this fits none"),
        ({"claim": "*", "node": "*"}, "claim cannot be combined"),
        ({"node": "gui", "component": "orchestrator"}, "fits neither a model nor the orchestrator"),
        ({"node": "orchestrator", "component": "model"}, "fits neither a model nor the orchestrator"),
        ({"node": "orchestrator", "image": "registry.example/other"}, "fits neither a model nor the orchestrator"),
    ],
)
def test_a_match_that_fits_nothing_is_refused(match: Json, problem: str) -> None:
    """A match that fits nothing is rejected, because it would silently have no effect."""
    (found,) = refused((match, {}))
    assert problem in found


@pytest.mark.parametrize(
    ("match", "patch", "problem"),
    [
        ({"node": "*"}, own(resourses={}), "spec.template.spec.containers[*].resourses: no such field."),
        (
            {"component": "model"},
            own(readinessProbe={"periodSeconds": 9}),
            "[*].readinessProbe: asks for nothing",
        ),
        (
            {"node": "*"},
            own(volumeMounts=[{"mountPath": "/data/shared", "subPath": "a"}]),
            "shared].name: is mi",
        ),
        ({"node": "*"}, own(volumeMounts=[{"mountPath": "/a", "name": "shared-folder"}]), "no volume 'shared-folder'"),
        (
            {"image": "*/gui"},
            pod(containers=[{"name": "gui", "args": ["x"]}]),
            "own container is called '*' in",
        ),
        ({"node": "g*"}, pod(containers=[{"name": "gui", "args": ["x"]}]), "own container is called '*' in"),
        ({"claim": "*"}, own(args=["x"]), "spec.template: no such field."),
        ({"node": "*"}, {"spec": {"storageClassName": "nfs"}}, "spec.storageClassName: no such field."),
        ({"node": "*"}, {"metadata": {"name": "x"}}, "metadata.name: is fixed"),
        ({"component": "orchestrator"}, own(image="r.example/o:2"), "containers[*].image: is fixed"),
    ],
)
def test_a_patch_is_tried_on_all_that_it_may_meet(match: Json, patch: Json, problem: str) -> None:
    """Each patch is tried at the start on all that it may match, not when the first such node is deployed."""
    (found,) = refused(({"node": "*"}, {}), (match, patch))
    assert found.startswith("entry 2: ")
    assert problem in found


@pytest.mark.parametrize(
    ("match", "patch"),
    [
        ({"node": "gui"}, pod(containers=[{"name": "gui", "args": ["x"]}])),
        ({"component": "orchestrator"}, own(readinessProbe={"tcpSocket": {"port": 8061}})),
        ({"component": "orchestrator"}, own(readinessProbe={"periodSeconds": 30})),
        ({"node": "orchestrator"}, own(readinessProbe={"httpGet": {"port": 8062}})),
        ({"image": "*@sha256:*"}, own(args=["x"])),
        ({"image": "Registry.Example/LLM:[12].*"}, own(args=["x"])),
        ({"node": "orchestrator", "image": OPTIONS.orchestrator_image}, own(args=["x"])),
    ],
)
def test_what_can_fit_is_taken(match: Json, patch: Json) -> None:
    """A patch that can fit is accepted: a container by name, an orchestrator, a pattern without a possible example."""
    assert 1 == len(overrides((match, patch)).entries)


def test_every_problem_is_named_at_once() -> None:
    """All problems are listed at one start."""
    entries: list[tuple[Json, Json]] = [
        ({"node": "*"}, own(a=1, b=2)),
        ({"node": "*"}, {}),
        ({"claim": "*"}, {"spec": {"c": 3}}),
    ]
    assert [
        "entry 1: spec.template.spec.containers[*].a: no such field.",
        "entry 1: spec.template.spec.containers[*].b: no such field.",
        "entry 3: spec.c: no such field.",
    ] == list(refused(*entries))


def test_entries_that_contradict_each_other_are_refused_at_the_start() -> None:
    """Entries that are valid alone but contradict each other stop the start if they surely meet."""
    limits = own(resources={"limits": {"cpu": 1}})
    requests = own(resources={"requests": {"cpu": 2}})
    problem = "spec.template.spec.containers[*].resources: the request cpu 2 is above the limit 1."
    assert (f"entries 1 and 2: {problem}",) == refused(({"node": "*"}, limits), ({"node": "gui"}, requests))


def test_entries_that_contradict_each_other_on_one_node_end_that_request() -> None:
    """Entries that contradict each other only on a real node fail its request, and other nodes are unaffected."""
    entries = overrides(
        ({"node": "gu?"}, own(resources={"limits": {"cpu": 1}})),
        ({"image": "*/gui:*"}, own(resources={"requests": {"cpu": 2}})),
    )
    with pytest.raises(OverridesInvalid) as refusal:
        build(PLAN, entries)
    assert refusal.value.message == (
        "The operator's overrides (entries 1 and 2) do not fit 'gui': "
        "spec.template.spec.containers[gui].resources: the request cpu 2 is above the limit 1."
    )
    assert build(pipeline(node("other")), entries).data == build(pipeline(node("other")), NO_OVERRIDES).data


def test_a_container_beside_is_no_nodes_own() -> None:
    """A node named like an added container is rejected, and never runs that container's image."""
    entries = overrides(({"node": "*"}, pod(containers=[{"name": "proxy", "image": "registry.example/proxy:1"}])))
    build(PLAN, entries)
    with pytest.raises(OverridesInvalid, match=r"containers\[proxy\].image: is fixed"):
        build(pipeline(node("proxy")), entries)


def test_the_restricted_profile_can_be_loosened() -> None:
    """An override can loosen the restricted profile for the one image that needs root."""
    options = OPTIONS.model_copy(update={"security_profile": "restricted"})
    entries = overrides(({"node": "gui"}, own(securityContext={"runAsNonRoot": False})), options=options)
    manifest, _ = entries.apply(render(PLAN, options)["gui_deployment.yaml"])
    context = manifest.model_dump()["spec"]["template"]["spec"]["containers"][0]["security_context"]
    assert (False, False) == (context["run_as_non_root"], context["allow_privilege_escalation"])


def test_applying_takes_a_fraction_of_a_millisecond() -> None:
    """Applying was measured at 0.1 to 0.2 ms per changed manifest and 1 µs per Service; ten times that fails."""
    entries = overrides(
        ({"node": "*"}, pod(tolerations=[{"operator": "Exists"}])),
        ({"component": "model"}, own(resources={"limits": {"cpu": 2, "memory": "4Gi"}}, env=[{"name": "A"}])),
    )
    manifests = list(render(PLAN, OPTIONS).values())
    taken = []
    for _ in range(20):
        started = time.process_time()
        for manifest in manifests:
            entries.apply(manifest)
        taken.append(time.process_time() - started)
    assert min(taken) / len(manifests) < 0.002
