"""Find values that the API server rejects in single fields: one rule per field name, anywhere in a manifest.

Names, labels and ports come first, then quantities (`500m`, `1.5Gi`, `1e3`) and the resources of a container.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from functools import lru_cache
from ipaddress import ip_address
from typing import Any

from kubernetes.client.models import V1ResourceRequirements

_QUANTITY = re.compile(
    r"(?P<number>[+-]?([0-9]+\.?[0-9]*|\.[0-9]+))((?P<suffix>[KMGTPE]i|[numkMGTPE])|[eE](?P<exponent>[+-]?[0-9]{1,2}))?"
)
_POWERS = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_SCALE = {suffix: Fraction(10) ** power for suffix, power in _POWERS.items()} | {
    f"{letter}i": Fraction(1024) ** power for power, letter in enumerate("KMGTPE", start=1)
}

# Resources that every kubelet knows. Apart from these and huge pages, a resource is an extended resource with a
# domain, such as nvidia.com/gpu.
_OWN = frozenset({"cpu", "memory", "ephemeral-storage"})
_HUGE_PAGES = "hugepages-"

_SUBDOMAIN = r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*"
_WORD = r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"
_EXTENDED = re.compile(rf"(?=.{{1,253}}/){_SUBDOMAIN}/{_WORD}")
_DNS_SUBDOMAIN = re.compile(rf"(?=.{{1,253}}\Z){_SUBDOMAIN}")
_LABEL_KEY = re.compile(rf"((?=[^/]{{1,253}}/){_SUBDOMAIN}/)?{_WORD}")
_LABEL_VALUE = re.compile(rf"({_WORD})?")
_PORT_NAME = re.compile(r"(?=.{1,15}\Z)(?=.*[a-z])[a-z0-9]+(-[a-z0-9]+)*")
_PERCENT = re.compile(r"[0-9]{1,9}%")

_ONE_OF: Mapping[str, tuple[str, ...]] = {
    "accessModes": ("ReadWriteMany", "ReadWriteOnce", "ReadOnlyMany", "ReadWriteOncePod"),
    "dnsPolicy": ("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"),
    "effect": ("NoSchedule", "PreferNoSchedule", "NoExecute"),
    "fsGroupChangePolicy": ("Always", "OnRootMismatch"),
    "imagePullPolicy": ("Always", "IfNotPresent", "Never"),
    "protocol": ("TCP", "UDP", "SCTP"),
    "restartPolicy": ("Always",),  # the only policy that a Deployment's pods may have
    "scheme": ("HTTP", "HTTPS"),
    "terminationMessagePolicy": ("File", "FallbackToLogsOnError"),
    "volumeMode": ("Filesystem",),  # a claim is mounted as a folder, and a block device is not a folder
    "whenUnsatisfiable": ("DoNotSchedule", "ScheduleAnyway"),
}
_MAY_BE_NEGATIVE = frozenset({"priority"})
_PORTS = frozenset({"containerPort", "hostPort", "port"})
_LABELS = frozenset({"labels", "matchLabels", "nodeSelector"})
# Mappings whose keys the operator chooses, so that none of their keys is a field.
_FREE = _LABELS | {"annotations", "limits", "requests", "overhead"}


def field_problems(document: Mapping[str, Any], place: str = "") -> Iterator[str]:
    """Yield a sentence for each field with the right type and a value that the API server rejects."""
    for field, value in document.items():
        where = f"{place}.{field}" if place else field
        if field in _FREE and isinstance(value, dict):
            yield from _keys(value, where, values=field in _LABELS)
        elif isinstance(value, dict):
            yield from field_problems(value, where)
        elif isinstance(value, list):
            yield from _elements(value, field, where)
        elif (problem := _problem(field, value)) is not None:
            yield f"{where}: {problem}."


def _elements(elements: list[Any], field: str, place: str) -> Iterator[str]:
    for number, element in enumerate(elements):
        if isinstance(element, dict):
            name = str(element.get("name", number))
            yield from field_problems(element, f"{place}[{name[:80]}]")
        elif (problem := _problem(field, element)) is not None:
            yield f"{place}: {problem}."


def _keys(mapping: Mapping[str, str], place: str, *, values: bool) -> Iterator[str]:
    for key, value in mapping.items():
        if not is_label_key(key.lower() if place.endswith("annotations") else key):
            yield f"{place}: '{key[:80]}' is not a key of the form [domain/]name."
        if values and not is_label_value(value):
            yield f"{place}.{key[:80]}: has at most 63 letters, digits, '.', '_' and '-'."


def _problem(field: str, value: Any) -> str | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return _number_problem(field, value)
    if field in _ONE_OF and value not in _ONE_OF[field]:
        return f"'{str(value)[:80]}' is not {' or '.join(_ONE_OF[field])}"
    rule = _TEXTS.get(field)
    return rule[1] if rule is not None and isinstance(value, str) and not rule[0](value) else None


def _number_problem(field: str, value: int) -> str | None:
    if field in _PORTS:
        return None if 0 < value < 65536 else f"{value} is not a port; ports go from 1 to 65535"
    least = -(2**31) if field in _MAY_BE_NEGATIVE else 0
    return None if least <= value < 2**31 else f"{value} is not between {least} and 2147483647"


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def is_object_name(name: str | None) -> bool:
    """Return whether an object such as a Secret can have this name (DNS subdomain, RFC 1123)."""
    return bool(_DNS_SUBDOMAIN.fullmatch(name or ""))


@lru_cache(maxsize=4096)  # the same few keys occur in every manifest
def is_label_key(key: str) -> bool:
    """Return whether the key has the form [domain/]name, as keys of labels, annotations and taints must."""
    return bool(_LABEL_KEY.fullmatch(key))


@lru_cache(maxsize=4096)
def is_label_value(value: str) -> bool:
    """Return whether a label or a taint can have this value."""
    return bool(_LABEL_VALUE.fullmatch(value))


def is_port_name(name: str) -> bool:
    """Return whether a port can have this name (IANA service name)."""
    return bool(_PORT_NAME.fullmatch(name))


@lru_cache(maxsize=1024)  # the same few quantities occur in every manifest
def amount(quantity: str) -> Fraction | None:
    """Return the amount that a quantity represents, or None if the text is not a quantity."""
    match = _QUANTITY.fullmatch(quantity)
    if match is None:
        return None
    scale = _SCALE[match["suffix"] or ""] * Fraction(10) ** int(match["exponent"] or 0)
    return Fraction(match["number"].rstrip(".")) * scale


def with_quantities(value: Any) -> Any:
    """Copy a patch, and convert numbers in limits and requests to text: Kubernetes reads `cpu: 2` as "2"."""
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
    """Yield the reasons why the API server would reject the `resources` of a container or a pod."""
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
    """Yield a sentence for each value that is no quantity, is negative, or is a fraction of a whole-unit resource."""
    for name, quantity in amounts.items():
        found = amount(quantity)
        if found is None:
            yield f"{place}.{name}: '{quantity[:40]}' is not a quantity such as 500m, 2 or 1.5Gi."
        elif found < 0:
            yield f"{place}.{name}: '{quantity[:40]}' is negative."
        elif "/" in name and found.denominator != 1:
            yield f"{place}.{name}: '{quantity[:40]}' is not a whole number, and {name} comes in whole units."


def over_limit(requests: Mapping[str, str], limits: Mapping[str, str], place: str) -> Iterator[str]:
    """Yield a sentence for each request above its limit."""
    for name, quantity in requests.items():
        requested, limit = amount(quantity), amount(limits.get(name, ""))
        if requested is not None and limit is not None and requested > limit:
            yield f"{place}: the request {name} {quantity} is above the limit {limits[name]}."


def _name_problem(name: str) -> str | None:
    if name in _OWN or (name.startswith(_HUGE_PAGES) and amount(name.removeprefix(_HUGE_PAGES))):
        return None
    if "/" not in name:
        return (
            f"is not a resource of a container: {', '.join(sorted(_OWN))}, {_HUGE_PAGES}2Mi, or a name with a domain."
        )
    return None if _EXTENDED.fullmatch(name) else "is not of the form domain/name, such as nvidia.com/gpu."


_OBJECT = (is_object_name, "is not a name for an object: lower-case letters, digits, '-' and '.'")
_SHARE = (lambda text: bool(_PERCENT.fullmatch(text)), "is neither a number nor a percentage such as 25%")
_PATH_BELOW = (lambda text: ".." not in text.split("/") and not text.startswith("/"), "is not a path below the volume")
_TEXTS: Mapping[str, tuple[Callable[[str], bool], str]] = {
    "ip": (_is_address, "is not an IP address"),
    "maxSurge": _SHARE,
    "maxUnavailable": _SHARE,
    "port": (is_port_name, "is not a port name; a number is written without quotes"),
    "priorityClassName": _OBJECT,
    "runtimeClassName": _OBJECT,
    "serviceAccountName": _OBJECT,
    "sizeLimit": (lambda text: amount(text) is not None, "is not a quantity such as 500Mi or 2Gi"),
    "storageClassName": (lambda text: not text or is_object_name(text), _OBJECT[1]),
    "subPath": _PATH_BELOW,
    "subPathExpr": _PATH_BELOW,
}
