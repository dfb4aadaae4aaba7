"""The promises that every bundle keeps, whatever its input. Each function asserts one promise."""

import json
import re
import zipfile
from collections import Counter
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml
from ruamel.yaml import YAML

from schemas import Kind
from tests.component.properties import grammar, oracle, repository
from tests.component.properties.choices import Case
from tests.extended.live.judge import load_bundle
from tests.support.kubernetes_schemas import schema_problems
from tests.support.semantic.bundle import problems
from worker.domain.bundle.archive import Bundle
from worker.domain.bundle.manifests import render
from worker.domain.bundle.plan import Plan

ENTRY_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9_-]*(/[a-z][a-z0-9_-]*)?\.(json|yaml|proto|py|txt|url|html|png)")
NAMESPACE, HOST = "demo-0123456789abcdef", "playground.example"

Json = dict[str, Any]
Objects = dict[str, Json]  # file name below deployments/ → its object


def read_manifests(bundle: Bundle) -> Objects:
    """Return all manifests, each exactly one document, as a YAML 1.1 reader sees them."""
    return {
        name.removeprefix("deployments/"): _read_1_1(data)
        for name, data in bundle.files.items()
        if name.startswith("deployments/")
    }


@lru_cache(maxsize=64)  # the orchestrator's are the same in most pipelines; no caller changes the result
def _read_1_1(data: bytes) -> Any:
    return yaml.load(data, Loader=yaml.CSafeLoader)  # raises when there is more than one document


def read_1_2(data: bytes) -> Any:
    """Return the single document as a YAML 1.2 reader sees it."""
    return YAML(typ="safe", pure=True).load(BytesIO(data))


def yaml_means_what_was_meant(case: Case, plan: Plan, bundle: Bundle, objects: Objects) -> None:
    """Assert that each file, read back, equals its model object."""
    meant = {
        name: manifest.model_dump(by_alias=True, exclude_none=True)
        for name, manifest in render(plan, case.options).items()
    }
    assert _exactly(meant) == _exactly(objects)
    if is_in_sample(bundle, 16):
        for name in sorted(objects)[:3]:
            assert _exactly(objects[name]) == _exactly(read_1_2(bundle.files[f"deployments/{name}"]))


def names_are_valid(case: Case, plan: Plan, objects: Objects) -> None:
    """Assert that names are valid with and without the script's suffixes, and unchanged when they were valid."""
    names = [it.name for it in plan.containers]
    assert all(
        grammar.is_label(name + end, first=grammar.LOWER) for name in names for end in ("", "webui", "webuiingress")
    )
    assert not oracle.twice([*names, *(name + "webui" for name in names)])
    if case.document is None:
        originals = [case.solution.name]
    else:
        originals = [node["container_name"] for node in oracle.without_folders(case.document)["nodes"]]
    for original, name in zip(originals, names, strict=False):
        assert (original == name) == grammar.keeps_its_name(original)
        beginning = "".join(char for char in grammar.to_ascii(original) if char in grammar.LOWER | grammar.DIGITS)[:8]
        assert beginning in name.replace("-", "")
    assert {it["metadata"]["name"] for it in objects.values()} == {*names, *(it.claim for it in plan.shared_folders)}


def the_pipeline_can_have_a_namespace(case: Case, bundle: Bundle) -> None:
    """Assert that the name is kept if the playground server can use it, and is never the cluster's own."""
    name = json.loads(bundle.files["blueprint.json"])["name"]
    original = case.solution.name if case.document is None else case.document["name"]
    assert (original == name) == grammar.keeps_its_pipeline_name(original)
    assert grammar.is_label(f"{grammar.namespace(name)}-{'f' * 32}")
    assert not grammar.is_reserved(name)


def one_name_is_used_everywhere(bundle: Bundle, objects: Objects) -> None:
    """Assert that blueprint, edges, dockerinfo, services, deployments, protos and status use the same names."""
    blueprint = json.loads(bundle.files["blueprint.json"])
    nodes = [node["container_name"] for node in blueprint["nodes"]]
    orchestrator = ["orchestrator"] if "dockerinfo.json" in bundle.files else []
    wanted = sorted(nodes + orchestrator)
    for kind in ("Service", "Deployment"):
        assert wanted == sorted(it["metadata"]["name"] for it in objects.values() if it["kind"] == kind)
    assert wanted == sorted(bundle.nodes)
    targets = {edge["container_name"] for node in blueprint["nodes"] for edge in _edges(node)}
    assert targets <= set(nodes)
    protos = {Path(name).stem: data for name, data in bundle.files.items() if name.startswith("microservice/")}
    uris = {node["container_name"]: node.get("proto_uri") for node in blueprint["nodes"]}
    assert {name: repository.PROTOS[uri] for name, uri in uris.items() if uri} == protos
    if orchestrator:
        entries = json.loads(bundle.files["dockerinfo.json"])["docker_info_list"]
        ports = {it["metadata"]["name"]: it["spec"]["ports"][0]["port"] for it in objects.values() if _is_service(it)}
        assert sorted((it["container_name"], it["ip_address"], it["port"]) for it in entries) == sorted(
            (name, name, str(port)) for name, port in ports.items()
        )


def _edges(node: Json) -> list[Json]:
    return [edge for operation in node["operation_signature_list"] for edge in operation["connected_to"]]


def _is_service(manifest: Json) -> bool:
    return bool(manifest["kind"] == "Service")


