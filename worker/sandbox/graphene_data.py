"""The data of the sandbox Graphene: revisions of solutions, in the form of Graphene's database and repository.

Four revisions are part of the package (`CASES`, one folder each under data/); tests create more from Python data.
"""

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

Json = dict[str, Any]

_DATA = Path(__file__).parent / "data"
_ID_NAMESPACE = UUID("3f0a4b52-6c0b-4e0e-9d8b-6f5d1f2f7c11")  # for the ids of solutions that tests create
_TIME = "2026-01-05T09:00:00Z"  # of creation and modification
_OWNER = "6d0c3f6e-95f1-4f0b-8a9c-2f0e5b8f7a31"


@dataclass(frozen=True, slots=True)
class Case:
    """A solution that is part of the sandbox."""

    key: str  # name of the folder
    title: str
    solution_id: UUID
    revision_id: UUID


@dataclass(frozen=True, slots=True)
class Stored:
    """One revision of one solution. The JSON objects have all the fields that CCDS returns."""

    solution: Json
    revision: Json
    artifacts: list[Json]
    files: dict[str, bytes]  # URI in the repository → content
    members: list[str] = field(default_factory=list)  # solution ids of a pipeline's models
    catalogs: list[Json] = field(default_factory=list)  # the catalogs in which it is published
    descriptions: dict[str, str] = field(default_factory=dict)  # catalog id → HTML
    icon: bytes | None = None

    @property
    def solution_id(self) -> UUID:
        """The id of the solution."""
        return UUID(self.solution["solutionId"])

    @property
    def revision_id(self) -> UUID:
        """The id of the revision."""
        return UUID(self.revision["revisionId"])


def stored_case(key: str) -> Stored:
    """Read the case in data/<key>/."""
    folder = _DATA / key
    ccds = json.loads((folder / "ccds.json").read_text(encoding="utf-8"))
    icon = folder / "icon.png"
    return Stored(
        solution=ccds["solution"],
        revision=ccds["revision"],
        artifacts=ccds["artifacts"],
        files={uri: (folder / name).read_bytes() for uri, name in ccds["files"].items()},
        members=ccds["members"],
        catalogs=ccds["catalogs"],
        descriptions={key: (folder / name).read_text(encoding="utf-8") for key, name in ccds["descriptions"].items()},
        icon=icon.read_bytes() if icon.exists() else None,
    )


def _case(key: str, title: str) -> Case:
    stored = stored_case(key)
    return Case(key, title, stored.solution_id, stored.revision_id)


CASES: dict[str, Case] = {
    case.key: case
    for case in (
        _case("sudoku", "Sudoku tutorial, a pipeline of three nodes in a cycle"),
        _case("news-training", "News training, a pipeline with a shared folder"),
        _case("entity-recogniser", "Entity recogniser, a single model"),
        _case("broken", "Split and count, a pipeline that cannot run"),
    )
}


def make_pipeline(
    name: str,
    blueprint: Json | bytes | None,
    protos: Mapping[str, str | bytes] | None = None,
    *,
    icon: bytes | None = None,
    description: str | None = None,
) -> Stored:
    """Create a pipeline from Python data; the same name gives the same ids.

    Args:
        name: name of the solution.
        blueprint: an object; bytes are stored unchanged; None: a pipeline without a blueprint.
        protos: container name → text. The `proto_uri` of the nodes with these names refers to the text.
        icon: an image.
        description: HTML.
    """
    stored = _stored(name, "CP", icon, description)
    texts = protos or {}
    uris = {container: _uri(stored, container, ".proto") for container in texts}
    stored.files.update({uri: _bytes(texts[container]) for container, uri in uris.items()})
    if isinstance(blueprint, dict):
        blueprint = copy.deepcopy(blueprint)
        for node in blueprint["nodes"]:
            if node["container_name"] in uris:
                node["proto_uri"] = uris[node["container_name"]]
        blueprint = json.dumps(blueprint).replace("/", "\\/").encode()
    if blueprint is not None:
        uri = _uri(stored, f"BLUEPRINT-{str(stored.solution_id).upper()}", ".json")
        stored.files[uri] = blueprint
        stored.artifacts.append(_artifact(stored, "BP", uri, len(blueprint)))
    return stored


def make_model(
    name: str,
    image: str | None,
    proto: str | bytes | None,
    *,
    icon: bytes | None = None,
    description: str | None = None,
) -> Stored:
    """Create a single model with an artifact for each argument that is not None; the same name gives the same ids."""
    stored = _stored(name, None, icon, description)
    if proto is not None:
        uri = _uri(stored, "model", ".proto")
        stored.files[uri] = _bytes(proto)
        stored.artifacts.append(_artifact(stored, "MI", uri, len(stored.files[uri])))
    if image is not None:
        stored.artifacts.append(_artifact(stored, "DI", image, -1))  # the size of an image in a registry is unknown
    return stored


def _stored(name: str, toolkit: str | None, icon: bytes | None, description: str | None) -> Stored:
    solution_id = str(uuid5(_ID_NAMESPACE, name))
    revision_id = str(uuid5(_ID_NAMESPACE, f"{name} 1.0.0"))
    times = {"created": _TIME, "modified": _TIME}
    solution = dict.fromkeys(("metadata", "modelTypeCode", "origin", "lastDownload", "featured", "sourceId")) | {
        "solutionId": solution_id,
        "name": name,
        "active": True,
        "toolkitTypeCode": toolkit,
        "userId": _OWNER,
        "tags": [],
        **dict.fromkeys(("viewCount", "downloadCount", "ratingCount", "ratingAverageTenths"), 0),
    }
    null_fields = (
        "sourceId",
        "metadata",
        "origin",
        "publisher",
        "verifiedLicense",
        "verifiedVulnerability",
        "onboarded",
    )
    revision = dict.fromkeys(null_fields) | {
        "revisionId": revision_id,
        "solutionId": solution_id,
        "version": "1.0.0",
        "userId": _OWNER,
        "authors": [],
    }
    stored = Stored(solution | times, revision | times, [], {}, icon=icon)
    if description is not None:
        catalog_id = str(uuid5(_ID_NAMESPACE, f"{name} catalog"))
        catalog = dict.fromkeys(("publisher", "description", "origin")) | {
            "catalogId": catalog_id,
            "accessTypeCode": "PB",
            "selfPublish": False,
            "name": "Made by a test",
            "url": "https://graphene.example",
        }
        stored.catalogs.append(catalog | times)
        stored.descriptions[catalog_id] = description
    return stored


def _uri(stored: Stored, name: str, suffix: str) -> str:
    """Return a Maven path. As in Graphene, the revision id in the path is not the id of the requested revision."""
    some_revision = uuid5(_ID_NAMESPACE, f"{stored.revision_id} {name}")
    return f"org/acumos/{stored.solution_id}/{some_revision}/{name}/1.0.0/{name}-1.0.0{suffix}"


def _artifact(stored: Stored, type_code: str, uri: str, size: int) -> Json:
    return {
        "artifactId": str(uuid5(stored.revision_id, type_code)),
        "version": "1.0.0",
        "artifactTypeCode": type_code,
        "name": f"{type_code} of {stored.solution['name']}"[:100],
        "description": None,
        "uri": uri,
        "size": size,
        "metadata": None,
        "userId": _OWNER,
        "created": _TIME,
        "modified": _TIME,
    }


def _bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text
