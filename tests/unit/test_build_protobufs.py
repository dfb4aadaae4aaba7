"""Protobufs of a bundle: each content is parsed once, and what no orchestrator can load is rejected."""

import asyncio
import json
import threading
import time
from contextlib import suppress
from typing import Any

import pytest

from schemas import Kind
from tests.extended.live.containers.pipeline import Refused, load
from tests.extended.live.judge import load_bundle
from tests.support.builders import CALLER, OPTIONS, PROTOBUF, SHIPPED, blueprint, node, operation, protobuf, solution
from tests.support.fakes import FakeArtifacts, FakeCatalog
from worker import build
from worker.build import QUICK_BYTES, QUICK_MARKS, Builder, KnownProtobufs
from worker.domain.bundle.blueprint import read_blueprint
from worker.domain.bundle.plan import Plan, plan_pipeline
from worker.domain.bundle.protobuf import Protobuf, ProtobufError, read_protobuf
from worker.domain.solution import Solution
from worker.errors import NotAllowed, NotDeployable

URI = "org/acumos/11111111-1111-4111-8111-111111111111/a/1.0.0/a-1.0.0.proto"


def planned(*names: str, **more: Any) -> Plan:
    nodes = (node(name, proto_uri=URI, **more) for name in names)
    return plan_pipeline(solution(), read_blueprint(blueprint(*nodes), 200), OPTIONS.orchestrator_image)


async def built(texts: dict[str, str | bytes], nodes: list[Any] | None = None, given: Solution | None = None) -> Plan:
    """Return the plan, with its warnings, of a pipeline whose nodes have these files, by name."""
    nodes = nodes or [node(name) for name in texts]
    for it in nodes:
        it["proto_uri"] = f"org/{it['container_name']}.proto"
    files = {f"org/{name}.proto": text.encode() if isinstance(text, str) else text for name, text in texts.items()}
    files["org/blueprint.json"] = blueprint(*nodes)
    builder = Builder(FakeCatalog(given or solution()), FakeArtifacts(files), SHIPPED, OPTIONS)
    plan, bundle = await builder.build(solution().solution_id, solution().revision_id, CALLER)
    assert all(bundle.files[f"microservice/{name}.proto"] == files[f"org/{name}.proto"] for name in texts)
    load_bundle(bundle.files)
    return plan


async def refused(texts: dict[str, str | bytes], nodes: list[Any] | None = None) -> tuple[str, str]:
    with pytest.raises(NotDeployable) as refusal:
        await built(texts, nodes)
    nodes = nodes or [node(name) for name in texts]
    entries = [{"container_name": it["container_name"], "ip_address": it["container_name"], "port": 1} for it in nodes]
    protobufs = {f"{name}.proto": text if isinstance(text, str) else text.decode() for name, text in texts.items()}
    with pytest.raises(Refused):  # the orchestrator agrees
        load(blueprint(*nodes).decode(), json.dumps({"docker_info_list": entries}), protobufs)
    return refusal.value.code, refusal.value.message


class Reader:
    """A parser that records what it parses."""

    def __init__(self) -> None:
        self.read: list[bytes] = []

    def __call__(self, data: bytes) -> Protobuf:
        self.read.append(data)
        return read_protobuf(data)


async def test_a_content_is_read_once() -> None:
    """A content is parsed once for all nodes, requests and users, including concurrent requests."""
    reader = Reader()
    known = KnownProtobufs(reader)
    plan, protos = planned("a", "b"), {"a": PROTOBUF, "b": PROTOBUF}
    await asyncio.gather(*(known.check(plan, protos) for _ in range(3)))
    await known.check(plan, protos)
    assert [PROTOBUF] == reader.read


async def test_a_problem_is_remembered_too() -> None:
    """An invalid content is remembered as well, so a broken tutorial costs no more than a valid one."""
    reader = Reader()
    known = KnownProtobufs(reader)
    for _ in range(2):
        with pytest.raises(NotDeployable):
            await known.check(planned("a"), {"a": b"no protobuf"})
    assert [b"no protobuf"] == reader.read


