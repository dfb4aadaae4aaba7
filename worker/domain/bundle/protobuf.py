"""What a .proto file declares, and whether protobuf's own rules allow it. Pure.

Lark reads it by the grammar beside this file; the protobuf library builds the descriptors and judges them, as protoc
does. What the library takes on trust, because its input comes from protoc as a rule, is checked here. Only proto3 is
judged that far: every public orchestrator refuses the rest. `make properties` compares the verdicts with protoc's.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

from google.protobuf import descriptor_pb2 as pb
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from lark import Lark, Token, Tree, UnexpectedInput
from lark.lexer import PatternRE, TerminalDef

from worker.errors import WorkerError

MAX_DEPTH = 32  # of nested messages, as in protoc
PROTO3 = "proto3"
# What protoc brings along.
_SHIPPED = {
    f"google/protobuf/{name}.proto": f"google.protobuf.{name}_pb2"
    for name in (
        "any", "api", "descriptor", "duration", "empty", "field_mask", "source_context", "struct", "timestamp", "type",
        "wrappers",
    )
}  # fmt: skip
_SCALARS = frozenset({
    "double", "float", "int32", "int64", "uint32", "uint64", "sint32", "sint64", "fixed32", "fixed64", "sfixed32",
    "sfixed64", "bool", "string", "bytes",
})  # fmt: skip
_MAP_KEYS = _SCALARS - {"double", "float", "bytes"}
_NUMBERS = range(1, 2**29)  # of fields
_KEPT_NUMBERS = range(19_000, 20_000)  # for the implementation of protobuf
_INT32 = range(-(2**31), 2**31)

_Node = Tree[Token]
_Field: TypeAlias = pb.FieldDescriptorProto


@dataclass(frozen=True, slots=True)
class Rpc:
    """One operation of a service."""

    request: str  # its message, without the package
    response: str
    streams: tuple[bool, bool]  # of requests, of responses


@dataclass(frozen=True, slots=True)
class Service:
    """One service."""

    digest: bytes
    rpcs: Mapping[str, Rpc]
    line: int


@dataclass(frozen=True, slots=True)
class Protobuf:
    """What one .proto file declares at its top level. Two digests are the same where protoc's descriptors are equal."""

    syntax: str  # proto2, proto3, or the year of an edition
    package: str
    imports: tuple[str, ...]
    enums: tuple[str, ...]
    extensions: bool
    messages: Mapping[str, bytes]  # name → digest
    services: Mapping[str, Service]
    called: tuple[str, int] | None  # what the orchestrator takes for the service's name, and the line of it


class ProtobufError(WorkerError):
    """A file is not valid. The message goes on after the name of the file and the line, which counts from 1."""

    def __init__(self, problem: str, line: int) -> None:
        super().__init__(problem)
        self.line = line


def read_protobuf(data: bytes) -> Protobuf:
    """Read one file; takes 2 µs a character. A byte order mark and the line ends of other systems are fine.

    Raises ProtobufError.
    """
    try:
        text = data.decode().replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        raise ProtobufError("it is not UTF-8", data.count(b"\n", 0, error.start) + 1) from None
    if "\0" in text:  # to protoc the end of the file, also in a comment
        raise ProtobufError("there is a NUL character", text.count("\n", 0, text.index("\0")) + 1)
    try:
        tree = _grammar().parse(text.removeprefix("\ufeff"))
    except UnexpectedInput as error:
        raise _syntax_error(error, text) from None
    return _File(tree).read(_called(text))


def _called(text: str) -> tuple[str, int] | None:
    """Look for the service as the orchestrator does, which goes by the beginnings of lines."""
    for number, line in enumerate(text.split("\n"), start=1):
        if line.startswith("service "):
            return line.removeprefix("service ").partition("{")[0].strip(), number
    return None


def _syntax_error(error: UnexpectedInput, text: str) -> ProtobufError:
    token = getattr(error, "token", None)
    if token is not None and token.type == "$END":
        return ProtobufError("it ends in the middle of a declaration", text.count("\n") + 1)
    found = str(token or text.removeprefix("\ufeff")[error.pos_in_stream or 0 :][:2])
    problem = "a comment does not end, or begins in another one" if found == "/*" else f"'{found[:40]}' is not expected"
    return ProtobufError(problem, error.line)


@cache
def _grammar() -> Lark:
    """Compile the grammar, once (70 ms)."""
    grammar = Path(__file__).with_suffix(".lark").read_text(encoding="ascii")
    return Lark(grammar, parser="lalr", propagate_positions=True, edit_terminals=_whole_word)


