"""Kubernetes' strategic merge: a patch says what differs, lists of named things are merged by their key.

As `kubectl patch --type strategic` does it, so that what operators know holds here: mappings are merged, null deletes,
a list of containers, variables, ports, mounts … is merged element by element, any other list is replaced, and
`$patch: delete` or `$patch: replace` says otherwise. Three things are different, each because the API server's way
would end in a refusal or a surprise:

- Alternatives give way: `httpGet` in a patch takes the place of the `tcpSocket` that was there, `valueFrom` that of
  `value`, another volume source that of the first. Merged naively both stay, which the API server refuses.
- New elements come last: the first container is the node's own, and scripts on the target count on that.
- Tolerations add up: two entries that each tolerate a taint would otherwise leave only the second.
"""

from collections.abc import Mapping
from typing import Any

Json = dict[str, Any]

# patchMergeKey of each list, in the Kubernetes API's own types (core/v1).
MERGE_KEYS: Mapping[str, str] = {
    "containers": "name",
    "env": "name",
    "hostAliases": "ip",
    "imagePullSecrets": "name",
    "initContainers": "name",
    "ports": "containerPort",
    "resourceClaims": "name",
    "schedulingGates": "name",
    "topologySpreadConstraints": "topologyKey",
    "volumeDevices": "devicePath",
    "volumeMounts": "mountPath",
    "volumes": "name",
}
_ADDED = frozenset({"tolerations"})

# Where exactly one of several fields may stand: the fields that are none of these alternatives.
_TIMINGS = frozenset(
    {
        "failureThreshold",
        "initialDelaySeconds",
        "periodSeconds",
        "successThreshold",
        "terminationGracePeriodSeconds",
        "timeoutSeconds",
    }
)
_BESIDE_ALTERNATIVES: Mapping[str, frozenset[str]] = {
    "env": frozenset({"name"}),
    "livenessProbe": _TIMINGS,
    "readinessProbe": _TIMINGS,
    "startupProbe": _TIMINGS,
    "valueFrom": frozenset(),
    "volumes": frozenset({"name"}),
}

_DIRECTIVE = "$patch"
_REPLACE = {_DIRECTIVE: "replace"}  # as an element of a list: what was in it goes


class PatchError(ValueError):
    """The patch is wrong. Each problem is a sentence that names the place and the way out, and shows no secret."""

    def __init__(self, *problems: str) -> None:
        super().__init__(*problems)
        self.problems = problems


def merge(document: Json, patch: Json, place: str = "", field: str = "") -> Json:
    """The patched document, a new one; neither argument changes, though they may share parts with the result.

    place: the path of both in the manifest, such as `spec.template.spec.volumes[data]`; field: the last field's name
    in it, `volumes`. Raises PatchError.
    """
    if _DIRECTIVE in patch:
        if patch[_DIRECTIVE] != "replace":
            raise PatchError(f"{place}: '$patch' is 'replace' here; null deletes a field.")
        return merge({}, {key: value for key, value in patch.items() if key != _DIRECTIVE}, place, field)
    merged = _without_rivals(document, patch, field) if field in _BESIDE_ALTERNATIVES else dict(document)
    for key, value in patch.items():
        where, before = f"{place}.{key}" if place else key, merged.get(key)
        if value is None:
            merged.pop(key, None)
            continue
        for kind, name in ((dict, "an object"), (list, "a list")):
            if isinstance(before, kind) and not isinstance(value, kind):
                raise PatchError(f"{where}: must be {name}.")
        if isinstance(value, dict):
            merged[key] = merge(before or {}, value, where, key)
        elif isinstance(value, list):
            merged[key] = _merged_list(before or [], value, key, where)
        else:
            merged[key] = value
    return merged


def _without_rivals(document: Json, patch: Json, field: str) -> Json:
    """Without the alternatives that the patch replaces by another one."""
    beside = _BESIDE_ALTERNATIVES[field]
    chosen = {key for key, value in patch.items() if key not in beside and value is not None}
    return {key: value for key, value in document.items() if not chosen or key in beside or key in chosen}


def _merged_list(before: list[Any], patch: list[Any], field: str, place: str) -> list[Any]:
    if field in _ADDED:
        return [*before, *(element for element in patch if element not in before)]
    if field not in MERGE_KEYS:
        return patch
    key = MERGE_KEYS[field]
    elements = {_key(element, key, place): element for element in before}
    seen = set()
    for element in patch:
        if element == _REPLACE:
            elements.clear()
            continue
        name = _key(element, key, place)
        if name in seen:
            raise PatchError(f"{place}: '{name}' is there twice; write one element for it.")
        seen.add(name)
        if element.get(_DIRECTIVE) == "delete":
            elements.pop(name, None)
        else:
            elements[name] = merge(elements.get(name, {}), element, f"{place}[{name}]", field)
    return list(elements.values())


def _key(element: Any, key: str, place: str) -> str | int:
    """By which an element of a list is found."""
    name = element.get(key) if isinstance(element, dict) else None
    if isinstance(name, str | int):
        return name
    raise PatchError(f"{place}: every element is an object with its '{key}', by which it is found.")
