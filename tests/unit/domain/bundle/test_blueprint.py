import json
from typing import Any

import pytest

from tests.support.builders import OPTIONS, blueprint, edge, mount_volume, node, operation, shared_folder, solution
from worker.domain.bundle.blueprint import MAX_BYTES, Blueprint, read_blueprint
from worker.domain.bundle.plan import Plan, plan_pipeline
from worker.errors import NotDeployable

ROOT_HOME = "/" + "root"  # in the containers: the home of their user


def read(*nodes: Any, **more: Any) -> Blueprint:
    return read_blueprint(blueprint(*nodes, **more), max_nodes=10)


def planned(*nodes: Any, **more: Any) -> Plan:
    return plan_pipeline(solution(), read(*nodes, **more), OPTIONS.orchestrator_image)


def refused(data: bytes) -> tuple[str, str]:
    with pytest.raises(NotDeployable) as refusal:
        plan_pipeline(solution(), read_blueprint(data, max_nodes=3), OPTIONS.orchestrator_image)
    return refusal.value.code, refusal.value.message


def test_valid_names_and_unknown_keys_are_kept() -> None:
    """Valid names and unknown keys, with nulls and numbers, pass through unchanged, so new keys of Graphene survive."""
    first = node("gui", operation("run", edge("solver")), data_broker_map=None, extra={"x": [1.5, None, "é"]})
    result = planned(first, node("solver", operation("run", edge("gui"))), pipeline_id="graphene:1", odd=None)
    sent = json.loads(
        blueprint(first, node("solver", operation("run", edge("gui"))), pipeline_id="graphene:1", odd=None)
    )
    assert sent == result.document


def test_edges_follow_a_node_that_is_renamed() -> None:
    """A node and the edges to it get the same name, although the editor lower-cases the node's name alone."""
    result = planned(
        node("My Gui", operation("run", edge("Solver"), edge("MY GUI"))),
        node("solver"),
        input_ports=[edge("my gui")],
    )
    gui = result.containers[0].name
    first = result.document["nodes"][0]
    targets = [target["container_name"] for target in first["operation_signature_list"][0]["connected_to"]]
    assert [gui, "solver", "orchestrator"] == [it.name for it in result.containers]
    assert gui == first["container_name"]
    assert ["solver", gui] == targets
    assert gui == result.document["input_ports"][0]["container_name"]


def test_names_that_end_up_apart_do_not_collide() -> None:
    """`GuiWebUI` gets a name of its own, so it does not collide with the web page of `gui`."""
    gui, *others, _ = planned(node("gui"), node("GuiWebUI"), node("OrchestratorWebUI")).containers
    assert ["gui", "guiwebui-", "orchestratorwebui-"] == [gui.name, *(it.name[:-8] for it in others)]


def test_missing_lists_are_filled_in() -> None:
    """A missing operation_signature_list or connected_to becomes an empty list, as the orchestrator needs both."""
    bare = {"container_name": "a", "image": "a:1", "operation_signature_list": None}
    half = node("b") | {"operation_signature_list": [{"operation_signature": operation()["operation_signature"]}]}
    document = read(bare, half).document
    assert [] == document["nodes"][0]["operation_signature_list"]
    assert [] == document["nodes"][1]["operation_signature_list"][0]["connected_to"]


def test_a_shared_folder_leaves_no_trace() -> None:
    """A shared folder's node, every mountVolume and every edge to either are removed; other operations remain."""
    result = read(
        shared_folder("/data/shared", "Trainer"),
        node(
            "trainer", mount_volume(), operation("train", edge("/data/shared", "provideFolder"), edge("board", "show"))
        ),
        node("board", mount_volume(), operation("show")),
        node("viewer", mount_volume()),
        input_ports=[edge("trainer", "mountVolume"), edge("/DATA/shared"), edge("board", "show")],
    )
    assert "mountvolume" not in json.dumps(result.document).lower()
    assert "/data/shared" not in json.dumps(result.document).lower()
    assert ["trainer", "board", "viewer"] == [one["container_name"] for one in result.document["nodes"]]
    assert [] == result.document["nodes"][2]["operation_signature_list"]
    assert ["board"] == [port["container_name"] for port in result.document["input_ports"]]
    assert [True, True, False] == [one.dialled for one in result.nodes]


