"""Container image references: the grammar of distribution/reference, with Docker's short names."""

import re

from worker.errors import NotDeployable

_HOST = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN = rf"(?:{_HOST}(?:\.{_HOST})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?"
_PATH = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME = rf"(?:{_DOMAIN}/)?{_PATH}(?:/{_PATH})*"
_REFERENCE = re.compile(rf"(?P<name>{_NAME})(?::[A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}})?(?:@(?P<digest>[^@]+))?", re.ASCII)
_DIGEST = re.compile(r"sha256:[a-f0-9]{64}|sha384:[a-f0-9]{96}|sha512:[a-f0-9]{128}")
_NAME_LIMIT = 255


def check_image(image: str, owner: str) -> None:
    """Refuse what no container runtime could pull.

    `owner` names the node in the sentence. Raises NotDeployable: image-empty, image-invalid.
    """
    if not image.strip():
        raise NotDeployable("image-empty", f"{owner} has no container image. On-board its model again.")
    if problem := _problem(image):
        raise NotDeployable("image-invalid", f"{owner} has the image '{image[:200]}', which {problem}. Correct it.")


def _problem(image: str) -> str | None:
    scheme, separator, _ = image.partition("://")
    if separator:
        return f"starts with '{scheme[:20]}://': a reference begins with the registry's host, leave the scheme out"
    match = _REFERENCE.fullmatch(image)
    if match is None:
        return "is not of the form [registry/]path[:tag][@digest] with a path in lower case"
    name, digest = match["name"], match["digest"]
    if len(_normalised(name)) > _NAME_LIMIT:
        return f"is longer than {_NAME_LIMIT} characters"
    if re.fullmatch("[a-f0-9]{64}", name):
        return "is a bare image id, which a registry cannot serve"
    if digest is not None and not _DIGEST.fullmatch(digest):
        return "has a digest that is not sha256, sha384 or sha512 in lower-case hex"
    return None


def _normalised(name: str) -> str:
    first, slash, _ = name.partition("/")
    is_domain = slash and (set(first) & set(".:") or first == "localhost" or first != first.lower())
    if is_domain:
        return name
    return f"docker.io/{name}" if slash else f"docker.io/library/{name}"
