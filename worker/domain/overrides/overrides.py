"""Overrides: the operator's changes to the manifests, as patches by node, image, component or claim.

docs/overrides.md describes the file. At startup, every entry is tried on each kind of manifest that it may apply to, so
that a mistake stops the worker with a clear message instead of breaking deployments. A mistake that shows only on a
real node, such as two entries that conflict there, fails the request.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal, Self
from uuid import UUID

from kubernetes.client.models import V1Deployment, V1PersistentVolumeClaim, V1Service
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from schemas import Kind
from worker import settings
from worker.domain.bundle.blueprint import SharedFolder, check_image
from worker.domain.bundle.manifests import Manifest, deployment, volume_claim
from worker.domain.bundle.plan import NODE_SERVICE_PORT, ORCHESTRATOR, Container, Plan, orchestrator_container
from worker.domain.overrides.field_checks import with_quantities
from worker.domain.overrides.patching import Json, PatchError, explain, patched
from worker.errors import NotDeployable, OverridesInvalid

# Operators do not know a sample's name. In a patch, the node's own container is `*`.
_OWN_CONTAINER = re.compile(r"(?<=^spec\.template\.spec\.)containers\[[^]]*\]")


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)


class Match(_Part):
    """The manifests that a patch applies to. Patterns are globs (`*`, `?`, `[…]`), and all given fields must match."""

    node: str | None = None  # the node's name in the cluster
    image: str | None = None  # the image reference, with or without its tag and digest
    component: Literal["model", "orchestrator"] | None = None
    claim: str | None = None  # shared-folder, shared-folder-2, …

    @model_validator(mode="after")
    def _can_match(self) -> Self:
        given = self.model_dump(exclude_none=True)
        if not given:
            raise ValueError('names nothing; node: "*" is every node')
        if self.claim is not None and len(given) > 1:
            raise ValueError("claim cannot be combined with other fields; a claim has no node and no image")
        for pattern in (self.node, self.claim):
            if pattern is not None and not re.fullmatch(r"[a-z0-9*?\[\]!-]+", pattern):
                raise ValueError("names in the cluster are of lower-case letters, digits and hyphens; this fits none")
        if self.image is not None and ("://" in self.image or not self.image.strip()):
            raise ValueError("images start with a registry's host, without a scheme; this fits none")
        return self

    def fits(self, manifest: Manifest) -> bool:
        """Return whether the patch applies to this manifest. No patch applies to a Service."""
        if isinstance(manifest, V1PersistentVolumeClaim):
            return self.claim is not None and fnmatchcase(_name(manifest), self.claim)
        if isinstance(manifest, V1Service) or self.claim is not None:
            return False
        return (
            (self.node is None or fnmatchcase(_name(manifest), self.node))
            and (self.component is None or self.component == _component(manifest))
            and (self.image is None or any(fnmatchcase(text, self.image) for text in _spellings(_image(manifest))))
        )


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the file."""

    number: int  # from 1
    match: Match
    patch: Json


@dataclass(frozen=True, slots=True)
class Overrides:
    """All entries, in the file's order. Later entries take precedence."""

    entries: tuple[Entry, ...] = ()

    def apply(self, manifest: Manifest) -> tuple[Manifest, tuple[int, ...]]:
        """Return the patched manifest, and the numbers of the entries that apply to it.

        Raises OverridesInvalid if the entries conflict with each other, or do not fit this manifest.
        """
        entries = self.entries_for(manifest)
        if not entries or isinstance(manifest, V1Service):
            return manifest, ()
        try:
            return patched(manifest, (it.patch for it in entries)), tuple(it.number for it in entries)
        except PatchError as error:
            raise OverridesInvalid(
                f"The operator's overrides ({_listed(entries)}) do not fit '{_name(manifest)}': {error.problems[0]}"
            ) from None

    def entries_for(self, manifest: Manifest) -> list[Entry]:
        """Return the entries that apply to this manifest."""
        return [entry for entry in self.entries if entry.match.fits(manifest)]


NO_OVERRIDES = Overrides()


class _Entry(_Part):
    match: Match
    patch: dict[str, Any]


class _File(_Part):
    overrides: list[_Entry]


