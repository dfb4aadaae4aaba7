"""Protobufs out of a generator: right ones, and the same with something broken."""

import re
from random import Random

SCALARS = ("double", "float", "int32", "int64", "uint32", "bool", "string", "bytes", "sint64", "fixed32")
OPTIONS = ("", "", "", "", " [deprecated = true]", ' [json_name = "j{}"]', " [deprecated = false, jstype = JS_NORMAL]")
STATEMENTS = (
    "reserved {0}, {1} to {2};",
    'reserved "foo", "bar";',
    "option deprecated = true;",
    "reserved {0} to max;",
)

TOKEN = re.compile(r'\s+|[A-Za-z_]\w*|\d+|"[^"]*"|.', re.DOTALL)
JUNK = (
    "{", "}", "(", ")", ";", "=", "<", ">", ",", "[", "]", ".", ":", "/*", "*/", "//", "\n", "'", '"', '"x"', "$", "#",
    "0", "1", "-1", "09", "0x1F", "1.5", "1e3", "19500", "536870912", "a.b", "Foo", "é", "\0", "true", "to", "max",
    "map", "message", "enum", "oneof", "service", "rpc", "stream", "returns", "repeated", "optional", "required",
    "group", "reserved", "extend", "extensions", "option", "syntax", "import", "package", "default", "json_name",
)  # fmt: skip


class Generator:
    """Writes one file; few names in it are used twice, which is allowed in some places."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._number = 0
        self._names: list[str] = []
        self._messages = [self._name("M") for _ in range(random.randint(1, 4))]

    def file(self) -> str:
        """A right one."""
        random = self._random
        parts = [random.choice(('syntax = "proto3";', "// first\nsyntax='proto3' ;", 'syntax="proto3";'))]
        if random.random() < 0.15:
            parts.append(f'import {random.choice(("", "public "))}"google/protobuf/timestamp.proto";')
        if random.random() < 0.1:
            parts.append('import "google/protobuf/descriptor.proto";')
        if random.random() < 0.15:
            parts.append(f"package {random.choice(('a.b', 'a.a', 'M1', 'google', 'google.protobuf.M1'))};")
        if random.random() < 0.1:
            parts.append('option java_package = "x.y";\noption optimize_for = SPEED;')
        parts += (f"/* {name} */ message {name} {{\n  {self._body()}\n}}" for name in self._messages)
        if random.random() < 0.2:
            values = f"{self._name('V')} = 0; {self._name('V')} = 0;"
            parts.append(f"enum {self._name('E')} {{ option allow_alias = true; {values} }}")
        rpcs = "".join(self._rpc() for _ in range(random.randint(0, 3)))
        parts.append(f"service {self._name('S')} {{\n{rpcs}}}")
        return "\n".join(parts) + "\n"

    def _name(self, prefix: str) -> str:
        self._number += 1
        names = self._names
        name = self._random.choice(names) if names and self._random.random() < 0.02 else f"{prefix}{self._number}"
        names.append(name)
        return name

    def _type(self, types: tuple[str, ...]) -> str:
        """One of these, or one that is within another; few of the latter exist."""
        name = self._random.choice(types)
        if self._random.random() < 0.05:
            name = f"{self._random.choice(self._names)}.{self._random.choice(self._names)}"
        return f".{name}" if name not in SCALARS and self._random.random() < 0.03 else name

    def _rpc(self) -> str:
        sides = [f"{self._random.choice(('', 'stream '))}{self._random.choice(self._messages)}" for _ in range(2)]
        end = self._random.choice((";", " {}", " { option deprecated = true; }"))
        return f"  rpc {self._name('r')}({sides[0]}) returns ({sides[1]}){end}\n"

    def _body(self, depth: int = 0) -> str:
        random, number, local, parts = self._random, 1, [""] * 0, [""] * 0
        if random.random() < 0.3:
            local.append(self._name("E"))
            first, second = (f"{random.choice(('', '', '', local[-1] + '_'))}{self._name('A')}" for _ in range(2))
            if random.random() < 0.1:
                first = f"{local[-1].lower()}_{second}"
            values = f"{first} = 0; {second} = {random.choice((1, -1, 5, '0x10'))};"
            parts.append(f"enum {local[-1]} {{ {values} }}")
        if random.random() < 0.03:
            number_of_option = random.choice((1000, 50_000, 50_001, 999))
            parts.append(f"extend google.protobuf.FieldOptions {{ string {self._name('x')} = {number_of_option}; }}")
        if depth < 2 and random.random() < 0.3:
            local.append(self._name("N"))
            parts.append(f"message {local[-1]} {{ {self._body(depth + 1)} }}")
        for _ in range(random.randint(0, 5)):
            parts.append(self._member(number, (*SCALARS, *self._messages, *local, *local)))
            number += random.choice((2, 2, 4))
        return "\n  ".join(parts)

    def _member(self, number: int, types: tuple[str, ...]) -> str:
        random, kind = self._random, self._random.random()
        options = random.choice(OPTIONS).format(self._number)
        if kind < 0.6:
            label = random.choice(("", "", "repeated ", "optional "))
            return f"{label}{self._type(types)} {self._name('f_')} = {number}{options};"
        if kind < 0.75:
            key = random.choice(("string", "int32", "bool"))
            return f"map<{key}, {self._type(types)}> {self._name('m_')} = {number}{options};"
        if kind < 0.9:
            fields = "".join(f" {self._type(types)} {self._name('f')} = {number + it};" for it in range(2))
            return f"oneof {self._name('o')} {{{fields} }}"
        return random.choice(STATEMENTS).format(number, number + 2, number + 3)


def broken(text: str, random: Random) -> str:
    """The same with one to three words too many, too few, in each other's places, or cut off."""
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