def the_blueprint_is_kept(case: Case, bundle: Bundle) -> None:
    """Assert that unknown keys, nulls and numbers survive, shared folders leave no trace, and nodes have new names."""
    if case.document is None:
        return
    found = json.loads(bundle.files["blueprint.json"])
    wanted = oracle.expected_blueprint(case.document) | {"name": found["name"]}
    assert _exactly(wanted) == _exactly(found)


def folders_are_mounted(case: Case, plan: Plan, objects: Objects) -> None:
    """Assert that a claim that all can write to mounts each path once in every model, and not in the orchestrator."""
    paths = [] if case.document is None else oracle.folder_paths(case.document)
    assert paths == [it.path for it in plan.shared_folders]
    assert len(paths) == sum(it["kind"] == "PersistentVolumeClaim" for it in objects.values())
    assert (len(paths) > 0) == ("pvc.yaml" in objects)
    for it in objects.values():
        if it["kind"] == "Deployment":
            container = it["spec"]["template"]["spec"]["containers"][0]
            mounts = [mount["mountPath"] for mount in container.get("volumeMounts", [])]
            assert mounts == ([] if container["name"] == "orchestrator" else paths)
            assert {variable["name"] for variable in container.get("env", [])} == (
                {"SHARED_FOLDER_PATH"} if mounts else set()
            )


def images_are_kept(case: Case, plan: Plan, objects: Objects) -> None:
    """Assert that images are kept byte for byte."""
    found = {it["metadata"]["name"]: it for it in objects.values() if it["kind"] == "Deployment"}
    for container in plan.containers:
        pod = found[container.name]["spec"]["template"]["spec"]
        assert container.image == pod["containers"][0]["image"]
    nodes = [] if case.document is None else oracle.without_folders(case.document)["nodes"]
    assert [node["image"] for node in nodes] == [it.image for it in plan.containers[: len(nodes)]]


def the_zip_is_harmless(bundle: Bundle) -> None:
    """Assert that the entries have safe names, unique on every system, and that there are no other entries."""
    with zipfile.ZipFile(BytesIO(bundle.data)) as archive:
        entries = archive.namelist()
        assert dict(bundle.files) == {name: archive.read(name) for name in entries}
    assert all(ENTRY_NAME.fullmatch(name) and len(name) <= 200 for name in entries)
    assert not [name for name, count in Counter(map(str.casefold, entries)).items() if count > 1]
    assert not {name.rpartition("/")[2].partition(".")[0].lower() for name in entries} & grammar.DEVICES


def a_cluster_would_take_it(manifests: list[Json]) -> None:
    """Assert that the objects pass the schemas of three Kubernetes versions and the rules beyond the schemas."""
    assert [] == [fault for it in manifests for fault in schema_problems(it)]
    assert [] == problems(manifests)


def the_script_takes_it(script: ModuleType, bundle: Bundle, objects: Objects) -> None:
    """Assert that the bundled script finds no fault, and that a cluster would accept what the script derives."""
    paths = {name: Path("deployments", name) for name in objects}
    assert [] == [fault for it in objects.values() for fault in script.check_manifest(it, NAMESPACE)]
    docker_info = json.loads(bundle.files.get("dockerinfo.json", b"null"))
    manifests = tuple(script.Manifest(it, paths[name]) for name, it in sorted(objects.items()))
    unpacked = script.Bundle(Path(), manifests, docker_info)
    assert [] == list(script.check_bundle(unpacked))
    settings = script.Settings(NAMESPACE, "IfNotPresent", None, "", HOST, True, "nginx", ())
    planned = list(script.plan(settings, unpacked))
    a_cluster_would_take_it([it.document for it in planned])
    if is_in_sample(bundle, 128):
        for it in (it for it in planned if it.path.name.endswith(script.DERIVED)):
            text = script.to_yaml(it.document)
            assert _exactly(it.document) == _exactly(yaml.safe_load(text)) == _exactly(read_1_2(text.encode()))


def an_orchestrator_takes_it(plan: Plan, bundle: Bundle) -> None:
    """Assert that blueprint, dockerinfo and protobufs can be loaded, and that every operation finds its node."""
    if plan.kind is Kind.PIPELINE:
        document = json.loads(bundle.files["blueprint.json"])
        assert sum(len(it["operation_signature_list"]) for it in document["nodes"]) == len(load_bundle(bundle.files))


def keep_all(case: Case, plan: Plan, bundle: Bundle, script: ModuleType) -> None:
    """Assert all promises."""
    objects = read_manifests(bundle)
    yaml_means_what_was_meant(case, plan, bundle, objects)
    names_are_valid(case, plan, objects)
    the_pipeline_can_have_a_namespace(case, bundle)
    one_name_is_used_everywhere(bundle, objects)
    the_blueprint_is_kept(case, bundle)
    folders_are_mounted(case, plan, objects)
    images_are_kept(case, plan, objects)
    the_zip_is_harmless(bundle)
    an_orchestrator_takes_it(plan, bundle)
    a_cluster_would_take_it(list(objects.values()))
    if is_in_sample(bundle, 4):
        the_script_takes_it(script, bundle, objects)
    assert (plan.kind is Kind.PIPELINE) == ("orchestrator_client/orchestrator_client.py" in bundle.files)


def is_in_sample(bundle: Bundle, rate: int) -> bool:
    """Return whether a bundle is in the sample of one in `rate`, for slow checks."""
    return int(bundle.sha256[:4], 16) % rate == 0


def _exactly(value: Any) -> str:
    """Return a text that distinguishes 1, 1.0 and True, which are equal in Python."""
    return json.dumps(value, sort_keys=True)
