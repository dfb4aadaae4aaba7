"""Protobufs: what is read, and which files are rejected with which line."""

import pytest

from tests.support.compiler import Compiler, open_compiler
from tests.support.corpus import record
from tests.unit.domain.bundle import protobuf_cases
from tests.unit.domain.bundle.protobuf_corpus import GOOD, HEAD, MESSAGES, RIGHT, SERVICE, WRONG
from worker.domain.bundle.protobuf import MAX_DEPTH, Protobuf, ProtobufError, Rpc, read_protobuf


def read(text: str | bytes) -> Protobuf:
    return read_protobuf(text.encode() if isinstance(text, str) else text)


def refusal(text: str | bytes) -> ProtobufError | None:
    try:
        read(text)
    except ProtobufError as error:
        return error
    return None


def test_the_corpus() -> None:
    """Each valid protobuf is read and each invalid one is rejected with its line, as the real compiler agrees."""
    wrong: list[object] = []
    with open_compiler() as protoc:
        for case, text in RIGHT.items():
            if (said := refusal(text)) or protoc.compile(text.encode())[0] is None:
                wrong.append((case, str(said)))
        for case, (bad, line) in WRONG.items():
            said = refusal(bad)
            if said is None or said.line != line or protoc.compile(bad)[0] is not None:
                wrong.append((case, said and (said.line, str(said))))
    record("protobufs", len(RIGHT) + len(WRONG), len(wrong))
    assert [] == wrong
    assert len(RIGHT) >= 20 and len(RIGHT) + len(WRONG) >= 60


def test_the_cases() -> None:
    """The same holds for each rule of the language: proto2, editions, escapes, options and their values."""
    wrong: list[object] = []
    with open_compiler() as protoc:
        wrong += (it for it in protobuf_cases.RIGHT if refusal(it) or fails(protoc, it))
        for text in protobuf_cases.WRONG:
            said = refusal(text)
            if said is None or said.line != protobuf_cases.wrong_line(text) or not fails(protoc, text):
                wrong.append((text, said and (said.line, str(said))))
    record("protobufs, rule by rule", len(protobuf_cases.RIGHT) + len(protobuf_cases.WRONG), len(wrong))
    assert [] == wrong


def fails(protoc: Compiler, text: str) -> bool:
    """Return whether protoc rejects the text; an option that is not UTF-8 crashes protoc, and would crash the tests."""
    return text in protobuf_cases.CRASHING or protoc.compile(text.encode())[0] is None


def test_what_is_read() -> None:
    """A protobuf's syntax, package, imports, types and services are read, to be compared with the blueprint."""
    protobuf = read(
        HEAD
        + 'package a.b;\nimport "google/protobuf/empty.proto";\nenum E { Z = 0; }\n'
        + MESSAGES
        + "service Model {\n"
        "  rpc run(In) returns (stream Out);\n  rpc stop(google.protobuf.Empty) returns (Out) {}\n}\n"
    )
    assert ("proto3", "a.b", ("google/protobuf/empty.proto",), ["E"]) == (
        protobuf.syntax,
        protobuf.package,
        protobuf.imports,
        list(protobuf.enums),
    )
    assert {"In", "Out"} == set(protobuf.messages)
    assert {"run": Rpc("In", "Out", (False, True)), "stop": Rpc("Empty", "Out", (False, False))} == (
        protobuf.services["Model"].rpcs
    )
    assert (("Model", 7), 7) == (protobuf.called, protobuf.services["Model"].line)


@pytest.mark.parametrize(
    ("text", "called"),
    [
        (GOOD, ("Model", 4)),
        (GOOD.replace("service", " service"), None),
        (GOOD.replace("service Model {", "service Model{ // {"), ("Model", 4)),
        (GOOD.replace("service Model {", "service   Model   {"), ("Model", 4)),
        (GOOD.replace("service Model {", "service Model // it\n{"), ("Model // it", 4)),
        (GOOD.replace("service", "service\t"), None),
        ("/*\nservice Fake {}\n*/\n" + GOOD, ("Fake", 2)),
        (GOOD.replace("\n", "\r\n"), ("Model", 4)),
        (GOOD.replace("\n", "\r"), ("Model", 4)),
    ],
)
def test_the_service_is_looked_for_as_the_orchestrator_does(text: str, called: tuple[str, int] | None) -> None:
    """The service is the first line that starts with the word, even in a comment, as the orchestrator finds it."""
    assert called == read(text).called


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("int32 a = 1; /* a comment */", "  int32   a=1;", True),
        ("In a = 1;", ".In a = 1;", True),
        ("int32 a = 1; int32 b = 2;", "int32 b = 2; int32 a = 1;", False),
        ("int32 a = 1;", "int64 a = 1;", False),
        ("int32 a = 1;", "int32 a = 2;", False),
        ("int32 a = 1;", "optional int32 a = 1;", False),
        ("int32 a = 1;", "repeated int32 a = 1;", False),
        ("int32 a = 1;", "int32 a = 1 [deprecated = true];", False),
        ("In a = 1;", "In a = 1; message In {}", False),
    ],
)
def test_messages_are_compared_as_protoc_does(one: str, other: str, same: bool) -> None:
    """Two files may declare the same message if its descriptors are equal, whatever the text looks like."""
    texts = [f"{GOOD}message A {{ {it} }}\n" for it in (one, other)]
    with open_compiler() as protoc:
        descriptors = []
        for text in texts:
            file, _ = protoc.compile(text)
            assert file is not None
            descriptors.append(file.message_type[2])
    assert (same, same) == (
        read(texts[0]).messages["A"] == read(texts[1]).messages["A"],
        descriptors[0] == descriptors[1],
    )


