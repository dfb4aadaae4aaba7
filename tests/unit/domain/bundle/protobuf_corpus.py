"""Protobufs of our own: valid files, and one invalid file with its line for each kind of mistake."""

HEAD = 'syntax = "proto3";\n'
SERVICE = "service Model {\n  rpc run(In) returns (Out);\n}\n"
MESSAGES = "message In { string text = 1; }\nmessage Out { repeated string words = 1; }\n"
GOOD = HEAD + MESSAGES + SERVICE

SCALARS = (
    "double", "float", "int32", "int64", "uint32", "uint64", "sint32", "sint64", "fixed32", "fixed64", "sfixed32",
    "sfixed64", "bool", "string", "bytes",
)  # fmt: skip

RIGHT: dict[str, str] = {
    "as small as it gets": HEAD + "message A {}\nservice S { rpc r(A) returns (A); }\n",
    "an ordinary one": GOOD,
    "a byte order mark": "\ufeff" + GOOD,
    "the line ends of Windows": GOOD.replace("\n", "\r\n"),
    "the line ends of an old Macintosh": GOOD.replace("\n", "\r"),
    "single quotes": GOOD.replace('"', "'"),
    "a syntax in two strings": GOOD.replace('"proto3"', '"pro" "to3"'),
    "comments that look like code": f"// service Fake {{}}\n/* message In {{ */ {GOOD}/* service Other {'{'} */\n",
    "a comment at the end without a line end": GOOD + "// end",
    "comments in every place": HEAD + "message /* a */ In { /* b */ string // c\n text /* d */ = 1; }\n"
    "message Out {}\n" + SERVICE,
    "nested messages": GOOD + "message A { message B { message C { int32 x = 1; } C c = 1; } B.C c = 1; A.B b = 2; }\n",
    "a message within itself": GOOD + "message Tree { repeated Tree children = 1; map<string, Tree> named = 2; }\n",
    "full names": GOOD + "message A { .In x = 1; .A.B y = 2; message B {} }\n",
    "maps": GOOD + "message A { map<string, int32> a = 1; map<int64, Out> b = 2; map<bool, bytes> c = 3; }\n",
    "a oneof": GOOD + "message A { oneof kind { string name = 1; In value = 2; } int32 after = 3; }\n",
    "optional fields": GOOD + "message A { optional int32 a = 1; optional In b = 2; int32 _a = 3; }\n",
    "reserved numbers": GOOD + "message A { reserved 1, 3 to 5, 100 to max; int32 a = 2; }\n",
    "reserved names": GOOD + 'message A { reserved "old", "older"; int32 a = 1; }\n',
    "nested enums": GOOD + "message A { enum E { ZERO = 0; ONE = 1; MINUS = -1; } E e = 1; repeated E es = 2; }\n",
    "aliases of an enum": GOOD + "message A { enum E { option allow_alias = true; ZERO = 0; NULL = 0; } E e = 1; }\n",
    "reserved numbers of an enum": GOOD + "message A { enum E { reserved 2, 9 to max; ZERO = 0; } E e = 1; }\n",
    "options of a file": HEAD + 'option java_package = "x.y";\noption optimize_for = SPEED;\n' + MESSAGES + SERVICE,
    "options of a field": GOOD + 'message A { int32 a = 1 [deprecated = true, json_name = "b"]; }\n',
    "a packed field": GOOD + "message A { repeated int32 a = 1 [packed = true]; }\n",
    "options of a message": GOOD + "message A { option deprecated = true; }\n",
    "options of an operation": HEAD
    + MESSAGES
    + "service Model { rpc run(In) returns (Out) { option deprecated = true; } }\n",
    "streams": HEAD
    + MESSAGES
    + "service Model {\n rpc run(stream In) returns (stream Out);\n rpc b(In) returns (Out) {}\n}\n",
    "all scalar types": GOOD
    + "message A { "
    + "".join(f"{it} f{n} = {n}; " for n, it in enumerate(SCALARS, 1))
    + "}\n",
    "names that are keywords": GOOD
    + "message message { string message = 1; int32 rpc = 2; bool service = 3; map<string, In> map = 4; In to = 5; }\n",
    "values that are called like keywords": GOOD
    + "message A { enum E { option allow_alias = true; group = 0; reserved 5; map = 1; message = 1; } }\n",
    "a oneof's types that are called like keywords": GOOD
    + "message A { oneof message { In option = 1; Out reserved = 2; } }\n",
    "reserved numbers that no field has": GOOD + "message A { reserved 536870912, 600000000 to 2147483646; }\n",
    "numbers as hex and octal": GOOD + "message A { int32 a = 0x10; int32 b = 017; }\n",
    "the largest numbers": GOOD + "message A { int32 a = 18999; int32 b = 20000; int32 c = 536870911; }\n",
    "empty statements": HEAD + ";;" + MESSAGES.replace("{ ", "{ ; ") + SERVICE,
    "the brace in the next line": HEAD + MESSAGES + "service Model\n{\n  rpc run(In) returns (Out);\n}\n",
    "everything in few lines": HEAD + MESSAGES.replace("\n", " ") + "\n" + SERVICE.replace("\n", " "),
    "two services": GOOD + "service Other { rpc other(Out) returns (In); }\n",
    "a service without operations": HEAD + "message In {}\nservice Model {}\n",
    "fields with the names of types outside": GOOD + "message A { In In = 1; oneof Out { Out out = 2; } }\n",
    "a value with the name of a type outside": GOOD
    + "message A { enum E { In = 0; } message B { In x = 1; } In y = 2; }\n",
    "a field with the name of a scope outside": GOOD + "message A { message B {} }\n"
    "message C { int32 A = 1; A.B b = 2; }\n",
    "a scope with its package's name": HEAD
    + "package a.b;\n"
    + MESSAGES
    + SERVICE
    + "message a { message X {} }\nmessage A { a.X x = 1; b.In y = 2; .a.b.In z = 3; a.X a = 4; }\n",
    "values with and without the enum's name": GOOD
    + "message A { enum E { option allow_alias = true; E_A = 0; A = 0; E_B_C = 1; BC = 2; E_ = 3; } }\n",
    "a lazy map": GOOD + "message A { map<int32, In> a = 1 [lazy = true]; In b = 2 [lazy = true]; }\n",
    "names in JSON that are given": GOOD
    + 'message A { int32 a = 1 [json_name = "b"]; int32 c = 2 [json_name = "a"]; }\n',
    "an option of its own": HEAD
    + 'import "google/protobuf/descriptor.proto";\n'
    + MESSAGES
    + SERVICE
    + "extend google.protobuf.FieldOptions { optional string note = 50000; }\n"
    'message A { int32 a = 1 [(note) = "x"]; }\n',
    "form feeds and tabs": GOOD.replace("\n", "\n\f\t\v").replace("\n\f\t\vservice", "\nservice"),
    "letters of other languages in comments and strings": GOOD + '// größer, 日本\noption java_package = "größer";\n',
}

