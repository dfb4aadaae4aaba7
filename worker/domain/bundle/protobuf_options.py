"""Values in a .proto file, by protoc's rules: strings, numbers, protobuf's own options and custom options. Pure.

protoc interprets every value itself, so the protobuf library checks none.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf import descriptor_pb2 as pb
from google.protobuf import text_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

MAX_AGGREGATE_DEPTH: Final = 60  # of braces in an aggregate, which the library parses recursively

IDENTIFIER, INTEGER, FLOAT, STRING, AGGREGATE = ("identifier", "integer", "float", "string", "aggregate")

_Field = FieldDescriptor
_INTEGERS: Final = {
    _Field.CPPTYPE_INT32: range(-(2**31), 2**31),
    _Field.CPPTYPE_INT64: range(-(2**63), 2**63),
    _Field.CPPTYPE_UINT32: range(2**32),
    _Field.CPPTYPE_UINT64: range(2**64),
}
_UNSIGNED = frozenset({_Field.CPPTYPE_UINT32, _Field.CPPTYPE_UINT64})
_NUMBERS_WITHOUT_DIGITS = frozenset({"inf", "nan"})
_ESCAPED = re.compile(
    r"""\\(?:(?P<octal>[0-7]{1,3})|[xX](?P<hex>[0-9a-fA-F]{1,2})
    |(?:u|U0000)(?P<head>[dD][89abAB][0-9a-fA-F]{2})\\u(?P<trail>[dD][c-fC-F][0-9a-fA-F]{2})
    |(?:u(?P<short>[0-9a-fA-F]{4})|U(?P<long>00[01][0-9a-fA-F]{5}))|(?P<char>[abfnrtv\\?'"]))""",
    re.VERBOSE,
)
_UNESCAPED = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_COMMENT = re.compile(r""""(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|//[^\n]*|/\*.*?\*/""", re.DOTALL)
_NAME = re.compile(r"(\.\w+)+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Value:
    """The value after the equals sign of an option."""

    kind: str
    content: Any  # str, int, float or bytes; for an aggregate, its text
    is_negative: bool = False  # an integer with a minus sign: -0 is not unsigned

    def fits(self, kind: int) -> bool:
        """Return whether the value is an integer of this CPPTYPE."""
        fits = self.kind == INTEGER and self.content in _INTEGERS[kind]
        return fits and not (self.is_negative and kind in _UNSIGNED)


def has_wrong_escape(literal: str) -> bool:
    """Return whether a literal has a backslash that does not begin a valid escape sequence."""
    return "\\" in _ESCAPED.sub("", literal)


def unescape(literal: str) -> bytes:
    """Return the content between the quotes, with escape sequences replaced."""
    text = literal[1:-1]
    if "\\" not in text:
        return text.encode()
    parts: list[bytes] = []
    end = 0
    for match in _ESCAPED.finditer(text):
        parts += text[end : match.start()].encode(), _unescaped(match)
        end = match.end()
    return b"".join((*parts, text[end:].encode()))


def _unescaped(match: re.Match[str]) -> bytes:
    kind, digits = match.lastgroup, match[match.lastgroup or 0]
    if kind == "char":
        return _UNESCAPED.get(digits, digits).encode()
    if kind in ("octal", "hex"):
        return bytes((int(digits, 8 if kind == "octal" else 16) & 0xFF,))
    code = int(digits, 16)
    if kind == "trail":
        code = 0x10000 + ((int(match["head"], 16) - 0xD800) << 10) + code - 0xDC00
    return chr(code).encode(errors="surrogatepass") if code <= 0x10FFFF else rf"\U{code:08x}".encode()


def as_text(content: bytes) -> str:
    """Return a string for a descriptor, which can hold only UTF-8. Every other byte becomes a backslash escape."""
    return content.decode(errors="backslashreplace")


def number(literal: str, *, is_negative: bool) -> Value:
    """Read a number as protoc does: a decimal integer that is too large becomes a float. Raises ValueError."""
    if not literal[0].isdigit() or re.fullmatch(r"[0-9]+", literal) is None:
        if literal[:2] in ("0x", "0X"):
            return _integer(int(literal, 16), is_negative=is_negative)
        return Value(FLOAT, -float(literal) if is_negative else float(literal))
    if literal[0] == "0":
        if not set(literal) <= set("01234567"):
            raise ValueError(f"the number {literal[:40]} begins with 0 and is not octal")
        return _integer(int(literal, 8), is_negative=is_negative)
    if len(literal) > 400:
        return Value(FLOAT, float("-inf" if is_negative else "inf"))
    return _integer(int(literal), is_negative=is_negative, is_decimal=True)


def _integer(content: int, *, is_negative: bool, is_decimal: bool = False) -> Value:
    content = -content if is_negative else content
    if content in range(-(2**63), 2**64):
        return Value(INTEGER, content, is_negative)
    if not is_decimal:
        raise ValueError("a number is too large")
    return Value(FLOAT, float(content) if abs(content) < 2**1000 else float("inf"))


def default(field: pb.FieldDescriptorProto, value: Value) -> str:
    """Return the default value of a scalar field in a canonical form. Raises ValueError."""
    kinds = {
        _Field.TYPE_BOOL: (IDENTIFIER,),
        _Field.TYPE_STRING: (STRING,),
        _Field.TYPE_BYTES: (STRING,),
        _Field.TYPE_FLOAT: (FLOAT, INTEGER, IDENTIFIER),
        _Field.TYPE_DOUBLE: (FLOAT, INTEGER, IDENTIFIER),
    }.get(field.type, (INTEGER,))
    content = value.content
    if value.kind not in kinds:
        raise ValueError("the default value is of another type")
    if value.kind == IDENTIFIER:
        allowed = ("true", "false") if field.type == _Field.TYPE_BOOL else _NUMBERS_WITHOUT_DIGITS
        if content not in allowed:
            raise ValueError("the default value is of another type")
        return str(content)
    if kinds == (INTEGER,):
        if not value.fits(_Field.ProtoTypeToCppProtoType(field.type)):
            raise ValueError("the default value is out of range")
        return str(content)
    return repr(float(content) if kinds[0] == FLOAT else content)


def setting(field: FieldDescriptor, value: Value) -> Any:
    """Return the value of an option in the form that the library accepts. Raises ValueError."""
    kind = field.cpp_type
    if kind in _INTEGERS:
        fits = value.fits(kind)
    elif kind in (_Field.CPPTYPE_FLOAT, _Field.CPPTYPE_DOUBLE):
        fits = value.kind in (INTEGER, FLOAT) or value.content in ("inf", "nan")
    elif kind == _Field.CPPTYPE_BOOL:
        fits = value.kind == IDENTIFIER and value.content in ("true", "false")
    elif field.enum_type:
        fits = value.kind == IDENTIFIER and value.content in field.enum_type.values_by_name
    elif kind == _Field.CPPTYPE_STRING:
        fits = value.kind == STRING
    else:
        fits = value.kind == AGGREGATE
    if not fits:
        raise ValueError("a value of another type, or out of range")
    return _converted(field, value.content)


def _converted(field: FieldDescriptor, content: Any) -> Any:
    if field.enum_type:
        return field.enum_type.values_by_name[content].number
    if field.message_type:
        return aggregate(content, GetMessageClass(field.message_type)())
    match field.cpp_type:
        case _Field.CPPTYPE_FLOAT | _Field.CPPTYPE_DOUBLE:
            return float(content)
        case _Field.CPPTYPE_BOOL:
            return content == "true"
        case _Field.CPPTYPE_STRING if field.type == _Field.TYPE_STRING:
            return as_text(content)
    return content


def aggregate(text: str, into: Message) -> Message:
    """Parse a value in protobuf's text format, after replacing protoc's comments with spaces. Raises ValueError."""
    text = _COMMENT.sub(lambda it: it[0] if it[0][0] in "\"'" else re.sub(r"[^\n]", " ", it[0]), text)
    if _depth(text) > MAX_AGGREGATE_DEPTH:
        raise ValueError(f"braces more than {MAX_AGGREGATE_DEPTH} deep")
    try:
        text_format.Parse(text, into)
    except (text_format.ParseError, UnicodeError, KeyError, TypeError) as error:
        raise ValueError(f"a value that cannot be read: {str(error)[:80]}") from None
    if not into.IsInitialized():
        raise ValueError("a value that lacks a required field")
    return into


def _depth(text: str) -> int:
    deepest = depth = 0
    for char in text:
        depth += (char in "{<") - (char in "}>")
        deepest = max(deepest, depth)
    return deepest


@dataclass(frozen=True, slots=True)
class Step:
    """A part of an option's name: a field, or an extension with its fully qualified name."""

    name: str
    is_extension: bool


class Settings:
    """The options of one declaration: tracks which are set, and checks whether each is allowed there."""

    def __init__(self, target: int) -> None:
        self._target = target  # FieldOptions.TARGET_TYPE_…, the kind of the declaration
        self._set: set[tuple[int, ...]] = set()

    def set(self, pool: DescriptorPool | None, options: Descriptor, steps: Iterable[Step], value: Value) -> Any:
        """Interpret one option. Raises ValueError."""
        *outer, field = self._walk(pool, options, steps)
        path = tuple(it.number for it in (*outer, field))
        if path in self._set and not field.is_repeated:
            raise ValueError("is set twice")
        try:
            given = setting(field, value)
        except ValueError as error:
            raise ValueError(f"has {error}") from None
        self._set |= {path[: end + 1] for end in range(len(path))}
        if isinstance(given, Message):
            self._set |= set(_paths(path, given))
        used = (*outer, *_used(field, given)) if _is_set(field, given) else outer
        if not all(map(self._fits, used)):
            raise ValueError("does not belong to such a thing")
        return given

    def _walk(self, pool: DescriptorPool | None, options: Descriptor, steps: Iterable[Step]) -> list[FieldDescriptor]:
        fields: list[FieldDescriptor] = []
        inside: Descriptor | None = options
        for step in steps:
            if inside is None or (fields and fields[-1].is_repeated):
                raise ValueError("is no single message")
            field = _find(pool, inside, step)
            extended = field and field.containing_type
            if not field or not extended or extended.full_name != inside.full_name:
                raise ValueError("does not exist")
            fields.append(field)
            inside = field.message_type
        return fields

    def _fits(self, field: FieldDescriptor) -> bool:
        targets = field.GetOptions().targets
        return not targets or self._target in targets


def _find(pool: DescriptorPool | None, inside: Descriptor, step: Step) -> FieldDescriptor | None:
    if not step.is_extension:
        return None if step.name == "uninterpreted_option" else inside.fields_by_name.get(step.name)
    try:
        return pool.FindExtensionByName(step.name) if pool else None
    except KeyError:
        return None


def _is_set(field: FieldDescriptor, given: Any) -> bool:
    return bool(field.has_presence or field.is_repeated or given)


def _used(field: FieldDescriptor, given: Any) -> Iterator[FieldDescriptor]:
    """Yield the field and all fields that are set within its value."""
    yield field
    if isinstance(given, Message):
        for inner, content in given.ListFields():
            if inner.type != _Field.TYPE_MESSAGE:
                yield inner
            elif inner.is_repeated:
                yield inner
                for it in content.values() if _is_map(inner) else content:
                    yield from list(_used(inner, it))[1:]
            else:
                yield from _used(inner, content)


def _is_map(field: FieldDescriptor) -> bool:
    return bool(field.message_type and field.message_type.GetOptions().map_entry)


def _paths(path: tuple[int, ...], given: Message) -> Iterator[tuple[int, ...]]:
    for inner, content in given.ListFields():
        yield (*path, inner.number)
        if inner.message_type and not inner.is_repeated:
            yield from _paths((*path, inner.number), content)


def canonical(given: Any) -> str:
    """Return a canonical text for a value: equal values have the same text."""
    return repr(given.SerializePartialToString(deterministic=True) if isinstance(given, Message) else given)


def support_problem(support: pb.FieldOptions.FeatureSupport) -> str | None:
    """Return the problem with the editions in an option's `feature_support`, or None."""
    introduced, deprecated, removed = support.edition_introduced, support.edition_deprecated, support.edition_removed
    if support.HasField("edition_deprecated"):
        wrong = deprecated < introduced or not support.HasField("deprecation_warning")
    else:
        wrong = support.HasField("deprecation_warning")
    if support.HasField("edition_removed"):
        wrong = wrong or deprecated >= removed or removed < introduced
        wrong = wrong or (introduced != removed and not support.HasField("removal_error"))
    else:
        wrong = wrong or support.HasField("removal_error")
    return "its feature_support contradicts itself" if wrong else None


def declaration_problem(ranges: Iterable[pb.DescriptorProto.ExtensionRange], scalars: frozenset[str]) -> str | None:
    """Return the problem with a message's declarations of its extensions, or None."""
    names: set[str] = set()
    for it in ranges:
        declared = it.options.declaration
        numbers = [one.number for one in declared]
        unverified = it.options.HasField("verification") and it.options.verification == it.options.UNVERIFIED
        if declared and (unverified or len(set(numbers)) < len(numbers)):
            return "extensions are declared twice, or not to be verified"
        for one in declared:
            named, typed = one.HasField("full_name"), one.HasField("type")
            wrong = not it.start <= one.number < it.end or named != typed or not (named or one.reserved)
            if named and typed:
                wrong = wrong or one.full_name in names or not _NAME.fullmatch(one.full_name)
                wrong = wrong or not (one.type in scalars or _NAME.fullmatch(one.type))
                names.add(one.full_name)
            if wrong:
                return f"the declaration of the extension {one.number} is not allowed"
    return None


def announced_problem(
    extension: pb.FieldDescriptorProto, name: str, announced: pb.DescriptorProto.ExtensionRange
) -> str | None:
    """Return how an extension differs from its declaration in the message that it extends, or None."""
    options = announced.options
    for one in options.declaration:
        if one.number == extension.number:
            kind = extension.type_name or pb.FieldDescriptorProto.Type.Name(extension.type)[5:].lower()
            wanted = one.type if one.type.startswith(".") or not extension.type_name else f".{one.type}"
            repeated = extension.label == extension.LABEL_REPEATED
            wrong = one.reserved or one.repeated != repeated or (bool(one.type) and wanted != kind)
            wrong = wrong or one.full_name not in ("", f".{name}")
            return "is announced otherwise by the message that it extends" if wrong else None
    if options.declaration or options.verification == options.DECLARATION:
        return "is not announced by the message that it extends"
    return None