@pytest.mark.parametrize(
    ("head", "syntax"),
    [
        ("", "proto2"),
        ('syntax = "proto2";\n', "proto2"),
        ('edition = "2023";\n', "2023"),
        ('edition="20" "24";', "2024"),
    ],
)
def test_what_is_not_proto3_is_judged_too(head: str, syntax: str) -> None:
    """Other syntaxes are validated as by protoc: no public orchestrator loads them, but another may."""
    label = "repeated " if syntax != "proto3" else ""
    messages = f"message In {{ {label}int32 a = 1; }}\nmessage Out {{ extensions 4 to 5; {label}In u = 1; }}\n"
    protobuf = read(head + messages + SERVICE)
    assert ({"run"}, syntax) == (set(protobuf.services["Model"].rpcs), protobuf.syntax)
    wrong = refusal(head + messages.replace("In u", "Unknown u") + SERVICE)
    assert "the type 'Unknown' does not exist there" == str(wrong)


def test_who_forgets_the_syntax_is_told() -> None:
    """A missing syntax line, the typical beginner's mistake, is named in the error: proto2 fields need a label."""
    assert (
        "the field 'text' is neither optional, required nor repeated, as in proto2: "
        'the first line should be syntax = "proto3";'
    ) == str(refusal(MESSAGES + SERVICE))
    assert "the field 'text' is neither optional, required nor repeated, as in proto2" == str(
        refusal('syntax = "proto2";\n' + MESSAGES + SERVICE)
    )


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ('[(x) = "a"]', '[(x) = "\\x61"]', True),
        ('[(x) = "a"]', '[(x) = "b"]', False),
        ('[(x) = "a"]', "", False),
        ('[(y) = { s: "a" }]', "[(y) = { s : 'a' /* a */ }]", True),
        ('[(y) = { s: "a" }]', '[(y).s = "b"]', False),
        ("[deprecated = true]", "[deprecated = false]", False),
    ],
)
def test_options_make_a_message_another_one(one: str, other: str, same: bool) -> None:
    """Options count when messages are compared, as in protoc's descriptors."""
    head = (
        HEAD + 'import "google/protobuf/descriptor.proto";\nmessage T { string s = 1; }\n'
        "extend google.protobuf.FieldOptions { string x = 50000; T y = 50001; }\n"
    )
    texts = [f"{head}message A {{ int32 a = 1 {it}; }}\n" for it in (one, other)]
    with open_compiler() as protoc:
        descriptors = [file.message_type[1] for file in (protoc.compile(text)[0] for text in texts) if file]
    assert [same, same] == [
        read(texts[0]).messages["A"] == read(texts[1]).messages["A"],
        descriptors[0] == descriptors[1],
    ]


def test_depth_is_bounded() -> None:
    """Nesting is limited as in protoc, and with it the reader's recursion."""
    assert refusal(GOOD + "message A {" * MAX_DEPTH + "}" * MAX_DEPTH) is None
    for depth in (MAX_DEPTH + 1, 5_000):
        assert f"messages are nested more than {MAX_DEPTH} deep" == str(
            refusal(GOOD + "message A {" * depth + "}" * depth)
        )
    assert refusal(GOOD + "option java_package = " + "{" * 5_000 + "}" * 5_000 + ";") is not None
    option = 'import "google/protobuf/descriptor.proto";\nmessage T { T t = 1; }\n'
    option += "extend google.protobuf.FileOptions { T x = 50000; }\noption (x) = {"
    assert refusal(HEAD + option + "t {" * 50 + "}" * 50 + "};") is None
    assert "braces more than 60 deep" in str(refusal(HEAD + option + "t {" * 3_000 + "}" * 3_000 + "};"))
