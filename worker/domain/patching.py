"""A manifest with patches merged into it, checked like one that was never patched.

Only in here a manifest is a dict for a moment: a patch is plain data, in which null and absent differ and a field may
be one we never render. The result becomes a model object again, whose strict types refuse unknown fields and wrong
values; then the checks look for what types cannot tell.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from kubernetes.client.models import V1Deployment, V1PersistentVolumeClaim
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from worker.domain.field_checks import field_problems
from worker.domain.manifest_checks import claim_problems, deployment_problems
from worker.domain.strategic_merge import MERGE_KEYS, Json, PatchError, merge

Patchable = V1Deployment | V1PersistentVolumeClaim
Path = tuple[str | int, ...]

OWN_CONTAINER = "*"
_TEMPLATE = ("spec", "template")
_CONTAINERS = (*_TEMPLATE, "spec", "containers")
_PARTS = frozenset({"apiVersion", "kind", "metadata", "spec"})
_METADATA = frozenset({"name", "labels", "annotations"})

# What pydantic calls a mistake → what an operator calls it.
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


def patched(manifest: Patchable, patches: Iterable[Json]) -> Patchable:
    """A new manifest. Raises PatchError when a patch touches what is fixed, or the result is no valid manifest."""
    before = manifest.model_dump(by_alias=True, exclude_none=True)
    after = before
    for patch in patches:
        after = merge(after, _addressed(patch, before["metadata"]["name"]))
    if (problem := next(_touched(before, after), None)) is not None:
        raise PatchError(problem)
    try:
        result = type(manifest).model_validate(after)
    except ValidationError as error:
        raise PatchError(*explain(error, after)) from None  # the cause would show values
    kept = result.model_dump(by_alias=True, exclude_none=True)
    lost = [] if after == kept else [f"{place(path, after)}: {what}." for path, what in _lost(after, kept)]
    found = deployment_problems(result) if isinstance(result, V1Deployment) else claim_problems(result)
    if problems := (*lost, *field_problems(kept), *found):
        raise PatchError(*problems)
    return result


def explain(error: ValidationError, document: Any) -> list[str]:
    """The mistakes in a document as sentences, without the values."""
    return list(dict.fromkeys(_sentence(detail, document) for detail in error.errors(include_input=False)))


def _sentence(detail: ErrorDetails, document: Any) -> str:
    path = detail["loc"]
    if path and path[-1] in ("int", "str"):  # the two ways of one value
        return f"{place(path[:-1], document)}: must be a number or text."
    words = _WORDS.get(detail["type"]) or detail["msg"].removeprefix("Value error, ").rstrip(".")
    where = place(path, document)
    return f"{where}: {words}." if where else f"{words}."


def place(path: Path, document: Any) -> str:
    """A path as operators write it: elements of a list by their key where they have one."""
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


def _addressed(patch: Json, name: str, path: Path = _CONTAINERS) -> Json:
    """With the node's name where the patch says `*`."""
    if not path:
        return patch | {"name": name} if patch.get("name") == OWN_CONTAINER else patch
    field, rest = str(path[0]), path[1:]
    inner = patch.get(field)
    if isinstance(inner, dict):
        return patch | {field: _addressed(inner, name, rest)}
    if isinstance(inner, list) and not rest:
        return patch | {field: [_addressed(it, name, ()) if isinstance(it, dict) else it for it in inner]}
    return patch


def _touched(before: Json, after: Json) -> Iterator[str]:
    """What other manifests, our labels' selectors and the scripts on the target rely on stays as it is."""
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
    """Fields that the model takes by a name which is not Kubernetes' own, such as `volume_mounts`, and stray nulls."""
    if isinstance(given, dict):
        for key, value in given.items():
            if key in kept:
                yield from _lost(value, kept[key], (*path, key))
            else:
                yield (*path, key), "null deletes nothing here" if value is None else "no such field"
    elif isinstance(given, list):
        for number, element in enumerate(given):
            yield from _lost(element, kept[number], (*path, number))


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
