"""Read the declarations of a .proto file, and check them by protobuf's own rules. Pure.

Lark parses the file by the grammar in protobuf.lark. The protobuf library builds the descriptors and checks them, as
protoc does. The library does not check everything, because its input usually comes from protoc. This module,
protobuf_names.py and protobuf_options.py check the rest. proto2, proto3 and editions are all checked.
`make properties` compares the verdicts with those of protoc.
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
from typing import Any, NoReturn, TypeAlias

from google.protobuf import descriptor_pb2 as pb
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from lark import Lark, Token, Tree, UnexpectedInput
from lark.lexer import PatternRE, TerminalDef

from worker.domain.bundle import protobuf_names as names
from worker.domain.bundle import protobuf_options as values
from worker.domain.bundle.protobuf_names import Symbol
from worker.domain.bundle.protobuf_options import Settings, Step, Value
from worker.errors import WorkerError

_Node = Tree[Token]
_Field: TypeAlias = pb.FieldDescriptorProto

MAX_DEPTH = 31  # of nested messages and groups, as in protoc
MAX_PACKAGE = 101  # parts of a package name, as in protoc
PROTO2, PROTO3 = "proto2", "proto3"
EDITIONS = {"2023": pb.EDITION_2023, "2024": pb.EDITION_2024}  # the editions that protoc of grpcio-tools supports
# The files that protoc ships.
_SHIPPED = {
    f"google/protobuf/{name.replace('.', '/')}.proto": f"google.protobuf.{name}_pb2"
    for name in (
        "any", "api", "descriptor", "duration", "empty", "field_mask", "source_context", "struct", "timestamp", "type",
        "wrappers", "compiler.plugin",
    )
}  # fmt: skip
# Files that protoc ships and the library does not: features of editions for a single language.
_FEATURES = {f"google/protobuf/{name.lower()}_features.proto": name for name in ("Cpp", "Java", "Go")}
_DESCRIPTOR = "google/protobuf/descriptor.proto"
_SCALARS = frozenset({
    "double", "float", "int32", "int64", "uint32", "uint64", "sint32", "sint64", "fixed32", "fixed64", "sfixed32",
    "sfixed64", "bool", "string", "bytes",
})  # fmt: skip
_MAP_KEYS = _SCALARS - {"double", "float", "bytes"}
_NUMBERS = range(1, 2**29)  # of fields
_RESERVABLE = range(1, 2**31 - 1)  # more numbers than a field may have
_KEPT_NUMBERS = range(19_000, 20_000)  # reserved for the implementation of protobuf
_SET_NUMBERS = range(1, 2**31 - 1)  # of extensions of a message set
_INT32 = range(-(2**31), 2**31)
_JS_TYPES = frozenset({
    _Field.TYPE_INT64, _Field.TYPE_UINT64, _Field.TYPE_SINT64, _Field.TYPE_FIXED64, _Field.TYPE_SFIXED64,
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rpc:
    """One operation of a service."""

    request: str  # the name of its message, without the package
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
    """The top-level declarations of one .proto file. Two digests are the same if protoc's descriptors are equal."""

    syntax: str  # proto2 (also for a file that declares no syntax), proto3, or the year of an edition
    package: str
    imports: tuple[str, ...]
    enums: Mapping[str, bytes]  # name → digest
    extensions: bool
    messages: Mapping[str, bytes]  # name → digest
    services: Mapping[str, Service]
    called: tuple[str, int] | None  # what the orchestrator takes for the service's name, and its line


class ProtobufError(WorkerError):
    """An invalid file. The message continues a sentence that names the file and the line, which counts from 1."""

    def __init__(self, problem: str, line: int) -> None:
        super().__init__(problem)
        self.line = line


def read_protobuf(data: bytes) -> Protobuf:
    """Read one file, at 2 µs per character. A byte order mark is allowed, and a carriage return is white space.

    Raises ProtobufError.
    """
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise ProtobufError("it is not UTF-8", data.count(b"\n", 0, error.start) + 1) from None
    if "\0" in text:  # protoc stops reading the file there, also in a comment
        raise ProtobufError("there is a NUL character", text.count("\n", 0, text.index("\0")) + 1)
    source = _visible(text.removeprefix("\ufeff"))
    try:
        tree = _grammar().parse(source)
    except UnexpectedInput as error:
        raise _syntax_error(error, text) from None
    return _File(tree, source).read(_called(text))


def _visible(text: str) -> str:
    """Blank the visibility keywords of edition 2024, which do not matter in a file that nothing imports."""
    if not re.match(r"(\s|//[^\n]*|/\*.*?\*/)*edition\s*=\s*[\"']2024[\"']", text, re.DOTALL):
        return text
    return re.sub(r"\b(export|local)(?=\s+(message|enum)\s+\w+\s*\{)", lambda it: " " * len(it[0]), text)


