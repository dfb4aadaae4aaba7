import hashlib
import json
import os
import subprocess
import sys
import zipfile
from io import BytesIO
from typing import Any

import pytest
import yaml

from schemas import Kind
from tests.support.builders import (
    OPTIONS,
    PNG,
    SHIPPED,
    blueprint,
    edge,
    mount_volume,
    node,
    operation,
    shared_folder,
    solution,
)
from worker import settings
from worker.domain.bundle.archive import MAX_PROTOS_BYTES, Bundle, build_bundle
from worker.domain.bundle.blueprint import read_blueprint
from worker.domain.bundle.plan import Plan, plan_pipeline, plan_single_model
from worker.errors import DeploymentError


def pipeline(*nodes: Any, about: dict[str, Any] | None = None, **more: Any) -> Plan:
    blueprint_read = read_blueprint(blueprint(*nodes, **more), 200)
    return plan_pipeline(solution(**about or {}), blueprint_read, OPTIONS.orchestrator_image)


def build(plan: Plan, options: settings.BundleSettings = OPTIONS) -> Bundle:
    protos = {it.name: b'syntax = "proto3";\n' for it in plan.containers if it.proto_uri}
    return build_bundle(plan, protos, SHIPPED, options)


def manifest(bundle: Bundle, name: str) -> Any:
    return yaml.safe_load(bundle.files[f"deployments/{name}"])


SHIPPED_FILES = {"kubernetes-client-script.py", "deployment-readme.txt", "requirements.txt", "MANIFEST.json"}
ABOUT = {"blueprint.json", "source_system_url.txt", "federation-endpoint.url"}
ORCHESTRATED = {
    "dockerinfo.json",
    "protobuf/orchestrator.proto",
    "orchestrator_client/orchestrator_client.py",
    "deployments/orchestrator_service.yaml",
    "deployments/orchestrator_deployment.yaml",
}


def test_the_files_of_a_pipeline() -> None:
    """A pipeline's zip has a Service, a Deployment and a protobuf per node, the orchestrator and the metadata."""
    bundle = build(pipeline(node("gui"), node("solver", proto_uri="", operation_signature_list=[])))
    nodes = {f"deployments/{name}_{kind}.yaml" for name in ("gui", "solver") for kind in ("service", "deployment")}
    assert SHIPPED_FILES | ABOUT | ORCHESTRATED | nodes | {"microservice/gui.proto"} == set(bundle.files)
    assert ("gui", "solver", "orchestrator") == bundle.nodes


def test_the_files_of_a_single_model() -> None:
    """A single model has a blueprint but no orchestrator_client/, for which the playground would show a Run button."""
    plan = plan_single_model(
        solution(kind=Kind.SINGLE_MODEL, name="Entity R", image="r.example/e:1", proto_uri="e.proto")
    )
    name = plan.containers[0].name
    bundle = build(plan)
    files = {"modelname.txt", "deployments/service.yaml", "deployments/deployment.yaml", f"microservice/{name}.proto"}
    assert SHIPPED_FILES | ABOUT | files == set(bundle.files)
    document = json.loads(bundle.files["blueprint.json"])
    assert ("Entity R", [name]) == (document["name"], [one["container_name"] for one in document["nodes"]])
    assert name == bundle.files["modelname.txt"].decode()


def test_one_name_is_used_everywhere() -> None:
    """Blueprint, edges, dockerinfo, protobufs and manifests share each name, so the orchestrator finds every node."""
    plan = pipeline(node("My Gui", operation("run", edge("MY GUI"))), node("1e3"))
    bundle = build(plan)
    names = {it.name for it in plan.containers}
    document = json.loads(bundle.files["blueprint.json"])
    docker_info = json.loads(bundle.files["dockerinfo.json"])["docker_info_list"]
    assert names - {"orchestrator"} == {one["container_name"] for one in document["nodes"]}
    assert names == {one["container_name"] for one in docker_info} == {one["ip_address"] for one in docker_info}
    assert {"8556", "8061"} == {one["port"] for one in docker_info}
    for name in names:
        for kind in ("service", "deployment"):
            assert name == manifest(bundle, f"{name}_{kind}.yaml")["metadata"]["name"]
    assert {f"microservice/{name}.proto" for name in names - {"orchestrator"}} == {
        file for file in bundle.files if file.startswith("microservice/")
    }


def test_a_service_has_one_port_and_lets_the_cluster_choose_the_node_port() -> None:
    """A Service has one port, as the playground's script joins several, and no fixed NodePort that could collide."""
    service = manifest(build(pipeline(node("gui"))), "gui_service.yaml")
    assert {"name": "protobuf-api", "port": 8556, "targetPort": 8061} == service["spec"]["ports"][0]
    assert (1, "NodePort", {"app": "gui"}) == (
        len(service["spec"]["ports"]),
        service["spec"]["type"],
        service["spec"]["selector"],
    )