def test_shared_folders_are_found_in_any_spelling() -> None:
    """A shared folder is found in any spelling; one path twice is one folder, and further paths are numbered."""
    folder = shared_folder("/data/shared/", "a") | {"node_type": "sharedfolder"}
    result = read(folder, shared_folder("/models", "B"), shared_folder("/data/shared"), node("a"), node("b"))
    found = [(it.path, it.claim, it.file_name, set(it.users)) for it in result.shared_folders]
    assert [
        ("/data/shared", "shared-folder", "pvc.yaml", {"a"}),
        ("/models", "shared-folder-2", "pvc-2.yaml", {"b"}),
    ] == found


def test_a_node_that_connects_to_the_folder_is_a_user_too() -> None:
    """A node with an edge to the folder is a user of it, in either direction."""
    result = read(shared_folder("/data"), node("a", operation("run", edge("/data", "provideFolder"))))
    assert frozenset({"a"}) == result.shared_folders[0].users


@pytest.mark.parametrize("path", ["data", "", "/a/../b", "/a b", "/a:b", "//a", "/$(x)"])
def test_a_shared_folder_needs_a_mountable_path(path: str) -> None:
    """A shared folder needs a mountable path, which is also the value of an environment variable."""
    assert "shared-folder-invalid" == refused(blueprint(shared_folder(path), node("a")))[0]


@pytest.mark.parametrize(
    "path",
    [
        "/", "/proc", "/sys/", "/dev", "/dev/shm", "/etc", "/etc/ssl", "/bin", "/sbin", "/boot", "/run", "/run/secrets",
        "/usr", "/usr/bin", "/usr/local", "/usr/local/lib/python3.11", "/usr/libexec", "/lib", "/lib64/x", "/var",
        "/var/lib", "/var/run", "/var/run/secrets/kubernetes.io",
        "/opt", "/opt/conda", "/opt/conda/lib/python3.11", "/opt/venv", "/opt/.venv/bin", "/opt/env", "/opt/miniconda3",
        "/opt/mambaforge", "/opt/python3.11", "/opt/python/3.11", "/opt/jdk-17.0.2", "/opt/bitnami/python",
        "/opt/nvidia", "/opt/rocm-6.0", "/home",
        *(f"{ROOT_HOME}{below}" for below in ("", "/", "/.local/lib", "/miniconda3", "/.pyenv")),
        "/home/u/.local", "/home/u/venv", "/home/u/anaconda3/bin", "/nix", "/nix/store", "/usr/share",
        "/usr/share/ca-certificates/mozilla", "/usr/share/zoneinfo", "/usr/local/cuda", "/usr/local/cuda-12.4/lib64",
    ],
)  # fmt: skip
def test_a_shared_folder_hides_nothing_of_the_system(path: str) -> None:
    """A shared folder must not hide system files, or nodes would not start or would run with other files."""
    assert "shared-folder-reserved" == refused(blueprint(shared_folder(path), node("a")))[0]


@pytest.mark.parametrize(
    "path",
    [
        "/data", "/usr/src/app/data", "/usr/local/share", "/var/lib/x", "/library", "/etcetera", "/home/u", "/opt/data",
        "/opt/ml/model", "/opt/app/shared", "/opt/condata", f"{ROOT_HOME}/data", f"{ROOT_HOME}/python-data",
        "/home/u/.cache",
        "/home/u/work", "/usr/share/data", "/usr/share/nginx/html", "/usr/sharedata", "/var/lib/dpkg", "/var/data",
        "/nixdata", "/roots", "/homes", "/optional", "/mnt/opt/conda", "/data/nix", "/tmp", "/workspace",
        "/app/data", "/srv",
    ],
)  # fmt: skip
def test_a_shared_folder_may_be_anywhere_else(path: str) -> None:
    """A shared folder may be anywhere else, since images keep their data in many places."""
    assert path == read(shared_folder(path), node("a")).shared_folders[0].path


def test_shared_folders_are_bounded() -> None:
    """The number of shared folders is limited, because every node mounts each of them."""
    data = blueprint(*(shared_folder(f"/data/{number}") for number in range(3)), node("a"))
    assert 3 == len(read_blueprint(data, max_nodes=10, max_shared_folders=3).shared_folders)
    with pytest.raises(NotDeployable) as refusal:
        read_blueprint(data, max_nodes=10, max_shared_folders=2)
    assert "too-many-shared-folders" == refusal.value.code