def _whole_word(terminal: TerminalDef) -> None:
    """Let a keyword end where the word ends, also where no name could stand."""
    if terminal.pattern.value.isalpha():
        terminal.pattern, terminal.priority = PatternRE(rf"{terminal.pattern.value}\b"), 1


class _File:
    """One parsed file on its way to descriptors."""

    def __init__(self, tree: _Node) -> None:
        self._nodes = list(_trees(tree))
        self._file = pb.FileDescriptorProto(name="file.proto")
        self._lines: dict[str, list[int]] = {}  # name → where it is declared
        self._uses: dict[str, int] = {}  # name of a type → where it is used first
        self._custom: list[tuple[str, int]] = []  # options that are none of protobuf's own
        self._extensions: set[str] = set()  # by which a file may declare such options
        self.syntax = "proto2"

    def read(self, called: tuple[str, int] | None) -> Protobuf:
        """Raise ProtobufError."""
        file, built = self._file, self._file
        for node in self._nodes:
            self._declare(node)
        for name, line in self._custom:
            if name.rpartition(".")[2] not in self._extensions:
                self._refuse(f"the option '({name})' does not exist", line)
        if self.syntax == PROTO3:
            file.syntax = PROTO3
            built = self._built()
        return Protobuf(
            syntax=self.syntax,
            package=file.package,
            imports=tuple(file.dependency),
            enums=tuple(enum.name for enum in file.enum_type),
            extensions=bool(self._extensions),
            messages={message.name: _digest(message) for message in built.message_type},
            services={
                it.name: Service(_digest(it), {rpc.name: _rpc(rpc) for rpc in it.method}, self._lines[it.name][-1])
                for it in built.service
            },
            called=called,
        )

    def _built(self) -> pb.FileDescriptorProto:
        """Let the library judge the file and resolve its names."""
        pool, built = DescriptorPool(), pb.FileDescriptorProto()
        for name in self._file.dependency:
            _add_shipped(pool, name)
        try:
            pool.AddSerializedFile(self._file.SerializeToString())
            pool.FindFileByName(self._file.name).CopyToProto(built)
        except TypeError as error:
            problem = str(error).rpartition("descriptor pool: ")[2]
            self._refuse(problem, self._line(problem))
        return built

    def _line(self, problem: str) -> int:
        """Find the line that the library's sentence is about: it quotes names, and knows no lines."""
        for name in re.findall(r"(?:['(]|couldn't find name )([A-Za-z_.][\w.]*)", problem):
            if "duplicate" not in problem and name in self._uses:
                return self._uses[name]
            for lines in filter(None, map(self._lines.get, (name, name.rpartition(".")[2]))):
                return lines[-1]
        return 1

    def _refuse(self, problem: str, line: int) -> None:
        if self.syntax == PROTO3:
            raise ProtobufError(problem[:200], line)

    def _name(self, node: _Node) -> str:
        """Return the name that is declared there, and remember where that is."""
        name = next(str(it) for it in node.children if _is(it, "NAME"))
        self._lines.setdefault(name, []).append(node.meta.line)
        return name

    def _used(self, node: _Node) -> str:
        """Return the name of the type that is used there, and remember where that is."""
        self._uses.setdefault(name := _type(node), node.meta.line)
        return name

    def _declare(self, node: _Node) -> None:
        file = self._file
        match node.data:
            case "syntax" | "edition":
                self._set_syntax(node)
            case "package":
                self._package(node)
            case "import":
                self._import(_string(node.children[-1]), node.meta.line)
            case "option":
                self._option(file.options, node.children[0])
            case "message":
                self._message(node, file.message_type.add())
            case "enum":
                self._enum(node, file.enum_type.add())
            case "service":
                self._service(node, file.service.add())
            case "extend":
                self._extend(node)

    def _set_syntax(self, node: _Node) -> None:
        self.syntax = _string(node.children[0])[:40]
        if node.data == "syntax" and self.syntax not in ("proto2", PROTO3):
            raise ProtobufError(f"the syntax '{self.syntax}' does not exist", node.meta.line)

    def _package(self, node: _Node) -> None:
        if self._file.package:
            self._refuse("there is a second package", node.meta.line)
        self._file.package = ".".join(map(str, node.children))

    def _import(self, name: str, line: int) -> None:
        if name in self._file.dependency:
            self._refuse(f"'{name}' is imported twice", line)
        elif name not in _SHIPPED:
            raise ProtobufError(f"it imports '{name[:80]}', which nobody ships: a model has one file", line)
        else:
            self._file.dependency.append(name)

    def _message(self, node: _Node, message: pb.DescriptorProto, depth: int = 1) -> None:
        message.name = self._name(node)
        if depth > MAX_DEPTH:
            raise ProtobufError(f"messages are nested more than {MAX_DEPTH} deep", node.meta.line)
        for part in _trees(node):
            self._member(part, message, depth)
        _add_optionals(message)
        self._check_fields(message, node.meta.line)

    def _member(self, node: _Node, message: pb.DescriptorProto, depth: int) -> None:
        match node.data:
            case "field":
                self._field(node, message.field.add())
            case "map_field":
                self._map(node, message)
            case "oneof":
                self._oneof(node, message)
            case "message":
                self._message(node, message.nested_type.add(), depth + 1)
            case "enum":
                self._enum(node, message.enum_type.add())
            case "reserved":
                self._reserved(node, message, _NUMBERS)
            case "option":
                self._option(message.options, node.children[0])
            case "extend":
                self._extend(node)
            case _:
                self._refuse("proto3 has no groups and no extensions of messages", node.meta.line)

    def _check_fields(self, message: pb.DescriptorProto, line: int) -> None:
        """Check what the library takes on trust."""
        numbers: set[int] = set()
        names = set(message.reserved_name)
        reserved = sorted((it.start, it.end) for it in message.reserved_range)
        if any(end > start for (_, end), (start, _) in pairwise(reserved)):
            self._refuse(f"'{message.name}' reserves a number twice", line)
        for field in message.field:
            line = self._lines[field.name][-1]
            if field.number not in _NUMBERS or field.number in _KEPT_NUMBERS:
                self._refuse(f"the field '{field.name}' has a number that is not allowed: {field.number}", line)
            if field.number in numbers:
                self._refuse(f"the field '{field.name}' has another one's number: {field.number}", line)
            if field.name in names or _holds(reserved, field.number):
                self._refuse(f"the field '{field.name}' has a name or a number that is reserved", line)
            numbers.add(field.number)

    def _field(self, node: _Node, field: _Field, oneof: int | None = None) -> None:
        label = next((str(it) for it in node.children if _is(it, "LABEL")), "")
        field.name, field.number = self._name(node), self._integer(node)
        field.label = _Field.Label.Value(f"LABEL_{(label or 'optional').upper()}")
        self._set_type(field, next(it for it in _trees(node) if it.data == "type"))
        self._field_options(field, node)
        if oneof is not None:
            field.oneof_index = oneof
            if label:
                self._refuse(f"a field of a oneof is not {label}", node.meta.line)
        elif label == "optional" and self.syntax == PROTO3:
            field.proto3_optional = True
        scalar = field.type and field.type not in (_Field.TYPE_STRING, _Field.TYPE_BYTES)
        if field.options.packed and not (label == "repeated" and (scalar or field.type_name)):
            self._refuse(f"the field '{field.name}' cannot be packed", node.meta.line)

    def _set_type(self, field: _Field, kind: Any) -> None:
        if _type(kind) in _SCALARS:
            field.type = _Field.Type.Value(f"TYPE_{_type(kind).upper()}")
        else:
            field.type_name = self._used(kind)

    def _map(self, node: _Node, message: pb.DescriptorProto) -> None:
        kinds = [it for it in _trees(node) if it.data == "type"]
        if _type(kinds[0]) not in _MAP_KEYS:
            self._refuse(f"a map has no keys of the type '{_type(kinds[0])}'", node.meta.line)
        field = message.field.add(name=self._name(node), number=self._integer(node), label=_Field.LABEL_REPEATED)
        entry = message.nested_type.add(name=f"{_camel_case(field.name)}Entry")
        entry.options.map_entry = True
        field.type_name = entry.name
        for number, (name, kind) in enumerate(zip(("key", "value"), kinds, strict=True), start=1):
            self._set_type(entry.field.add(name=name, number=number, label=_Field.LABEL_OPTIONAL), kind)
        self._field_options(field, node)

    def _oneof(self, node: _Node, message: pb.DescriptorProto) -> None:
        index = len(message.oneof_decl)
        oneof = message.oneof_decl.add(name=self._name(node))
        for part in _trees(node):
            if part.data == "option":
                self._option(oneof.options, part.children[0])
            elif part.data == "field":
                self._field(part, message.field.add(), index)
            else:
                self._refuse("a oneof has fields, but no maps and no groups", part.meta.line)
        if not any(it.data != "option" for it in _trees(node)):
            self._refuse(f"the oneof '{oneof.name}' has no field", node.meta.line)

    def _enum(self, node: _Node, enum: pb.EnumDescriptorProto) -> None:
        enum.name = self._name(node)
        for part in _trees(node):
            match part.data:
                case "option":
                    self._option(enum.options, part.children[0])
                case "reserved":
                    self._reserved(part, enum, _INT32)
                case "value":
                    value = enum.value.add(name=self._name(part), number=self._integer(part.children[1]))
                    self._options(value.options, part)
        numbers = {value.number for value in enum.value}
        if (len(numbers) < len(enum.value)) != enum.options.allow_alias:
            self._refuse(f"two values of '{enum.name}' have one number, or allow_alias is of no use", node.meta.line)
        names = set(enum.reserved_name)
        reserved = sorted((it.start, it.end + 1) for it in enum.reserved_range)
        for value in enum.value:
            if value.name in names or _holds(reserved, value.number):
                self._refuse(f"'{value.name}' has a name or a number that is reserved", self._lines[value.name][-1])

    def _reserved(self, node: _Node, owner: Any, allowed: range) -> None:
        """Read ranges and names; ranges end before `end` in a message, and with it in an enum."""
        names = set(owner.reserved_name)
        for part in _trees(node):
            if part.data == "string":
                if (name := _string(part)) in names:
                    self._refuse(f"'{name}' is reserved twice", node.meta.line)
                names.add(name)
                owner.reserved_name.append(name)
            else:
                first, *last = (allowed[-1] if _is(it, "MAX") else self._integer(it) for it in part.children)
                end = last[0] if last else first
                if first not in allowed or end not in allowed or end < first:
                    return self._refuse("a range of reserved numbers is not allowed", part.meta.line)
                owner.reserved_range.add(start=first, end=end + (allowed is _NUMBERS))
        if any(_is(it, "NAME") for it in node.children):
            self._refuse("reserved names stand in quotes", node.meta.line)
        return None

    def _service(self, node: _Node, service: pb.ServiceDescriptorProto) -> None:
        service.name = self._name(node)
        for part in _trees(node):
            if part.data == "option":
                self._option(service.options, part.children[0])
                continue
            rpc, request, response = service.method.add(name=self._name(part)), *_sides(part)
            rpc.input_type, rpc.output_type = self._used(request[0]), self._used(response[0])
            # Not set where it is not true, so that descriptors are equal.
            for side, name in ((request, "client_streaming"), (response, "server_streaming")):
                if side[1]:
                    setattr(rpc, name, True)
            for option in (it for it in _trees(part) if it.data == "option"):
                self._option(rpc.options, option.children[0])
        names = {rpc.name for rpc in service.method}
        for rpc in service.method:
            for name in names & {rpc.input_type, rpc.output_type}:
                self._refuse(f"'{name}' is an operation there, and no message", self._lines[rpc.name][-1])

    def _extend(self, node: _Node) -> None:
        kind, *fields = _trees(node)
        if not _type(kind).lstrip(".").startswith("google.protobuf."):
            self._refuse("proto3 extends protobuf's own options only", node.meta.line)
        self._extensions.update(self._name(field) for field in fields)

    def _integer(self, node: Any) -> int:
        token = next(it for it in node.children if _is(it, "INT"))
        try:
            number = int(token, 16 if token[:2] in ("0x", "0X") else 8 if token[0] == "0" else 10)
        except ValueError:
            number = 2**31
        if any(_is(it, "MINUS") for it in node.children):
            number = -number
        if number not in _INT32:
            raise ProtobufError(f"the number {token[:40]} is not allowed", node.meta.line)
        return number

    def _field_options(self, field: _Field, node: _Node) -> None:
        for assignment in _assignments(node):
            name, value = assignment.children
            match _option_name(name):
                case "default":
                    self._refuse("proto3 has no default values", assignment.meta.line)
                case "json_name" if _is(value, "string"):
                    field.json_name = _string(value)
                case "json_name":
                    self._refuse("the option 'json_name' has a value of another type", assignment.meta.line)
                case _:
                    self._option(field.options, assignment)

    def _options(self, options: Message, node: _Node) -> None:
        for assignment in _assignments(node):
            self._option(options, assignment)

    def _option(self, options: Any, assignment: Any) -> None:
        name, value = assignment.children
        line = assignment.meta.line
        if isinstance(name.children[0], Tree):
            return self._custom.append((_type(name.children[0].children[0]), line))
        text = _option_name(name)
        field = options.DESCRIPTOR.fields_by_name.get(text)
        if field is None or field.message_type:  # such as features: of editions alone
            return self._refuse(f"the option '{text}' does not exist", line)
        if not field.is_repeated and options.HasField(text):
            self._refuse(f"the option '{text}' is set twice", line)
        try:
            setting = _setting(field, value)
            getattr(options, text).append(setting) if field.is_repeated else setattr(options, text, setting)
        except (KeyError, TypeError, ValueError):
            self._refuse(f"the option '{text}' has a value of another type", line)
        return None


