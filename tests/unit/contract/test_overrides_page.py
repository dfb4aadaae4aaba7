"""docs/overrides.md: its examples are accepted and do what they promise, and its lists are those of the code."""

import re
from pathlib import Path
from typing import Any

import pytest

from schemas import Kind
from tests.support.builders import OPTIONS, blueprint, mount_volume, node, shared_folder, solution
from tests.support.paths import ROOT
from worker.adapters.overrides_file import load_overrides
from worker.domain.bundle.blueprint import read_blueprint
from worker.domain.bundle.manifests import render
from worker.domain.bundle.plan import plan_pipeline, plan_single_model
from worker.domain.overrides.overrides import Match
from worker.domain.overrides.patching import MERGE_KEYS
from worker.errors import ConfigurationError

TEXT = (ROOT / "docs" / "overrides.md").read_text(encoding="utf-8")
EXAMPLES = {
    re.findall(r"^#+ (.*)$", TEXT[: match.start()], re.MULTILINE)[-1]: match[1]
    for match in re.finditer(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
}
IMAGES = {
    "llm": "ghcr.example/models/llm:7b",
    "news-classifier": "registry.example/news/classifier:1",
    "old": "registry.example/legacy/old:1",
}

Json = dict[str, Any]


def applied(text: str, tmp_path: Path) -> dict[str, Json]:
    """Return the specs of a pipeline with a shared folder after an example is applied, by file."""
    path = tmp_path / "overrides.yaml"
    path.write_text(text, encoding="utf-8")
    overrides = load_overrides(OPTIONS.model_copy(update={"overrides_file": path}))
    nodes = [node(name, mount_volume(), image=image) for name, image in IMAGES.items()]
    document = blueprint(shared_folder("/data", "llm"), *nodes)
    plan = plan_pipeline(solution(), read_blueprint(document, 200), OPTIONS.orchestrator_image)
    patched = {name: overrides.apply(it)[0] for name, it in render(plan, OPTIONS).items()}
    return {
        name.removesuffix("_deployment.yaml"): it.model_dump(by_alias=True, exclude_none=True)["spec"]
        for name, it in patched.items()
    }


def pod(spec: Json) -> Json:
    found: Json = spec["template"]["spec"]
    return found


def own(spec: Json) -> Json:
    found: Json = pod(spec)["containers"][0]
    return found


def test_there_are_examples() -> None:
    """The page has an example for each subject that it promises."""
    assert [
        "Overrides",
        "A GPU for one image",
        "Limits for all models, more memory for one node",
        "Tolerations for everything",
        "A variable from a Secret",
        "A storage class and more room for shared folders",
        "Time for a model that loads slowly",
        "Images that need a user, and a folder of their own",
    ] == list(EXAMPLES)
    assert len(EXAMPLES) == TEXT.count("```yaml")


@pytest.mark.parametrize("title", EXAMPLES)
def test_an_example_is_taken(title: str, tmp_path: Path) -> None:
    """Each example is accepted at the start, and by a single model."""
    (tmp_path / "overrides.yaml").write_text(EXAMPLES[title], encoding="utf-8")
    overrides = load_overrides(OPTIONS.model_copy(update={"overrides_file": tmp_path / "overrides.yaml"}))
    for image in IMAGES.values():
        model = plan_single_model(solution(kind=Kind.SINGLE_MODEL, name="m", image=image, proto_uri="m.proto"))
        for manifest in render(model, OPTIONS).values():
            overrides.apply(manifest)


def test_the_examples_do_what_they_say(tmp_path: Path) -> None:
    """Each example changes its own node and nothing else."""
    gpu = applied(EXAMPLES["A GPU for one image"], tmp_path)
    assert {"limits": {"nvidia.com/gpu": "1"}} == own(gpu["llm"])["resources"]
    assert {"nvidia.com/gpu.present": "true"} == pod(gpu["llm"])["nodeSelector"]
    assert "resources" not in own(gpu["old"])

    limits = applied(EXAMPLES["Limits for all models, more memory for one node"], tmp_path)
    assert ["2Gi", "16Gi"] == [own(limits[it])["resources"]["limits"]["memory"] for it in ("llm", "news-classifier")]
    assert {"cpu": "250m", "memory": "512Mi"} == own(limits["news-classifier"])["resources"]["requests"]
    assert "resources" not in own(limits["orchestrator"])

    tolerations = applied(EXAMPLES["Tolerations for everything"], tmp_path)
    assert [1, 1] == [len(pod(tolerations[it])["tolerations"]) for it in ("llm", "orchestrator")]

    secret = applied(EXAMPLES["A variable from a Secret"], tmp_path)
    assert ["SHARED_FOLDER_PATH", "MODEL_STORE_TOKEN", "LOG_LEVEL"] == [
        variable["name"] for variable in own(secret["news-classifier"])["env"]
    ]

    claim = applied(EXAMPLES["A storage class and more room for shared folders"], tmp_path)["pvc.yaml"]
    assert ("nfs-client", "50Gi") == (claim["storageClassName"], claim["resources"]["requests"]["storage"])
    assert ["ReadWriteMany"] == claim["accessModes"]

    probes = own(applied(EXAMPLES["Time for a model that loads slowly"], tmp_path)["llm"])
    assert (60, 30) == (probes["startupProbe"]["failureThreshold"], probes["livenessProbe"]["periodSeconds"])

    user = applied(EXAMPLES["Images that need a user, and a folder of their own"], tmp_path)["old"]
    assert {
        "seccompProfile": {"type": "RuntimeDefault"}, "runAsUser": 1000, "fsGroup": 1000,
    } == pod(user)["securityContext"]  # fmt: skip
    assert ["/data", "/home/app/.cache"] == [mount["mountPath"] for mount in own(user)["volumeMounts"]]


def test_the_refusal_is_shown_as_it_is(tmp_path: Path) -> None:
    """The page shows the error of a start, line by line."""
    shown = re.search(
        r"^    (DEPLOYER_BUNDLE__OVERRIDES_FILE: )/etc/deployer/overrides.yaml(: .*)$", TEXT, re.MULTILINE
    )
    assert shown
    resources = "{limits: {cpu: 1}, requests: {cpu: 2}}"
    wrong = f"{{spec: {{template: {{spec: {{containers: [{{name: '*', resources: {resources}}}]}}}}}}}}"
    path = tmp_path / "overrides.yaml"
    path.write_text(f"overrides: [{{match: {{node: '*'}}, patch: {{}}}}, {{match: {{node: '*'}}, patch: {wrong}}}]")
    with pytest.raises(ConfigurationError) as refused:
        load_overrides(OPTIONS.model_copy(update={"overrides_file": path}))
    assert f"{shown[1]}{path}{shown[2]}" == str(refused.value)


def test_the_lists_are_those_of_the_code() -> None:
    """The page lists every key of `match`, and every merged list with its key."""
    matches = TEXT.partition("\n## match\n")[2].partition("\n## ")[0]
    assert list(Match.model_fields) == re.findall(r"^\| `([a-z]+)` \|", matches, re.MULTILINE)
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \| `(\w+)` \|$", TEXT, re.MULTILINE)
    assert MERGE_KEYS == {name: key for names, key in rows for name in re.findall(r"\w+", names)}
