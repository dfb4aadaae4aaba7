"""Names in a .proto file, by protoc's rules: each is declared once, and types are looked up from the innermost scope.

Pure. The protobuf library leaves both rules to protoc, which passes it fully qualified names only.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, Final

from google.protobuf import descriptor_pb2 as pb

MAX_NAME: Final = 500  # characters of a fully qualified name, because the library stores each name in full
PACKAGE, MESSAGE, ENUM, VALUE, FIELD, ONEOF, EXTENSION, SERVICE, RPC = (
    "package", "message", "enum", "value", "field", "oneof", "extension", "service", "rpc",
)  # fmt: skip
_TYPES = frozenset({MESSAGE, ENUM})
_SCOPES = frozenset({PACKAGE, MESSAGE, ENUM, SERVICE})


@dataclass(slots=True, eq=False)
class Symbol:
    """A declared name, and the names declared within it."""

    kind: str
    name: str = ""  # fully qualified, without a leading dot
    line: int = 0
    outer: "Symbol | None" = None
    names: "dict[str, Symbol]" = field(default_factory=dict)
    is_visible: bool = True  # False: visible only to an imported file
    is_map_entry: bool = False
    is_closed: bool = False  # an enum that allows no values except those that it declares
    is_shipped: bool = False  # declared in a file that protoc ships
    declared: Any = None  # the descriptor of a message or an enum

    def declare(self, kind: str, name: str, line: int = 0) -> "Symbol":
        """Add a name to this scope. Raises ValueError if the name is taken or too long."""
        known = self.names.get(name)
        if known is not None:
            if kind == known.kind == PACKAGE:
                return known
            raise ValueError(f"'{name}' is declared twice")
        full = f"{self.name}.{name}" if self.name else name
        if len(full) > MAX_NAME:
            raise ValueError(f"a fully qualified name is longer than {MAX_NAME} characters")
        self.names[name] = symbol = Symbol(kind, full, line, self)
        return symbol

    def package(self, name: str, line: int = 0) -> "Symbol":
        """Return the scope of a package, and declare the package if necessary. Raises ValueError."""
        scope = self
        for part in filter(None, name.split(".")):
            scope = scope.declare(PACKAGE, part, line)
        return scope

    def find(self, name: str, *, types_only: bool) -> "Symbol | None":
        """Look up a name that is used in this scope. The innermost scope that declares its first part decides."""
        first, *rest = name.split(".")
        if not first:
            return self.root().descend(rest)
        for scope in self._outwards():
            found = scope.names.get(first)
            if found is None or (rest and found.kind not in _SCOPES):
                continue
            if rest:
                return found.descend(rest)
            if found.kind in _TYPES or not types_only:
                return found if found.is_visible else None
        return None

    def _outwards(self) -> "Iterator[Symbol]":
        scope: Symbol | None = self
        while scope:
            yield scope
            scope = scope.outer

    def root(self) -> "Symbol":
        """Return the outermost scope."""
        return list(self._outwards())[-1]

    def descend(self, names: Sequence[str]) -> "Symbol | None":
        """Look up a path of names in this scope only."""
        found: Symbol | None = self
        for name in names:
            found = found and found.names.get(name)
        return found if found and found.is_visible else None


def declare_file(root: Symbol, file: pb.FileDescriptorProto) -> Sequence[Symbol]:
    """Add the declarations of an imported file, and return them. Raises ValueError."""
    symbols = list(_declare(root.package(file.package), file))
    for symbol in symbols:
        symbol.is_visible, symbol.is_shipped, symbol.is_closed = False, True, file.syntax != "proto3"
    return symbols


def _declare(scope: Symbol, owner: pb.FileDescriptorProto | pb.DescriptorProto) -> Iterator[Symbol]:
    nested = owner.message_type if isinstance(owner, pb.FileDescriptorProto) else owner.nested_type
    for message in nested:
        yield (symbol := scope.declare(MESSAGE, message.name))
        symbol.declared = message
        yield from _declare(symbol, message)
    for enum in owner.enum_type:
        yield (symbol := scope.declare(ENUM, enum.name))
        symbol.declared = enum
        yield from (scope.declare(VALUE, value.name) for value in enum.value)


def json_twins(message: pb.DescriptorProto, *, is_lax: bool) -> Iterator[str]:
    """Yield the fields whose JSON name is that of another field, or is set to a name in square brackets.

    Default JSON names must differ even if a field sets another name with `json_name`.
    is_lax: as in proto2, where only the names that are set must differ from each other.
    """
    if message.options.deprecated_legacy_json_field_conflicts:
        return
    given: set[str] = set()
    used: dict[str, bool] = {}  # name → whether it was set with `json_name`
    for it in message.field:
        name = json_name(it.name)
        if name in given and not is_lax:
            yield it.name
        given.add(name)
        is_set = it.HasField("json_name") and it.json_name != name
        name = it.json_name if is_set else name
        if is_set and re.fullmatch(r"\[.*\]", name, re.DOTALL):
            yield it.name
        if name in used and (is_set and used[name] if is_lax else is_set or used[name]):
            yield it.name
        used.setdefault(name, is_set)


def value_twins(enum: pb.EnumDescriptorProto) -> Iterator[str]:
    """Yield the values that have the name of a value with another number.

    Names are compared without regard to case and underscores, and without the enum's name as a prefix.
    """
    prefix = enum.name.replace("_", "").lower()
    taken: dict[str, int] = {}
    for value in enum.value:
        if taken.setdefault(_short_name(value.name, prefix), value.number) != value.number:
            yield value.name


def _short_name(name: str, prefix: str) -> str:
    letters = accumulate(it != "_" for it in name)  # the number of letters so far
    end = next((at for at, count in enumerate(letters, 1) if count == len(prefix)), 0)
    rest = name[end:].lstrip("_")
    if not rest or name[:end].replace("_", "").lower() != prefix:
        rest = name
    return "".join(part[:1].upper() + part[1:].lower() for part in rest.split("_"))


def json_name(name: str) -> str:
    """Return a field's default JSON name, as protoc derives it."""
    return re.sub(r"_+(.?)", lambda match: match[1].upper(), name)


def map_entry(name: str) -> str:
    """Return the name of the message that protoc generates for the entries of a map."""
    return re.sub(r"(?:^|_+)([a-z]?)", lambda match: match[1].upper(), name) + "Entry"