def test_a_deployment_asks_for_nothing_an_ordinary_image_lacks() -> None:
    """A pod has no token, user, limits or service links; it has seccomp, and a readiness probe where it is dialled."""
    bundle = build(pipeline(node("gui"), node("board", operation_signature_list=[])))
    pod = manifest(bundle, "gui_deployment.yaml")["spec"]["template"]["spec"]
    assert {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
        "imagePullSecrets": [{"name": "acumos-registry"}],
        "containers": [
            {
                "name": "gui",
                "image": "registry.example/models/gui:1.0",
                "ports": [
                    {"name": "protobuf-api", "containerPort": 8061},
                    {"name": "webui", "containerPort": 8062},
                ],
                "readinessProbe": {"tcpSocket": {"port": 8061}, "periodSeconds": 2},
            }
        ],
    } == pod
    board = manifest(bundle, "board_deployment.yaml")["spec"]["template"]["spec"]["containers"][0]
    assert "readinessProbe" not in board


def test_the_orchestrator_is_ready_when_it_listens() -> None:
    """The orchestrator's probe lets `initialize` work once all pods are ready; its grace period is short."""
    bundle = build(pipeline(node("gui")))
    gui, orchestrator = (
        manifest(bundle, f"{name}_deployment.yaml")["spec"]["template"]["spec"]["containers"][0]
        for name in ("gui", "orchestrator")
    )
    assert {"tcpSocket": {"port": 8061}, "periodSeconds": 2} == orchestrator["readinessProbe"]
    assert gui["readinessProbe"] == orchestrator["readinessProbe"]
    assert (
        5
        == manifest(bundle, "orchestrator_deployment.yaml")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    )
    service = manifest(bundle, "orchestrator_service.yaml")
    assert [8061] == [port["targetPort"] for port in service["spec"]["ports"]]


def test_every_model_node_mounts_every_shared_folder() -> None:
    """Only model nodes mount every shared folder; SHARED_FOLDER_PATH is the folder they connect to, or the first."""
    bundle = build(
        pipeline(
            shared_folder("/data", "a"),
            shared_folder("/models", "b"),
            node("a", mount_volume()),
            node("b", mount_volume()),
            node("c"),
        )
    )
    found = {}
    for name in ("a", "b", "c"):
        pod = manifest(bundle, f"{name}_deployment.yaml")["spec"]["template"]["spec"]
        container = pod["containers"][0]
        assert [
            ("shared-folder", "/data"),
            ("shared-folder-2", "/models"),
        ] == [(mount["name"], mount["mountPath"]) for mount in container["volumeMounts"]]
        assert [
            "shared-folder",
            "shared-folder-2",
        ] == [volume["persistentVolumeClaim"]["claimName"] for volume in pod["volumes"]]
        found[name] = container["env"][0]["value"]
    assert {"a": "/data", "b": "/models", "c": "/data"} == found
    assert "volumes" not in manifest(bundle, "orchestrator_deployment.yaml")["spec"]["template"]["spec"]
    claims = {file: manifest(bundle, file)["metadata"]["name"] for file in ("pvc.yaml", "pvc-2.yaml")}
    assert {"pvc.yaml": "shared-folder", "pvc-2.yaml": "shared-folder-2"} == claims


def test_a_claim_uses_the_clusters_default_class_unless_told() -> None:
    """A claim has no storage class by default; an empty class, as today's bundles have, stops dynamic provisioning."""
    plan = pipeline(shared_folder("/data", "a"), node("a", mount_volume()))
    default = manifest(build(plan), "pvc.yaml")["spec"]
    named = manifest(build(plan, OPTIONS.model_copy(update={"storage_class": "nfs"})), "pvc.yaml")["spec"]
    assert {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}} == default
    assert "nfs" == named["storageClassName"]


def test_the_restricted_profile_adds_what_pod_security_asks_for() -> None:
    """The restricted profile adds what Pod Security requires, but only on request: images that need root would fail."""
    options = OPTIONS.model_copy(update={"security_profile": "restricted"})
    bundle = build(pipeline(node("gui")), options)
    expected = {"allowPrivilegeEscalation": False, "runAsNonRoot": True, "capabilities": {"drop": ["ALL"]}}
    for name in ("gui", "orchestrator"):
        container = manifest(bundle, f"{name}_deployment.yaml")["spec"]["template"]["spec"]["containers"][0]
        assert expected == container["securityContext"]


def test_icon_and_description_are_each_on_their_own() -> None:
    """Icon and description are independent, and the description is sanitized because the playground's pages show it."""
    html = "<p onclick='x()'>Good</p><script>bad()</script>"
    described = build(pipeline(node("gui"), about={"description": html})).files
    pictured = build(pipeline(node("gui"), about={"icon": PNG})).files
    assert described["solution_description.html"].endswith(b"\n<p>Good</p>\n")
    assert pictured["solution_icon.png"] == PNG
    assert "solution_icon.png" not in described
    assert "solution_description.html" not in pictured


