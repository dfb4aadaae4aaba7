"""More protobufs of our own, by subject; `//!` ends the line that is wrong."""

P2, P3, E23 = 'syntax = "proto2";\n', 'syntax = "proto3";\n', 'edition = "2023";\n'
OPTIONS = 'import "google/protobuf/descriptor.proto";\n'
TYPE = "message T { int32 a = 1; string s = 2; repeated int32 r = 3; T t = 4; E e = 5; bool b = 6; float f = 7; }\n"
ENUM = "enum E { ZERO = 0; ONE = 1; }\n"


def own(kind: str, value: str, what: str = "Field") -> str:
    """A file with an option of its own that has this value."""
    use = {"Field": f"message M {{\n int32 a = 1 [{value}]; //!\n}}\n", "File": f"option {value}; //!\n"}
    return f"{P3}{OPTIONS}{ENUM}{TYPE}extend google.protobuf.{what}Options {{ {kind} x = 50000; }}\n{use[what]}"


def in_message(head: str, *lines: str) -> str:
    """A message with these lines."""
    return head + "message M {\n" + "".join(f" {line}\n" for line in lines) + "}\n"


def quoted(text: str) -> str:
    """A string, unescaped, in an option."""
    return f'{P3}option java_package = "{text}"; //!\n'


RIGHT: tuple[str, ...] = (
    # proto2 and no syntax
    "message M { optional string text = 1; }\n",
    "// nothing but a comment\nmessage M { required string text = 1; repeated M more = 2; }\n",
    *(
        in_message(P2, line)
        for line in (
            "optional int32 a = 1;",
            "required int32 a = 1;",
            "repeated int32 a = 1 [packed = true];",
            "map<int32, M> a = 1;",
            "oneof o { int32 a = 1; M b = 2; }",
            "oneof o { group G = 1 { optional int32 a = 1; } }",
            "optional group G = 1 { required int32 a = 1; }",
            "repeated group G = 1 [deprecated = true] { }",
            "optional int32 a = 1 [default = -2147483648];",
            "optional uint64 a = 1 [default = 18446744073709551615];",
            "optional float a = 1 [default = -inf];",
            "optional double a = 1 [default = 99999999999999999999];",
            "optional bool a = 1 [default = true];",
            'optional bytes a = 1 [default = "\\xff\\0"];',
            'optional string a = 1 [default = "a" "b", deprecated = true];',
            "optional int64 a = 1 [default = 0x10];",
            "enum E { A = 5; B = -1; } optional E e = 1 [default = B];",
            "extensions 100 to 199, 500 to max;",
            "extensions 4; extend M { optional M m = 4; }",
            "reserved 1, 2 to 5; reserved 'a'; optional int32 b = 6;",
            "optional int32 a_b = 1; optional int32 aB = 2;",
            "optional int32 a = 1 [json_name = 'b']; optional int32 b = 2;",
            "option message_set_wire_format = true; extensions 4 to max; extend M { optional M m = 2147483646; }",
            "optional int32 optional = 1; optional M group = 2;",
            "extensions 4 [verification = UNVERIFIED];",
            (
                "extensions 4 to 9 [declaration = { number: 4 full_name: '.M.m' type: '.M' }];"
                " extend M { optional M m = 4; }"
            ),
            "optional group G = 1 {" * 30 + "}" * 30,
        )
    ),
    P2 + "message A { extensions 100 to 199; }\nextend A { optional group G = 100 { optional int32 a = 1; } }\n",
    P2 + "message A { extensions 100 to 199; }\nmessage B { extend A { repeated string b = 101; } }\n",
    P2 + OPTIONS + "message A { optional google.protobuf.FieldDescriptorProto.Type t = 1 [default = TYPE_BOOL]; }\n",
    P2 + "enum E { option deprecated_legacy_json_field_conflicts = true; E_A = 0; A = 1; }\n",
    # editions
    E23 + "message M { reserved foo, bar; int32 a = 1 [default = 5]; extensions 100 to 199; M m = 2; }\n",
    E23 + "message M { int32 a = 1 [features.field_presence = IMPLICIT]; }\n",
    E23 + "option features.enum_type = CLOSED;\nenum E { A = 1; }\n",
    E23 + "enum E { option features.enum_type = CLOSED; A = 1; }\n",
    E23 + "message M { M m = 1 [features.message_encoding = DELIMITED]; }\n",
    'edition = "2024";\nexport message M { local enum E { E_UNSPECIFIED = 0; } E e = 1; }\n',
    'edition = "2024";\nimport option "google/protobuf/any.proto";\nmessage M {}\n',
    # whitespace and comments
    P3 + "// old\rremark\nmessage M {}\n",
    f"{P3.strip()}\rmessage M {{\r}}\r",
    P3 + "/* a\r */ message\rM\r\n{\v}\f//\r",
    P3 + "/**/ /***/ /* * / */ /* // */ message M {}\n//",
    P3 + "message M { /*\n */ }\n// */\n",
    # strings
    *map(
        quoted,
        (
            r"\a\b\f\n\r\t\v\\\?\'",
            r"\x41\X41\7\101",
            r"\u00e9\U0001F600\ud83d\ude00",
            r"C:\\Users\\me",
            "it's",
            "größer",
        ),
    ),
    P3 + 'option java_package = "a" \'b\' /* c */ "d";\n',
    P3 + 'import "google/protobuf/\\x61ny.proto";\nmessage M { google.protobuf.Any a = 1; }\n',
    'syntax = "pro\\x74o3";\nmessage M { int32 a = 1; }\n',
    in_message(P3, 'reserved "\\x61"; int32 b = 1;'),
    # imported files
    P3 + 'import "google/protobuf/compiler/plugin.proto";\nmessage M { google.protobuf.compiler.Version v = 1; }\n',
    P3
    + 'import "google/protobuf/type.proto";\nimport "google/protobuf/any.proto";\n'
    + "message M { google.protobuf.Any a = 1; }\n",
    P3 + 'import public "google/protobuf/any.proto";\nimport weak "google/protobuf/empty.proto";\n',
    P3 + 'import "google/protobuf/cpp_features.proto";\nmessage M { pb.CppFeatures f = 1; }\n',
    # protobuf's own options
    *(
        in_message(P3, line)
        for line in (
            'int32 a = 1 [edition_defaults = { edition: EDITION_2023, value: "x" }];',
            "int32 a = 1 [feature_support = { edition_introduced: EDITION_2023 }];",
            "int32 a = 1 [feature_support.edition_introduced = EDITION_2023];",
            "int32 a = 1 [targets = TARGET_TYPE_FIELD, targets = TARGET_TYPE_FILE];",
            "int32 a = 1 [retention = RETENTION_SOURCE];",
            "int64 a = 1 [jstype = JS_STRING];",
            "string a = 1 [ctype = CORD, debug_redact = true];",
            "int32 a = 1 [weak = true];",
            "M m = 1 [lazy = true, unverified_lazy = false];",
            "repeated M m = 1 [packed = false];",
            "option deprecated_legacy_json_field_conflicts = true; int32 a_b = 1; int32 aB = 2;",
            "enum E { option allow_alias = true; A = 0; B = 0; }",
        )
    ),
    P3 + "option optimize_for = LITE_RUNTIME;\nmessage M {}\nservice S { rpc r(M) returns (M); }\n",
    P3 + "message M {}\nservice S { rpc r(M) returns (M) { ; option idempotency_level = IDEMPOTENT; }; ; }\n",
    # a file's own options
    *(
        own(kind, f"(x) = {value}")
        for kind, values in {
            "int32": ("1", "-2147483648", "0x7fffffff", "017"),
            "uint64": ("18446744073709551615",),
            "float": ("1", "-1.5", "inf", "-nan", "1e400", "99999999999999999999999"),
            "bool": ("true",),
            "string": ('"x"', "'a' 'b'"),
            "bytes": (r'"\xff"',),
            "E": ("ONE",),
            "T": (
                "{}",
                "{ a: 1 }",
                "{ t { a: 1, s: 'x' } r: [1, 2]; }",
                "-{ a: 1 }",
                "{ e: ONE b: t f: -inf }",
                "{ t: < > // }\n }",
            ),
        }.items()
        for value in values
    ),
    own("T", "(x).a = 1, (x).s = 'x'"),
    own("T", "(x).t.t.a = 1"),
    own("repeated int32", "(x) = 1, (x) = 2"),
    own("T", "(.x) = { a: 1 }", "File"),
    P3 + OPTIONS + "message A { extend google.protobuf.MessageOptions { int32 x = 50000; } option (A.x) = 1; }\n",
    P3 + OPTIONS + "extend google.protobuf.MessageOptions { int32 x = 995 [targets = TARGET_TYPE_MESSAGE]; }\n"
    "message A { option (x) = 1; }\n",
    "package a.b;\n" + OPTIONS + "extend google.protobuf.FieldOptions { optional int32 x = 50000; }\n"
    "message A { optional int32 a = 1 [(b.x) = 1]; optional int32 b = 2 [(.a.b.x) = 1]; }\n",
    # packages
    "syntax = 'proto3'; package " + ".".join("a" * 101) + ";\n",
    P3 + "package a . b;\nmessage M { .a.b.M m = 1; }\n",
)