@pytest.mark.parametrize(
    ("given", "meant"), [(None, False), (True, True), (False, False), ("true", True), ("False", False)]
)
def test_a_stream_is_true_or_false(given: Any, meant: bool) -> None:
    """A stream flag is true or false; null, which the editor writes, means false, as the orchestrator rejects null."""
    signature = operation()["operation_signature"] | {"input_message_stream": given}
    result = read(node("a", {"operation_signature": signature, "connected_to": []}))
    assert (
        meant
        is result.document["nodes"][0]["operation_signature_list"][0]["operation_signature"]["input_message_stream"]
    )


@pytest.mark.parametrize("given", ["yes", 1, 0, [], {}, ""])
def test_a_stream_is_nothing_else(given: Any) -> None:
    """Any other value of a stream flag is rejected, since its meaning is unknown."""
    signature = operation()["operation_signature"] | {"output_message_stream": given}
    nodes = node("a", {"operation_signature": signature, "connected_to": []})
    assert "blueprint-invalid" == refused(blueprint(nodes))[0]


@pytest.mark.parametrize(
    ("code", "nodes"),
    [
        ("no-nodes", []),
        ("no-nodes", [shared_folder("/data")]),
        ("too-many-nodes", [node(name) for name in "abcd"]),
        ("node-not-runnable", [node("a", node_type="Splitter", image="")]),
        ("node-not-runnable", [node("a", node_type="collator")]),
        ("name-reserved", [node("Orchestrator")]),
        ("name-collision", [node("a"), node("a")]),
        ("name-collision", [node("A"), node("a")]),
        ("name-collision", [node("a"), node("awebui")]),
        ("name-collision", [node("awebui"), node("a")]),
        ("name-collision", [node("orchestratorwebui")]),
        ("blueprint-invalid", [node("")]),
        ("blueprint-invalid", [{"node_type": "MLModel"}]),
        ("blueprint-invalid", [node("a", image=5)]),
        ("blueprint-invalid", [node("a", operation("run", edge("nowhere")))]),
        ("blueprint-invalid", [node("a", operation("run", edge("a", "other")))]),
        ("blueprint-invalid", [node("a", operation("run"), operation("run"))]),
        ("blueprint-invalid", [node("a", operation("run", edge("a"), takes="Empty"))]),
        ("blueprint-invalid", [node("a", {"operation_signature": {"operation_name": "run"}})]),
        ("blueprint-invalid", [node("a", {"operation_signature": None})]),
        ("blueprint-invalid", ["a"]),
    ],
)
def test_what_cannot_run_is_refused(code: str, nodes: list[Any]) -> None:
    """A pipeline that the orchestrator would reject at its start is rejected, so none is half deployed."""
    assert code == refused(blueprint(*nodes))[0]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"null",
        b"{",
        b'{"name": "x", "nodes": 5}',
        b'{"nodes": []}',
        b'{"name": null}',
        b'{"name": NaN}',
        b"\xff",
        b'{"name": "a", "name": "b"}',
        b"[" * 100_000,
        b'{"name": "' + b"x" * 2_000_000 + b'"}',
    ],
)
def test_what_is_no_blueprint_is_refused(data: bytes) -> None:
    """Data that is no blueprint is rejected under one code, with a sentence that says where the problem is."""
    code, message = refused(data)
    assert code in ("blueprint-invalid", "no-nodes")
    assert message.endswith((".", "again."))


def test_the_longest_blueprint() -> None:
    """A blueprint of one mebibyte is read, and one more byte is rejected."""
    data = blueprint(node("a"), more=["x" * 4000] * 250)
    longest = data + b" " * (MAX_BYTES - len(data))
    assert read_blueprint(longest, 200).nodes
    code, message = refused(longest + b" ")
    assert "blueprint-invalid" == code
    assert f"longer than {MAX_BYTES} bytes" in message


@pytest.mark.parametrize(
    ("key", "value", "wanted"),
    [
        ("probeIndicator", [{"value": "true"}], True),
        ("probeIndicator", [{"value": "true"}, {"value": "False"}], False),
        ("probeIndocator", [{"value": "True"}], True),
        ("probeIndicator", [{}], False),
        ("probeIndicator", None, False),
        ("probeIndicator", "true", False),
    ],
)
def test_a_wanted_probe_is_noticed(key: str, value: Any, wanted: bool) -> None:
    """A requested probe is noticed in either spelling of the key, and the last value counts."""
    assert wanted == read(node("a"), **{key: value}).wants_probe
