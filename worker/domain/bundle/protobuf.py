"""What a .proto file declares, and whether protobuf's own rules allow it. Pure.

Lark reads it by the grammar beside this file; the protobuf library builds the descriptors and judges them, as protoc
does. What the library takes on trust, because its input comes from protoc as a rule, is checked here and in
protobuf_names.py. Only proto3 is
judged that far: every public orchestrator refuses the rest. `make properties` compares the verdicts with protoc's.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
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

from worker.domain.bundle import protobuf_names as names
from worker.domain.bundle.protobuf_names import Symbol
from worker.errors import WorkerError

_Node = Tree[Token]
_Field: TypeAlias = pb.FieldDescriptorProto

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
_RESERVABLE = range(1, 2**31 - 1)  # more than there are
_KEPT_NUMBERS = range(19_000, 20_000)  # for the implementation of protobuf
_CUSTOM_NUMBERS = range(1_000, 2**29)  # of options that a file declares
_INT32 = range(-(2**31), 2**31)
_JS_TYPES = frozenset({
    _Field.TYPE_INT64, _Field.TYPE_UINT64, _Field.TYPE_SINT64, _Field.TYPE_FIXED64, _Field.TYPE_SFIXED64,
})  # fmt: skip


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


@dataclass(frozen=True, slots=True)
class _Use:
    """The name of a type, where it is used."""

    owner: Any  # the descriptor that has it
    attribute: str
    scope: Symbol
    line: int


class _File:
    """One parsed file on its way to descriptors."""

    def __init__(self, tree: _Node) -> None:
        self._nodes = list(_trees(tree))
        self._file = pb.FileDescriptorProto(name="file.proto")
        self._scope = Symbol(names.PACKAGE)  # in which names are declared now
        self._uses: list[_Use] = []
        self._custom: list[tuple[str, int]] = []  # options that are none of protobuf's own
        self._extensions: set[str] = set()  # by which a file may declare such options
        self._extended: dict[str, set[int]] = {}  # the message of it → numbers
        self.syntax = "proto2"

    def read(self, called: tuple[str, int] | None) -> Protobuf:
        """Raise ProtobufError."""
        file = self._file
        for node in sorted(self._nodes, key=lambda it: it.data == "package"):  # after the imports
            self._begin(node)
        for node in self._nodes:
            self._declare(node)
        for use in self._uses:
            self._resolve(use)
        for name, line in self._custom:
            if name.rpartition(".")[2] not in self._extensions:
                self._refuse(f"the option '({name})' does not exist", line)
        if self.syntax == PROTO3:
            file.syntax = PROTO3
            self._judge()
        return Protobuf(
            syntax=self.syntax,
            package=file.package,
            imports=tuple(file.dependency),
            enums=tuple(enum.name for enum in file.enum_type),
            extensions=bool(self._extensions),
            messages={message.name: _digest(message) for message in file.message_type},
            services={
                it.name: Service(
                    _digest(it), {rpc.name: _rpc(rpc) for rpc in it.method}, self._scope.names[it.name].line
                )
                for it in file.service
            },
            called=called,
        )

    def _judge(self) -> None:
        """Let the library build the file, but for what it judges otherwise than protoc."""
        pool, file = DescriptorPool(), pb.FileDescriptorProto()
        file.CopyFrom(self._file)
        for message in _messages(file.message_type):
            message.ClearField("reserved_range")
            for field in message.field:
                field.ClearField("json_name")
        for shipped in _shipped(self._file.dependency).values():
            pool.Add(shipped)
        try:
            pool.AddSerializedFile(file.SerializeToString())
        except TypeError as error:
            # It knows no lines; what is foreseen has been refused before.
            self._refuse(str(error).rpartition("descriptor pool: ")[2], 1)

    def _refuse(self, problem: str, line: int) -> None:
        if self.syntax == PROTO3:
            raise ProtobufError(problem[:200], line)

    def _name(self, owner: Any, kind: str, node: _Node) -> Symbol:
        """Give the descriptor the name that is declared there."""
        owner.name = next(str(it) for it in node.children if _is(it, "NAME"))
        return self._symbol(kind, owner.name, node.meta.line)

    def _symbol(self, kind: str, name: str, line: int) -> Symbol:
        try:
            return self._scope.declare(kind, name, line)
        except ValueError as error:
            self._refuse(str(error), line)
            return self._scope.names.setdefault(name, Symbol(kind, name, line, self._scope))

    @contextmanager
    def _within(self, symbol: Symbol) -> Iterator[None]:
        outer, self._scope = self._scope, symbol
        yield
        self._scope = outer

    def _use(self, owner: Any, attribute: str, node: _Node) -> None:
        """Give the descriptor the name of the type that is used there, until all names are known."""
        setattr(owner, attribute, name := _type(node))
        first, *rest = name.split(".", 1)
        if first in _SCALARS or first == "group" or (first == "map" and rest and attribute == "type_name"):
            self._refuse(f"'{name[:80]}' is no message", node.meta.line)
        self._uses.append(_Use(owner, attribute, self._scope, node.meta.line))

    def _resolve(self, use: _Use) -> None:
        name, is_field = getattr(use.owner, use.attribute), use.attribute == "type_name"
        found = use.scope.find(name, types_only=is_field)
        if found is None:
            return self._refuse(f"the type '{name[:80]}' does not exist there", use.line)
        if found.kind != names.MESSAGE and not (is_field and found.kind == names.ENUM):
            return self._refuse(f"'{name[:80]}' is no {'type' if is_field else 'message'} there", use.line)
        if use.attribute == "extendee":
            self._check_extension(use, found.name)
        if is_field:
            is_enum = found.kind == names.ENUM
            use.owner.type = _Field.TYPE_ENUM if is_enum else _Field.TYPE_MESSAGE
            if is_enum and _is_lazy(use.owner):
                self._refuse("only messages are lazy", use.line)
            if found.is_map_entry and not (found.outer is use.scope and _is_map(use.owner, found)):
                self._refuse(f"'{name[:80]}' is the inside of a map", use.line)
        setattr(use.owner, use.attribute, f".{found.name}")
        return None

    def _check_extension(self, use: _Use, extended: str) -> None:
        if not re.fullmatch(r"google\.protobuf\.\w+Options", extended):
            self._refuse("proto3 extends protobuf's own options only", use.line)
        number, taken = use.owner.number, self._extended.setdefault(extended, set())
        if number in taken or number in _KEPT_NUMBERS or number not in _CUSTOM_NUMBERS:
            line = use.scope.names[use.owner.name].line
            self._refuse(f"the option '{use.owner.name}' has a number that is taken or not allowed", line)
        taken.add(number)

    def _begin(self, node: _Node) -> None:
        """Read what holds for the whole file, wherever it stands."""
        match node.data:
            case "syntax" | "edition":
                self._set_syntax(node)
            case "import":
                self._import(_string(node.children[-1]), node.meta.line)
            case "package":
                self._package(node)

    def _declare(self, node: _Node) -> None:
        file = self._file
        match node.data:
            case "option":
                self._option(file.options, node.children[0])
            case "message":
                self._message(node, file.message_type.add())
            case "enum":
                self._enum(node, file.enum_type.add())
            case "service":
                self._service(node, file.service.add())
            case "extend":
                self._extend(node, file.extension)

    def _set_syntax(self, node: _Node) -> None:
        self.syntax = _string(node.children[0])[:40]
        if node.data == "syntax" and self.syntax not in ("proto2", PROTO3):
            raise ProtobufError(f"the syntax '{self.syntax}' does not exist", node.meta.line)

    def _package(self, node: _Node) -> None:
        if self._file.package:
            self._refuse("there is a second package", node.meta.line)
        self._file.package = ".".join(map(str, node.children))
        try:
            self._scope = self._scope.package(self._file.package, node.meta.line)
        except ValueError as error:
            self._refuse(str(error), node.meta.line)

    def _import(self, name: str, line: int) -> None:
        if name in self._file.dependency:
            self._refuse(f"'{name}' is imported twice", line)
        elif name not in _SHIPPED:
            raise ProtobufError(f"it imports '{name[:80]}', which nobody ships: a model has one file", line)
        else:
            for shipped, file in _shipped([name]).items():
                names.declare_file(self._scope, file, is_visible=shipped == name)
            self._file.dependency.append(name)

    def _message(self, node: _Node, message: pb.DescriptorProto, depth: int = 1) -> None:
        symbol = self._name(message, names.MESSAGE, node)
        if depth > MAX_DEPTH:
            raise ProtobufError(f"messages are nested more than {MAX_DEPTH} deep", node.meta.line)
        with self._within(symbol):
            for part in _trees(node):
                self._member(part, message, depth)
            self._add_optionals(message)
            self._check_fields(message, node.meta.line)
        if message.options.message_set_wire_format:
            self._refuse("proto3 has no message sets", node.meta.line)

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
                self._reserved(node, message, _RESERVABLE, _NUMBERS[-1])
            case "option":
                self._option(message.options, node.children[0])
            case "extend":
                self._extend(node, message.extension)
            case _:
                self._refuse("proto3 has no groups and no extensions of messages", node.meta.line)

    def _check_fields(self, message: pb.DescriptorProto, line: int) -> None:
        """Check what the library takes on trust."""
        numbers: set[int] = set()
        kept = set(message.reserved_name)
        reserved = sorted((it.start, it.end) for it in message.reserved_range)
        if any(end > start for (_, end), (start, _) in pairwise(reserved)):
            self._refuse(f"'{message.name}' reserves a number twice", line)
        for name in names.json_twins(message):
            self._refuse(f"the field '{name}' has another one's name in JSON", self._scope.names[name].line)
        for field in message.field:
            line = self._scope.names[field.name].line
            if field.number not in _NUMBERS or field.number in _KEPT_NUMBERS:
                self._refuse(f"the field '{field.name}' has a number that is not allowed: {field.number}", line)
            if field.number in numbers:
                self._refuse(f"the field '{field.name}' has another one's number: {field.number}", line)
            if field.name in kept or _holds(reserved, field.number):
                self._refuse(f"the field '{field.name}' has a name or a number that is reserved", line)
            numbers.add(field.number)

    def _add_optionals(self, message: pb.DescriptorProto) -> None:
        """Give each optional field the oneof of its own that stands for it, as protoc does."""
        taken = {it.name for it in message.field} | {it.name for it in message.oneof_decl}
        for field in message.field:
            if field.proto3_optional:
                name = f"_{field.name}"
                while name in taken:
                    name = f"X{name}"
                taken.add(name)
                self._symbol(names.ONEOF, name, self._scope.names[field.name].line)
                field.oneof_index = len(message.oneof_decl)
                message.oneof_decl.add(name=name)

    def _field(self, node: _Node, field: _Field, oneof: int | None = None, kind: str = names.FIELD) -> None:
        label = next((str(it) for it in node.children if _is(it, "LABEL")), "")
        self._name(field, kind, node)
        field.number = self._integer(node)
        field.label = _Field.Label.Value(f"LABEL_{(label or 'optional').upper()}")
        self._set_type(field, next(it for it in _trees(node) if it.data == "type"))
        self._field_options(field, node)
        if oneof is not None:
            field.oneof_index = oneof
            if label:
                self._refuse(f"a field of a oneof is not {label}", node.meta.line)
        elif label == "optional" and self.syntax == PROTO3:
            field.proto3_optional = True
        elif label == "required":
            self._refuse("proto3 has no required fields", node.meta.line)
        scalar = field.type and field.type not in (_Field.TYPE_STRING, _Field.TYPE_BYTES)
        if field.options.packed and not (label == "repeated" and (scalar or field.type_name)):
            self._refuse(f"the field '{field.name}' cannot be packed", node.meta.line)

    def _set_type(self, field: _Field, kind: Any) -> None:
        if _type(kind) in _SCALARS:
            field.type = _Field.Type.Value(f"TYPE_{_type(kind).upper()}")
        else:
            self._use(field, "type_name", kind)

    def _map(self, node: _Node, message: pb.DescriptorProto) -> None:
        kinds = [it for it in _trees(node) if it.data == "type"]
        if _type(kinds[0]) not in _MAP_KEYS:
            self._refuse(f"a map has no keys of the type '{_type(kinds[0])}'", node.meta.line)
        field = message.field.add(number=self._integer(node), label=_Field.LABEL_REPEATED)
        self._name(field, names.FIELD, node)
        entry = message.nested_type.add(name=names.map_entry(field.name))
        entry.options.map_entry = True
        symbol = self._symbol(names.MESSAGE, entry.name, node.meta.line)
        symbol.is_map_entry = True
        field.type_name = entry.name
        self._uses.append(_Use(field, "type_name", self._scope, node.meta.line))
        with self._within(symbol):
            for number, (name, kind) in enumerate(zip(("key", "value"), kinds, strict=True), start=1):
                self._symbol(names.FIELD, name, node.meta.line)
                self._set_type(entry.field.add(name=name, number=number, label=_Field.LABEL_OPTIONAL), kind)
        self._field_options(field, node)

    def _oneof(self, node: _Node, message: pb.DescriptorProto) -> None:
        index = len(message.oneof_decl)
        oneof = message.oneof_decl.add()
        self._name(oneof, names.ONEOF, node)
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
        self._name(enum, names.ENUM, node)
        for part in _trees(node):
            match part.data:
                case "option":
                    self._option(enum.options, part.children[0])
                case "reserved":
                    self._reserved(part, enum, _INT32, _INT32[-1])
                case "value":
                    value = enum.value.add(number=self._integer(part.children[1]))
                    self._name(value, names.VALUE, part)
                    self._options(value.options, part)
        self._check_values(enum, node.meta.line)

    def _check_values(self, enum: pb.EnumDescriptorProto, line: int) -> None:
        numbers = {value.number for value in enum.value}
        if not enum.value or enum.value[0].number:
            self._refuse(f"the first value of '{enum.name}' has the number 0", line)
        if (len(numbers) < len(enum.value)) != enum.options.allow_alias:
            self._refuse(f"two values of '{enum.name}' have one number, or allow_alias is of no use", line)
        for name in names.value_twins(enum):
            problem = f"'{name}' is another value's name but for case, underscores and '{enum.name}' before it"
            self._refuse(problem, self._scope.names[name].line)
        kept = set(enum.reserved_name)
        reserved = sorted((it.start, it.end + 1) for it in enum.reserved_range)
        for value in enum.value:
            if value.name in kept or _holds(reserved, value.number):
                line = self._scope.names[value.name].line
                self._refuse(f"'{value.name}' has a name or a number that is reserved", line)

    def _reserved(self, node: _Node, owner: Any, allowed: range, last: int) -> None:
        """Read ranges and names; ranges end before `end` in a message, and with it in an enum."""
        kept = set(owner.reserved_name)
        for part in _trees(node):
            if part.data == "string":
                if (name := _string(part)) in kept:
                    self._refuse(f"'{name}' is reserved twice", node.meta.line)
                kept.add(name)
                owner.reserved_name.append(name)
            else:
                first, *others = (last if _is(it, "MAX") else self._integer(it) for it in part.children)
                end = others[0] if others else first
                if first not in allowed or end not in allowed or end < first:
                    return self._refuse("a range of reserved numbers is not allowed", part.meta.line)
                owner.reserved_range.add(start=first, end=end + (allowed is _RESERVABLE))
        if any(_is(it, "NAME") for it in node.children):
            self._refuse("reserved names stand in quotes", node.meta.line)
        return None

    def _service(self, node: _Node, service: pb.ServiceDescriptorProto) -> None:
        with self._within(self._name(service, names.SERVICE, node)):
            for part in _trees(node):
                if part.data == "option":
                    self._option(service.options, part.children[0])
                else:
                    self._rpc(part, service.method.add())

    def _rpc(self, node: _Node, rpc: pb.MethodDescriptorProto) -> None:
        self._name(rpc, names.RPC, node)
        request, response = _sides(node)
        self._use(rpc, "input_type", request[0])
        self._use(rpc, "output_type", response[0])
        # Not set where it is not true, so that descriptors are equal.
        for side, name in ((request, "client_streaming"), (response, "server_streaming")):
            if side[1]:
                setattr(rpc, name, True)
        for option in (it for it in _trees(node) if it.data == "option"):
            self._option(rpc.options, option.children[0])

    def _extend(self, node: _Node, extensions: Any) -> None:
        kind, *parts = _trees(node)
        for part in parts:
            if part.data != "field":
                self._refuse("proto3 has no groups", part.meta.line)
                continue
            extension = extensions.add()
            self._field(part, extension, kind=names.EXTENSION)
            self._use(extension, "extendee", kind)
            if extension.json_name:
                self._refuse(f"the option '{extension.name}' has no name in JSON", part.meta.line)
            self._extensions.add(extension.name)

    def _integer(self, node: Any) -> int:
        token = next(it for it in node.children if _is(it, "INT"))
        try:
            number = int(token, 16 if token[:2] in ("0x", "0X") else 8 if token[0] == "0" else 10)
        except ValueError:
            number = 2**32
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
                    if re.fullmatch(r"\[.*\]", field.json_name, re.DOTALL):
                        self._refuse("a name in JSON does not stand in brackets", assignment.meta.line)
                case "json_name":
                    self._refuse("the option 'json_name' has a value of another type", assignment.meta.line)
                case _:
                    self._option(field.options, assignment)
        if _is_lazy(field) and field.HasField("type"):
            self._refuse("only messages are lazy", node.meta.line)
        if field.options.jstype and field.type not in _JS_TYPES:
            self._refuse("only integers of 64 bits have a jstype", node.meta.line)

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


def _is_lazy(field: _Field) -> bool:
    return bool(field.options.lazy or field.options.unverified_lazy)


def _is_map(field: _Field, entry: Symbol) -> bool:
    return field.label == _Field.LABEL_REPEATED and entry.name.rpartition(".")[2] == names.map_entry(field.name)


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


def _messages(declared: Iterable[pb.DescriptorProto]) -> Iterator[pb.DescriptorProto]:
    """Yield these and all that are nested in them."""
    for message in declared:
        yield message
        yield from _messages(message.nested_type)


def _digest(declared: pb.DescriptorProto | pb.ServiceDescriptorProto) -> bytes:
    return sha256(declared.SerializeToString(deterministic=True)).digest()


def _rpc(rpc: pb.MethodDescriptorProto) -> Rpc:
    request, response = (name.rpartition(".")[2] for name in (rpc.input_type, rpc.output_type))
    return Rpc(request, response, (rpc.client_streaming, rpc.server_streaming))


def _shipped(wanted: Iterable[str]) -> dict[str, pb.FileDescriptorProto]:
    """Return files that protoc ships, after those that they import."""
    files: dict[str, pb.FileDescriptorProto] = {}
    for name in wanted:
        descriptor = import_module(_SHIPPED[name]).DESCRIPTOR
        files |= _shipped(it.name for it in descriptor.dependencies)
        files[name] = pb.FileDescriptorProto.FromString(descriptor.serialized_pb)
    return files
