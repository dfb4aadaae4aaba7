"""Names in a .proto file by protoc's rules: each declared once, types looked up from the innermost scope. Pure.

The protobuf library leaves both to protoc, which hands it every name in full.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, Final

from google.protobuf import descriptor_pb2 as pb

MAX_NAME: Final = 500  # of a name with all that it stands in; the library keeps each in full
PACKAGE, MESSAGE, ENUM, VALUE, FIELD, ONEOF, EXTENSION, SERVICE, RPC = (
    "package", "message", "enum", "value", "field", "oneof", "extension", "service", "rpc",
)  # fmt: skip
_TYPES = frozenset({MESSAGE, ENUM})
_SCOPES = frozenset({PACKAGE, MESSAGE, ENUM, SERVICE})


@dataclass(slots=True, eq=False)
class Symbol:
    """What a name stands for, and the names within it."""

    kind: str
    name: str = ""  # in full, without a dot in front
    line: int = 0
    outer: "Symbol | None" = None
    names: "dict[str, Symbol]" = field(default_factory=dict)
    is_visible: bool = True  # False: only known to a file that is imported
    is_map_entry: bool = False
    is_closed: bool = False  # an enum that has no other values than its own
    is_shipped: bool = False  # with protoc
    declared: Any = None  # the descriptor of a message or an enum

    def declare(self, kind: str, name: str, line: int = 0) -> "Symbol":
        """Add a name to this scope. Raises ValueError if it is taken, or too long."""
        known = self.names.get(name)
        if known is not None:
            if kind == known.kind == PACKAGE:
                return known
            raise ValueError(f"'{name}' is declared twice")
        full = f"{self.name}.{name}" if self.name else name
        if len(full) > MAX_NAME:
            raise ValueError(f"a name is longer than {MAX_NAME} characters with all that it stands in")
        self.names[name] = symbol = Symbol(kind, full, line, self)
        return symbol

    def package(self, name: str, line: int = 0) -> "Symbol":
        """Return the scope of a package."""
        scope = self
        for part in filter(None, name.split(".")):
            scope = scope.declare(PACKAGE, part, line)
        return scope

    def find(self, name: str, *, types_only: bool) -> "Symbol | None":
        """Look up a name that is used in this scope: the innermost scope that knows its first part decides."""
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
        """Look up a path of names in this scope alone."""
        found: Symbol | None = self
        for name in names:
            found = found and found.names.get(name)
        return found if found and found.is_visible else None


def declare_file(root: Symbol, file: pb.FileDescriptorProto) -> Sequence[Symbol]:
    """Add what an imported file declares, and return that. Raises ValueError."""
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
    """Yield the fields that have another one's name in JSON; a name that is set does not make up for the other.

    is_lax: as in proto2, where only two names that are set must differ.
    """
    if message.options.deprecated_legacy_json_field_conflicts:
        return
    given: set[str] = set()
    used: dict[str, bool] = {}  # name → whether it was set
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
    """Yield the values that have another one's name where case, underscores and the name of the enum do not count."""
    prefix = enum.name.replace("_", "").lower()
    taken: dict[str, int] = {}
    for value in enum.value:
        if taken.setdefault(_short_name(value.name, prefix), value.number) != value.number:
            yield value.name


def _short_name(name: str, prefix: str) -> str:
    letters = accumulate(it != "_" for it in name)  # how many so far
    end = next((at for at, count in enumerate(letters, 1) if count == len(prefix)), 0)
    rest = name[end:].lstrip("_")
    if not rest or name[:end].replace("_", "").lower() != prefix:
        rest = name
    return "".join(part[:1].upper() + part[1:].lower() for part in rest.split("_"))


def json_name(name: str) -> str:
    """Return the name that protoc gives a field in JSON."""
    return re.sub(r"_+(.?)", lambda match: match[1].upper(), name)


def map_entry(name: str) -> str:
    """Return the name of the message that protoc makes for a map's entries."""
    return re.sub(r"(?:^|_+)([a-z]?)", lambda match: match[1].upper(), name) + "Entry"
