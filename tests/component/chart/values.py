"""The chart's values.yaml, the only source: each value with a sentence (`# --`) and its JSON Schema (`# @schema`)."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from tests.support.paths import ROOT

Json = dict[str, Any]

CHART = ROOT / "helm"
VALUES = CHART / "values.yaml"

_KEY = re.compile(r"( *)([\w-]+):")
_SENTENCE, _SCHEMA = "# -- ", "# @schema "

DEFINITIONS: Json = {
    "strings": {"type": "object", "additionalProperties": {"type": "string"}},
    "object": {"type": "object"},
    "objects": {"type": "array", "items": {"type": "object"}},
    "ports": {"type": "array", "items": {"type": "integer", "minimum": 1, "maximum": 65535}},
    "numberOrPercent": {"type": ["integer", "string"], "minimum": 0, "pattern": "^[0-9]+%$"},
}
_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}


@dataclass(frozen=True, slots=True)
class Value:
    """A value that can be set."""

    path: str
    sentence: str
    default: Any
    own_schema: Json = field(default_factory=dict)

    @property
    def schema(self) -> Json:
        """Return the value's JSON Schema."""
        return {"description": self.sentence, **self._type, **self.own_schema, "default": self.default}

    @property
    def type(self) -> str:
        """Return the value's type, for readers."""
        resolved = {**self._type, **self.own_schema}
        if reference := resolved.get("$ref"):
            resolved = DEFINITIONS[reference.rpartition("/")[2]]
        if "enum" in resolved:
            return " or ".join(f"`{choice}`" for choice in resolved["enum"])
        types = resolved["type"] if isinstance(resolved["type"], list) else [resolved["type"]]
        return " or ".join(types)

    @property
    def _type(self) -> Json:
        known = self.own_schema.keys() & {"type", "$ref"}
        return {} if known or self.default is None else {"type": _TYPES[type(self.default)]}


def read_values(text: str) -> list[Value]:
    """Read every value, in the file's order. A key without a sentence is a group."""
    defaults = yaml.safe_load(text)
    return [
        Value(".".join(path), sentence, _look_up(defaults, path), own) for path, sentence, own in _annotated_keys(text)
    ]


def schema_of(values: list[Value]) -> Json:
    """Return values.schema.json: closed, except for maps whose keys are the user's.

    `global` is one of these maps: a parent chart keeps its shared values there.
    """
    root = _closed()
    for value in values:
        *groups, name = value.path.split(".")
        place = root
        for group in groups:
            place = place["properties"].setdefault(group, _closed())
        place["properties"][name] = value.schema
    del root["properties"]["global"]["additionalProperties"]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **root, "$defs": DEFINITIONS}


def _closed() -> Json:
    return {"type": "object", "additionalProperties": False, "properties": {}}


def _look_up(values: Json, path: list[str]) -> Any:
    for key in path:
        values = values[key]
    return values


def _annotated_keys(text: str) -> Iterator[tuple[list[str], str, Json]]:
    groups: list[str] = []
    sentence, own_schema, inside = "", {}, -1
    for line in text.splitlines():
        comment = line.lstrip()
        if comment.startswith(_SENTENCE):
            sentence = comment.removeprefix(_SENTENCE)
        elif comment.startswith(_SCHEMA):
            own_schema = yaml.safe_load(comment.removeprefix(_SCHEMA))
        elif key := _KEY.match(line):
            depth = len(key[1]) // 2
            if 0 <= inside < depth:
                continue  # a part of the value above
            groups = [*groups[:depth], key[2]]
            inside = depth if sentence else -1
            if sentence:
                yield groups, sentence, own_schema
            sentence, own_schema = "", {}
