"""Container image references: the grammar of distribution/reference 0.6, with Docker's short names."""

import re

from worker.errors import NotDeployable

_HOST = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN = rf"(?:{_HOST}(?:\.{_HOST})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?"
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
_REFERENCE = re.compile(
    rf"(?:{_DOMAIN}/)?(?P<path>{_PART}(?:/{_PART})*)(?::(?P<tag>{_TAG}))?(?:@(?P<digest>[^@]+))?", re.ASCII
)
_DIGEST = re.compile(r"sha256:[a-f0-9]{64}|sha384:[a-f0-9]{96}|sha512:[a-f0-9]{128}")
_IMAGE_ID = re.compile("[a-f0-9]{64}")
_PATH_LIMIT = 255
_DOCKER_HUB = "docker.io"


def check_image(image: str, owner: str) -> None:
    """Refuse what no container runtime could pull.

    `owner` names the node in the sentence. Raises NotDeployable: image-empty, image-invalid.
    """
    if not image.strip():
        raise NotDeployable("image-empty", f"{owner} has no container image. On-board its model again.")
    if problem := _problem(image):
        raise NotDeployable("image-invalid", f"{owner} has the image '{image[:200]}', which {problem}. Correct it.")


def moving_version(image: str) -> str | None:
    """Why a valid reference may bring another image tomorrow ("has no tag"); None when it names one version."""
    match = _REFERENCE.fullmatch(_normalised(image))
    if match is None or match["digest"]:
        return None
    return {None: "has no tag", "latest": "has the tag latest"}.get(match["tag"])


def _problem(image: str) -> str | None:
    scheme, separator, _ = image.partition("://")
    if separator:
        return f"starts with '{scheme[:20]}://': a reference begins with the registry's host, leave the scheme out"
    if _IMAGE_ID.fullmatch(image):
        return "is a bare image id, which a registry cannot serve"
    match = _REFERENCE.fullmatch(_normalised(image))
    if match is None:
        return "is not of the form [registry/]path[:tag][@digest] with a path in lower case"
    if len(match["path"]) > _PATH_LIMIT:
        return f"has a path longer than {_PATH_LIMIT} characters"
    if match["digest"] is not None and not _DIGEST.fullmatch(match["digest"]):
        return "has a digest that is not sha256, sha384 or sha512 in lower-case hex"
    return None


def _normalised(image: str) -> str:
    """With its registry, as Docker reads short names: what cannot be a host is a path on Docker Hub."""
    first, slash, rest = image.partition("/")
    if not slash or not (set(first) & set(".:") or first == "localhost" or first != first.lower()):
        first, rest = _DOCKER_HUB, image
    if first in (_DOCKER_HUB, "index.docker.io") and "/" not in rest:
        rest = f"library/{rest}"
    return f"{first}/{rest}"