async def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Known contents are bounded: new uploads evict the least recently used, and take no more memory."""
    monkeypatch.setattr(build, "MAX_KNOWN", 3 * (len(PROTOBUF) + 1100))
    reader = Reader()
    known = KnownProtobufs(reader)
    contents = [PROTOBUF + b"// %d\n" % number for number in range(4)]
    for content in (*contents[:3], contents[0], contents[3], contents[0], contents[1]):
        await known.check(planned("a"), {"a": content})
    assert [*contents, contents[1]] == reader.read


@pytest.mark.parametrize("large", [b"no protobuf".ljust(build.MAX_READ + 1), b"no protobuf" + b";" * build.MAX_MARKS])
async def test_what_is_too_large_to_be_read_is_deployed_with_a_warning(large: bytes) -> None:
    """A protobuf too large to be parsed is deployed with a warning.

    Parsing it would delay other requests, and its content may well be valid.
    """
    assert ("From 'b' on, the protobufs are too large to be checked.",) == await KnownProtobufs().check(
        planned("a", "b", "c"), {"a": PROTOBUF, "b": large, "c": large}
    )


async def test_nodes_share_a_file_which_is_counted_once() -> None:
    """A file that nodes share is parsed and counted once; a further file of the same size exceeds the limit."""
    large = PROTOBUF + b"//" + b"x" * (build.MAX_READ // 2)
    plan = planned("a", "b", "c", "d")
    shared = dict.fromkeys("abc", large)
    assert () == tuple(await KnownProtobufs().check(plan, {**shared, "d": PROTOBUF}))
    marked = PROTOBUF + b"//" + b";" * (build.MAX_MARKS * 2 // 3)
    assert () == tuple(await KnownProtobufs().check(plan, {**dict.fromkeys("abc", marked), "d": PROTOBUF}))
    assert ("From 'd' on, the protobufs are too large to be checked.",) == await KnownProtobufs().check(
        plan, {**shared, "d": large + b"x"}
    )


async def test_a_refusal_names_node_file_and_line() -> None:
    """A rejection names the node, file and line, which is all that its author needs."""
    code, message = await refused({"a": PROTOBUF, "b": 'syntax = "proto3";\nmessages In {}\n'})
    assert "proto-invalid" == code
    assert message.startswith("The protobuf of 'b' cannot be loaded: b.proto, line 2: 'messages' is not expected. Corr")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('syntax = "proto3";\n', "declares no service"),
        (
            protobuf(operation()).replace("service", " service"),
            "has its service in line 4, and not at the beginning of",
        ),
        (
            "/*\nservice Fake {}\n*/\n" + protobuf(operation()),
            "has a line 2 that begins with the word service and does",
        ),
    ],
)
async def test_the_orchestrator_must_find_the_service(text: str, problem: str) -> None:
    """A protobuf whose service the orchestrator cannot find is rejected.

    The orchestrator searches the beginnings of lines, and would fail with an IndexError.
    """
    code, message = await refused({"a": text})
    assert ("proto-without-service", True) == (code, message.startswith(f"The protobuf of node 'a' {problem}"))


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (operation("walk"), "The operation 'walk' of node 'a' is not in its protobuf."),
        (operation("RUN"), "The operation 'RUN' of node 'a' is not in its protobuf."),
        (
            operation(takes="Text"),
            "The operation 'run' of node 'a' takes 'Text' and gives 'Out', and its protobuf says",
        ),
        (operation(gives="Text"), "The operation 'run' of node 'a' takes 'In' and gives 'Text', and its protobuf says"),
    ],
)
async def test_every_operation_is_in_its_nodes_protobuf(wanted: Any, message: str) -> None:
    """An operation that its node's protobuf does not declare is rejected.

    The orchestrator would call what the container does not have.
    """
    code, said = await refused({"a": PROTOBUF}, [node("a", wanted)])
    assert ("proto-mismatch", True) == (code, said.startswith(message)), said


async def test_an_operation_of_another_service_is_none() -> None:
    """An operation of a second service does not count: the orchestrator calls only the first."""
    two = PROTOBUF.decode() + "service Other { rpc walk(In) returns (Out); }\n"
    assert "proto-mismatch" == (await refused({"a": two}, [node("a", operation("walk"))]))[0]


@pytest.mark.parametrize(
    "other",
    [
        protobuf(operation()).replace("In {}", "In { string text = 1; }"),
        protobuf(operation(), operation("walk")).replace("ModelRunWalk", "ModelRun"),
        protobuf(operation()) + "enum Colour { RED = 0; BLUE = 1; }\n",
        protobuf(operation()) + "message ModelRun2 {}\nmessage In2 {}\nservice Out2 { rpc run(In) returns (Out); }\n",
    ],
)
async def test_one_name_has_one_content(other: str) -> None:
    """Nodes that declare one name differently are rejected, because the orchestrator merges all files of a pipeline."""
    if "In2" in other:  # one file's message is the other's service
        other = other.replace("Out2", "ModelRun3")
        first = PROTOBUF.decode() + "message ModelRun3 {}\n"
    elif "Colour" in other:
        first = PROTOBUF.decode() + "enum Colour { RED = 0; }\n"
    else:
        first = PROTOBUF.decode()
    code, message = await refused({"a": first, "b": other})
    assert ("proto-conflict", True) == (code, message.startswith("The protobufs of 'a' and 'b' both declare '"))


async def test_each_package_has_its_own_names() -> None:
    """A name in different packages may differ.

    An orchestrator that loads packages keeps them apart. An orchestrator that merges files cannot, so a warning is
    added.
    """
    other = (
        protobuf(operation()).replace("In {}", "In { string text = 1; }").replace("message", "package b;\nmessage", 1)
    )
    plan = await built({"a": PROTOBUF, "b": other, "c": PROTOBUF})
    told = "The protobufs of 'a' and 'b' declare '{}' in different packages; some orchestrators refuse that."
    assert {told.format(name) for name in ("In", "Out", "ModelRun")} == {
        it for it in plan.warnings if "different packages" in it
    }
    inner = other.replace("string text", "int32 text")
    assert "proto-conflict" == (await refused({"a": PROTOBUF, "b": other, "c": inner}))[0]


async def test_equal_enums_may_be_declared_again() -> None:
    """Equal enums may be declared again, as equal messages may."""
    text = protobuf(operation()) + "enum Colour { RED = 0; }\n"
    plan = await built({"a": text, "b": text + "// mine\n"})
    assert 2 == sum("an enum at the top level" in it for it in plan.warnings)


async def test_equal_messages_may_be_declared_again() -> None:
    """Equal messages may be declared again with other comments, as in every real pipeline."""
    plan = await built({"a": PROTOBUF, "b": b"// mine\n" + PROTOBUF.replace(b"{}", b"{ }")})
    assert [] == [it for it in plan.warnings if "protobuf" in it]


@pytest.mark.parametrize(
    ("text", "habit"),
    [
        (protobuf(operation()).replace("proto3", "proto2"), "the syntax proto2"),
        (protobuf(operation()).removeprefix('syntax = "proto3";\n'), "the syntax proto2"),
        (protobuf(operation()).replace('syntax = "proto3"', 'edition = "2023"'), "the edition 2023"),
        (protobuf(operation()) + "package a.b;\n", "a package"),
        (protobuf(operation()) + "enum Colour { RED = 0; }\n", "an enum at the top level (Colour)"),
        (protobuf(operation()) + 'import "google/protobuf/any.proto";\n', "imports of protobuf's own types"),
        (
            protobuf(operation()) + 'import "google/protobuf/descriptor.proto";\n'
            "extend google.protobuf.MessageOptions { string owner = 50000; }\nmessage A { option (owner) = 'me'; }\n",
            "extensions",
        ),
    ],
)
async def test_what_some_orchestrators_refuse_is_deployed_with_a_warning(text: str, habit: str) -> None:
    """A feature that some orchestrators reject is deployed with a warning.

    The operator's orchestrator may accept it.
    """
    warning = f"Node 'a' has a protobuf with {habit}; some orchestrators refuse it."
    assert warning in (await built({"a": text})).warnings


async def test_another_stream_than_the_blueprints_is_told() -> None:
    """A blueprint that streams differently from its protobuf gets a warning: it loads, and fails when it is called."""
    text = PROTOBUF.decode().replace("returns (Out)", "returns (stream Out)")
    warning = "The operation 'run' of node 'a' streams differently from its protobuf: it may fail when it is called."
    assert warning in (await built({"a": text})).warnings
    signature = operation()["operation_signature"] | {"output_message_stream": True, "input_message_stream": None}
    streaming = node("a", {"operation_signature": signature, "connected_to": []})
    assert warning not in (await built({"a": text}, [streaming])).warnings


async def test_a_single_models_protobuf_is_looked_at() -> None:
    """A problem in a single model's protobuf is only a warning, because nothing on the playground loads that file."""
    model = solution(kind=Kind.SINGLE_MODEL, image="registry.example/m:1", proto_uri="org/m.proto")
    builder = Builder(FakeCatalog(model), FakeArtifacts({"org/m.proto": b"no protobuf"}), SHIPPED, OPTIONS)
    plan, _ = await builder.build(model.solution_id, model.revision_id, None)
    assert (
        "The protobuf of 'demo-pipeline-925b44ae' cannot be loaded: m.proto, line 1: 'no' is not expected. "
        "Correct it and on-board the model again."
    ) in plan.warnings


