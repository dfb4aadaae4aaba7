"""Names that must be rejected or changed: the cluster's, the orchestrator's, and those that lead out of the zip."""

import json
import re
import zipfile
from io import BytesIO

import pytest

from schemas import Kind
from tests.support.builders import OPTIONS, SHIPPED, blueprint, edge, node, operation, solution
from tests.support.corpus import record
from tests.support.ways_out import tells_what_to_do
from worker.domain.bundle.archive import Bundle, build_bundle
from worker.domain.bundle.blueprint import read_blueprint
from worker.domain.bundle.plan import node_name, pipeline_name, plan_pipeline, plan_single_model
from worker.errors import DeploymentError, NotDeployable

OF_THE_CLUSTER = (
    "default", "Default", "DEFAULT", "kube", "Kube", "KUBE", "kubernetes", "Kubernetes", "kube-system", "kube-public",
    "kube-node-lease", "KUBE-SYSTEM", "Kube-System", "kube_system", "kube system", "KUBE SYSTEM", "Kube_Node_Lease",
    "kube-", "kube_", "kube ", "kube-x", "kube-my-pipeline", "kubernetes-dashboard", "kubernetes dashboard",
    "kubernetes_x", "kube.system", "kube/system", "-kube-system", "_kube_system", " kube-system", "kube-system ",
    "kube-system-", "../kube-system", "./kube-system", "kube-system\n", "\tkube-system", "kube--system",
    "kube-system;x", "\uff4b\uff55\uff42\uff45-system", "ⓚube-x", "kube-" + "x" * 60, "openshift", "openshift-x",
    "OpenShift Monitoring", "istio-system", "Istio System", "cert-manager", "Cert Manager", "ingress-nginx",
    "ingress_nginx", "metallb-system",
)  # fmt: skip
OF_THE_ORCHESTRATOR = ("orchestrator", "Orchestrator", "ORCHESTRATOR", "oRcHeStRaToR")
HOSTILE = (
    "../x", "..", ".", "/", "/etc/passwd", "../../etc/passwd", "..\\x", "C:\\x", "C:x", "\\\\host\\share", "a/../../b",
    "a/b", "a\\b", "./x", "~/x", "~root", "a\0b", "\0", "a\nb", "a\r\nb", "\x1b[2J", "a\x7fb", "\u202egnp.exe",
    "\u2028", "\ufeff", "a" * 80, "A" * 80, "a" * 52, "-" * 80, "é" * 80, "日" * 80, "a" * 4000, "a-" * 40, "3d", "0",
    "1e3", "0889694", "true", "null", "y", "~", "-x", "x-", "x_y", "x.y", "x y", " ", "$(reboot)", "`id`", "${PATH}",
    "$(VAR)", "; rm -rf /", "| sh", "&& x", "x'y", 'x"y', "{{x}}", "{% x %}", "<script>", "&lt;", "%2e%2e%2f", "%00",
    "con", "NUL", "aux.txt", "nul.proto", "deployment", "service", "pvc", "webui", "MANIFEST.json",
    "kubernetes-client-script.py", "orchestrator_client", "orchestrator-", "orchestrator ", " orchestrator",
    "orchestrator\0", "0rchestrator", "\u043erchestrator", "orchestratorwebuiingress", "__init__", "__pycache__",
    "blueprint.json", "dockerinfo", "a: b", "- a", "#x", "!x", "*x", "&x", "@x", "|", ">", "---", "...", "[a]", "{a}",
    "a,b", "?x", "%x", "İstanbul", "ﬁ", "ß", "\U0001f600", "a\u0301", "\u0301", "\ud7ff", "\ue000", "\uffff",
)  # fmt: skip

PLAIN = re.compile(r"([a-z][a-z0-9_-]*/)?[A-Za-z][A-Za-z0-9_-]*\.[a-z]+")  # at most one folder, one dot


def bundle(name: str) -> Bundle:
    """A pipeline whose first node, and the edge to it, have this name."""
    data = blueprint(node(name, operation("run", edge("z")), image="r/x:1"), node("z", operation("run", edge(name))))
    plan = plan_pipeline(solution(), read_blueprint(data, 10), OPTIONS.orchestrator_image)
    return build_bundle(plan, {it.name: b"p" for it in plan.containers if it.proto_uri}, SHIPPED, OPTIONS)


def test_names_of_the_cluster_are_refused_in_every_spelling() -> None:
    """The cluster's names are rejected in every spelling, for pipelines and single models.

    The playground may delete the namespace of that name.
    """
    wrong = []
    for name in OF_THE_CLUSTER:
        model = solution(kind=Kind.SINGLE_MODEL, name=name, image="r/x:1")
        for make in (lambda: pipeline_name(name), lambda: plan_single_model(model)):  # noqa: B023 - called at once
            with pytest.raises(NotDeployable) as refusal:
                make()
            if refusal.value.code != "name-reserved" or not tells_what_to_do(refusal.value.message):
                wrong.append(name)
    record("names of the cluster", len(OF_THE_CLUSTER), len(wrong))
    assert [] == wrong
    for name in ("defaults", "my-default", "kuber", "cube-system", "a kube-system", "not-istio-system"):
        assert pipeline_name(name)


@pytest.mark.parametrize("name", OF_THE_ORCHESTRATOR)
def test_the_orchestrators_name_is_its_own(name: str) -> None:
    """The orchestrator's name is rejected in every spelling, for nodes and single models."""
    for make in (
        lambda: bundle(name),
        lambda: plan_single_model(solution(kind=Kind.SINGLE_MODEL, name=name, image="r/x:1")),
    ):
        with pytest.raises(DeploymentError) as refusal:
            make()
        assert "name-reserved" == refusal.value.code
        assert tells_what_to_do(refusal.value.message)


def test_no_node_name_leads_out_of_the_zip() -> None:
    """For every node name, the zip's entry names are plain and unique, and the blueprint uses the same node name."""
    wrong = []
    for name in HOSTILE:
        built = bundle(name)
        with zipfile.ZipFile(BytesIO(built.data)) as archive:
            entries = archive.namelist()
        kubernetes_name = node_name(name)
        expected = {f"deployments/{kubernetes_name}_{kind}.yaml" for kind in ("service", "deployment")}
        plain = all(PLAIN.fullmatch(entry) and len(entry) < 100 for entry in entries)
        document = json.loads(built.files["blueprint.json"])
        names = [document["nodes"][0]["container_name"]]
        names += [
            target["container_name"] for target in document["nodes"][1]["operation_signature_list"][0]["connected_to"]
        ]
        folded = {entry.lower() for entry in entries}
        if not plain or not expected <= set(entries) or {kubernetes_name} != set(names) or len(folded) < len(entries):
            wrong.append(name)
    record("hostile node names", len(HOSTILE), len(wrong))
    assert [] == wrong
    assert len(HOSTILE) == len({node_name(name) for name in HOSTILE})