def read_overrides(document: Any, options: settings.BundleSettings) -> Overrides:
    """Read the entries of a file, and try them.

    Each entry is tried alone. If no entry has a problem, each is tried together with the others.
    document: the content of the YAML file, as plain types. Raises PatchError with all problems found.
    """
    try:
        file = _File.model_validate(document)
    except ValidationError as error:
        raise PatchError(*(_numbered(problem) for problem in explain(error, document))) from None
    entries = [
        Entry(number, entry.match, with_quantities(entry.patch)) for number, entry in enumerate(file.overrides, start=1)
    ]
    overrides = Overrides(tuple(entries))
    alone = [problem for entry in entries for problem in _alone(entry, options)]
    if problems := alone or [problem for entry in entries for problem in _together(entry, overrides, options)]:
        raise PatchError(*dict.fromkeys(problems))
    return overrides


def _alone(entry: Entry, options: settings.BundleSettings) -> Iterator[str]:
    samples = _samples(entry.match, options)
    if not samples:
        yield f"entry {entry.number}: match: fits neither a model nor the orchestrator."
    for sample in samples:
        yield from _tried(sample, [entry])


def _together(entry: Entry, overrides: Overrides, options: settings.BundleSettings) -> Iterator[str]:
    for sample in _samples(entry.match, options):
        yield from _tried(sample, overrides.entries_for(sample))


def _tried(sample: V1Deployment | V1PersistentVolumeClaim, entries: list[Entry]) -> Iterator[str]:
    try:
        patched(sample, (entry.patch for entry in entries))
    except PatchError as error:
        for problem in error.problems:
            yield f"{_listed(entries)}: {_OWN_CONTAINER.sub('containers[*]', problem)}"


def _samples(match: Match, options: settings.BundleSettings) -> list[V1Deployment] | list[V1PersistentVolumeClaim]:
    """Render samples of what the entry may apply to.

    The samples are a model with every feature, a model with none and the orchestrator, or else a claim.
    """
    nil = UUID(int=0)
    plan = Plan(nil, nil, Kind.PIPELINE, "sample", None, {}, (), (), None, None, ())
    folder = SharedFolder("/data/shared", _witness(match.claim, "shared-folder"), frozenset())
    if match.claim is not None:
        return [volume_claim(folder, plan, options)]
    image = _witness(match.image, "registry.example/node:1")
    try:
        check_image(image, "")
    except NotDeployable:
        image = "registry.example/node:1"
    bare = Container(_witness(match.node, "node"), image, "model", NODE_SERVICE_PORT)
    full = Container(bare.name, image, "model", NODE_SERVICE_PORT, "", True, (folder,), folder.path)
    orchestrator = orchestrator_container(options.orchestrator_image)
    models = [] if ORCHESTRATOR in (match.component, match.node) else [full, bare]
    rendered = [deployment(container, plan, options) for container in (*models, orchestrator)]
    return rendered if match.fits(rendered[-1]) else rendered[:-1]


def _witness(pattern: str | None, default: str) -> str:
    """Return a text that the pattern most likely matches."""
    return default if pattern in (None, "*") else re.sub(r"[\[\]!]", "", re.sub(r"[*?]", "x", pattern))


def _spellings(image: str) -> tuple[str, str, str]:
    """Return the reference in full, without its digest, and without its tag and digest."""
    tagged = image.partition("@")[0]
    name, colon, tag = tagged.rpartition(":")
    return image, tagged, name if colon and "/" not in tag else tagged


def _numbered(problem: str) -> str:
    """Name the entry by its number, which counts from 1."""
    match = re.match(r"overrides\[([0-9]+)\][.:]? ?", problem)
    return f"entry {int(match[1]) + 1}: {problem[match.end() :]}" if match else f"the file: {problem}"


def _name(manifest: Manifest) -> str:
    return (manifest.metadata and manifest.metadata.name) or ""


def _component(manifest: Manifest) -> str | None:
    labels = manifest.metadata and manifest.metadata.labels
    return labels.get("app.kubernetes.io/component") if labels else None


def _image(manifest: V1Deployment) -> str:
    pod = manifest.spec and manifest.spec.template.spec
    return (pod and pod.containers[0].image) or ""


def _listed(entries: list[Entry]) -> str:
    numbers = [str(entry.number) for entry in entries]
    return f"entry {numbers[0]}" if len(numbers) == 1 else f"entries {', '.join(numbers[:-1])} and {numbers[-1]}"