def _called(text: str) -> tuple[str, int] | None:
    """Find the service as the orchestrator does: at the beginning of a line, with universal newlines."""
    for number, line in enumerate(re.split("\r\n?|\n", text), start=1):
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
    """Compile the grammar once, which takes 70 ms."""
    grammar = Path(__file__).with_suffix(".lark").read_text(encoding="ascii")
    checks = {"STRING": _check_string}
    return Lark(grammar, parser="lalr", propagate_positions=True, edit_terminals=_whole_word, lexer_callbacks=checks)


def _check_string(token: Token) -> Token:
    if "\\" in token and values.has_wrong_escape(token):
        raise ProtobufError(f"a backslash in {token[:40]} begins no escape: write \\\\ for one", token.line or 1)
    return token


def _whole_word(terminal: TerminalDef) -> None:
    """Match a keyword only as a whole word, also where no name is possible."""
    if terminal.pattern.value.isalpha():
        terminal.pattern, terminal.priority = PatternRE(rf"{terminal.pattern.value}\b"), 1


@dataclass(frozen=True, slots=True)
class _Use:
    """A use of a type's name."""

    owner: Any  # the descriptor that uses the name
    attribute: str
    scope: Symbol
    line: int


@dataclass(frozen=True, slots=True)
class _Options:
    """The options of one declaration."""

    message: Any  # FileOptions, MessageOptions, …
    scope: Symbol  # the scope in which the options' names are looked up
    settings: Settings


@dataclass(frozen=True, slots=True)
class _Custom:
    """An option that is an extension, kept until all extensions are known."""

    options: _Options
    steps: tuple[Step, ...]  # as spelled in the file
    value: Value
    line: int


