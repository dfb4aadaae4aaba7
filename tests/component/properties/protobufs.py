"""A generator of valid protobufs, and of the same protobufs with a fault."""

import re
from random import Random

SCALARS = ("double", "float", "int32", "int64", "uint32", "bool", "string", "bytes", "sint64", "fixed32", "uint64")
HEADS = {
    "proto3": (
        'syntax = "proto3";',
        "// first\nsyntax='proto3' ;",
        'syntax="pro" /**/ "to\\x33";',
        '\rsyntax="proto3";',
    ),
    "proto2": ('syntax = "proto2";', "syntax='proto2' ;", ""),
    "": ("", "// no syntax\n", ";"),
    "2023": ('edition = "2023";', "edition='20' '23';"),
}
WEIGHTS = {"proto3": 45, "proto2": 30, "": 10, "2023": 15}
# Values of options and defaults by type; each value is also tried with other types.
VALUES = {
    "int32": ("0", "1", "-1", "0x7fffffff", "017", "-2147483648", "2147483648", "- 5"),
    "int64": ("9223372036854775807", "-9223372036854775808", "9223372036854775808", "-9223372036854775809"),
    "uint32": ("4294967295", "4294967296", "0", "-1"),
    "uint64": ("18446744073709551615", "18446744073709551616", "-0", "0xfffffffffffffffff", "02000000000000000000000"),
    "float": ("1.5", "-1.5e3", "inf", "-inf", "nan", "-nan", "1e400", "7", ".5", "1.", "99999999999999999999999"),
    "bool": ("true", "false", "1", "True"),
    "string": (
        '"x"', "'it'", '"a" "b"', r'"\n\t\\"', r'"\x41\101\u00e9\U0001F600"', r'"\ud83d\ude00"', '""', '"größer"',
    ),
    "bytes": ('"x"', r'"\001\x7f"', r"'\'\?\a'"),
    "enum": ("ZERO", "ONE", "TWO", "0"),
    "message": (
        "{}", "{ a: 1 }", '{ s: "x" r: [1, 2] }', "{ o { a: 1 } }", "{ o: < a: 0x10 >; a: 1, }", "{ a: 1 a: 2 }",
        "{ a: 'x' }", "{ e: ONE }", "{ e: 7 }", "{ b: t, f: 1.5 }", "{ f: -inf /* { */ }", "-{ a: 1 }", "{ x: 1 }",
        "{ r: 1 // }\n r: 2 }", '{ s: "a" \'b\' }', "{ o { o { o { b: true } } } }", "{ a: 1 # }\n }", "{ u: -1 }",
    ),
}  # fmt: skip
OWN = {"a": "int32", "s": "string", "r": "int32", "e": "enum", "b": "bool", "f": "float", "u": "uint32"}
# The number of leading VALUES that are valid, by type.
RIGHT = {"int32": 6, "int64": 2, "uint32": 1, "uint64": 1, "bool": 2, "enum": 2, "message": 5}
TYPES = {"sint64": "int64", "fixed32": "uint32", "double": "float"}
FIELD_OPTIONS = (
    "deprecated = true", "deprecated = false", 'json_name = "j{}"', "jstype = JS_NORMAL", "ctype = CORD", "weak = true",
    "debug_redact = true", "targets = TARGET_TYPE_FIELD", 'edition_defaults = {{ edition: EDITION_2023, value: "x" }}',
    "feature_support = {{ edition_introduced: EDITION_2023 }}",
    "jstype = JS_STRING", "packed = true", "packed = false", "lazy = true", "unverified_lazy = true",
    "retention = RETENTION_SOURCE", "targets = TARGET_TYPE_MESSAGE",
    "feature_support.edition_removed = EDITION_2024", 'json_name = "\\x6a{}"', 'json_name = "[x]"', 'json_name = ""',
    "features.field_presence = EXPLICIT", "features.repeated_field_encoding = EXPANDED", "features = {{}}",
    "map_entry = true", "uninterpreted_option = {{}}", "default = 1",
)  # fmt: skip
FILE_OPTIONS = (
    'java_package = "x.y"', "optimize_for = SPEED", "optimize_for = LITE_RUNTIME", "cc_generic_services = true",
    r'java_package = "C:\\x"', r'go_package = "a\x2fb;c"', "java_multiple_files = true", 'php_namespace = "A\\\\B"',
    "features.enum_type = CLOSED", "optimize_for = 1", "java_package = x", 'java_package = "x" "y"', "deprecated = -1",
)  # fmt: skip
STATEMENTS = (
    "reserved {0}, {1} to {2};",
    "option deprecated = true;",
    ";",
    "reserved {0}, 0x{1};",
    "reserved {0};",
    "option no_standard_descriptor_accessor = true;",
    "option deprecated_legacy_json_field_conflicts = true;",
    'reserved "f\\x6fo";',
    "reserved foo, bar;",
    'reserved "foo", "bar";',
    "option map_entry = false;",
    "reserved {0} to max;",
)
EXTENDABLE = ("File", "Message", "Field", "Enum", "EnumValue", "Oneof", "Service", "Method", "ExtensionRange")
SPACES = (
    " ", " ", "\n", "\r\n", "\r", "\t", "/* x */", "/* message A { */", "// x\n", "// old\rremark\n", "//\r\n", "/**/",
    "/* * / */", "/* \r */", "\f", "\v",
)  # fmt: skip

