"""Kubernetes quantities (`500m`, `1.5Gi`, `1e3`), and what a container may ask for."""

import re
from collections.abc import Iterator, Mapping
from fractions import Fraction
from functools import lru_cache
from typing import Any

from kubernetes.client.models import V1ResourceRequirements

_QUANTITY = re.compile(
    r"(?P<number>[+-]?([0-9]+\.?[0-9]*|\.[0-9]+))((?P<suffix>[KMGTPE]i|[numkMGTPE])|[eE](?P<exponent>[+-]?[0-9]{1,2}))?"
)
_POWERS = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_SCALE = {suffix: Fraction(10) ** power for suffix, power in _POWERS.items()} | {
    f"{letter}i": Fraction(1024) ** power for power, letter in enumerate("KMGTPE", start=1)
}

# What kubelets know by themselves; everything else is an extended resource with a domain, such as nvidia.com/gpu.
_OWN = frozenset({"cpu", "memory", "ephemeral-storage"})
_HUGE_PAGES = "hugepages-"
_EXTENDED = re.compile(
    r"(?=.{1,253}/)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*"
    r"/[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"
)


@lru_cache(maxsize=1024)  # the same few come with every manifest
def amount(quantity: str) -> Fraction | None:
    """What the quantity says; None when it is none."""
    match = _QUANTITY.fullmatch(quantity)
    if match is None:
        return None
    scale = _SCALE[match["suffix"] or ""] * Fraction(10) ** int(match["exponent"] or 0)
    return Fraction(match["number"].rstrip(".")) * scale


def with_quantities(value: Any) -> Any:
    """A patch whose numbers among limits and requests are quantities: Kubernetes takes `cpu: 2` and means "2"."""
    if isinstance(value, list):
        return [with_quantities(element) for element in value]
    if not isinstance(value, dict):
        return value
    return {
        key: {name: _text(it) for name, it in inner.items()}
        if key in ("limits", "requests") and isinstance(inner, dict)
        else with_quantities(inner)
        for key, inner in value.items()
    }


def _text(value: Any) -> Any:
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def resource_problems(resources: V1ResourceRequirements, place: str) -> Iterator[str]:
    """Why the API server would refuse a container's `resources`."""
    requests, limits = resources.requests or {}, resources.limits or {}
    for kind, amounts in (("requests", requests), ("limits", limits)):
        for name in amounts:
            if problem := _name_problem(name):
                yield f"{place}.{kind}: '{name[:80]}' {problem}"
        yield from amount_problems(amounts, f"{place}.{kind}")
    yield from over_limit(requests, limits, place)
    for name in requests:
        if name not in _OWN and (name not in limits or amount(requests[name]) != amount(limits[name])):
            yield f"{place}: {name} cannot be overcommitted: give a limit, and no other request than the limit."


def amount_problems(amounts: Mapping[str, str], place: str) -> Iterator[str]:
    """Quantities that are none, negative, or fractions of what comes in whole pieces."""
    for name, quantity in amounts.items():
        found = amount(quantity)
        if found is None:
            yield f"{place}.{name}: '{quantity[:40]}' is no quantity such as 500m, 2 or 1.5Gi."
        elif found < 0:
            yield f"{place}.{name}: '{quantity[:40]}' is negative."
        elif "/" in name and found.denominator != 1:
            yield f"{place}.{name}: '{quantity[:40]}' is not whole, and {name} comes in whole pieces."


def over_limit(requests: Mapping[str, str], limits: Mapping[str, str], place: str) -> Iterator[str]:
    """Requests above their limit."""
    for name, quantity in requests.items():
        requested, limit = amount(quantity), amount(limits.get(name, ""))
        if requested is not None and limit is not None and requested > limit:
            yield f"{place}: the request {name} {quantity} is above the limit {limits[name]}."


def _name_problem(name: str) -> str | None:
    if name in _OWN or (name.startswith(_HUGE_PAGES) and amount(name.removeprefix(_HUGE_PAGES))):
        return None
    if "/" not in name:
        return f"is no resource of a container: {', '.join(sorted(_OWN))}, {_HUGE_PAGES}2Mi, or a name with a domain."
    return None if _EXTENDED.fullmatch(name) else "is not of the form domain/name, such as nvidia.com/gpu."
