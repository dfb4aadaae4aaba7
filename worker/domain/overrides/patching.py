"""Merge patches into a manifest, and check the result.

While it is patched, a manifest is a dict. A patch is plain data: null differs from absent, and a patch may contain a
field that is never rendered. The result becomes a model object again, whose strict types reject unknown fields and
wrong values. Further checks find the mistakes that types cannot express.

The merge is Kubernetes' strategic merge, as in `kubectl patch --type strategic`:

- Mappings are merged, and null deletes a field.
- Lists of containers, variables, ports, mounts and the like are merged element by element.
- Every other list is replaced.
- `$patch: delete` and `$patch: replace` override these rules.

Three rules differ, because with the API server's rule the result would be rejected or surprising:

- Alternatives replace each other: `httpGet` in a patch replaces the existing `tcpSocket`, `valueFrom` replaces `value`,
  and another volume source replaces the first. With a plain merge, both would remain, which the API server rejects.
- New elements come last: the first container is the node's own, and scripts on the target rely on that.
- Tolerations are added: of two entries that each tolerate a taint, only the second would otherwise remain.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from kubernetes.client.models import V1Deployment, V1PersistentVolumeClaim
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from worker.domain.overrides.field_checks import field_problems
from worker.domain.overrides.manifest_checks import claim_problems, deployment_problems
from worker.errors import WorkerError

Json = dict[str, Any]
Patchable = V1Deployment | V1PersistentVolumeClaim
Path = tuple[str | int, ...]

OWN_CONTAINER = "*"
_TEMPLATE = ("spec", "template")
_CONTAINERS = (*_TEMPLATE, "spec", "containers")
_PARTS = frozenset({"apiVersion", "kind", "metadata", "spec"})
_METADATA = frozenset({"name", "labels", "annotations"})

# The patchMergeKey of each list, from the Kubernetes API's own types (core/v1).
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

# For objects that allow only one of several alternative fields: the fields that are not alternatives.
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
_REPLACE = {_DIRECTIVE: "replace"}  # as an element of a list: removes the existing elements

# pydantic's type of a mistake → its description for operators.
_WORDS = {
    "bool_type": "must be true or false, without quotes",
    "dict_type": "must be an object",
    "extra_forbidden": "no such field",
    "int_type": "must be a whole number, without quotes",
    "list_type": "must be a list",
    "missing": "is missing",
    "model_type": "must be an object",
    "string_type": "must be text; put it in quotes",
}


class PatchError(WorkerError):
    """An invalid patch. Each problem is a sentence that gives the position and the fix, and reveals no secret."""

    def __init__(self, *problems: str) -> None:
        super().__init__(*problems)
        self.problems = problems


def patched(manifest: Patchable, patches: Iterable[Json]) -> Patchable:
    """Return a new, patched manifest. Raises PatchError if a patch changes a fixed field, or the result is invalid."""
    before = manifest.model_dump(by_alias=True, exclude_none=True)
    after = before
    for patch in patches:
        after = merge(after, _addressed(patch, before["metadata"]["name"]))
    if (problem := next(_touched(before, after), None)) is not None:
        raise PatchError(problem)
    try:
        result = type(manifest).model_validate(after)
    except ValidationError as error:
        raise PatchError(*explain(error, after)) from None  # the cause would reveal values
    kept = result.model_dump(by_alias=True, exclude_none=True)
    lost = [] if after == kept else [f"{place(path, after)}: {what}." for path, what in _lost(after, kept)]
    found = deployment_problems(result) if isinstance(result, V1Deployment) else claim_problems(result)
    if problems := (*lost, *field_problems(kept), *found):
        raise PatchError(*problems)
    return result


def _addressed(patch: Json, name: str, path: Path = _CONTAINERS) -> Json:
    """Replace `*` as a container's name in the patch with the node's name."""
    if not path:
        return patch | {"name": name} if patch.get("name") == OWN_CONTAINER else patch
    field, rest = str(path[0]), path[1:]
    inner = patch.get(field)
    if isinstance(inner, dict):
        return patch | {field: _addressed(inner, name, rest)}
    if isinstance(inner, list) and not rest:
        return patch | {field: [_addressed(it, name, ()) if isinstance(it, dict) else it for it in inner]}
    return patch


def merge(document: Json, patch: Json, place: str = "", field: str = "") -> Json:
    """Return a new, patched document. The arguments stay unchanged, but may share parts with the result.

    place: the path of both in the manifest, such as `spec.template.spec.volumes[data]`.
    field: the name of the last field in that path, such as `volumes`.
    Raises PatchError.
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
    """Drop the alternatives that the patch replaces."""
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
            raise PatchError(f"{place}: '{name}' occurs twice; write one element for it.")
        seen.add(name)
        if element.get(_DIRECTIVE) == "delete":
            elements.pop(name, None)
        else:
            elements[name] = merge(elements.get(name, {}), element, f"{place}[{name}]", field)
    return list(elements.values())


