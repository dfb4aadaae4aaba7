"""The operator's overrides: errors about the file do not show its values."""

from pathlib import Path

import pytest

from tests.component.leaks.canaries import OVERRIDE_PASSWORD, TOKEN, Watch
from tests.component.leaks.world import shown
from tests.support.builders import OPTIONS, SHIPPED, blueprint, node, solution
from worker.adapters.overrides_file import load_overrides
from worker.cli.bundle import explain
from worker.domain.bundle.archive import build_bundle
from worker.domain.bundle.blueprint import read_blueprint
from worker.domain.bundle.plan import Plan, plan_pipeline
from worker.domain.overrides.overrides import Entry, Overrides
from worker.errors import ConfigurationError, OverridesInvalid
from worker.settings import BundleSettings

SECRET = OVERRIDE_PASSWORD
# A secret next to a mistake in a container, or in the wrong form. Names, quantities and choices hold no secrets: there
# the error repeats what it found.
IN_A_CONTAINER = {
    "a value that is a list": f"env: [{{name: A, value: [{SECRET}]}}]",
    "an unknown field": f"env: [{{name: A, valeu: {SECRET}}}]",
    "a value beside valueFrom": f"env: [{{name: A, value: {SECRET}, valueFrom: {{fieldRef: {SECRET}}}}}]",
    "a name that is none": f"env: [{{name: A, value: {SECRET}}}, {{name: '1 A', value: {SECRET}}}]",
    "an image": f"image: 'https://{SECRET}'",
    "a text for a list": f"args: {SECRET}",
    "a text for an object": f"securityContext: {SECRET}",
    "an argument that is an object": f"args: [{SECRET}, {{a: {SECRET}}}]",
    "a command beside a mistake": f"command: [sh, {SECRET}], workingDir: []",
    "a header of a probe": f"livenessProbe: {{httpGet: {{port: 8061, httpHeaders: [{{name: A, value: [{SECRET}]}}]}}}}",
    "a probe's command": f"livenessProbe: {{exec: {{command: {SECRET}}}}}",
    "a strategy of merging": f"$patch: {SECRET}",
    "quotes that do not end": f"env: [{{name: A, value: '{SECRET}}}]",
}
FILES = {
    "a pattern": f"overrides: [{{match: {{node: {SECRET}}}, patch: {{}}}}]",
    "a component": f"overrides: [{{match: {{component: {SECRET}}}, patch: {{}}}}]",
    "a text": SECRET,
    "a list": f"[{SECRET}]",
    "an entry that is a text": f"overrides: [{SECRET}]",
    "overrides that are a text": f"overrides: {SECRET}",
    "a tab": f"overrides:\n\t- {SECRET}",
    "an alias that does not exist": f"overrides: [{SECRET}, *nothing]",
    "an anchor inside itself": f"overrides: &a [{SECRET}, *a]",
    "a date": f"overrides: [{SECRET}, 2026-01-01]",
    "binary": f"overrides: [!!binary {SECRET}]",
    "a token": f"overrides: [{{match: {{node: '*'}}, patch: {TOKEN}}}]",
}


def container(fields: str) -> str:
    """Return a file with one entry, for the container of every node."""
    pod = f'{{containers: [{{name: "*", {fields}}}]}}'
    return f'overrides: [{{match: {{node: "*"}}, patch: {{spec: {{template: {{spec: {pod}}}}}}}}}]'


def options(folder: Path, text: str) -> BundleSettings:
    """Return settings with this text as the overrides file."""
    file = folder / "overrides.yaml"
    file.write_text(text)
    return OPTIONS.model_copy(update={"overrides_file": file})


def plan() -> Plan:
    """Return the plan of a pipeline with one node, called `a`."""
    return plan_pipeline(solution(), read_blueprint(blueprint(node("a")), 9), OPTIONS.orchestrator_image)


def test_files_that_are_refused(tmp_path: Path, watch: Watch) -> None:
    """Invalid files with a secret in each wrong position are refused without showing it."""
    for name, text in ({name: container(fields) for name, fields in IN_A_CONTAINER.items()} | FILES).items():
        with pytest.raises(ConfigurationError) as refused:
            load_overrides(options(tmp_path, text))
        watch.check(f"overrides: {name}", shown(refused.value))


def test_a_secret_in_its_place(tmp_path: Path, watch: Watch) -> None:
    """A secret in a valid position is written to the manifest, and the description of the bundle does not show it."""
    chosen = options(tmp_path, container(f"env: [{{name: A, value: {SECRET}}}]"))
    bundle = build_bundle(plan(), {}, SHIPPED, chosen, load_overrides(chosen))
    assert SECRET.encode() in bundle.files["deployments/a_deployment.yaml"]
    watch.check("overrides: explained", *explain(plan(), bundle), repr(bundle), repr(chosen))


def test_entries_that_do_not_fit_a_node(tmp_path: Path, watch: Watch) -> None:
    """An entry that proves invalid on a real node fails its request, with a message that shows no secret."""
    [entry] = load_overrides(options(tmp_path, container(f"env: [{{name: A, value: {SECRET}}}]"))).entries
    patch = {"spec": {"template": {"spec": {"containers": [{"name": "*", "args": SECRET}]}}}}
    with pytest.raises(OverridesInvalid) as refused:
        build_bundle(plan(), {}, SHIPPED, OPTIONS, Overrides((entry, Entry(2, entry.match, patch))))
    watch.check("overrides: a node they do not fit", shown(refused.value))
