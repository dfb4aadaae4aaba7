"""Kubernetes' syntax: which names, labels, ports and quantities its API server accepts."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any

Json = dict[str, Any]

LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")  # RFC 1123
RFC_1035 = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
SUBDOMAIN = re.compile(r"(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
PORT_NAME = re.compile(r"(?=.*[a-z])(?!.*--)[a-z0-9]([-a-z0-9]{0,13}[a-z0-9])?")
VARIABLE = re.compile(r"[-._A-Za-z][-._A-Za-z0-9]*")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_LABEL_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_QUANTITY = re.compile(r"([+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+))([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+)?")
_POWERS = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}


def labels(given: Json) -> Iterator[str]:
    """Yield the problems of these labels."""
    for key, value in given.items():
        if not is_label_key(key) or not _LABEL_VALUE.fullmatch(value):
            yield f"label {key}={value}"


def is_label_key(key: str) -> bool:
    """Return whether this is a valid label key: a name with an optional prefix, as labels and annotations have it."""
    prefix, slash, name = key.rpartition("/")
    return bool(_LABEL_NAME.fullmatch(name)) and (not slash or bool(SUBDOMAIN.fullmatch(prefix)))


def quantity(value: str | float) -> Decimal | None:
    """Return the amount that a quantity denotes, or None if it is invalid."""
    match = _QUANTITY.fullmatch(str(value))
    if match is None:
        return None
    number, unit = Decimal(match[1]), match[2] or ""
    if unit.endswith("i"):
        return number * Decimal(1024) ** (1 + "KMGTPE".index(unit[0]))
    return Decimal(match[0]) if unit[-1:].isdigit() else number.scaleb(_POWERS[unit])


def twice(what: str, values: Iterable[Any]) -> Iterator[str]:
    """Yield the values that occur more than once; None may repeat."""
    for value, count in Counter(value for value in values if value is not None).items():
        if count > 1:
            yield f"{what} {value} is there {count} times"


def port_problems(port: Json, key: str, names: re.Pattern[str], *, required: bool = False) -> Iterator[str]:
    """Yield the problems of one entry of a list of ports; `key` holds its number."""
    if not 0 < port[key] < 65536:
        yield f"{key} {port[key]}"
    if ("name" in port or required) and not names.fullmatch(port.get("name", "")):
        yield f"name of a port {port.get('name')}"
    if port.get("protocol", "TCP") not in ("TCP", "UDP", "SCTP"):
        yield f"protocol {port['protocol']}"