def _key(element: Any, key: str, place: str) -> str | int:
    """Return the value that identifies an element of a list. Raises PatchError if there is none."""
    name = element.get(key) if isinstance(element, dict) else None
    if isinstance(name, str | int):
        return name
    raise PatchError(f"{place}: every element is an object with its '{key}', by which it is found.")


def _touched(before: Json, after: Json) -> Iterator[str]:
    """Yield a sentence for each change to a field that other manifests, selectors or the target's scripts rely on.

    Fields that are not part of a patch are reported as well.
    """
    for path, value in _fixed(before):
        if _dig(after, path) != value:
            yield f"{place(path, before)}: is fixed; the playground relies on it. Leave it out of the patch."
    yield from (
        f"{field[:80]}: no part of a patch; it has metadata and spec." for field in after if field not in _PARTS
    )
    for path in (("metadata",), (*_TEMPLATE, "metadata")):
        for field in _dig(after, path) or {}:
            if field not in _METADATA:
                yield f"{'.'.join(path)}.{field[:80]}: no part of a patch; of metadata it has labels and annotations."


def _fixed(document: Json) -> Iterator[tuple[Path, Any]]:
    metadata = document["metadata"]
    yield (("apiVersion",), document["apiVersion"])
    yield (("kind",), document["kind"])
    yield (("metadata", "name"), metadata["name"])
    yield from ((("metadata", "labels", key), value) for key, value in metadata["labels"].items())
    if document["kind"] != "Deployment":
        return
    spec = document["spec"]
    yield (("spec", "selector"), spec["selector"])
    template = spec["template"]["metadata"]
    yield ((*_TEMPLATE, "metadata", "name"), template.get("name"))
    yield from (((*_TEMPLATE, "metadata", "labels", key), value) for key, value in template["labels"].items())
    own = spec["template"]["spec"]["containers"][0]
    yield ((*_CONTAINERS, 0, "name"), own["name"])
    yield ((*_CONTAINERS, 0, "image"), own["image"])
    yield from (((*_CONTAINERS, 0, "ports", number), port) for number, port in enumerate(own["ports"]))


def _lost(given: Any, kept: Any, path: Path = ()) -> Iterator[tuple[Path, str]]:
    """Yield fields that exist under this name only in the model, such as `volume_mounts`, and nulls without effect."""
    if isinstance(given, dict):
        for key, value in given.items():
            if key in kept:
                yield from _lost(value, kept[key], (*path, key))
            else:
                yield (*path, key), "null deletes nothing here" if value is None else "no such field"
    elif isinstance(given, list):
        for number, element in enumerate(given):
            yield from _lost(element, kept[number], (*path, number))


def explain(error: ValidationError, document: Any) -> list[str]:
    """Describe each mistake in a document in a sentence, without the values."""
    return list(dict.fromkeys(_sentence(detail, document) for detail in error.errors(include_input=False)))


def _sentence(detail: ErrorDetails, document: Any) -> str:
    path = detail["loc"]
    if path and path[-1] in ("int", "str"):  # the two types of one value
        return f"{place(path[:-1], document)}: must be a number or text."
    words = _WORDS.get(detail["type"]) or detail["msg"].removeprefix("Value error, ").rstrip(".")
    where = place(path, document)
    return f"{where}: {words}." if where else f"{words}."


def place(path: Path, document: Any) -> str:
    """Write a path as operators do: an element of a list is shown by its merge key, or else by its index."""
    text, field = "", ""
    for step in path:
        document = _child(document, step)
        if isinstance(step, int):
            key = document.get(MERGE_KEYS.get(field, "")) if isinstance(document, dict) else None
            text += f"[{step if key is None else str(key)[:80]}]"
        else:
            field = step
            text += f".{step[:80]}" if text else step[:80]
    return text


def _dig(document: Any, path: Path) -> Any:
    for step in path:
        document = _child(document, step)
    return document


def _child(document: Any, step: str | int) -> Any:
    if isinstance(document, dict):
        return document.get(step)
    if isinstance(document, list) and isinstance(step, int) and step < len(document):
        return document[step]
    return None
