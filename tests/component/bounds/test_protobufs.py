"""The cost of the worst protobufs that are still read."""

import resource
import time
from collections.abc import Callable
from contextlib import suppress

import pytest

from worker.build import MARKS, MAX_MARKS, MAX_READ
from worker.domain.bundle.protobuf import ProtobufError, read_protobuf

HEAD = 'syntax = "proto3";\n'
CPU_SECONDS, MEMORY_MIB = 2.5, 64  # off the event loop; a busy machine may use half of it


def filled(begin: str, part: Callable[[int], str], end: str) -> str:
    """Return a protobuf with as many parts as may be read."""
    parts = [HEAD, begin]
    size = marks = number = 0
    while size < MAX_READ - 1000 and marks < MAX_MARKS - 1000:
        parts.append(part(number))
        size, marks, number = size + len(parts[-1]), marks + sum(map(parts[-1].encode().count, MARKS)), number + 1
    return "".join((*parts, end))


def odd(number: int) -> str:
    return f"{2 * number + 100_001},"


FIELDS = "".join(f"int32 f{number}={number + 1};" for number in range(5000))
VALUES = "".join(f"V{number}={number};" for number in range(5000))
OWN = (
    'import "google/protobuf/descriptor.proto"; message T { repeated int32 r = 1; int32 a = 2; }'
    "extend google.protobuf.FileOptions { T x = 50000; } extend google.protobuf.FieldOptions { T y = 50000; }"
)
LONG, NEARLY = "L" * 250_000, "N" * 480
WORST = {
    "messages": filled("", lambda n: f"message M{n} {{ int32 a = 1; }}\n", ""),
    "fields": filled("message A {", lambda n: f"int32 f{n}={n + 1};", "}"),
    "optional fields": filled("message A {", lambda n: f"optional int32 f{n}={n + 1};", "}"),
    "maps": filled("message A {", lambda n: f"map<int32,int32> f{n}={n + 1};", "}"),
    "types that do not exist": filled("message A {", lambda n: f"T{n} f{n}={n + 1};", "}"),
    "operations": filled("message A {} service S {", lambda n: f"rpc r{n}(A)returns(A);", "}"),
    "values": filled("message A { enum E {", lambda n: f"V{n}={n};", "}}"),
    "reserved numbers": filled(f"message A {{ {FIELDS} reserved ", odd, "1; }"),
    "reserved names": filled(f"message A {{ {FIELDS} reserved ", lambda n: f'"n{n}",', '"n"; }'),
    "reserved numbers of an enum": filled(f"message A {{ enum E {{ {VALUES} reserved ", odd, "-1; }}"),
    "semicolons": filled("", lambda _: ";", ""),
    "braces": filled("option java_package=", lambda _: "{", ""),
    "a long path": filled("message A { ", lambda _: "a.", "a f = 1; }"),
    "comments": filled("", lambda _: "/**/", ""),
    "a comment": filled("/*", lambda _: "x" * 100, "*/"),
    "stars": filled("/*", lambda _: "*" * 100, "/"),
    "a comment without end": filled("/*", lambda _: "x*" * 50, ""),
    "a string": filled('option java_package="', lambda _: "x" * 100, '";'),
    "a string without end": filled('option java_package="', lambda _: "x" * 100, ""),
    "spaces": filled("", lambda _: " \n" * 50, ""),
    "a word": filled("message ", lambda _: "a" * 100, " {}"),
    "fields of a message with a long name": filled(f"message {LONG} {{", lambda n: f"bool f{n}={n + 1};", "}"),
    "values in a message with a long name": filled(f"message {LONG} {{ enum E {{", lambda n: f"V{n}={n};", "}}"),
    "types with a long name": filled(f"message {LONG} {{ message A {{}} ", lambda n: f"A f{n}={n + 1};", "}"),
    "names as long as they may be": filled(f"message {NEARLY} {{", lambda n: f"bool f{n}={n + 1};", "}"),
    "a long package": filled("package a" + ".a" * 240 + "; message B {", lambda n: f"B f{n}={n + 1};", "}"),
    "options of its own": filled(
        'import "google/protobuf/descriptor.proto"; extend google.protobuf.FieldOptions {',
        lambda n: f"int32 f{n}={n + 1000};",
        "}",
    ),
    "words in an aggregate": filled("option java_package={", lambda _: "a ", "};"),
    "strings in an aggregate": filled("option java_package={", lambda _: "''", "};"),
    "slashes in an aggregate": filled("option java_package={", lambda _: "/", "};"),
    "an aggregate": filled(f"{OWN} option (x) = {{", lambda _: "r:1 ", "};"),
    "aggregates": filled(OWN, lambda n: f"message M{n}{{int32 a=1[(y)={{r:[{'1,' * 900}1]}}];}}", ""),
    "options with names": filled(OWN + "message A {", lambda n: f"int32 f{n}=1[(y).a={n}];", "}"),
    "escapes": filled('option java_package="', lambda _: "\\0" * 50, '";'),
    "groups": filled("message A {", lambda n: f"optional group F{n}={n + 1}{{}}", "}").replace("proto3", "proto2"),
    "extensions": filled(
        "message A { extensions 1 to max; } extend A {", lambda n: f"optional A f{n}={n + 20_000};", "}"
    ).replace("proto3", "proto2"),
    "extension ranges": filled("message A { extensions ", odd, "1; }").replace("proto3", "proto2"),
    "defaults": filled("message A {", lambda n: f"optional string f{n}={n + 1}[default=''];", "}").replace(
        "proto3", "proto2"
    ),
    "carriage returns": filled("", lambda _: "\r" * 100, ""),
    "digits": filled("message A { int32 a = ", lambda _: "9" * 100, "; }"),
}


@pytest.mark.parametrize("case", WORST)
def test_no_protobuf_is_costly(case: str) -> None:
    """Tokens, names and comments take neither quadratic time nor an object's memory each."""
    read_protobuf(HEAD.encode())  # compile the grammar first
    memory, cpu = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    with suppress(ProtobufError):
        read_protobuf(WORST[case].encode())
    assert time.process_time() - cpu < CPU_SECONDS
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) / 1024 < MEMORY_MIB