def _trees(node: Any) -> Iterator[_Node]:
    return (it for it in node.children if isinstance(it, Tree))


def _is(it: Any, kind: str) -> bool:
    return kind == (it.type if isinstance(it, Token) else it.data if isinstance(it, Tree) else None)


def _type(node: Any) -> str:
    return "".join("." if it == "." else f"{it}." for it in node.children).removesuffix(".")


def _has_options(node: _Node) -> bool:
    return _is(node.children[-1], "options")


def _assignments(node: _Node) -> Iterable[_Node]:
    return _trees(node.children[-1]) if _has_options(node) else ()


def _option_name(node: Any) -> str:
    return ".".join(map(str, node.children))[:60]


def _string(node: Any) -> str:
    """Return the text between the quotes; escapes do not matter where it is used."""
    return "".join(token[1:-1] for token in node.children)


def _sides(rpc: _Node) -> list[tuple[_Node, bool]]:
    """Return the request's type and the response's, each with whether it is a stream."""
    sides, stream = [], False
    for it in rpc.children:
        if _is(it, "type"):
            sides.append((it, stream))
        stream = _is(it, "STREAM")
    return sides  # type: ignore[return-value]


def _holds(ranges: Sequence[tuple[int, int]], number: int) -> bool:
    """Tell whether a number lies in one of the ranges, which are sorted and end before their second number."""
    at = bisect_right(ranges, (number, _INT32.stop)) - 1
    return at >= 0 and number < ranges[at][1]