async def test_whose_the_protobufs_are_is_asked_once_for_all() -> None:
    """One query checks the caller's access to all protobufs, each listed once."""
    catalog = FakeCatalog(solution())
    nodes = [node("a", proto_uri=URI), node("b", proto_uri=URI), node("c", proto_uri="org/c.proto")]
    files = {"org/blueprint.json": blueprint(*nodes), URI: PROTOBUF, "org/c.proto": PROTOBUF}
    await Builder(catalog, FakeArtifacts(files), SHIPPED, OPTIONS).build(
        solution().solution_id, solution().revision_id, CALLER
    )
    assert [((URI, "org/c.proto"), CALLER)] == catalog.checked


async def test_somebody_elses_protobuf_is_in_no_bundle() -> None:
    """A protobuf that the caller may not read never gets into a bundle, even if the repository returns it."""
    catalog = FakeCatalog(solution(), refusal=NotAllowed("no-access-to-proto", "no"))
    files = {"org/blueprint.json": blueprint(node("a", proto_uri=URI)), URI: PROTOBUF}
    with pytest.raises(NotAllowed):
        await Builder(catalog, FakeArtifacts(files), SHIPPED, OPTIONS).build(
            solution().solution_id, solution().revision_id, CALLER
        )


LARGE = [
    protobuf(*(operation(f"o{number}") for number in range(200))) + "\n" * number for number in range(12)
]  # 1,000 marks each
LONG = "syntax = 'proto3'; //" + "x" * QUICK_BYTES