# Case → its text and the line of the error.
WRONG: dict[str, tuple[str | bytes, int]] = {
    "nothing that is a protobuf": ("not a protobuf", 1),
    "a page": ("<!doctype html>\n<title>Log in</title>", 1),
    "JSON": ('{"nodes": []}', 1),
    "a Python module": ("import grpc\nclass Model:\n  pass\n", 1),
    "a zip": (b"PK\x03\x04\x14\x00\x00\x00\xff\xfe", 1),
    "Latin-1": (GOOD.encode() + "größer".encode("latin-1"), 7),
    "UTF-16": (GOOD.encode("utf-16"), 1),
    "NUL in a comment": (GOOD + "// \0\n", 7),
    "a bell": (GOOD + "\a", 7),
    "a syntax that does not exist": ('syntax = "proto4";\n' + MESSAGES + SERVICE, 1),
    "the syntax after something else": (MESSAGES + HEAD + SERVICE, 3),
    "cut off in a message": (HEAD + "message In {\n  string text = 1;\n", 4),
    "cut off in a comment": (GOOD + "/* and so on\n", 7),
    "cut off in a string": (HEAD + 'option java_package = "x\n;', 2),
    "a comment in a comment": (GOOD + "/* a /* b */ */\n", 7),
    "no semicolon": (HEAD + "message In {\n  string text = 1\n}\n" + SERVICE, 4),
    "a comma for a semicolon": (HEAD + "message In {\n  string text = 1,\n}\n", 3),
    "no number": (HEAD + "message In {\n  string text;\n}\n", 3),
    "no type": (HEAD + "message In {\n  text = 1;\n}\n", 3),
    "a brace too many": (GOOD + "}\n", 7),
    "a name with a hyphen": (HEAD + "message My-Message {}\n", 2),
    "a name that begins with a digit": (HEAD + "message 2D {}\n", 2),
    "a keyword and a name in one word": (GOOD + "service B {\n rpc b(In) returns (In) {optiondeprecated = true;}}", 8),
    "a keyword that goes on": (HEAD + "messages In {}\n", 2),
    "a type that does not exist": (HEAD + "message In {\n  Text text = 1;\n}\n" + "message Out {}\n" + SERVICE, 3),
    "a type by a wrong case": (GOOD + "message A {\n  String a = 1;\n}\n", 8),
    "a type of another message's inside": (GOOD + "message A { message B {} }\nmessage C {\n  B b = 1;\n}\n", 9),
    "an operation's type that does not exist": (HEAD + "message In {}\n" + SERVICE, 4),
    "an operation on a scalar": (GOOD + "service B {\n  rpc b(string) returns (Out);\n}\n", 8),
    "an operation on an enum": (GOOD + "message A { enum E { Z = 0; } }\nservice B {\n rpc b(A.E) returns (In);}\n", 9),
    "an operation with its message's name": (GOOD + "service B {\n rpc In(In) returns (Out);\n}\n", 8),
    "an operation without an answer": (GOOD + "service B {\n  rpc b(In);\n}\n", 8),
    "two operations of one name": (GOOD + "service M {\n rpc a(In) returns (Out);\n rpc a(In) returns (In);\n}\n", 9),
    "two messages of one name": (GOOD + "message In {}\n", 7),
    "a message with its service's name": (GOOD + "message Model {}\n", 7),
    "two fields of one name": (HEAD + "message A {\n  int32 a = 1;\n  int32 a = 2;\n}\n", 4),
    "a field with a nested message's name": (GOOD + "message A {\n message B {}\n int32 B = 1;\n}\n", 9),
    "a field with a nested value's name": (GOOD + "message A {\n enum E { Z = 0; }\n int32 Z = 1;\n}\n", 9),
    "a oneof with a nested enum's name": (GOOD + "message A {\n enum E { Z = 0; }\n oneof E { In x = 1; }\n}\n", 9),
    "a field with the name of a map's entries": (GOOD + "message A {\n map<int32, In> b = 1;\n In BEntry = 2;\n}\n", 9),
    "a message with an optional field's own oneof": (GOOD + "message A {\n message _b {}\n optional In b = 1;\n}\n", 9),
    "an option of its own with a message's name": (
        HEAD + 'import "google/protobuf/descriptor.proto";\nmessage A {}\n'
        "extend google.protobuf.FieldOptions {\n string A = 50000;\n}\n",
        5,
    ),
    "an option of its own with a low number": (
        HEAD + 'import "google/protobuf/descriptor.proto";\nextend google.protobuf.FieldOptions {\n int32 a = 9;\n}\n',
        4,
    ),
    "an option of its own with a number of protobuf's own": (
        HEAD + 'import "google/protobuf/descriptor.proto";\nextend google.protobuf.FileOptions {\nint32 a=19500;\n}\n',
        4,
    ),
    "a message with an imported package's name": (HEAD + 'import "google/protobuf/any.proto";\nmessage google {}\n', 3),
    "a package with an imported message's name": (
        HEAD + 'import "google/protobuf/any.proto";\npackage google.protobuf.Any;\n', 3
    ),
    "a type hidden by a nearer scope": (
        GOOD + "message A { message B {} }\nmessage C {\n message A {}\n A.B b = 1;\n}\n", 10
    ),
    "a type hidden by its package": (HEAD + "package a.a;\nmessage X {}\nmessage A {\n a.a.X x = 1;\n}\n", 5),
    "a type that only an import imports": (
        HEAD + 'import "google/protobuf/type.proto";\nmessage A {\n google.protobuf.Any a = 1;\n}\n', 4
    ),
    "a map's entries as a type": (GOOD + "message A {\n map<int32, In> b = 1;\n BEntry c = 2;\n}\n", 9),
    "values that are one without the enum's name": (
        GOOD + "message A {\n enum E {\n E_A = 0;\n A = 1;\n }\n}\n", 10
    ),
    "a name in JSON that another one had": (
        GOOD + 'message A {\n int32 a = 1 [json_name = "b"];\n int32 b = 2;\n}\n', 9
    ),
    "a name in JSON given too late": (
        GOOD + 'message A {\n int32 a_b = 1 [json_name = "x"];\n int32 aB = 2;\n}\n', 9
    ),
    "a name in JSON in brackets": (GOOD + 'message A {\n int32 a = 1 [json_name = "[x]"];\n}\n', 8),
    "a message set": (GOOD + "message A {\n option message_set_wire_format = true;\n}\n", 7),
    "a lazy number": (GOOD + "message A {\n int32 a = 1 [lazy = true];\n}\n", 8),
    "a lazy enum": (GOOD + "message A {\n enum E { Z = 0; }\n E a = 1 [lazy = true];\n}\n", 9),
    "a jstype of 32 bits": (GOOD + "message A {\n int32 a = 1 [jstype = JS_STRING];\n}\n", 8),
    "two fields of one number": (HEAD + "message A {\n  int32 a = 1;\n  int32 b = 1;\n}\n", 4),
    "two fields of one name in JSON": (HEAD + "message A {\n  int32 a_b = 1;\n  int32 aB = 2;\n}\n", 4),
    "the number 0": (HEAD + "message A {\n  int32 a = 0;\n}\n", 3),
    "a negative number": (HEAD + "message A {\n  int32 a = -1;\n}\n", 3),
    "a number that is too large": (HEAD + "message A {\n  int32 a = 536870912;\n}\n", 3),
    "a number of protobuf's own": (HEAD + "message A {\n  int32 a = 19500;\n}\n", 3),
    "a number with a point": (HEAD + "message A {\n  int32 a = 1.0;\n}\n", 3),
    "a reserved number": (HEAD + "message A {\n  reserved 1 to 3;\n  int32 a = 2;\n}\n", 4),
    "a reserved name": (HEAD + 'message A {\n  reserved "a";\n  int32 a = 2;\n}\n', 4),
    "a range that ends before it begins": (HEAD + "message A {\n  reserved 5 to 3;\n}\n", 3),
    "a required field": (HEAD + "message A {\n  required int32 a = 1;\n}\n", 3),
    "a default value": (HEAD + "message A {\n  int32 a = 1 [default = 5];\n}\n", 3),
    "a scalar's inside": (GOOD + "message int32 { message B {} }\nmessage C {\n int32.B b = 1;\n}\n", 9),
    "an operation on a message called like a scalar": (
        GOOD + "message int32 {}\nservice B {\n rpc b(int32) returns (.int32);\n}\n", 9
    ),
    "a negative octal that is none": (GOOD + "message A {\n enum E { Z = 0; A = -09; }\n}\n", 8),
    "a reserved number that is too large": (GOOD + "message A {\n reserved 2147483647;\n}\n", 8),
    "a group": (HEAD + "message A {\n  optional group B = 1 { int32 c = 1; }\n}\n", 3),
    "extensions": (HEAD + "message A {\n  extensions 100 to 200;\n}\n", 3),
    "an extension": (GOOD + "extend In {\n  int32 more = 100;\n}\n", 8),
    "a map in a oneof": (HEAD + "message A {\n  oneof o {\n    map<string, int32> m = 1;\n  }\n}\n", 4),
    "a repeated field in a oneof": (HEAD + "message A {\n  oneof o {\n    repeated int32 m = 1;\n  }\n}\n", 4),
    "a oneof without a field": (HEAD + "message A {\n  oneof o {\n  }\n}\n", 3),
    "a map by a float": (HEAD + "message A {\n  map<float, int32> m = 1;\n}\n", 3),
    "a map by a message": (GOOD + "message A {\n  map<In, int32> m = 1;\n}\n", 8),
    "an enum without a value": (GOOD + "message A {\n  enum E {\n  }\n}\n", 8),
    "an enum that does not begin with 0": (GOOD + "message A {\n  enum E {\n    ONE = 1;\n  }\n}\n", 8),
    "two values of one number": (GOOD + "message A {\n  enum E {\n    A = 0;\n    B = 0;\n  }\n}\n", 8),
    "two enums with one value's name": (GOOD + "message A {\n  enum E { Z = 0; }\n  enum F {\n    Z = 0; }\n}\n", 10),
    "an option that does not exist": (HEAD + "option java_pakage = 1;\n", 2),
    "an option of another type": (HEAD + "message A {\n  int32 a = 1 [deprecated = 1];\n}\n", 3),
    "an option twice": (HEAD + 'option java_package = "a";\noption java_package = "b";\n', 3),
    "an option of somebody's own": (HEAD + "message A {\n  int32 a = 1 [(rules).max = 5];\n}\n", 3),
    "a packed text": (HEAD + "message A {\n  repeated string a = 1 [packed = true];\n}\n", 3),
    "an import that is not shipped": (HEAD + 'import "common.proto";\n' + MESSAGES + SERVICE, 2),
    "an import of another folder": (HEAD + 'import "../common.proto";\n', 2),
    "an import of google's other files": (HEAD + 'import "google/api/annotations.proto";\n', 2),
    "a type whose import is missing": (HEAD + "message A {\n  google.protobuf.Timestamp at = 1;\n}\n", 3),
    "two packages": (HEAD + "package a;\npackage b;\n", 3),
    "messages nested too deeply": (HEAD + "message A {\n" * 32 + "}\n" * 32, 33),
}  # fmt: skip