WRONG: tuple[str, ...] = (
    # proto2 and no syntax
    "message M {\n string text = 1; //!\n}\n",
    *(
        in_message(P2, line + " //!")
        for line in (
            "string a = 1;",
            "M a = 1;",
            "optional Nope a = 1;",
            "optional int32 M.a = 1;",
            "optional map<int32, M> a = 1;",
            "group G = 1 { }",
            "optional group g = 1 { }",
            "optional group G = 1;",
            "oneof o { optional int32 a = 1; }",
            "oneof o { }",
            "oneof o { ; int32 a = 1; }",
            "optional int32 a = 0;",
            "optional int32 a = 19000;",
            "optional int32 a = 1 [default = 2147483648];",
            "optional uint32 a = 1 [default = -1];",
            "optional uint32 a = 1 [default = -0];",
            "optional int32 a = 1 [default = 1.5];",
            "optional bool a = 1 [default = 1];",
            "optional string a = 1 [default = x];",
            'optional int32 a = 1 [default = "1"];',
            "optional M a = 1 [default = 1];",
            "repeated int32 a = 1 [default = 1];",
            "optional int32 a = 1 [default = 1, default = 1];",
            "optional float a = 1 [default = true];",
            "optional group G = 1 [default = 1] { }",
            "optional double a = 1 [default = 0xfffffffffffffffff];",
            "repeated M a = 1 [packed = true];",
            "repeated string a = 1 [packed = true];",
            "optional int32 a = 1 [packed = true];",
            "map<int32, M> a = 1 [packed = true];",
            "map<M, int32> a = 1;",
            "extensions 0;",
            "extensions 5 to 4;",
            "extensions 536870912;",
            "extensions 2147483647;",
            "extensions -1;",
            "extensions x;",
            "reserved foo;",
            "reserved 'a', 'a';",
            "extend M { }",
            "extend M { optional M a = 4; }",
            "extend M { ; }",
            "extend Nope { optional M a = 4; }",
            "optional int32 a = 1 [features.field_presence = EXPLICIT];",
            "optional int32 a = 1 [json_name = 1];",
            'optional int32 a = 1 [json_name = "x", json_name = "y"];',
            "optional int32 a = 1 [lazy = true];",
            "required required int32 a = 1;",
            "optional int32 a = 1 [];",
            "optional int32 a;",
            "optional int32 = 1;",
            "import 'x';",
            "optional a = 1;",
            "optional int32 int32 a = 1;",
            "optional int32 a = 1 [json_name = '[x]'];",
        )
    ),
    in_message(P2, "optional int32 a = 1;", "optional int32 a = 2; //!"),
    in_message(P2, "optional int32 a = 1;", "optional int32 b = 1; //!"),
    in_message(P2, "extensions 4 to 9;", "optional int32 a = 5; //!"),
    in_message(P2, "reserved 4 to 9;", "optional int32 a = 5; //!"),
    in_message(P2, "enum E { A = 1; }", "optional E e = 1 [default = B]; //!"),
    in_message(P2, "enum E { A = 1; }", "map<int32, E> e = 1; //!"),
    in_message(P2, "enum E { A = 1;", " A = 2; //!", "}"),
    in_message(P2, "optional group G = 1 { }", "optional int32 g = 2; //!"),
    in_message(P2, "optional int32 a = 1 [json_name = 'q'];", "optional int32 b = 2 [json_name = 'q']; //!"),
    in_message(P2, "extensions 4 to 9;", "extend M { required int32 a = 4; } //!"),
    in_message(P2, "extensions 4 to 9;", "extend M { int32 a = 4; } //!"),
    in_message(
        P2, "extensions 4 to 9;", "extend M { optional int32 a = 4; }", "extend M { optional int32 b = 4; } //!"
    ),
    in_message(P2, "extensions 4 to 9;", "extend M { optional int32 a = 10; } //!"),
    in_message(P2, "extensions 4 to 9;", "extend M { map<int32, M> a = 4; } //!"),
    in_message(P2, "extensions 4 to 9;", "extend M { optional M a = 4 [unverified_lazy = true]; } //!"),
    in_message(P2, "extensions 4 to 9 [verification = DECLARATION];", "extend M { optional int32 a = 4; } //!"),
    in_message(
        P2,
        "extensions 4 [declaration = { number: 4 full_name: '.M.a' type: 'int64' }];",
        "extend M { optional int32 a = 4; } //!",
    ),
    in_message(
        P2, "option message_set_wire_format = true; extensions 4 to max;", "extend M { optional int32 a = 4; } //!"
    ),
    in_message(P2, *["optional group G = 1 {"] * 30, "optional group G = 1 { } //!", "}" * 30),
    P2 + "message M { option message_set_wire_format = true; extensions 4 to max; optional int32 a = 1; } //!\n",
    P2 + "message M { extensions 4 to 9, 9 to 10; } //!\n",
    P2 + "message M { extensions 4 to 9; reserved 5; } //!\n",
    P2 + "message M { extensions 4 [declaration = { number: 5 full_name: '.a' type: 'int32' }]; } //!\n",
    P2 + "message M { extensions 4 [declaration = { number: 4 full_name: '.a' }]; } //!\n",
    P2 + "message M { extensions 4 [declaration = { number: 4 full_name: 'a' type: 'M' }]; } //!\n",
    P2 + "message M { option map_entry = false; } //!\n",
    P2 + "enum E { } //!\n",
    P2 + "enum E { option allow_alias = false; A = 0; } //!\n",
    P2 + "enum E { option allow_alias = false; A = 0; B = 0; } //!\n",
    P2 + "enum E { option allow_alias = true; A = 0; } //!\n",
    P2 + "enum E { A = 1; B = 1; } //!\n",
    P2 + "enum E { reserved 1 to 3, 3; A = 0; } //!\n",
    P2 + "enum E { A = 0;\n B = 2147483648; //!\n}\n",
    P2 + "enum E { E_A = 1;\n A = 2; //!\n}\n",
    P2 + "message M {}\nmessage M {} //!\n",
    P2 + "message M {}\nservice S { rpc r(M) returns (Nope); } //!\n",
    P2 + "message M {}\nservice S { rpc r(M) returns (M);\n rpc r(M) returns (M); //!\n}\n",
    # editions
    'edition = "1999"; //!\nmessage M {}\n',
    'edition = "proto3"; //!\nmessage M {}\n',
    'edition = "2025"; //!\nmessage M {}\n',
    'edition = "LEGACY"; //!\nmessage M {}\n',
    'edition = "99999_TEST_ONLY"; //!\nmessage M {}\n',
    *(
        in_message(E23, line + " //!")
        for line in (
            "optional int32 a = 1;",
            "required int32 a = 1;",
            "group G = 1 { }",
            "reserved 'a';",
            "Nope a = 1;",
            "repeated int32 a = 1 [packed = true];",
            "int32 a = 1 [features.field_presence = 1];",
            "int32 a = 1 [features.nothing = EXPLICIT];",
            "option features.field_presence = EXPLICIT;",
        )
    ),
    E23 + "enum E { A = 1; } //!\n",
    E23 + 'import option "google/protobuf/any.proto"; //!\n',
    # whitespace and comments
    P3 + "message M { /* /* */ } //!\n",
    P3 + "message M { \x01 } //!\n",
    P3 + "message M { \x7f } //!\n",
    P3 + "message M { # a } //!\n",
    P3 + "message M { \\ } //!\n",
    # strings
    *map(quoted, (r"C:\Users\me", r"\q", r"\x", r"\u12", r"\U00110g00", r"\8", r"\U00200000", r"\N")),
    in_message(P3, r'reserved "\d"; //!'),
    P3 + 'import "a\\x2eproto"; //!\n',
    P3 + "option java_package = { a: '\\q' }; //!\n",
    # imported files
    P3 + 'import option "google/protobuf/any.proto"; //!\n',
    P3 + 'import "google/protobuf/./any.proto"; //!\n',
    P3 + 'import "google//protobuf/any.proto"; //!\n',
    P3 + 'import "google/protobuf/any.proto";\nimport "google/protobuf/\\x61ny.proto"; //!\n',
    P3 + "import google.protobuf.any; //!\n",
    P3 + 'import "google/protobuf/json_options.proto"; //!\n',
    P3 + OPTIONS + "message M { google.protobuf.FieldDescriptorProto.Type t = 1; } //!\n",
    # protobuf's own options
    *(
        P3 + f"option {option}; //!\n"
        for option in (
            "java_package = x",
            "java_package = 1",
            'java_package = -"x"',
            "java_package = +1",
            "java_package = a.b",
            "java_package = {}",
            "deprecated = 1",
            'deprecated = "true"',
            "deprecated = True",
            "optimize_for = 1",
            "optimize_for = speed",
            "features = {}",
            "features.enum_type = OPEN",
            "uninterpreted_option = {}",
            "java_package.x = 1",
            "nothing = 1",
            "deprecated = -x",
            "java_package = 08",
            "java_package = 0x",
            "java_package = 1a",
            "java_package =",
            "java_package = 07.5",
            "= 1",
            "(nothing) = 1",
            "(.nothing) = 1",
            "deprecated = - true",
        )
    ),
    P3 + "option optimize_for = LITE_RUNTIME;\noption cc_generic_services = true;\nservice S { } //!\n",
    P3
    + "option optimize_for = LITE_RUNTIME;\n"
    + OPTIONS
    + "extend google.protobuf.FieldOptions { int32 x = 50000; } //!\n",
    *(
        in_message(P3, line + " //!")
        for line in (
            "int32 a = 1 [edition_defaults = { edition: 1.5 }];",
            "int32 a = 1 [feature_support = { deprecation_warning: 'x' }];",
            "int32 a = 1 [feature_support = { edition_removed: EDITION_2023 }];",
            "int32 a = 1 [feature_support = {}, feature_support = {}];",
            "int32 a = 1 [targets = TARGET];",
            "M a = 1 [jstype = JS_STRING];",
            "int32 a = 1 [ctype = 1];",
            "repeated M a = 1 [packed = true];",
            "int32 a = 1 [deprecated];",
            "int32 a = 1 [deprecated = true deprecated = true];",
            "int32 a = 1 [json_name = 'a\\0b'];",
            "option (x) = 1;",
            "oneof o { option deprecated = true; int32 a = 1; }",
            "extensions 5;",
            "repeated group G = 1 { }",
        )
    ),
    P3 + "message M { option map_entry = true; } //!\n",
    # a file's own options
    *(
        own(kind, f"(x) = {value}")
        for kind, values in {
            "int32": ("2147483648", "-2147483649", "1.5", '"1"', "true", "{}", "-inf", "[1]"),
            "uint32": ("-1", "-0", "4294967296"),
            "uint64": ("18446744073709551616", "0xfffffffffffffffff"),
            "int64": ("9223372036854775808", "-9223372036854775809"),
            "float": ("true", '"1"', "-infinity", "{}"),
            "bool": ("1", '"true"', "True", "0"),
            "string": ("x", "1", "{}", r'"\xff"', r'"\q"'),
            "E": ("TWO", "1", '"ONE"', "E.ONE"),
            "T": (
                "1",
                '"x"',
                "{ nothing: 1 }",
                "{ a: 'x' }",
                "{ a: 1 a: 2 }",
                "{ a 1 }",
                "{ t: 1 }",
                "{ e: TWO }",
                "{ a: 2147483648 }",
                "{ r: [1, }",
                "< a: 1 >",
                "{ b: 2 }",
                "{ t { } t { } }",
                "{ a: 1 ] }",
                "{ [nothing]: 1 }",
            ),
        }.items()
        for value in values
    ),
    own("int32", "(x) = 1, (x) = 2"),
    own("int32", "(x).a = 1"),
    own("T", "(x) = { a: 1 }, (x).a = 2"),
    own("T", "(x).a = 1, (x) = { s: 'x' }"),
    own("T", "(x).nothing = 1"),
    own("T", "(x).(x) = 1"),
    own("repeated T", "(x).a = 1"),
    own("int32", "(x) = 1", "File").replace("FileOptions", "FieldOptions"),
    own("int32 y = 1000; int32", "(y) = 1, (y) = 1"),
    own("int32", "(T) = 1"),
    P3 + "package a;\n" + OPTIONS + "extend google.protobuf.FieldOptions { int32 x = 50000; }\n"
    "message a {}\nmessage M {\n int32 b = 1 [(a.x) = 1]; //!\n}\n",
    P3 + OPTIONS + "extend google.protobuf.FieldOptions { int32 x = 50000; }\nmessage M { option (x) = 1; } //!\n",
    P3 + OPTIONS + "message A { extend google.protobuf.MessageOptions { int32 x = 50000; }\n option (x) = 1; //!\n}\n",
    P3 + OPTIONS + "extend google.protobuf.MessageOptions { int32 x = 50000 [targets = TARGET_TYPE_FIELD]; }\n"
    "message M {\n option (x) = 1; //!\n}\n",
    P3 + OPTIONS + "message T { int32 a = 1 [targets = TARGET_TYPE_FIELD]; }\n"
    "extend google.protobuf.MessageOptions { T x = 50000; }\n"
    "message M {\n option (x) = { a: 1 }; //!\n}\n",
    P3 + OPTIONS + "extend google.protobuf.FieldOptions { } //!\n",
    P3 + OPTIONS + "extend google.protobuf.FieldOptions { ; } //!\n",
    P3 + OPTIONS + "extend google.protobuf.FieldOptions { int32 x = 999; } //!\n",
    P3 + OPTIONS + "extend google.protobuf.SourceCodeInfo { int32 x = 50000; } //!\n",
    P3 + OPTIONS + "extend google.protobuf.FieldOptions { google.protobuf.FieldDescriptorProto.Type x = 50000; } //!\n",
    P3
    + OPTIONS
    + TYPE.replace("E e = 5; ", "")
    + "extend google.protobuf.MessageOptions { T x = 50000 [targets = TARGET_TYPE_FIELD]; }\n"
    "message M {\n option (x).a = 0; //!\n}\n",
    # packages
    P3 + "package " + ".".join("a" * 102) + "; //!\n",
    P3 + "package a.b.; //!\n",
    P3 + "package .a; //!\n",
    P3 + "package 'a'; //!\n",
    in_message(P3, *["message M {"] * 30, "message M { } //!", "}" * 30),
)


CRASHING = (own("string", r'(x) = "\xff"'),)


def wrong_line(text: str) -> int:
    """Return the number of the line that is marked."""
    return text[: text.index("//!")].count("\n") + 1