TOKEN = re.compile(r'\s+|[A-Za-z_]\w*|\d+|"[^"]*"|.', re.DOTALL)
JUNK = (
    "{", "}", "(", ")", ";", "=", "<", ">", ",", "[", "]", ".", ":", "/*", "*/", "//", "\n", "'", '"', '"x"', "$", "#",
    "0", "1", "-1", "09", "0x1F", "1.5", "1e3", "19500", "536870912", "a.b", "Foo", "é", "\0", "true", "to", "max",
    "map", "message", "enum", "oneof", "service", "rpc", "stream", "returns", "repeated", "optional", "required",
    "group", "reserved", "extend", "extensions", "option", "syntax", "import", "package", "default", "json_name",
    "\r", "\\", "\r\n", "\v", "\x01", "\x7f", r'"\q"', r'"\x"', r'"C:\me"', r'"\u12"', "(x)", "(x).a", "-", "+", "08.5",
    "1.5.5", "1a", "inf", "weak", "public", "edition", "export", "local", "{}", "[]", "allow_alias", "false", '"',
    "2147483647", "4294967296", "int32", "string", ".int32", "features", "// \r", "/* /* */", "/*/", "/",
)  # fmt: skip


class Generator:
    """A writer of one file; few names in it are used twice, which is allowed in some positions."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._slip = random.choice((0, 0, 0, 0.05))  # how often an error is written on purpose
        self._number = 0
        self._names: list[str] = []
        self._messages = [self._name("M") for _ in range(random.randint(1, 4))]
        self._enums: list[str] = []
        self._current = ""
        self._ranges: list[str] = []  # messages with extensions 100 to 199
        self._own: list[tuple[str, str, str]] = []  # options: their target, name and type
        self._syntax = random.choices(list(WEIGHTS), weights=list(WEIGHTS.values()))[0]

    @property
    def _is_proto2(self) -> bool:
        return self._syntax in ("proto2", "")

    def file(self) -> str:
        """Return a file, which is usually valid."""
        random = self._random
        parts = [random.choice(HEADS[self._syntax])]
        if random.random() < 0.15:
            name = self._pick(("timestamp", "any", "compiler/plugin", "wra\\x70pers"), ("none", "../any", "./any"))
            kind = self._pick(("", "", "public ", "weak "), ("option ",))
            parts.append(f'import {kind}"google/protobuf/{name}.proto";')
        has_options = random.random() < 0.3
        if has_options:
            parts.append('import "google/protobuf/descriptor.proto";')
        if random.random() < 0.2:
            parts.append(f"package {self._pick(('a.b', 'a.a', 'a . b', 'google'), ('M1', 'google.protobuf.M1'))};")
        if random.random() < 0.2:
            parts.append(f"option {self._pick(FILE_OPTIONS[:6], FILE_OPTIONS)};")
        if has_options:
            parts.append(self._options_of_its_own())
            if random.random() < 0.3:
                parts.append(f"option {self._custom('File')};")
        if random.random() < 0.25:
            parts.append(self._enum())
            self._enums.append(self._names[-1])
        for name in self._messages:
            self._current = name
            parts.append(f"/* {name} */ message {name} {{\n  {self._body()}\n}}")
        if self._ranges and random.random() < 0.7:
            parts.append(self._extend())
        rpcs = "".join(self._rpc() for _ in range(random.randint(0, 3)))
        parts.append(f"service {self._name('S')} {{\n{self._statement('Service')}{rpcs}}}")
        return self._spaced("\n".join(parts) + "\n")

    def _spaced(self, text: str) -> str:
        """Return the text with other white space and comments in odd positions, in one file of three."""
        if self._random.random() < 0.67:
            return text
        words = re.findall(r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|//[^\n]*\n|/\*.*?\*/|\s+|\w+|.", text, re.DOTALL)
        for _ in range(self._random.randint(1, 6)):
            place = self._random.randrange(len(words))
            if words[place].isspace():
                words[place] = self._random.choice(SPACES)
        if self._random.random() < 0.1:
            words = [it.replace("\n", "\r") for it in words]
        return "".join(words)

    def _pick(self, right: tuple[str, ...], wrong: tuple[str, ...]) -> str:
        return self._random.choice(wrong if self._random.random() < self._slip else right)

    def _name(self, prefix: str) -> str:
        self._number += 1
        names = self._names
        again = names and self._random.random() < self._slip / 2
        name = self._random.choice(names) if again else f"{prefix}{self._number}"
        names.append(name)
        return name

    def _type(self, types: tuple[str, ...]) -> str:
        """Return one of these types, or a nested type, which rarely exists."""
        name = self._random.choice(types)
        if self._random.random() < self._slip:
            name = f"{self._random.choice(self._names)}.{self._random.choice(self._names)}"
        return f".{name}" if name not in SCALARS and self._random.random() < 0.03 else name

    def _label(self) -> str:
        random = self._random
        if random.random() < self._slip:
            return random.choice(("", "optional ", "required ", "repeated "))
        if self._is_proto2:
            return random.choice(("optional ", "optional ", "required ", "repeated "))
        return random.choice(("", "", "repeated ", "optional " if self._syntax == "proto3" else ""))

    def _value(self, kind: str) -> str:
        """Return a value, usually of this type."""
        kind = TYPES.get(kind, kind)
        wrong = VALUES[self._random.choice(list(VALUES))]
        right = VALUES.get(kind, VALUES["enum"])
        return self._pick(right[: RIGHT.get(kind)], (*right, *wrong))

    def _options_of_its_own(self) -> str:
        """Return options that the file declares, with a message and an enum as the types of some."""
        one = "optional " if self._is_proto2 else ""
        fields = (
            f"{one}int32 a = 1; {one}string s = 2; repeated int32 r = 3; {one}Option o = 4; "
            f"{one}OptionEnum e = 5; {one}bool b = 6; {one}float f = 7; {one}uint32 u = 8;"
        )
        parts = ["enum OptionEnum { ZERO = 0; ONE = 1; }", f"message Option {{ {fields} }}"]
        for place in range(self._random.randint(1, 4)):
            what, name = self._random.choice(EXTENDABLE), self._name("x")
            kind = self._random.choice((*SCALARS, "Option", "Option", "OptionEnum"))
            number = self._pick((f"{50_000 + place}", f"{1000 + place}"), ("995", "999", "19500", "1000"))
            label = "repeated " if self._random.random() < 0.2 else one
            target = self._random.choice(("", "", "", "targets = TARGET_TYPE_FIELD", "retention = RETENTION_SOURCE"))
            target = target and f" [{target}]"
            parts.append(f"extend google.protobuf.{what}Options {{ {label}{kind} {name} = {number}{target}; }}")
            self._own.append((what, name, {"Option": "message", "OptionEnum": "enum"}.get(kind, kind)))
        return "\n".join(parts)

    def _custom(self, what: str) -> str:
        """Return one of these options with a value."""
        random = self._random
        own = [it for it in self._own if it[0] == what] or self._own
        if not own or random.random() < self._slip or (own[0][0] != what and random.random() > self._slip):
            return self._pick(("deprecated = true",), ("(nothing) = 1", "(.x.y) = 1"))
        _, name, kind = random.choice(own if random.random() > self._slip else self._own)
        if kind == "message" and random.random() < 0.4:
            inner = random.choice("asrebfu")
            name, kind = f"({name}).{inner}{self._pick(('',), ('.a', '.q'))}", OWN[inner]
        else:
            name = f"({random.choice(('', '', '', '.'))}{name})"
        return f"{name} = {self._value(kind)}"

    def _statement(self, what: str) -> str:
        return f"option {self._custom(what)};" if self._own and self._random.random() < 0.2 else ""

    def _field_options(self, kind: str, *, can_default: bool = True) -> str:
        """Return the bracketed options of a field."""
        random, options = self._random, []
        if random.random() < 0.25:
            options.append(self._pick(FIELD_OPTIONS[:10], FIELD_OPTIONS).format(self._number))
        right = self._is_proto2 or self._syntax == "2023"
        if random.random() < (0.25 if right and kind in SCALARS and can_default else self._slip):
            options.append(f"default = {self._value(kind)}")
        if self._own and random.random() < 0.25:
            options += (self._custom("Field") for _ in range(random.randint(1, 2)))
        if random.random() > self._slip:  # each option once
            options = list({it.partition(" ")[0]: it for it in options}.values())
        return f" [{', '.join(options)}]" if options else ""

    def _enum(self) -> str:
        random = self._random
        name = self._name("E")
        first, second = (f"{random.choice(('', '', '', name + '_'))}{self._name('A')}" for _ in range(2))
        if random.random() < 0.05:
            first = f"{name.lower()}_{second}"
        numbers = ["0", random.choice(("1", "-1", "5", "0x8"))]
        kept = "reserved OLD; " if self._syntax == "2023" else 'reserved "OLD"; '
        wrong = (
            "reserved OLD; ", 'reserved "OLD"; ', "reserved 1; ", "option allow_alias = false; ",
            "option allow_alias = true; ",
        )  # fmt: skip
        before = self._pick(("", "", "", "", "reserved 2, 9 to max; ", kept, ";"), wrong)
        if random.random() < (0.2 if self._is_proto2 else self._slip):
            numbers = [self._pick(("7", "-2147483648", "2147483647"), ("2147483648", "09")), numbers[1]]
            before = ""
        if random.random() < 0.1:
            before, numbers[1] = before + self._pick(("option allow_alias = true; ",), ("",)), numbers[0]
        if random.random() < 0.05:
            before += "option deprecated_legacy_json_field_conflicts = true; "
        options = f" [{self._custom('EnumValue')}]" if self._own and random.random() < 0.2 else ""
        values = f"{first} = {numbers[0]}{options}; {second} = {numbers[1]} ;"
        self._names.append(name)
        return f"enum {name} {{ {before}{self._statement('Enum')}{values} }}"

    def _rpc(self) -> str:
        sides = [f"{self._random.choice(('', 'stream '))}{self._random.choice(self._messages)}" for _ in range(2)]
        end = self._random.choice((
            ";", " {}", " { option deprecated = true; }", " { ; };", f" {{ {self._statement('Method')} }}",
            " { option idempotency_level = IDEMPOTENT; }",
        ))  # fmt: skip
        return f"  rpc {self._name('r')}({sides[0]}) returns ({sides[1]}){end}\n"

    def _extend(self) -> str:
        """Return extensions of the file's own messages."""
        extended = self._pick(tuple(self._ranges), tuple(self._messages))
        types = (*SCALARS, *self._messages)
        fields = "".join(
            f" {self._extension_label()}{self._random.choice(types)} {self._name('y')} = {number};"
            for number in self._random.sample((100, 101, 150, 199), self._random.randint(1, 2))
        )
        if self._random.random() < (0.2 if self._is_proto2 else self._slip):
            label = self._extension_label()
            fields += f" {label}group {self._name('G')} = 160 {{ {self._label()}int32 a = 1; }}"
        return f"extend {extended} {{{self._pick((fields,), ('', ';' + fields))} }}"

    def _extension_label(self) -> str:
        return self._pick(("optional ", "repeated ") if self._is_proto2 else ("repeated ", ""), ("required ", ""))

    def _body(self, depth: int = 0) -> str:
        random, number, local, parts = self._random, 1, [""] * 0, [""] * 0
        if random.random() < 0.3:
            parts.append(self._enum())
            local.append(self._names[-1])
        if random.random() < (0.06 if self._own else self._slip):
            option = f"string {self._name('x')} = {self._pick(('60000', '60001'), ('999', '50000'))}"
            parts.append(f"extend google.protobuf.FieldOptions {{ {self._extension_label()}{option}; }}")
        if depth < 2 and random.random() < 0.3:
            local.append(self._name("N"))
            parts.append(f"message {local[-1]} {{ {self._body(depth + 1)} }}")
        if depth == 0 and random.random() < (0.25 if self._syntax != "proto3" else self._slip):
            options = self._pick(("", "", "", " [verification = UNVERIFIED]"), (" [verification = DECLARATION]",))
            if random.random() < 0.1:
                number_declared = self._pick(("100",), ("99", "200"))
                options = f' [declaration = {{ number: {number_declared} full_name: ".y" type: "int32" }}]'
            elif self._own and random.random() < 0.3:
                options = f" [{self._custom('ExtensionRange')}]"
            numbers = self._pick(("100 to 199", "100, 101 to 199", "100 to max"), ("199 to 100", "1 to 199"))
            parts.append(f"extensions {numbers}{options};")
            self._ranges.append(self._current)
            if random.random() < self._slip:
                parts.append("option message_set_wire_format = true;")
        parts.append(self._statement("Message"))
        for _ in range(random.randint(0, 5)):
            parts.append(self._member(number, (*SCALARS, *self._messages, *self._enums, *local, *local), depth))
            number += 2 if random.random() < self._slip else random.choice((4, 4, 5))
        return "\n  ".join(parts)

    def _member(self, number: int, types: tuple[str, ...], depth: int) -> str:
        random, kind = self._random, self._random.random()
        name = self._type(types)
        if kind < 0.6:
            label = self._label()
            options = self._field_options(name, can_default=label != "repeated ")
            return f"{label}{name} {self._name('f_')} = {number}{options};"
        if kind < 0.72:
            key = self._pick(("string", "int32", "bool", "string", "int64"), ("float", "bytes", *types))
            options = self._field_options("map") if random.random() < 0.2 else ""
            return f"map<{key}, {name}> {self._name('m_')} = {number}{options};"
        if kind < 0.85:
            fields = [f"{self._type(types)} {self._name('f')} = {number + it};" for it in range(2)]
            if self._is_proto2 and random.random() < 0.2:
                fields.append(f"group {self._name('G')} = {number + 2} {{ }}")
            return f"oneof {self._name('o')} {{ {self._statement('Oneof')} {' '.join(fields)} }}"
        if kind < (0.93 if self._is_proto2 else 0.86) and depth < 3:
            return f"{self._label()}group {self._name('G')} = {number} {{ {self._body(depth + 1)} }}"
        kept = "reserved foo, bar;" if self._syntax == "2023" else 'reserved "foo", "bar";'
        right = (*STATEMENTS[:5], kept)
        return self._pick(right, (*right, *STATEMENTS[5:])).format(number, number + 2, number + 3)


def broken(text: str, random: Random) -> str:
    """Return the text with one to three words added, missing, swapped, or cut off."""
    words = TOKEN.findall(text)
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        place, kind = random.randrange(len(words)), random.random()
        if kind < 0.25:
            words[place] = ""
        elif kind < 0.45:
            words.insert(place, random.choice(JUNK))
        elif kind < 0.65:
            words[place] = random.choice(JUNK)
        elif kind < 0.8:
            words[place] = random.choice(words)
        elif kind < 0.92:
            other = random.randrange(len(words))
            words[place], words[other] = words[other], words[place]
        else:
            words = words[: place + 1]
    return "".join(words)