class _File:
    """Converts one parsed file to descriptors."""

    def __init__(self, tree: _Node, source: str) -> None:
        self._nodes = list(_trees(tree))
        self._source = source
        self._file = pb.FileDescriptorProto(name="file.proto")
        self._scope = Symbol(names.PACKAGE)  # the scope of the current declaration
        self._imported: dict[str, Sequence[Symbol]] = {}  # file → its declarations
        self._uses: list[_Use] = []
        self._custom: list[_Custom] = []
        self._extensions: list[tuple[_Field, Symbol]] = []
        self._extended: dict[str, set[int]] = {}  # extended message → numbers
        self.syntax = PROTO2

    def read(self, called: tuple[str, int] | None) -> Protobuf:
        """Convert and check the file. Raises ProtobufError."""
        file = self._file
        for node in sorted(self._nodes, key=lambda it: it.data == "package"):  # after the imports
            self._begin(node)
        options = self._options_of(file.options, "FILE", self._scope)
        for node in self._nodes:
            self._declare(node, options)
        for use in self._uses:
            self._resolve(use)
        for extension, symbol in self._extensions:
            self._check_extension(extension, symbol)
        self._check_lite()
        pool = self._judge()
        for custom in self._custom:
            self._set_custom(custom, pool)
        return Protobuf(
            syntax=self.syntax,
            package=file.package,
            imports=tuple(file.dependency),
            enums={enum.name: _digest(enum) for enum in file.enum_type},
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

    def _judge(self) -> DescriptorPool:
        """Let the library build and check the file, without the parts that it checks differently from protoc."""
        pool, file = DescriptorPool(), pb.FileDescriptorProto()
        file.CopyFrom(self._file)
        for message in _messages(file.message_type):
            message.ClearField("reserved_range")
        for field in _fields(file):
            field.json_name = f"={field.number}"  # no two are equal, and none equals a field's name
            field.ClearField("default_value")
        for shipped in _shipped(self._file.dependency).values():
            pool.Add(shipped)
        try:
            pool.AddSerializedFile(file.SerializeToString())
        except TypeError as error:
            # The library reports no line. The expected errors were found before, with their lines.
            self._refuse(str(error).rpartition("descriptor pool: ")[2], 1)
        return pool

    def _refuse(self, problem: str, line: int) -> NoReturn:
        raise ProtobufError(problem[:200], line)

    @property
    def _is_edition(self) -> bool:
        return self.syntax in EDITIONS

    def _name(self, owner: Any, kind: str, node: _Node) -> Symbol:
        """Set the descriptor's name, and declare it in the current scope."""
        owner.name = next(str(it) for it in node.children if _is(it, "NAME"))
        return self._symbol(kind, owner.name, node.meta.line)

    def _symbol(self, kind: str, name: str, line: int) -> Symbol:
        try:
            return self._scope.declare(kind, name, line)
        except ValueError as error:
            self._refuse(str(error), line)

    @contextmanager
    def _within(self, symbol: Symbol) -> Iterator[None]:
        outer, self._scope = self._scope, symbol
        yield
        self._scope = outer

    def _use(self, owner: Any, attribute: str, node: _Node) -> None:
        """Set the type's name as the file spells it. `_resolve` replaces the name when all names are known."""
        setattr(owner, attribute, name := _type(node))
        first, *rest = name.split(".", 1)
        if first in _SCALARS or first == "group" or (first == "map" and rest and attribute == "type_name"):
            self._refuse(f"'{name[:80]}' is no message", node.meta.line)
        self._uses.append(_Use(owner, attribute, self._scope, node.meta.line))

    def _resolve(self, use: _Use) -> None:
        name, is_field = getattr(use.owner, use.attribute), use.attribute == "type_name"
        found = use.scope.find(name, types_only=is_field)
        if found is None:
            self._refuse(f"the type '{name[:80]}' does not exist there", use.line)
        if found.kind != names.MESSAGE and not (is_field and found.kind == names.ENUM):
            self._refuse(f"'{name[:80]}' is no {'type' if is_field else 'message'} there", use.line)
        setattr(use.owner, use.attribute, f".{found.name}")
        if is_field and found.kind == names.ENUM:
            self._set_enum(use, found)
        elif is_field:
            self._set_message(use, found)

    def _set_enum(self, use: _Use, found: Symbol) -> None:
        field, listed = use.owner, found.declared.value
        field.type = _Field.TYPE_ENUM
        if _is_lazy(field):
            self._refuse("only messages are lazy", use.line)
        if found.is_closed and self.syntax == PROTO3:
            self._refuse(f"proto3 has no fields of an enum of proto2: '{found.name[:80]}'", use.line)
        if field.HasField("default_value") and field.default_value not in {it.name for it in listed}:
            self._refuse(f"the default value of '{field.name}' is no value of its enum", use.line)
        if use.scope.is_map_entry and listed and listed[0].number:
            self._refuse("the first value of an enum in a map has the number 0", use.line)

    def _set_message(self, use: _Use, found: Symbol) -> None:
        field = use.owner
        field.type = _Field.TYPE_MESSAGE
        if field.options.packed:
            self._refuse(f"the field '{field.name}' cannot be packed", use.line)
        if field.HasField("default_value"):
            self._refuse("messages have no default values", use.line)
        if found.is_map_entry and not (found.outer is use.scope and _is_map(field, found)):
            self._refuse(f"'{found.name[:80]}' is the inside of a map", use.line)

    def _check_extension(self, extension: _Field, symbol: Symbol) -> None:
        """Check an extension against the message that it extends."""
        extended = extension.extendee[1:]
        message = self._scope.root().descend(extended.split("."))
        number, taken = extension.number, self._extended.setdefault(extended, set())
        is_option = re.fullmatch(r"google\.protobuf\.\w+Options", extended)
        if message is None or (self.syntax == PROTO3 and not is_option):
            self._refuse("proto3 extends protobuf's own options only", symbol.line)
        within = [it for it in message.declared.extension_range if it.start <= number < it.end]
        if number in taken or number in _KEPT_NUMBERS or not within:
            self._refuse(f"the extension '{extension.name}' has a number that is taken or not allowed", symbol.line)
        taken.add(number)
        is_single = extension.label == _Field.LABEL_OPTIONAL and extension.type == _Field.TYPE_MESSAGE
        if message.declared.options.message_set_wire_format and not is_single:
            self._refuse("a message set has optional messages alone", symbol.line)
        if extension.options.unverified_lazy:
            self._refuse("an extension is not unverified_lazy", symbol.line)
        if not message.is_shipped and (wrong := values.announced_problem(extension, symbol.name, within[0])):
            self._refuse(f"the extension '{extension.name}' {wrong}", symbol.line)
        if message.is_shipped and self._is_lite:
            self._refuse("a file that is optimized for LITE_RUNTIME extends no other", symbol.line)

    @property
    def _is_lite(self) -> bool:
        return self._file.options.optimize_for == pb.FileOptions.LITE_RUNTIME

    def _check_lite(self) -> None:
        options = self._file.options
        if self._file.service and self._is_lite and (options.cc_generic_services or options.java_generic_services):
            line = self._scope.names[self._file.service[0].name].line
            self._refuse("a file that is optimized for LITE_RUNTIME has no generic services", line)

    def _begin(self, node: _Node) -> None:
        """Read a statement that applies to the whole file, wherever the file contains it."""
        match node.data:
            case "syntax":
                self._set_syntax(_string(node.children[0]), node.meta.line)
            case "edition":
                self._set_edition(_string(node.children[0]), node.meta.line)
            case "import":
                self._import(node)
            case "package":
                self._package(node)

    def _declare(self, node: _Node, options: _Options) -> None:
        file = self._file
        match node.data:
            case "option":
                self._option(options, node.children[0])
            case "message":
                self._message(node, file.message_type)
            case "enum":
                self._enum(node, file.enum_type.add())
            case "service":
                self._service(node, file.service.add())
            case "extend":
                self._extend(node, file.extension, file.message_type)

    def _set_syntax(self, syntax: str, line: int) -> None:
        if syntax not in (PROTO2, PROTO3):
            self._refuse(f"the syntax '{syntax[:40]}' does not exist", line)
        self.syntax = syntax
        if syntax == PROTO3:
            self._file.syntax = PROTO3

    def _set_edition(self, edition: str, line: int) -> None:
        if edition not in EDITIONS:
            self._refuse(f"the edition '{edition[:40]}' does not exist, or is not known yet", line)
        self.syntax, self._file.syntax, self._file.edition = edition, "editions", EDITIONS[edition]

    def _package(self, node: _Node) -> None:
        if self._file.package:
            self._refuse("there is a second package", node.meta.line)
        if len(node.children) > MAX_PACKAGE:
            self._refuse(f"a package has more than {MAX_PACKAGE} parts", node.meta.line)
        self._file.package = ".".join(map(str, node.children))
        try:
            self._scope = self._scope.package(self._file.package, node.meta.line)
        except ValueError as error:
            self._refuse(str(error), node.meta.line)

    def _import(self, node: _Node) -> None:
        name, line = _string(node.children[-1]), node.meta.line
        kind = str(node.children[0]) if len(node.children) > 1 else ""
        if (kind == "option" and self.syntax != "2024") or (kind == "weak" and self.syntax == "2024"):
            self._refuse(f"an import is no {kind} import in this syntax", line)
        if name in self._file.dependency:
            self._refuse(f"'{name}' is imported twice", line)
        if name not in _SHIPPED and name not in _FEATURES:
            self._refuse(f"it imports '{name[:80]}', which nobody ships: a model has one file", line)
        for shipped, file in _shipped([name]).items():
            if shipped not in self._imported:  # by another import
                self._imported[shipped] = names.declare_file(self._scope, file)
        for symbol in self._imported[name]:
            symbol.is_visible = True
        self._file.dependency.append(name)

    def _message(self, node: _Node, messages: Any, depth: int = 1) -> None:
        message = messages.add()
        self._fill(node, message, self._name(message, names.MESSAGE, node), depth)

    def _fill(self, node: _Node, message: pb.DescriptorProto, symbol: Symbol, depth: int) -> None:
        """Read the body of a message or a group."""
        if depth > MAX_DEPTH:
            self._refuse(f"messages are nested more than {MAX_DEPTH} deep", node.meta.line)
        symbol.declared = message
        options = self._options_of(message.options, "MESSAGE", self._scope)
        is_set = any(it.data == "option" and _sets_wire_format(it) for it in _trees(node))
        with self._within(symbol):
            for part in _trees(node):
                self._member(part, message, depth, options, is_set=is_set)
            if self.syntax == PROTO3:
                self._add_optionals(message)
            self._check_fields(message, node.meta.line)
        if message.options.HasField("map_entry"):
            self._refuse("map_entry is set by a map alone", node.meta.line)
        if message.options.message_set_wire_format:
            self._check_set(message, node.meta.line)

    def _check_set(self, message: pb.DescriptorProto, line: int) -> None:
        if self.syntax == PROTO3:
            self._refuse("proto3 has no message sets", line)
        if message.field:
            self._refuse("a message set has no fields", line)

    def _member(self, node: _Node, message: pb.DescriptorProto, depth: int, options: _Options, *, is_set: bool) -> None:
        match node.data:
            case "field":
                self._field(node, message.field.add())
            case "group":
                self._group(node, message.field.add(), message.nested_type, depth)
            case "map_field":
                self._map(node, message)
            case "oneof":
                self._oneof(node, message, depth)
            case "message":
                self._message(node, message.nested_type, depth + 1)
            case "enum":
                self._enum(node, message.enum_type.add())
            case "option":
                self._option(options, node.children[0])
            case _:
                self._special(node, message, depth, is_set=is_set)

    def _special(self, node: _Node, message: pb.DescriptorProto, depth: int, *, is_set: bool) -> None:
        last = _SET_NUMBERS[-1] if is_set else _NUMBERS[-1]
        match node.data:
            case "reserved":
                self._reserved(node, message, _RESERVABLE, last)
            case "extend":
                self._extend(node, message.extension, message.nested_type, depth)
            case "extensions":
                self._extension_ranges(node, message, last)

    def _extension_ranges(self, node: _Node, message: pb.DescriptorProto, last: int) -> None:
        if self.syntax == PROTO3:
            self._refuse("proto3 has no extensions of messages", node.meta.line)
        ranges = []
        for part in _trees(node):
            if part.data == "range":
                first, end = self._range(part, range(1, last + 1), last)
                ranges.append(message.extension_range.add(start=first, end=end + 1))
        if _has_options(node):
            self._options(ranges[0].options, "EXTENSION_RANGE", node, self._scope.outer)
            for it in ranges[1:]:
                it.options.CopyFrom(ranges[0].options)

    def _check_fields(self, message: pb.DescriptorProto, line: int) -> None:
        """Check the rules that the library does not check."""
        numbers: set[int] = set()
        kept = set(message.reserved_name)
        reserved = sorted(
            [(it.start, it.end) for it in message.reserved_range]
            + [(it.start, it.end) for it in message.extension_range]
        )
        if any(end > start for (_, end), (start, _) in pairwise(reserved)):
            self._refuse(f"'{message.name}' reserves a number twice, or for extensions, too", line)
        if wrong := values.declaration_problem(message.extension_range, _SCALARS):
            self._refuse(wrong, line)
        is_lax = self.syntax == PROTO2 or (self._is_edition and _is_legacy(self._file, message))
        for name in names.json_twins(message, is_lax=is_lax):
            self._refuse(f"the field '{name}' has another one's name in JSON, or a wrong one", self._line(name))
        for field in message.field:
            line = self._line(field.name)
            if field.number not in _NUMBERS or field.number in _KEPT_NUMBERS:
                self._refuse(f"the field '{field.name}' has a number that is not allowed: {field.number}", line)
            if field.number in numbers:
                self._refuse(f"the field '{field.name}' has another one's number: {field.number}", line)
            if field.name in kept or _holds(reserved, field.number):
                self._refuse(f"the field '{field.name}' has a name or a number that is reserved", line)
            numbers.add(field.number)

    def _line(self, name: str) -> int:
        return self._scope.names[name].line

    def _add_optionals(self, message: pb.DescriptorProto) -> None:
        """Add a oneof for each optional field, as protoc does."""
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

    def _field(self, node: _Node, field: _Field, oneof: int | None = None, kind: str = names.FIELD) -> Symbol:
        symbol = self._name(field, kind, node)
        self._set_label(field, node, oneof)
        field.number = self._integer(node)
        self._set_type(field, next(it for it in _trees(node) if it.data == "type"))
        self._field_options(field, node)
        scalar = field.type and field.type not in (_Field.TYPE_STRING, _Field.TYPE_BYTES)
        is_packable = field.label == _Field.LABEL_REPEATED and (scalar or field.type_name)
        if field.options.packed and not is_packable:
            self._refuse(f"the field '{field.name}' cannot be packed", node.meta.line)
        return symbol

    def _set_label(self, field: _Field, node: _Node, oneof: int | None) -> None:
        label = next((str(it) for it in node.children if _is(it, "LABEL")), "")
        field.label = _Field.Label.Value(f"LABEL_{(label or 'optional').upper()}")
        if oneof is not None:
            field.oneof_index = oneof
            if label:
                self._refuse(f"a field of a oneof is not {label}", node.meta.line)
        elif self.syntax == PROTO2:
            if not label:
                problem = f"the field '{field.name[:60]}' is neither optional, required nor repeated, as in proto2"
                hint = "" if self._nodes[0].data == "syntax" else ': the first line should be syntax = "proto3";'
                self._refuse(f"{problem}{hint}", node.meta.line)
        elif label == "optional" and self.syntax == PROTO3:
            field.proto3_optional = True
        elif label in ("optional", "required"):
            self._refuse(f"{'proto3' if self.syntax == PROTO3 else 'an edition'} has no {label} fields", node.meta.line)

    def _group(
        self, node: _Node, field: _Field, messages: Any, depth: int, oneof: int | None = None, kind: str = names.FIELD
    ) -> Symbol:
        """Read a group: a field and its message with one name."""
        line = node.meta.line
        if self.syntax != PROTO2:
            self._refuse("only proto2 has groups", line)
        message = messages.add()
        symbol = self._name(message, names.MESSAGE, node)
        if not message.name[0].isupper():
            self._refuse(f"the name of the group '{message.name}' begins with a capital letter", line)
        field.name = message.name.lower()
        field_symbol = self._symbol(kind, field.name, line)
        self._set_label(field, node, oneof)
        field.number = self._integer(node)
        field.type, field.type_name = _Field.TYPE_GROUP, f".{symbol.name}"
        self._field_options(field, node)
        if field.options.packed:
            self._refuse(f"the field '{field.name}' cannot be packed", line)
        self._fill(node, message, symbol, depth + 1)
        return field_symbol

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
        symbol.declared = entry
        with self._within(symbol):
            for number, (name, kind) in enumerate(zip(("key", "value"), kinds, strict=True), start=1):
                self._symbol(names.FIELD, name, node.meta.line)
                self._set_type(entry.field.add(name=name, number=number, label=_Field.LABEL_OPTIONAL), kind)
        self._field_options(field, node)

    def _oneof(self, node: _Node, message: pb.DescriptorProto, depth: int) -> None:
        index = len(message.oneof_decl)
        oneof = message.oneof_decl.add()
        self._name(oneof, names.ONEOF, node)
        options = self._options_of(oneof.options, "ONEOF", self._scope)
        for part in _trees(node):
            if part.data == "option":
                self._option(options, part.children[0])
            elif part.data == "field":
                self._field(part, message.field.add(), index)
            elif part.data == "group":
                self._group(part, message.field.add(), message.nested_type, depth, index)
            else:
                self._refuse("a oneof has fields, but no maps", part.meta.line)
        if not any(it.data != "option" for it in _trees(node)):
            self._refuse(f"the oneof '{oneof.name}' has no field", node.meta.line)

    def _enum(self, node: _Node, enum: pb.EnumDescriptorProto) -> None:
        symbol = self._name(enum, names.ENUM, node)
        symbol.declared = enum
        options = self._options_of(enum.options, "ENUM", self._scope)
        for part in _trees(node):
            match part.data:
                case "option":
                    self._option(options, part.children[0])
                case "reserved":
                    self._reserved(part, enum, _INT32, _INT32[-1])
                case "value":
                    value = enum.value.add(number=self._integer(part.children[1]))
                    self._name(value, names.VALUE, part)
                    self._options(value.options, "ENUM_ENTRY", part)
                    self._check_support(value.options, part.meta.line)
        symbol.is_closed = self.syntax == PROTO2 or _is_closed(self._file, enum)
        self._check_values(enum, node.meta.line, is_closed=symbol.is_closed)

    def _check_values(self, enum: pb.EnumDescriptorProto, line: int, *, is_closed: bool) -> None:
        numbers = {value.number for value in enum.value}
        if not enum.value or (enum.value[0].number and not is_closed):
            self._refuse(f"the first value of '{enum.name}' has the number 0", line)
        if (len(numbers) < len(enum.value)) != enum.options.HasField("allow_alias") or (
            enum.options.HasField("allow_alias") and not enum.options.allow_alias
        ):
            self._refuse(f"two values of '{enum.name}' have one number, or allow_alias is of no use", line)
        is_lax = self.syntax == PROTO2 and enum.options.deprecated_legacy_json_field_conflicts
        for name in () if is_lax else names.value_twins(enum):
            problem = f"'{name}' is another value's name but for case, underscores and '{enum.name}' before it"
            self._refuse(problem, self._scope.names[name].line)
        kept = set(enum.reserved_name)
        reserved = sorted((it.start, it.end + 1) for it in enum.reserved_range)
        if any(end > start for (_, end), (start, _) in pairwise(reserved)):
            self._refuse(f"'{enum.name}' reserves a number twice", line)
        for value in enum.value:
            if value.name in kept or _holds(reserved, value.number):
                line = self._scope.names[value.name].line
                self._refuse(f"'{value.name}' has a name or a number that is reserved", line)

    def _reserved(self, node: _Node, owner: Any, allowed: range, last: int) -> None:
        """Read reserved ranges and names.

        `end` of a range is exclusive in a message's descriptor, and inclusive in an enum's.
        """
        kept = set(owner.reserved_name)
        words = [str(it) for it in node.children if _is(it, "NAME")]
        literals = [_string(it) for it in _trees(node) if it.data == "string"]
        if (words and not self._is_edition) or (literals and self._is_edition):
            self._refuse("reserved names need quotes, but have none in an edition", node.meta.line)
        for name in (*words, *literals):
            if name in kept:
                self._refuse(f"'{name}' is reserved twice", node.meta.line)
            kept.add(name)
            owner.reserved_name.append(name)
        for part in _trees(node):
            if part.data == "range":
                first, end = self._range(part, allowed, last)
                owner.reserved_range.add(start=first, end=end + (allowed is _RESERVABLE))

    def _range(self, node: _Node, allowed: range, last: int) -> tuple[int, int]:
        """Return the first and the last number of a range."""
        first, *others = (last if _is(it, "MAX") else self._integer(it) for it in node.children)
        end = others[0] if others else first
        if first not in allowed or end not in allowed or end < first:
            self._refuse("a range of numbers is not allowed", node.meta.line)
        return first, end

    def _service(self, node: _Node, service: pb.ServiceDescriptorProto) -> None:
        options = self._options_of(service.options, "SERVICE", self._scope)
        with self._within(self._name(service, names.SERVICE, node)):
            for part in _trees(node):
                if part.data == "option":
                    self._option(options, part.children[0])
                else:
                    self._rpc(part, service.method.add())

    def _rpc(self, node: _Node, rpc: pb.MethodDescriptorProto) -> None:
        self._name(rpc, names.RPC, node)
        request, response = _sides(node)
        self._use(rpc, "input_type", request[0])
        self._use(rpc, "output_type", response[0])
        # Left unset instead of false, so that equal declarations have equal descriptors.
        for side, name in ((request, "client_streaming"), (response, "server_streaming")):
            if side[1]:
                setattr(rpc, name, True)
        options = self._options_of(rpc.options, "METHOD", self._scope)
        for option in (it for it in _trees(node) if it.data == "option"):
            self._option(options, option.children[0])

    def _extend(self, node: _Node, extensions: Any, messages: Any, depth: int = 0) -> None:
        kind, *parts = _trees(node)
        for part in parts:
            extension = extensions.add()
            if part.data == "group":
                symbol = self._group(part, extension, messages, depth, kind=names.EXTENSION)
            else:
                symbol = self._field(part, extension, kind=names.EXTENSION)
            self._use(extension, "extendee", kind)
            if extension.HasField("json_name") and extension.json_name != names.json_name(extension.name):
                self._refuse(f"the extension '{extension.name}' has no name in JSON", part.meta.line)
            if extension.label == _Field.LABEL_REQUIRED:
                self._refuse(f"the extension '{extension.name}' is not required", part.meta.line)
            self._extensions.append((extension, symbol))

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
        options = self._options_of(field.options, "FIELD", self._scope)
        for assignment in _assignments(node):
            name, line = _option_name(assignment.children[0]), assignment.meta.line
            if name in ("default", "json_name") and field.HasField("json_name" if name[0] == "j" else "default_value"):
                self._refuse(f"the option '{name}' is set twice", line)
            if name == "default":
                self._set_default(field, self._value(assignment), line)
            elif name == "json_name":
                self._set_json_name(field, self._value(assignment), line)
            else:
                self._option(options, assignment)
        self._check_support(field.options, node.meta.line)
        if _is_lazy(field) and field.HasField("type"):
            self._refuse("only messages are lazy", node.meta.line)
        if field.options.jstype and field.type not in _JS_TYPES:
            self._refuse("only integers of 64 bits have a jstype", node.meta.line)
        if self._is_edition and field.options.HasField("packed"):
            self._refuse("an edition has features.repeated_field_encoding for packed", node.meta.line)

    def _set_default(self, field: _Field, value: Value, line: int) -> None:
        if self.syntax == PROTO3 or field.label == _Field.LABEL_REPEATED or field.type == _Field.TYPE_GROUP:
            self._refuse("proto3, repeated fields and messages have no default values", line)
        if not field.HasField("type"):  # a value of an enum, which is checked when the enum is known
            field.default_value = str(value.content) if value.kind == values.IDENTIFIER else "-"
            return
        try:
            field.default_value = values.default(field, value)
        except ValueError as error:
            self._refuse(f"{error}: '{field.name}'", line)

    def _set_json_name(self, field: _Field, value: Value, line: int) -> None:
        if value.kind != values.STRING or b"\0" in value.content:
            self._refuse("the option 'json_name' has a value of another type", line)
        field.json_name = values.as_text(value.content)

    def _check_support(self, options: Any, line: int) -> None:
        if options.HasField("feature_support") and (problem := values.support_problem(options.feature_support)):
            self._refuse(problem, line)

    def _options_of(self, message: Any, target: str, scope: Symbol) -> _Options:
        return _Options(message, scope, Settings(pb.FieldOptions.OptionTargetType.Value(f"TARGET_TYPE_{target}")))

    def _options(self, message: Any, target: str, node: _Node, scope: Symbol | None = None) -> None:
        options = self._options_of(message, target, scope or self._scope)
        for assignment in _assignments(node):
            self._option(options, assignment)

    def _option(self, options: _Options, assignment: Any) -> None:
        """Set an option of protobuf's own, and keep a custom option for later."""
        line, message = assignment.meta.line, options.message
        steps, value = tuple(_steps(assignment.children[0])), self._value(assignment)
        if steps[0].name == "features" and not steps[0].is_extension:
            if not self._is_edition:
                self._refuse("only editions have features", line)
            if any(it.is_extension for it in steps):
                return  # a feature of a single language, which is not checked
        if any(it.is_extension for it in steps):
            self._custom.append(_Custom(options, steps, value, line))
            return
        name = ".".join(it.name for it in steps)[:60]
        try:
            given = options.settings.set(None, message.DESCRIPTOR, steps, value)
        except ValueError as error:
            self._refuse(f"the option '{name}' {error}", line)
        for step in steps[:-1]:
            message = getattr(message, step.name)
        last = steps[-1].name
        if isinstance(given, Message) or message.DESCRIPTOR.fields_by_name[last].is_repeated:
            message.MergeFrom(type(message)(**{last: [given] if _is_list(message, last) else given}))
        else:
            setattr(message, last, given)

    def _set_custom(self, custom: _Custom, pool: DescriptorPool) -> None:
        """Interpret a custom option, and add it to the descriptor, so that declarations differ if their options do."""
        options, shown = custom.options, ".".join(f"({it.name})" if it.is_extension else it.name for it in custom.steps)
        steps = []
        for step in custom.steps:
            found = options.scope.find(step.name, types_only=False) if step.is_extension else None
            if step.is_extension and (found is None or found.kind != names.EXTENSION):
                self._refuse(f"the option '{shown[:60]}' does not exist", custom.line)
            steps.append(Step(found.name, is_extension=True) if found else step)
        descriptor = options.message.DESCRIPTOR.full_name
        try:
            known = pool.FindMessageTypeByName(descriptor)
        except KeyError:
            known = options.message.DESCRIPTOR
        try:
            given = options.settings.set(pool, known, steps, custom.value)
        except ValueError as error:
            self._refuse(f"the option '{shown[:60]}' {error}", custom.line)
        if isinstance(given, str) and self.syntax != PROTO2 and given.encode() != custom.value.content:
            self._refuse(f"the option '{shown[:60]}' is not UTF-8", custom.line)  # protoc crashes on such a value
        name = [pb.UninterpretedOption.NamePart(name_part=it.name, is_extension=it.is_extension) for it in steps]
        options.message.uninterpreted_option.add(name=name, aggregate_value=values.canonical(given))

    def _value(self, assignment: _Node) -> Value:
        node: Any = assignment.children[1]
        match node.data:
            case "identifier":
                return Value(values.IDENTIFIER, str(node.children[0]))
            case "string":
                return Value(values.STRING, b"".join(map(values.unescape, node.children)))
            case "aggregate":
                text = self._source[node.meta.start_pos : node.meta.end_pos]
                return Value(values.AGGREGATE, text[text.index("{") + 1 : -1])
        token, is_negative = node.children[-1], len(node.children) > 1
        if token.type == "NAME":
            if token not in ("inf", "nan"):
                self._refuse(f"'-{token[:40]}' is no number", assignment.meta.line)
            return Value(values.FLOAT, float(f"-{token}"))
        try:
            return values.number(token, is_negative=is_negative)
        except ValueError as error:
            self._refuse(str(error), assignment.meta.line)


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


def _steps(name: Any) -> Iterator[Step]:
    for it in name.children:
        if isinstance(it, Tree):
            yield Step(_type(it.children[0]), is_extension=True)
        else:
            yield Step(str(it), is_extension=False)


def _string(node: Any) -> str:
    """Return the text between the quotes."""
    return values.as_text(b"".join(map(values.unescape, node.children)))


def _sets_wire_format(option: _Node) -> bool:
    name, value = option.children[0].children  # type: ignore[union-attr]
    return _option_name(name) == "message_set_wire_format" and str(value.children[0]) == "true"  # type: ignore[union-attr]


def _sides(rpc: _Node) -> list[tuple[_Node, bool]]:
    """Return the types of the request and the response, each with whether it is a stream."""
    sides, stream = [], False
    for it in rpc.children:
        if _is(it, "type"):
            sides.append((it, stream))
        stream = _is(it, "STREAM")
    return sides  # type: ignore[return-value]


def _holds(ranges: Sequence[tuple[int, int]], number: int) -> bool:
    """Return whether one of the sorted ranges contains the number. A range excludes its second number."""
    at = bisect_right(ranges, (number, _INT32.stop)) - 1
    return at >= 0 and number < ranges[at][1]


def _is_lazy(field: _Field) -> bool:
    return bool(field.options.lazy or field.options.unverified_lazy)


def _is_map(field: _Field, entry: Symbol) -> bool:
    return field.label == _Field.LABEL_REPEATED and entry.name.rpartition(".")[2] == names.map_entry(field.name)


def _is_list(message: Any, name: str) -> bool:
    return bool(message.DESCRIPTOR.fields_by_name[name].is_repeated)


def _is_closed(file: pb.FileDescriptorProto, enum: pb.EnumDescriptorProto) -> bool:
    """Return whether an edition's enum is closed, as in proto2."""
    features = enum.options.features if enum.options.features.HasField("enum_type") else file.options.features
    return features.enum_type == pb.FeatureSet.CLOSED


def _is_legacy(file: pb.FileDescriptorProto, message: pb.DescriptorProto) -> bool:
    """Return whether an edition allows equal JSON names in a message, as proto2 does."""
    legacy = pb.FeatureSet.LEGACY_BEST_EFFORT
    return legacy in (file.options.features.json_format, message.options.features.json_format)


def _messages(declared: Iterable[pb.DescriptorProto]) -> Iterator[pb.DescriptorProto]:
    """Yield these messages and all messages nested in them."""
    for message in declared:
        yield message
        yield from _messages(message.nested_type)


def _fields(file: pb.FileDescriptorProto) -> Iterator[_Field]:
    yield from file.extension
    for message in _messages(file.message_type):
        yield from message.field
        yield from message.extension


def _digest(declared: pb.DescriptorProto | pb.EnumDescriptorProto | pb.ServiceDescriptorProto) -> bytes:
    return sha256(declared.SerializeToString(deterministic=True)).digest()


def _rpc(rpc: pb.MethodDescriptorProto) -> Rpc:
    request, response = (name.rpartition(".")[2] for name in (rpc.input_type, rpc.output_type))
    return Rpc(request, response, (rpc.client_streaming, rpc.server_streaming))


def _shipped(wanted: Iterable[str]) -> dict[str, pb.FileDescriptorProto]:
    """Return these files, which protoc ships. Each file comes after the files that it imports."""
    files: dict[str, pb.FileDescriptorProto] = {}
    for name in wanted:
        if name in _FEATURES:
            files |= _shipped([_DESCRIPTOR])
            files[name] = pb.FileDescriptorProto(name=name, package="pb", dependency=[_DESCRIPTOR])
            files[name].message_type.add(name=f"{_FEATURES[name]}Features")
            continue
        descriptor = import_module(_SHIPPED[name]).DESCRIPTOR
        files |= _shipped(it.name for it in descriptor.dependencies)
        files[name] = pb.FileDescriptorProto.FromString(descriptor.serialized_pb)
    return files