def _camel_case(name: str) -> str:
    return re.sub(r"(?:^|_+)([a-z]?)", lambda match: match[1].upper(), name)


def _setting(field: FieldDescriptor, value: Any) -> Any:
    """Read the value of an option. Raises KeyError, TypeError, ValueError."""
    if _is(value, "aggregate"):
        raise TypeError(field.name)
    text = "".join(map(str, value.children))
    if field.enum_type:
        return field.enum_type.values_by_name[text].number
    if field.type == _Field.TYPE_BOOL:
        return {"true": True, "false": False}[text]
    if field.type != _Field.TYPE_STRING:
        return int(text)
    if not _is(value, "string"):
        raise TypeError(text)
    return _string(value)


def _add_optionals(message: pb.DescriptorProto) -> None:
    """Give each optional field the oneof of its own that stands for it, as protoc does."""
    taken: set[str] = {it.name for it in message.field} | {it.name for it in message.oneof_decl}
    taken |= {it.name for it in message.nested_type} | {it.name for it in message.enum_type}
    for field in message.field:
        if field.proto3_optional:
            name = f"_{field.name}"
            while name in taken:
                name = f"X{name}"
            taken.add(name)
            field.oneof_index = len(message.oneof_decl)
            message.oneof_decl.add(name=name)


def _digest(declared: pb.DescriptorProto | pb.ServiceDescriptorProto) -> bytes:
    return sha256(declared.SerializeToString(deterministic=True)).digest()


def _rpc(rpc: pb.MethodDescriptorProto) -> Rpc:
    request, response = (name.rpartition(".")[2] for name in (rpc.input_type, rpc.output_type))
    return Rpc(request, response, (rpc.client_streaming, rpc.server_streaming))


def _add_shipped(pool: DescriptorPool, name: str) -> None:
    """Add a file that protoc ships, and what that imports."""
    descriptor = import_module(_SHIPPED[name]).DESCRIPTOR
    for dependency in descriptor.dependencies:
        _add_shipped(pool, dependency.name)
    pool.AddSerializedFile(descriptor.serialized_pb)