@pytest.mark.parametrize("large", [LARGE, [LONG + "x" * number for number in range(12)]], ids=["marks", "bytes"])
async def test_a_small_protobuf_waits_for_no_large_ones(large: list[str]) -> None:
    """Small protobufs are parsed in parallel with large protobufs, however many of them other users have waiting."""
    release, begun = threading.Event(), threading.Event()

    def read(data: bytes) -> Protobuf:
        if len(data) > 2000:
            begun.set()
            release.wait(20)
        return read_protobuf(data)

    known = KnownProtobufs(read)
    others = [asyncio.create_task(known.check(planned("a"), {"a": text.encode()})) for text in large]
    await asyncio.to_thread(begun.wait, 10)
    try:
        async with asyncio.timeout(5):
            await known.check(planned("a"), {"a": PROTOBUF})
        assert not any(it.done() for it in others)
    finally:
        release.set()
    await asyncio.gather(*others, return_exceptions=True)


def test_what_is_read_as_small_is_quick() -> None:
    """The worst files that count as small parse quickly, so many of them cause no long wait either."""
    hostile = {
        "messages": b"".join(b"message A%d{}" % number for number in range(QUICK_MARKS // 2 - 5)),
        "values": b"enum E{" + b"".join(b"A%d=%d;" % (it, it) for it in range(QUICK_MARKS // 2 - 5)) + b"}",
        "options": b"message A{int32 a=1[" + b",".join([b"x=1"] * (QUICK_MARKS // 2 - 5)) + b"];}",
        "nested": b"message A{" * 290 + b"}" * 290,
        "words": b"message " * 2000,
        "comments": b"//x\n" * 200,
    }
    for text in hostile.values():
        assert min(taken(b'syntax="proto3";' + text) for _ in range(3)) < 0.05


def taken(text: bytes) -> float:
    """Return the CPU seconds to parse it; the first call also compiles the grammar."""
    start = time.thread_time()
    with suppress(ProtobufError):
        read_protobuf(text)
    return time.thread_time() - start
