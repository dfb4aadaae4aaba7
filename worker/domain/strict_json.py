"""Strict JSON (RFC 8259) from untrusted sources: the result is one value or one kind of error.

The standard library's parser accepts NaN, duplicate keys and lone surrogates, and raises four kinds of exception on
hostile input. Hooks reject what the parser would accept. One pass over the result checks depth and lengths.
"""

import json
from collections.abc import Iterable
from math import isfinite
from typing import Any, NoReturn

from worker.errors import WorkerError

MAX_NUMBER = 300  # characters: every 64-bit integer and double fits, and every conversion is fast
MAX_VALUES = 50_000  # a megabyte of `{},` would take 0.5 s and 46 MiB; this limit allows 50 ms and 10 MiB


class JsonError(WorkerError):
    """The text is not strict JSON. The message gives the reason and never repeats the text."""


class NotJson(JsonError):
    """The text is not JSON: it is in another format, or cut off."""


def loads(
    data: bytes | str, *, max_bytes: int, max_depth: int = 32, max_string: int = 4096, max_values: int = MAX_VALUES
) -> Any:
    """Read one JSON value.

    Args:
        data: UTF-8, without a byte order mark.
        max_bytes: the maximum length of the text, in bytes of UTF-8.
        max_depth: the maximum nesting; a list of numbers has depth 1.
        max_string: the maximum length of a string or key, in bytes of UTF-8.
        max_values: the maximum number of commas and opening brackets, also in strings; counted before parsing.

    Raises:
        NotJson: the text is not UTF-8, or not JSON.
        JsonError: the text exceeds a limit, or has a duplicate key in an object, a number that is not finite or is
            longer than MAX_NUMBER characters, or a lone surrogate.
    """
    text = _text(data, max_bytes)
    if sum(map(text.count, ",[{")) > max_values:
        raise (JsonError if _looks_whole(text) else NotJson)(f"more than {max_values} values")
    problem: JsonError
    try:
        value = _DECODER.decode(text)
    except JsonError:
        raise
    except json.JSONDecodeError as error:
        problem = NotJson(f"not JSON at line {error.lineno}, column {error.colno}")
    except RecursionError:
        problem = (JsonError if _looks_whole(text) else NotJson)(f"nested deeper than {max_depth} levels")
    else:
        _check(value, max_depth, max_string)
        return value
    raise problem  # outside the `except` block, because the parser's error holds the whole text


def _looks_whole(text: str) -> bool:
    """Guess without parsing whether a text is whole JSON, and not a web page or a cut-off answer."""
    text = text.strip(" \t\r\n")
    return (text[:1], text[-1:]) in (("{", "}"), ("[", "]"))


def _text(data: bytes | str, max_bytes: int) -> str:
    if len(data) > max_bytes:
        raise JsonError(f"longer than {max_bytes} bytes")
    if isinstance(data, str):
        if data.isascii():
            return data
        if len(_utf8(data)) > max_bytes:
            raise JsonError(f"longer than {max_bytes} bytes")
        return data
    try:
        return data.decode()
    except UnicodeDecodeError:
        pass
    raise NotJson("not UTF-8")


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        pass
    raise JsonError("a string has a lone surrogate")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise JsonError("an object has a key twice")
    return members


def _integer(digits: str) -> int:
    if len(digits) > MAX_NUMBER:
        raise JsonError(f"a number is longer than {MAX_NUMBER} characters")
    return int(digits)


def _float(digits: str) -> float:
    if len(digits) > MAX_NUMBER:
        raise JsonError(f"a number is longer than {MAX_NUMBER} characters")
    number = float(digits)
    if not isfinite(number):
        raise JsonError("a number is too large")
    return number


def _constant(_name: str) -> NoReturn:
    raise JsonError("NaN and Infinity are not JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_int=_integer, parse_float=_float, parse_constant=_constant)


def _check(value: Any, max_depth: int, max_string: int) -> None:
    """Check every string and the depth, level by level: no input causes recursion."""
    level, depth = [value], 0
    while level:
        below: list[Any] = []
        nested = False
        for item in level:
            if isinstance(item, str):
                _check_strings((item,), max_string)
            elif isinstance(item, dict):
                nested = True
                _check_strings(item, max_string)
                below.extend(item.values())
            elif isinstance(item, list):
                nested = True
                below.extend(item)
        depth += nested
        if depth > max_depth:
            raise JsonError(f"nested deeper than {max_depth} levels")
        level = below


def _check_strings(texts: Iterable[str], max_string: int) -> None:
    for text in texts:
        if (len(text) if text.isascii() else len(_utf8(text))) > max_string:
            raise JsonError(f"a string is longer than {max_string} bytes")