SEVERAL_FOLDERS = (
    "The pipeline has 2 shared folders, all mounted in every node; SHARED_FOLDER_PATH names the one the node is "
    "connected to, else the first."
)


def test_warnings_say_what_was_changed_or_left_out() -> None:
    """Every change and omission has a warning, and an unchanged bundle has none."""
    nodes = (node("My Gui", node_type="DataBroker", image="r/x"), node("b", image="r/x:latest"))
    folders = (shared_folder("/a", "b"), shared_folder("/b", "b"))
    plan = pipeline(*nodes, *folders, probeIndicator=[{"value": "true"}], about={"remarks": ("A remark.",)})
    gui = plan.containers[0].name
    assert plan.warnings == (
        "A remark.",
        f"Node 'My Gui' is called '{gui}' in the cluster.",
        f"Node '{gui}' is a data broker; it is deployed as an ordinary node.",
        f"Node '{gui}': its image has no tag, so another version of it may run next time.",
        "Node 'b': its image has the tag latest, so another version of it may run next time.",
        SEVERAL_FOLDERS,
        "The pipeline asks for a probe, which is not deployed.",
        "The solution has no picture, so none is shown.",
        "The solution has no description, so none is shown.",
    )
    assert () == pipeline(node("a"), about={"icon": PNG, "description": "Good."}).warnings


def test_a_single_model_has_the_same_warnings() -> None:
    """A single model has warnings about its name, image, picture and description as well."""
    about = {"name": "Größe", "image": "r/x", "remarks": ("A remark.",), "icon": PNG, "description": "<script>"}
    plan = plan_single_model(solution(kind=Kind.SINGLE_MODEL, **about))
    assert plan.warnings == (
        "A remark.",
        f"The model 'Größe' is called '{plan.containers[0].name}' in the cluster.",
        f"The solution 'Größe' is called '{plan.document['name']}' in the cluster.",
        "The model: its image has no tag, so another version of it may run next time.",
        "The description is left out: nothing of it may be shown. Simplify it.",
    )


@pytest.mark.parametrize(
    ("code", "broken"),
    [
        ("image-empty", node("a", image="")),
        ("image-invalid", node("a", image="https://r.example/a:1")),
        ("proto-missing", node("a", proto_uri="")),
    ],
)
def test_a_node_that_cannot_run_is_refused(code: str, broken: Any) -> None:
    """Each reason why a node cannot run has its own error code."""
    with pytest.raises(DeploymentError) as refusal:
        pipeline(broken)
    assert code == refusal.value.code


def test_all_protobufs_together_have_a_limit() -> None:
    """All protobufs together have a limit in addition to each file's own, as memory holds the bundle several times."""
    plan = pipeline(node("a"), node("b"))
    half = bytes(MAX_PROTOS_BYTES // 2)
    assert build_bundle(plan, {"a": half, "b": half}, SHIPPED, OPTIONS).data
    with pytest.raises(DeploymentError) as refused:
        build_bundle(plan, {"a": half, "b": half + b"x"}, SHIPPED, OPTIONS)
    assert "bundle-too-large" == refused.value.code


def test_the_manifest_lists_the_hash_of_every_other_entry() -> None:
    """MANIFEST.json has the hash of every other entry, so anyone who has the zip can detect a change."""
    bundle = build(pipeline(node("gui")))
    listed = {name: it["sha256"] for name, it in json.loads(bundle.files["MANIFEST.json"])["entries"].items()}
    actual = {name: hashlib.sha256(data).hexdigest() for name, data in bundle.files.items() if name != "MANIFEST.json"}
    assert actual == listed


def test_the_zip_holds_sorted_stored_entries_with_fixed_dates() -> None:
    """Entries are sorted, stored and dated alike: deflate differs between zlib versions, and dates between runs."""
    bundle = build(pipeline(node("gui")))
    with zipfile.ZipFile(BytesIO(bundle.data)) as archive:
        entries = archive.infolist()
        assert bundle.files == {entry.filename: archive.read(entry) for entry in entries}
    assert sorted(bundle.files) == [entry.filename for entry in entries]
    assert {(zipfile.ZIP_STORED, (1980, 1, 1, 0, 0, 0), 0o100644 << 16, 3)} == {
        (entry.compress_type, entry.date_time, entry.external_attr, entry.create_system) for entry in entries
    }


BUILD_TWICE = """
from tests.unit.domain.bundle.test_archive import build, pipeline
from tests.support.builders import mount_volume, node, shared_folder
print(build(pipeline(shared_folder("/d", "a", "b"), *(node(n, mount_volume()) for n in "abc"))).sha256)
"""


def test_the_same_input_gives_the_same_bytes_in_every_process() -> None:
    """The zip's bytes do not depend on Python's hash seed."""
    digests = {
        subprocess.run(
            [sys.executable, "-c", BUILD_TWICE],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("0", "1", "4242")
    }
    assert 1 == len(digests)
